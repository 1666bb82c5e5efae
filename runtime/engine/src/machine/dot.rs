//! Peak of multiply-adds: the bound of prefill, which uses every weight once per token.
//!
//! In: a type of operands and a number of threads. Out: TOPS, a multiply-add being two operations. Invariant: the
//! loops touch registers only, and have more independent sums than the instruction's latency times its rate.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::machine::together;
use crate::threads::cores::Placement;

/// Independent sums: an instruction of 4 or 5 cycles, two of which start per cycle, needs 10.
const SUMS: usize = 16;
/// The same where there are but 16 registers, two of which hold the factors.
const SUMS_256: usize = 12;
/// Turns of a loop between two looks at the clock, about 0.2 ms.
const TURNS: u32 = 100_000;

/// Types of the operands of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// Bytes.
    Int8,
    /// Numbers of 16 bits, added in f32.
    Bf16,
    /// Numbers of 32 bits.
    F32,
}

/// Instruction of a measured peak: the best one that this program knows and the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// 64 products of bytes, added in fours to 32 bits.
    Vpdpbusd,
    /// 32 products of bytes, added in pairs to 16 bits.
    Vpmaddubsw,
    /// 32 products of bf16, added in pairs to f32.
    Vdpbf16ps,
    /// 16 products of f32.
    Fma512,
    /// 8 products of f32.
    Fma256,
    /// Multiply and add in f32, as the compiler of this program wrote it.
    Plain,
}

impl Instruction {
    /// The best one here; none for bf16 where products are those of f32.
    pub fn best(operands: Operands) -> Option<Instruction> {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let found = match operands {
                Operands::Int8 if has!("avx512vnni") && has!("avx512bw") => Some(Instruction::Vpdpbusd),
                Operands::Int8 if has!("avx2") => Some(Instruction::Vpmaddubsw),
                Operands::Bf16 if has!("avx512bf16") && has!("avx512f") => Some(Instruction::Vdpbf16ps),
                Operands::F32 if has!("avx512f") => Some(Instruction::Fma512),
                Operands::F32 if has!("avx2") && has!("fma") => Some(Instruction::Fma256),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        (operands != Operands::Bf16).then_some(Instruction::Plain)
    }

    /// Name of the instruction in tables.
    pub fn name(self) -> &'static str {
        match self {
            Instruction::Vpdpbusd => "int8, vpdpbusd on 512 bits",
            Instruction::Vpmaddubsw => "int8, vpmaddubsw on 256 bits",
            Instruction::Vdpbf16ps => "bf16, vdpbf16ps on 512 bits",
            Instruction::Fma512 => "f32, vfmadd on 512 bits",
            Instruction::Fma256 => "f32, vfmadd on 256 bits",
            Instruction::Plain => "f32, multiply and add",
        }
    }

    /// Multiply-adds of one instruction on one of the sums.
    fn multiply_adds(self) -> usize {
        match self {
            Instruction::Vpdpbusd => 64,
            Instruction::Vpmaddubsw | Instruction::Vdpbf16ps => 32,
            Instruction::Fma512 => 16,
            Instruction::Fma256 => 8,
            Instruction::Plain => 4,
        }
    }

    /// Instructions of one turn.
    fn sums(self) -> usize {
        if self == Instruction::Fma256 {
            SUMS_256
        } else {
            SUMS
        }
    }

    /// Runs the loop once; what it returns depends on every sum.
    fn run(self) -> i32 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY (all): `best` found the features.
        match self {
            Instruction::Vpdpbusd => return unsafe { x86::vpdpbusd(TURNS) },
            Instruction::Vpmaddubsw => return unsafe { x86::vpmaddubsw(TURNS) },
            Instruction::Vdpbf16ps => return unsafe { x86::vdpbf16ps(TURNS) },
            Instruction::Fma512 => return unsafe { x86::fma_512(TURNS) },
            Instruction::Fma256 => return unsafe { x86::fma_256(TURNS) },
            Instruction::Plain => {}
        }
        plain(TURNS)
    }
}

