//! Bandwidth of reading memory: the bound of decode, which reads every weight once per token.
//!
//! In: a size and a number of threads. Out: GB/s. Invariant: every page of the buffer was written, so that
//! none is the kernel's shared page of zeros, and every byte read goes into a checksum.

use std::hint::black_box;
use std::time::Instant;

use crate::error::Result;
use crate::inference::memory::Region;
use crate::machine::{system, together};
use crate::threads::cores::Placement;

/// At least this much is read, where memory allows: no cache holds it.
const LEAST_BYTES: u64 = 512 << 20;
/// Times that the buffer is read in one measurement.
const PASSES: usize = 4;
/// Bytes that a thread reads in one turn of its loop.
const BLOCK: usize = 512;
/// Prefetch distance: hardware prefetchers stop at a page's end.
const AHEAD: usize = 4096;

/// Bytes to read on this machine: four times its last cache or more, at most a quarter of what is free.
pub fn buffer_bytes() -> usize {
    let wanted = LEAST_BYTES.max(4 * system::cache_bytes().unwrap_or(0));
    let most = system::available_bytes().map_or(u64::MAX, |free| free / 4);
    wanted.min(most).max(1 << 20) as usize
}

/// A buffer to be read by a number of threads.
pub struct Bandwidth {
    buffer: Region,
    /// Bytes of each thread's part.
    share: usize,
    placement: Placement,
}

impl Bandwidth {
    /// Reserves and writes `bytes`, rounded to whole pages for every thread.
    pub fn new(bytes: usize, placement: &Placement) -> Result<Bandwidth> {
        let threads = placement.threads();
        let share = bytes.div_ceil(threads).next_multiple_of(4096);
        let bytes = (share * threads) as u64;
        let buffer = Region::zeroed(bytes, "bandwidth probe", "--threads or --context")?;
        let probe = Bandwidth { buffer, share, placement: placement.clone() };
        together(placement, |index| {
            // SAFETY: the parts of different indices do not overlap and lie within the buffer, which
            // no thread reads yet.
            unsafe { probe.buffer.as_ptr().add(index * share).cast_mut().write_bytes(index as u8 + 1, share) }
        })?;
        Ok(probe)
    }

    /// Reads the buffer on all threads, several times; GB/s of them together.
    pub fn measure(&self) -> Result<f64> {
        let times = together(&self.placement, |index| {
            let start = Instant::now();
            for _ in 0..PASSES {
                black_box(checksum(black_box(self.part(index))));
            }
            (start, Instant::now())
        })?;
        let start = times.iter().map(|t| t.0).min();
        let end = times.iter().map(|t| t.1).max();
        let elapsed = start.zip(end).map_or(0.0, |(start, end)| (end - start).as_secs_f64());
        let bytes = (PASSES * self.share * self.placement.threads()) as f64;
        Ok(bytes / elapsed.max(1e-9) / 1e9)
    }

    fn part(&self, index: usize) -> &[u8] {
        debug_assert!(index < self.placement.threads());
        // SAFETY: within the buffer, which `new` has written and no thread writes any more.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().add(index * self.share), self.share) }
    }
}

/// XOR of all words of `bytes` but an incomplete last block, by the widest loads there are.
fn checksum(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_512(bytes) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_256(bytes) };
        }
    }
    read_plain(bytes)
}

fn read_plain(bytes: &[u8]) -> u64 {
    let mut sums = [0; BLOCK / 8];
    for block in bytes.chunks_exact(BLOCK) {
        for (sum, word) in sums.iter_mut().zip(block.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            *sum ^= u64::from_le_bytes(eight);
        }
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{AHEAD, BLOCK};

    #[target_feature(enable = "avx512f")]
    pub fn read_512(bytes: &[u8]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); BLOCK / 64];
        for block in bytes.chunks_exact(BLOCK) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = block.as_ptr().wrapping_add(64 * i);
                // SAFETY: a prefetch reads nothing; `at` and 64 bytes on are within the block.
                let loaded = unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    _mm512_loadu_si512(at.cast())
                };
                *sum = _mm512_xor_si512(*sum, loaded);
            }
        }
        let mut all = _mm512_setzero_si512();
        for sum in sums {
            all = _mm512_xor_si512(all, sum);
        }
        let mut words = [0u64; 8];
        // SAFETY: the array has 64 bytes.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), all) };
        words.into_iter().fold(0, |all, word| all ^ word)
    }

    #[target_feature(enable = "avx2")]
    pub fn read_256(bytes: &[u8]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); BLOCK / 64];
        for block in bytes.chunks_exact(BLOCK) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = block.as_ptr().wrapping_add(64 * i);
                // SAFETY: a prefetch reads nothing; `at` and 64 bytes on are within the block.
                let (low, high) = unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    (_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.wrapping_add(32).cast()))
                };
                *sum = _mm256_xor_si256(*sum, _mm256_xor_si256(low, high));
            }
        }
        let mut all = _mm256_setzero_si256();
        for sum in sums {
            all = _mm256_xor_si256(all, sum);
        }
        let mut words = [0u64; 4];
        // SAFETY: the array has 32 bytes.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), all) };
        words.into_iter().fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_whatever_the_width() {
        let bytes: Vec<u8> = (0..4 * BLOCK).map(|i| ((i * i) >> 3) as u8).collect();
        let whole = read_plain(&bytes);
        for at in [0, 31, 32, 63, 64, 511, 512, 2047] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert_eq!(checksum(&changed), read_plain(&changed));
            assert_ne!(read_plain(&changed), whole, "byte {at} was not read");
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            assert_eq!(unsafe { x86::read_256(&bytes) }, whole);
        }
    }

    #[test]
    fn speeds_are_plausible() {
        assert!(buffer_bytes() >= 1 << 20);
        for threads in [1, 2] {
            let speed = Bandwidth::new(8 << 20, &Placement::from(threads)).unwrap().measure().unwrap();
            assert!((0.01..100_000.0).contains(&speed), "{threads} threads: {speed} GB/s");
        }
    }
}
