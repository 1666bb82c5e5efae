//! The memory of a sequence's KV cache, where the model runs.
//!
//! In: memory that reads as zeros. Out: its address, copies of its beginning. Invariant: the memory stays where it is
//! and is released exactly once; where positions stand in it is `layout.rs`'s word for the CPU, and on a GPU the kernels'
//! but the kernels', so there all of it is copied.

use std::ops::Range;

use crate::error::Result;
use crate::inference::cuda::memory::Buffer;
use crate::inference::memory::Region;

/// A KV cache.
pub enum Cache {
    /// Memory of this process.
    Host(Region),
    /// Memory of a GPU.
    Device(Buffer),
}

impl Cache {
    /// Address for [`qwenc_abi::Row::kv`]; the device's where the cache is there.
    pub fn address(&mut self) -> *mut u8 {
        match self {
            Cache::Host(region) => region.as_mut_ptr(),
            Cache::Device(buffer) => buffer.address() as *mut u8,
        }
    }

    /// Makes `pieces` of this cache those of `from`, which is as large; on a GPU all of it.
    pub(crate) fn copy(&mut self, from: &Cache, pieces: impl Iterator<Item = Range<usize>>) -> Result<()> {
        match (self, from) {
            (Cache::Host(to), Cache::Host(from)) => {
                assert_eq!(to.bytes(), from.bytes(), "caches of one size");
                for piece in pieces {
                    assert!(piece.end <= from.bytes(), "a piece of the cache");
                    let (at, len) = (piece.start, piece.len());
                    // SAFETY: within both regions, which are different ones.
                    unsafe { to.as_mut_ptr().add(at).copy_from_nonoverlapping(from.as_ptr().add(at), len) };
                }
                Ok(())
            }
            (Cache::Device(to), Cache::Device(from)) => to.copy(0, from, from.bytes()),
            // Both were made by the engine that runs them.
            _ => unreachable!("an engine has all caches where it runs"),
        }
    }

    /// Gives the system what is not in `pieces`, which ascend; on a GPU nothing.
    pub(crate) fn keep(&mut self, pieces: impl Iterator<Item = Range<usize>>) {
        if let Cache::Host(region) = self {
            let mut end = 0;
            for piece in pieces {
                region.release(end..piece.start);
                end = piece.end;
            }
            region.release(end..usize::MAX);
        }
    }
}
