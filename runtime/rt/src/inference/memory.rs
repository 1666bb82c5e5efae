//! Zeroed memory that costs nothing until it is touched: for the KV cache, scratch and logits.
//!
//! In: a size. Out: a page-aligned region that reads as zeros. Invariant: the region stays where it
//! is and is released exactly once; resident memory follows use.

use memmap2::{MmapMut, MmapOptions};

use crate::error::{Error, Result};

/// An anonymous mapping without swap reservation.
pub struct Region {
    map: MmapMut,
}

impl Region {
    /// `bytes` zero bytes (at least one page); `what` and `flag` are for the message if that fails.
    pub fn zeroed(bytes: u64, what: &'static str, flag: &'static str) -> Result<Region> {
        let refused = |source| Error::Memory { what, bytes, flag, source };
        let len = usize::try_from(bytes.max(1)).ok().filter(|&n| n <= isize::MAX as usize);
        let len = len.ok_or_else(|| refused(std::io::ErrorKind::OutOfMemory.into()))?;
        let map = MmapOptions::new().len(len).no_reserve_swap().map_anon().map_err(refused)?;
        Ok(Region { map })
    }

    /// Start of the region.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Start of the region.
    pub fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned_zeroed_and_may_exceed_memory() {
        let mut r = Region::zeroed(1 << 40, "test", "--context").unwrap();
        assert_eq!(r.as_mut_ptr() as usize % 64, 0);
        assert_eq!(r.bytes(), 1 << 40);
        // SAFETY: within the mapping.
        assert_eq!(unsafe { *r.as_ptr().add((1 << 39) + 5) }, 0);
        let e = Region::zeroed(u64::MAX, "KV cache", "--context").err().unwrap().to_string();
        assert!(e.contains("KV cache") && e.contains("lower --context"), "{e}");
    }
}
