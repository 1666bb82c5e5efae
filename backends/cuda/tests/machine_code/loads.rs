//! The distance from loads of weights to their use, which the source cannot show: where a compiler copies a loaded register, the
//! copy waits for the load.
//!
//! In: a kernel's instructions and registers. Out: for its loops that read weights, the instructions between a load and what
//! waits for it, and the bytes in flight then. Invariant: only loops that hold no other loop count.

use std::fmt::Write;

use qwenc_formats::DType;

use crate::sass::{self, Instruction};
use crate::tools::Assembled;

/// Below these a memory of 4.3 TB/s for 132 multiprocessors is not kept busy: by Little's law 32 GB/s times a latency of 0.8 us
/// are 25 KB in flight, and 150 instructions of each of a scheduler's warps take about that long.
const LEAST_DISTANCE: usize = 150;
const LEAST_BYTES: u32 = 25_000;

/// Bytes that a warp asks for with one load of 16 bytes a lane.
const LOAD_BYTES: u32 = 512;
/// Registers of a multiprocessor, threads of a block of the kernels for few tokens.
const REGISTERS: u32 = 65_536;
const THREADS: u32 = 256;

/// Lookahead of the weight loads of a loop: their distance to use, and the bytes in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Instructions from the oldest load of a batch to the instruction that waits for it. A batch is the loads that share a
    /// scoreboard.
    pub distance: usize,
    /// Bytes of a warp in flight when it waits.
    pub warp_bytes: u32,
}

impl Ahead {
    /// The minimum of both in each field.
    fn least(self, other: Ahead) -> Ahead {
        let (distance, warp_bytes) =
            (self.distance.min(other.distance), self.warp_bytes.min(other.warp_bytes));
        Ahead { distance, warp_bytes }
    }

    /// Bytes in flight on a multiprocessor, whose registers and threads bound its resident blocks.
    pub fn bytes(&self, registers: u32, threads: u32) -> u32 {
        let blocks = (REGISTERS / (registers.next_multiple_of(8) * THREADS)).min(threads / THREADS);
        self.warp_bytes * blocks * THREADS / 32
    }
}

/// Lookahead of a kernel: the minimum over its innermost loops; `None` where none of them loads weights.
pub fn ahead(code: &[Instruction]) -> Option<Ahead> {
    let found = innermost_loops(code).into_iter().filter_map(|(begin, end)| of_loop(&code[begin..=end]));
    found.reduce(Ahead::least)
}

/// First and last instruction of the loops that hold no other.
fn innermost_loops(code: &[Instruction]) -> Vec<(usize, usize)> {
    let back = code.iter().enumerate().filter_map(|(i, c)| c.target.filter(|to| *to <= i).map(|to| (to, i)));
    let all: Vec<(usize, usize)> = back.collect();
    let holds_none = |&(begin, end): &(usize, usize)| {
        !all.iter().any(|&(b, e)| (b, e) != (begin, end) && begin <= b && e <= end)
    };
    all.iter().copied().filter(holds_none).collect()
}

/// A load that goes around the first-level cache: of weights.
fn loads_weights(instruction: &Instruction) -> bool {
    instruction.text.contains("LDG.E.NA")
}

/// Lookahead of one loop, given by its instructions.
fn of_loop(code: &[Instruction]) -> Option<Ahead> {
    // Of each load: itself, and the instructions after it up to the one that waits for it, in this round or the next.
    let loads = code.iter().enumerate().filter(|(_, c)| loads_weights(c)).map(|(at, load)| {
        let bit = 1 << load.sets.unwrap_or_else(|| panic!("a load without a scoreboard: {load:?}"));
        let distance = (1..=code.len()).find(|d| code[(at + d) % code.len()].waits & bit != 0);
        (at, distance.unwrap_or(code.len()))
    });
    let loads: Vec<(usize, usize)> = loads.collect();
    let waits = loads.iter().map(|(at, distance)| (at + distance) % code.len());
    waits
        .map(|wait| Ahead {
            distance: loads
                .iter()
                .filter(|(at, d)| (at + d) % code.len() == wait)
                .map(|l| l.1)
                .max()
                .unwrap_or(0),
            // In flight: a load whose wait is this one or comes after it.
            warp_bytes: LOAD_BYTES
                * loads.iter().filter(|(at, d)| (wait + code.len() - at) % code.len() <= *d).count() as u32,
        })
        .reduce(Ahead::least)
}

