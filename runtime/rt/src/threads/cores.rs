//! How many threads to use when nobody says.
//!
//! In: the CPUs this process may run on and their topology. Out: the number of physical cores among
//! them, at least 1. Invariant: affinity masks and CPU quotas are respected. Only asked, never set:
//! threads are pinned to nothing.

use std::collections::BTreeSet;

/// Physical cores available to this process.
pub fn available() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = physical(&affinity(), |cpu| {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(file).ok()
    });
    match cores {
        0 => allowed,
        n => n.min(allowed),
    }
}

/// Counts distinct cores; a CPU without topology counts as a core of its own.
fn physical(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> usize {
    let cores: BTreeSet<String> =
        cpus.iter().map(|&cpu| siblings(cpu).map_or_else(|| cpu.to_string(), |s| s.trim().into())).collect();
    cores.len()
}

/// The CPUs of this process's affinity mask; empty if the system does not say.
fn affinity() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain bits, for which zero is a value; the call writes at most its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_count_once() {
        let list = |cpu: usize| Some(format!("{},{}\n", cpu % 2, cpu % 2 + 2));
        assert_eq!(physical(&[0, 1, 2, 3], list), 2);
        assert_eq!(physical(&[0, 2], list), 1);
        assert_eq!(physical(&[0, 1, 2], |_| None), 3);
        assert!(available() >= 1);
    }
}
