//! Number of threads where no flag says, and their placement on CPUs.
//!
//! In: the CPUs this process may run on and their topology. Out: the number of physical cores among them, at
//! least 1; a [`Placement`]. Invariant: affinity masks and CPU quotas are respected, and no thread is pinned but by
//! a placement that was asked for, which takes a CPU of every core before a second one of any.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::marker::PhantomData;

use crate::error::{Error, Result};

/// Physical cores available to this process.
pub fn available() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    match physical(&affinity(), siblings) {
        0 => allowed,
        n => n.min(allowed),
    }
}

/// Number of threads, and the CPU of each pinned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    threads: usize,
    /// By thread; empty if the system may put them where it likes.
    cpus: Vec<usize>,
}

impl From<usize> for Placement {
    /// Threads that go where the system puts them, at least one.
    fn from(threads: usize) -> Placement {
        Placement { threads: threads.max(1), cpus: Vec::new() }
    }
}

impl Placement {
    /// Each thread on a CPU of its own.
    pub fn pinned(threads: usize) -> Result<Placement> {
        let mut cpus = by_core(&affinity(), siblings);
        if threads > cpus.len() {
            return Err(Error::Usage(format!(
                "--pin gives each thread a CPU of its own: {threads} threads, but this process may use {} CPUs; lower \
                 --threads",
                cpus.len()
            )));
        }
        cpus.truncate(threads);
        Ok(Placement { threads, cpus })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The CPUs that threads are pinned to; empty if they are not.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Puts the calling thread where thread `index` belongs, until what this returns is dropped.
    pub fn settle(&self, index: usize) -> Result<Settled> {
        let Some(&cpu) = self.cpus.get(index) else {
            return Ok(Settled { before: Vec::new(), here: PhantomData });
        };
        let before = affinity();
        restrict(&[cpu]).map_err(|source| Error::Pin { cpu, source })?;
        Ok(Settled { before, here: PhantomData })
    }
}

/// A thread that may be pinned.
#[must_use]
pub struct Settled {
    /// CPUs that the thread was allowed before; empty if it was not pinned.
    before: Vec<usize>,
    /// Only the thread itself may be let go.
    here: PhantomData<*const ()>,
}

impl Drop for Settled {
    fn drop(&mut self) {
        if !self.before.is_empty() {
            // What was allowed before can only fail if a CPU went away; then the thread stays where it is.
            let _ = restrict(&self.before);
        }
    }
}

/// The system's word on which CPUs share a core.
fn siblings(cpu: usize) -> Option<String> {
    std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok()
}

/// A CPU without topology counts as a core of its own.
fn core_of(cpu: usize, siblings: impl Fn(usize) -> Option<String>) -> String {
    siblings(cpu).map_or_else(|| cpu.to_string(), |s| s.trim().into())
}

/// Counts distinct cores.
fn physical(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> usize {
    cpus.iter().map(|&cpu| core_of(cpu, &siblings)).collect::<BTreeSet<_>>().len()
}

/// First one CPU of every core, then a second one, and so on.
fn by_core(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Vec<usize> {
    let mut taken = BTreeMap::<String, usize>::new();
    let mut turns: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        let turn = taken.entry(core_of(cpu, &siblings)).or_default();
        turns.push((*turn, cpu));
        *turn += 1;
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, cpu)| cpu).collect()
}

/// The CPUs of the calling thread's affinity mask; empty if the system does not say.
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

/// Sets the calling thread's affinity mask.
fn restrict(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: as above; `affinity` gave the CPUs, so they are below CPU_SETSIZE.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
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

    #[test]
    fn every_core_comes_before_a_second_thread_of_one() {
        let pairs = |cpu: usize| Some(format!("{}-{}\n", cpu / 2 * 2, cpu / 2 * 2 + 1));
        assert_eq!(by_core(&[0, 1, 2, 3, 5], pairs), [0, 2, 5, 1, 3]);
        assert_eq!(by_core(&[3, 1], |_| None), [1, 3]);
    }

    #[test]
    fn a_settled_thread_stays_on_one_cpu_and_is_free_after() {
        let before = affinity();
        let placement = Placement::pinned(1).unwrap();
        let settled = placement.settle(0).unwrap();
        assert_eq!(affinity(), placement.cpus());
        drop(settled);
        assert_eq!(affinity(), before);
        let free = Placement::from(0);
        assert_eq!((free.threads(), free.cpus().len()), (1, 0));
        let _settled = free.settle(0).unwrap();
        assert_eq!(affinity(), before);
        let said = Placement::pinned(before.len() + 1).unwrap_err().to_string();
        assert!(said.contains("--pin") && said.contains(&format!("may use {} CPUs", before.len())), "{said}");
    }
}
