//! The memory of a sequence's KV cache, where the model runs.
//!
//! In: memory that reads as zeros. Out: its address. Invariant: the memory stays where it is and is released
//! exactly once.

use crate::inference::cuda::memory::Buffer;
use crate::inference::memory::Region;

/// A KV cache.
pub enum Cache {
    /// Of this process.
    Host(Region),
    /// Of a GPU.
    Device(Buffer),
}

impl Cache {
    /// What [`qwenc_abi::Row::kv`] gets; an address of the device's where the cache is there.
    pub fn address(&mut self) -> *mut u8 {
        match self {
            Cache::Host(region) => region.as_mut_ptr(),
            Cache::Device(buffer) => buffer.address() as *mut u8,
        }
    }
}
