//! Zeroed memory that costs nothing until it is touched: for the KV cache, scratch and logits.
//!
//! In: a size. Out: a page-aligned region that reads as zeros. Invariant: the region stays where it
//! is and is released exactly once; resident memory follows use.

use std::ops::Range;

use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};

use crate::error::{Error, Result};

/// Bytes of a page on x86-64.
const PAGE: usize = 4096;

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

    /// Gives whole pages of `part` back to the system; all of `part` reads as anything afterwards.
    pub fn release(&mut self, part: Range<usize>) {
        let start = part.start.next_multiple_of(PAGE);
        let end = if part.end >= self.bytes() { self.bytes() } else { part.end / PAGE * PAGE };
        if start >= end {
            return;
        }
        // SAFETY: anonymous memory, of which nothing is borrowed; it reads as zeros from now on.
        let given = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        // A system that keeps the pages costs memory, not correctness.
        drop(given);
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
    fn released_pages_read_as_zeros_and_others_stay() {
        let mut r = Region::zeroed(3 * PAGE as u64 + 10, "test", "--context").unwrap();
        // SAFETY: within the mapping, which nothing else borrows.
        let all = unsafe { std::slice::from_raw_parts_mut(r.as_mut_ptr(), r.bytes()) };
        all.fill(7);
        r.release(1..2 * PAGE + 5);
        let sum = |from: usize| -> u64 {
            // SAFETY: as above.
            let page = unsafe { std::slice::from_raw_parts(r.as_ptr().add(from), PAGE) };
            page.iter().map(|&b| u64::from(b)).sum()
        };
        assert_eq!((sum(0), sum(PAGE), sum(2 * PAGE)), (7 * PAGE as u64, 0, 7 * PAGE as u64));
        r.release(5..6);
        r.release(2 * PAGE..usize::MAX);
        assert_eq!(r.bytes(), 3 * PAGE + 10);
        // SAFETY: within the mapping.
        assert_eq!(unsafe { (*r.as_ptr().add(2 * PAGE), *r.as_ptr().add(3 * PAGE + 9)) }, (0, 0));
    }

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
