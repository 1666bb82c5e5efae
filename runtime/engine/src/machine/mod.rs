//! Limits of this machine, measured: `bandwidth` of reading memory, the peak of `dot` products; and
//! what the `system` says about memory and caches.
//!
//! In: a number of threads. Out: GB/s, TOPS, bytes. Invariant: nothing here knows a model; a probe runs on
//! as many threads as the model does, and in the same places, so that the two can be compared.

pub mod bandwidth;
pub mod dot;
pub mod form;
pub mod system;

use std::sync::RwLock;

use crate::error::{Error, Result};
use crate::threads::cores::Placement;

/// Runs `work` on all threads of `placement` at once, the caller's included, each with its index.
fn together<T: Send>(placement: &Placement, work: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
    // Held until all threads are there; a thread that cannot be started releases the others too.
    let start = RwLock::new(());
    std::thread::scope(|scope| {
        let held = start.write();
        let mut others = Vec::new();
        for index in 1..placement.threads() {
            let (start, work) = (&start, &work);
            let body = move || {
                // If its CPU went away since, the system finds it another.
                let _settled = placement.settle(index);
                drop(start.read());
                work(index)
            };
            let builder = std::thread::Builder::new().name(format!("probe {index}"));
            let handle =
                builder.spawn_scoped(scope, body).map_err(|source| Error::Thread { index, source })?;
            others.push(handle);
        }
        drop(held);
        let mut done = vec![work(0)];
        for other in others {
            done.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_works_once() {
        for threads in [1, 2, 5] {
            let all: Vec<usize> = (0..threads).collect();
            assert_eq!(together(&Placement::from(threads), |index| index).unwrap(), all);
        }
    }
}
