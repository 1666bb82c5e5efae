//! File descriptors: how many the process may have, and how many of them connections get.
//!
//! In: the answers that may be under way or wait. Out: the most connections. Invariant: a process that may have too few is
//! refused before it listens, so that it neither spins nor ends later.

use qwenc_engine::error::{Error, Result};

/// Descriptors for everything but connections and formats: image, event queues, standard streams.
const OTHER: u64 = 48;
/// Fewest connections that a server is of use with.
const FEWEST: u64 = 8;
/// Most connections, however many files there may be.
const MOST: u64 = 4096;
/// Descriptors kept free of connections, for formats of answers.
const FORMATS: u64 = 64;

/// Descriptors of the process.
pub struct Files;

impl Files {
    /// Raises the limit as far as it helps; gives the most connections beside `answers` answers.
    pub fn reserve(answers: u64) -> Result<usize> {
        let other = OTHER + answers.min(FORMATS);
        let most = raised(MOST + other);
        Files::share(most, other).ok_or_else(|| {
            Error::Usage(format!(
                "this process may have {most} files open and `serve` needs {}; raise the limit with `ulimit -n {}`, or \
                 lower --parallel and --max-queue",
                other + FEWEST,
                (other + FEWEST).next_power_of_two()
            ))
        })
    }

    fn share(most: u64, other: u64) -> Option<usize> {
        let left = most.saturating_sub(other);
        (left >= FEWEST).then_some(left.min(MOST) as usize)
    }
}

/// The limit of open files, raised towards `wanted`.
fn raised(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to live locals.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 256;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max.min(wanted).max(limit.rlim_cur), ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            raised.rlim_cur
        } else {
            limit.rlim_cur
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_are_refused() {
        assert_eq!(Files::share(8, 112), None);
        assert_eq!(Files::share(119, 112), None);
        assert_eq!(Files::share(120, 112), Some(8));
        assert_eq!(Files::share(1 << 20, 112), Some(4096));
        assert!(Files::reserve(68).unwrap() >= 8);
    }
}
