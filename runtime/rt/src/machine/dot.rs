//! How many multiply-adds this machine does: the bound of prefill, which uses every weight once per token.
//!
//! In: a number of threads. Out: TOPS, a multiply-add being two operations. Invariant: the loops touch
//! registers only, and have more independent sums than the instruction's latency times its rate.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::machine::together;

/// Independent sums: an instruction of 4 or 5 cycles, two of which start per cycle, needs 10.
const SUMS: usize = 16;
/// Turns of a loop between two looks at the clock, about 0.2 ms.
const TURNS: u32 = 100_000;

/// What the peak is made of: the best instruction for dot products that this program knows and the
/// processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// 64 products of bytes, added in fours to 32 bits.
    Vpdpbusd,
    /// 32 products of bytes, added in pairs to 16 bits.
    Vpmaddubsw,
    /// Multiply and add in f32, as the compiler of this program wrote it.
    Plain,
}

impl Instruction {
    /// The best one here.
    pub fn best() -> Instruction {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512vnni")
                && std::arch::is_x86_feature_detected!("avx512bw")
            {
                return Instruction::Vpdpbusd;
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                return Instruction::Vpmaddubsw;
            }
        }
        Instruction::Plain
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Instruction::Vpdpbusd => "int8, vpdpbusd on 512 bits",
            Instruction::Vpmaddubsw => "int8, vpmaddubsw on 256 bits",
            Instruction::Plain => "f32, multiply and add",
        }
    }

    /// Multiply-adds of one instruction on one of the sums.
    fn multiply_adds(self) -> usize {
        match self {
            Instruction::Vpdpbusd => 64,
            Instruction::Vpmaddubsw => 32,
            Instruction::Plain => 4,
        }
    }

    /// Runs the loop once; what it returns depends on every sum.
    fn run(self) -> i32 {
        #[cfg(target_arch = "x86_64")]
        match self {
            // SAFETY: `best` found the features.
            Instruction::Vpdpbusd => return unsafe { x86::vpdpbusd(TURNS) },
            // SAFETY: `best` found the feature.
            Instruction::Vpmaddubsw => return unsafe { x86::vpmaddubsw(TURNS) },
            Instruction::Plain => {}
        }
        plain(TURNS)
    }
}

/// Runs [`Instruction::best`] on all threads for `time`; TOPS of them together.
pub fn measure(threads: usize, time: Duration) -> Result<f64> {
    let instruction = Instruction::best();
    let operations = 2 * instruction.multiply_adds() * SUMS * TURNS as usize;
    let speeds = together(threads, |_| {
        let start = Instant::now();
        let mut turns = 0.0;
        loop {
            black_box(instruction.run());
            turns += 1.0;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return turns * operations as f64 / elapsed.as_secs_f64().max(1e-9) / 1e12;
            }
        }
    })?;
    Ok(speeds.into_iter().sum())
}

fn plain(turns: u32) -> i32 {
    let (scale, step) = (black_box(0.5f32), black_box(1.0f32));
    let mut sums = [0.0f32; 4 * SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = *sum * scale + step;
        }
    }
    sums.iter().sum::<f32>() as i32
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::SUMS;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn vpdpbusd(turns: u32) -> i32 {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-1)));
        // Different from the start: equal sums would be computed once.
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_set1_epi32(i as i32);
        }
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let mut all = _mm512_setzero_si512();
        for sum in sums {
            all = _mm512_add_epi32(all, sum);
        }
        _mm512_reduce_add_epi32(all)
    }

    /// The sums are factors too: products of constants would be taken out of the loop.
    #[target_feature(enable = "avx2")]
    pub fn vpmaddubsw(turns: u32) -> i32 {
        let b = _mm256_set1_epi8(black_box(1));
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_set1_epi8(i as i8);
        }
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_maddubs_epi16(*sum, b);
            }
        }
        let mut all = _mm256_setzero_si256();
        for sum in sums {
            all = _mm256_add_epi32(all, sum);
        }
        _mm256_extract_epi32::<0>(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_plausible() {
        for threads in [1, 2] {
            let speed = measure(threads, Duration::from_millis(2)).unwrap();
            assert!((1e-5..1000.0).contains(&speed), "{threads} threads: {speed} TOPS");
        }
    }

    #[test]
    fn every_instruction_that_is_here_does_its_turns() {
        // 64 lanes that converge to 2.
        assert_eq!(plain(100), 128);
        #[cfg(target_arch = "x86_64")]
        {
            if Instruction::best() == Instruction::Vpdpbusd {
                // 16 lanes: the sums start at 0 to 15, each turn adds 4 · 3 · -1.
                // SAFETY: `best` found the features.
                assert_eq!(unsafe { x86::vpdpbusd(10) }, 16 * (120 - 16 * 10 * 12));
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // One turn makes 2i of every pair of bytes i; the two halves of 32 bits add alike.
                // SAFETY: the processor has the feature.
                assert_eq!(unsafe { x86::vpmaddubsw(1) }, 240 * 0x1_0001);
            }
        }
    }
}
