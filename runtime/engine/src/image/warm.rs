//! Page table entries for the weights before the model asks for them, while others read the tokenizer.
//!
//! In: the mapped weights. Out: nothing; their pages are mapped, and read from the file where they are not in
//! memory. Invariant: only the thread that unmaps the weights waits for it, and then for one page at most.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes between two that are read: Linux maps this many around a page that it has in memory. Asking for a whole
/// range (MADV_POPULATE_READ) looks at every page and takes longer.
const AROUND: usize = 64 << 10;

/// A thread that maps pages.
pub struct Warming {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Warming {
    /// Starts on `weights`.
    ///
    /// # Safety
    /// They must stay mapped until what this returns is dropped.
    pub unsafe fn start(weights: &[u8]) -> Warming {
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        // SAFETY: the thread has ended when `drop` returns, and until then they are mapped.
        let weights: &'static [u8] = unsafe { &*std::ptr::from_ref(weights) };
        let work = move || {
            let pages = weights.iter().step_by(AROUND);
            pages.take_while(|_| !stop.load(Ordering::Relaxed)).for_each(|byte| {
                black_box(*byte);
            });
        };
        // Without the thread it is only slower.
        let thread = std::thread::Builder::new().name("warming".into()).spawn(work).ok();
        Warming { enough, thread }
    }
}

impl Drop for Warming {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Bytes of the map that this process has mapped.
    fn resident(map: &memmap2::Mmap) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", map.as_ptr() as usize);
        let ours = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let line = ours.take(10).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    }

    #[test]
    fn pages_all_over_the_file_get_mapped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 64 * AROUND + 100]).unwrap();
        // SAFETY: the file is not changed.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        assert_eq!(resident(&map), 0);
        // SAFETY: `map` outlives it.
        let mut warming = unsafe { Warming::start(&map) };
        warming.thread.take().unwrap().join().unwrap();
        // At least the pages that were read; how many around them depends on the system.
        assert!(resident(&map) >= 65 * 4096, "{}", resident(&map));
        // SAFETY: `map` outlives it.
        drop(unsafe { Warming::start(&map) });
    }
}