/// Runs [`Instruction::best`] on all threads for `time`; TOPS of them together, if there is one.
pub fn measure(operands: Operands, threads: &Placement, time: Duration) -> Result<Option<f64>> {
    let Some(instruction) = Instruction::best(operands) else { return Ok(None) };
    let operations = 2 * instruction.multiply_adds() * instruction.sums() * TURNS as usize;
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
    Ok(Some(speeds.into_iter().sum()))
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

    use super::{SUMS, SUMS_256};

    /// `count` independent sums that start differently, since equal ones would be computed once; `turns` times
    /// a step of each; then all of them added up.
    macro_rules! chains {
        ($count:expr, $turns:expr, |$i:ident| $start:expr, |$sum:ident| $step:expr, $add:path) => {{
            let mut sums = [{
                let $i = 0;
                $start
            }; $count];
            for ($i, sum) in sums.iter_mut().enumerate() {
                *sum = $start;
            }
            for _ in 0..$turns {
                for sum in &mut sums {
                    let $sum = *sum;
                    *sum = $step;
                }
            }
            let mut all = sums[0];
            for &sum in &sums[1..] {
                all = $add(all, sum);
            }
            all
        }};
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn vpdpbusd(turns: u32) -> i32 {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-1)));
        _mm512_reduce_add_epi32(chains!(
            SUMS,
            turns,
            |i| _mm512_set1_epi32(i as i32),
            |sum| _mm512_dpbusd_epi32(sum, a, b),
            _mm512_add_epi32
        ))
    }

    /// The sums are factors too: products of constants would be taken out of the loop.
    #[target_feature(enable = "avx2")]
    pub fn vpmaddubsw(turns: u32) -> i32 {
        let b = _mm256_set1_epi8(black_box(1));
        _mm256_extract_epi32::<0>(chains!(
            SUMS,
            turns,
            |i| _mm256_set1_epi8(i as i8),
            |sum| _mm256_maddubs_epi16(sum, b),
            _mm256_add_epi32
        ))
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn vdpbf16ps(turns: u32) -> i32 {
        let one = _mm512_set1_ps(black_box(1.0));
        let ones = _mm512_cvtne2ps_pbh(one, one);
        _mm512_reduce_add_ps(chains!(
            SUMS,
            turns,
            |i| _mm512_set1_ps(i as f32),
            |sum| _mm512_dpbf16_ps(sum, ones, ones),
            _mm512_add_ps
        )) as i32
    }

    #[target_feature(enable = "avx512f")]
    pub fn fma_512(turns: u32) -> i32 {
        let (a, b) = (_mm512_set1_ps(black_box(1.0)), _mm512_set1_ps(black_box(1.0)));
        _mm512_reduce_add_ps(chains!(
            SUMS,
            turns,
            |i| _mm512_set1_ps(i as f32),
            |sum| _mm512_fmadd_ps(a, b, sum),
            _mm512_add_ps
        )) as i32
    }

    /// On 12 sums, as there are but 16 registers.
    #[target_feature(enable = "avx2,fma")]
    pub fn fma_256(turns: u32) -> i32 {
        let (a, b) = (_mm256_set1_ps(black_box(1.0)), _mm256_set1_ps(black_box(1.0)));
        let all = chains!(
            SUMS_256,
            turns,
            |i| _mm256_set1_ps(i as f32),
            |sum| _mm256_fmadd_ps(a, b, sum),
            _mm256_add_ps
        );
        let half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
        // All lanes are equal, and there are four left.
        (4.0 * _mm_cvtss_f32(half)) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_plausible() {
        for operands in [Operands::Int8, Operands::Bf16, Operands::F32] {
            for threads in [1, 2] {
                let speed = measure(operands, &Placement::from(threads), Duration::from_millis(2)).unwrap();
                assert_eq!(speed.is_some(), Instruction::best(operands).is_some());
                assert!(
                    speed.is_none_or(|s| (1e-5..1000.0).contains(&s)),
                    "{threads} threads: {speed:?} TOPS"
                );
            }
        }
        assert!(Instruction::best(Operands::Int8).is_some() && Instruction::best(Operands::F32).is_some());
    }

    #[test]
    fn every_instruction_that_is_here_does_its_turns() {
        // 64 lanes that converge to 2.
        assert_eq!(plain(100), 128);
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            // SAFETY (all): the processor has the features.
            if Instruction::best(Operands::Int8) == Some(Instruction::Vpdpbusd) {
                // 16 lanes: the sums start at 0 to 15, each turn adds 4 · 3 · -1.
                assert_eq!(unsafe { x86::vpdpbusd(10) }, 16 * (120 - 16 * 10 * 12));
            }
            if has!("avx2") {
                // One turn makes 2i of every pair of bytes i; the two halves of 32 bits add alike.
                assert_eq!(unsafe { x86::vpmaddubsw(1) }, 240 * 0x1_0001);
            }
            // From here on a turn adds the products of a lane, each 1.
            if Instruction::best(Operands::Bf16).is_some() {
                assert_eq!(unsafe { x86::vdpbf16ps(10) }, 16 * (120 + 16 * 10 * 2));
            }
            if has!("avx512f") {
                assert_eq!(unsafe { x86::fma_512(10) }, 16 * (120 + 16 * 10));
            }
            if has!("avx2") && has!("fma") {
                assert_eq!(unsafe { x86::fma_256(10) }, 8 * (66 + 12 * 10));
            }
        }
    }
}