/// A table with a row for each kernel that reads weights in a loop: by architecture the instructions and the bytes of a
/// multiprocessor, in KB; a dash where the loop is unrolled. Kernels of bf16 have to be above the least.
pub fn table(all: &[(u32, Assembled)], dtype: DType) -> String {
    let mut text = String::new();
    let names: String = all.iter().map(|(sm, _)| format!("{:>16}", format!("sm_{sm}"))).collect();
    writeln!(text, "{:<24}{names}", "instructions, KB").unwrap();
    let code: Vec<_> = all.iter().map(|(_, assembled)| sass::kernels(&assembled.cubin())).collect();
    // The probe kernel that reads is no kernel of decode.
    for kernel in all[0].1.usage.keys().filter(|kernel| !kernel.starts_with("probe_")) {
        let of: Vec<_> = code.iter().map(|code| ahead(&code[kernel])).collect();
        if of.iter().all(Option::is_none) {
            continue;
        }
        let cells = all.iter().zip(of).map(|((sm, assembled), ahead)| {
            let Some(ahead) = ahead else { return format!("{:>16}", "-") };
            let bytes = ahead.bytes(assembled.usage[kernel].registers, threads(*sm));
            let enough = ahead.distance >= LEAST_DISTANCE && bytes >= LEAST_BYTES;
            assert!(enough || dtype != DType::Bf16, "{kernel} on sm_{sm}: {ahead:?}, {bytes} bytes");
            format!("{:>9} {:>6.1}", ahead.distance, f64::from(bytes) / 1e3)
        });
        writeln!(text, "{kernel:<24}{}", cells.collect::<String>()).unwrap();
    }
    text
}

/// Threads that a multiprocessor has room for.
fn threads(sm: u32) -> u32 {
    match sm {
        80 | 90 | 100 => 2048,
        _ => 1536,
    }
}

/// A loop of products in which `loads` stand, each given as where it is and its scoreboard, and `waits` for those.
fn looped(length: usize, loads: &[(usize, u32)], waits: &[(usize, u32)]) -> Vec<Instruction> {
    let nothing = Instruction { text: "HMMA".to_string(), sets: None, waits: 0, target: None };
    let mut code = vec![nothing; length];
    for (at, scoreboard) in loads {
        code[*at] = Instruction {
            text: "LDG.E.NA.128.CONSTANT".into(),
            sets: Some(*scoreboard),
            ..code[*at].clone()
        };
    }
    for (at, scoreboard) in waits {
        code[*at].waits |= 1 << scoreboard;
    }
    code[length - 1].target = Some(0);
    code
}

#[test]
fn a_copy_that_waits_is_seen() {
    // One load is copied 30 instructions later; the other is the only one in flight when it is waited for.
    let found = ahead(&looped(400, &[(10, 2), (210, 3)], &[(40, 2), (205, 3)]));
    assert_eq!(found, Some(Ahead { distance: 30, warp_bytes: LOAD_BYTES }));
}

#[test]
fn loads_that_are_waited_for_together() {
    // Eight loads, all waited for at the head of the loop: of the oldest it is nearly a round.
    let loads: Vec<(usize, u32)> = (0..8).map(|i| (20 + 40 * i, 4)).collect();
    let found = ahead(&looped(330, &loads, &[(5, 4)]));
    assert_eq!(found, Some(Ahead { distance: 315, warp_bytes: 8 * LOAD_BYTES }));
    assert_eq!(ahead(&looped(330, &[], &[(5, 4)])), None);
}

#[test]
fn blocks_by_registers() {
    let ahead = Ahead { distance: 200, warp_bytes: 8192 };
    assert_eq!([128, 129, 255].map(|registers| ahead.bytes(registers, 2048)), [131_072, 65_536, 65_536]);
}
