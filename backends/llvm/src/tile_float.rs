//! The inner loop of f32 and bf16 weights: one panel against a tile of tokens.
//!
//! In: a panel and rows of f32 inputs. Out: 32 sums per token. bf16 becomes f32 by a shift, which is
//! exact; products and sums are f32 with fused multiply-add, inputs in ascending order.

use qwenc_ir::DType;
use qwenc_plan::{Segment, LANES, PANEL_ROWS};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::tile::{vectors, Sums, PREFETCH, PREFETCH_TILE};

/// Steps of the loop body, so that its counter costs little.
const UNROLL: u64 = 4;

pub(crate) fn emit<'c>(c: &Code<'c, '_>, s: &Segment, panel: Ptr<'c>, x: &[Ptr<'c>]) -> Vec<Sums<'c>> {
    // Inputs consumed by one step of 128 bytes of weights.
    let per_step = if s.dtype == DType::F32 { 1 } else { 2 };
    let steps = u64::from(s.cols).div_ceil(per_step);
    let zero: Any = c.floats(0.0, LANES).into();
    let init = vec![zero; 2 * x.len()];
    let step = |at: Int<'c>, sums: Vec<Vector<'c>>| {
        let weights = c.at(panel, c.times(at, 4 * u64::from(PANEL_ROWS)));
        let inputs = c.times(at, 4 * per_step);
        one_step(c, per_step, weights, x, inputs, sums)
    };
    let whole = steps / UNROLL * UNROLL;
    let sums = c.fold(c.int(0), c.int(whole), UNROLL, &init, |i, carried| {
        let mut sums = vectors(carried);
        for u in 0..UNROLL {
            sums = step(c.add(i, c.int(u)), sums);
        }
        sums.into_iter().map(Into::into).collect()
    });
    let mut sums = vectors(&sums);
    for at in whole..steps {
        sums = step(c.int(at), sums);
    }
    sums.chunks(2).map(|s| [s[0], s[1]]).collect()
}

fn one_step<'c>(
    c: &Code<'c, '_>,
    per_step: u64,
    weights: Ptr<'c>,
    x: &[Ptr<'c>],
    inputs: Int<'c>,
    mut sums: Vec<Vector<'c>>,
) -> Vec<Vector<'c>> {
    if x.len() <= PREFETCH_TILE {
        c.prefetch(c.plus(weights, PREFETCH));
        c.prefetch(c.plus(weights, PREFETCH + 64));
    }
    let halves: Vec<Vec<Vector>> =
        (0..2).map(|half| input_columns(c, per_step, c.plus(weights, 64 * half))).collect();
    for i in 0..per_step as usize {
        for (t, row) in x.iter().enumerate() {
            let value = c.load_f32(c.at(*row, c.add(inputs, c.int(4 * i as u64))));
            let value = c.splat(value, LANES);
            for (half, columns) in halves.iter().enumerate() {
                sums[2 * t + half] = c.fma(columns[i], value, sums[2 * t + half]);
            }
        }
    }
    sums
}

/// The f32 weights of 16 rows for one input (f32), or for two neighbours (bf16).
fn input_columns<'c>(c: &Code<'c, '_>, per_step: u64, at: Ptr<'c>) -> Vec<Vector<'c>> {
    if per_step == 1 {
        return vec![c.load_vec(c.vec_f32(LANES), at, 64)];
    }
    let pairs = c.load_vec(c.vec_i32(LANES), at, 64);
    let even = c.shl_vec(pairs, c.ints(c.i32(), 16, LANES));
    let odd = c.and_vec(pairs, c.ints(c.i32(), 0xFFFF_0000, LANES));
    vec![c.bits(even, c.vec_f32(LANES)), c.bits(odd, c.vec_f32(LANES))]
}
