//! A linear layer: prepare rows, then panels of weights against tiles of tokens, then the epilogue.
//!
//! In: a plan's [`Linear`]. Out: a kernel for any number of tokens: one (decode) reads each panel
//! once; many (prefill) reuse a panel for tile after tile while it is in cache. Invariant: an output
//! is one chain of accumulations over the inputs in order, whatever the tile.

use std::mem::offset_of;

use inkwell::IntPredicate;
use qwenc_abi::StepArgs;
use qwenc_ir::DType;
use qwenc_plan::{round_up, BufferId, Dest, Linear, LANES, PANEL_ROWS};

use crate::builder::{Int, Ptr};
use crate::kernel::Kernel;
use crate::prepare;
use crate::tile::Sums;
use crate::{tile_float, tile_int8};

/// Rows that the inner loop reads: start and distance.
struct Inputs<'c> {
    base: Ptr<'c>,
    row_bytes: u64,
}

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, l: &Linear) {
    let c = &k.code;
    let tokens = match l.out {
        Dest::Logits => k.field(offset_of!(StepArgs, n_outputs)),
        Dest::Buffer(_) => k.n_rows(),
    };
    let inputs = match l.prepared {
        Some(prepared) => prepared_inputs(k, l, prepared, tokens),
        None => Inputs { base: k.buffer(l.input), row_bytes: c.plan.buffer(l.input).row_bytes },
    };
    let out = Output::of(k, l);
    let weight = c.plan.segment(l.weight);
    let image = k.segment(l.weight);
    let panels = u64::from(weight.panels());
    k.take(c.int(panels), panels_at_once(panels, weight.panel_bytes()), |panel| {
        let weights = c.at(image, c.times(panel, weight.panel_bytes()));
        let tokens_at = |first: Int<'c>, n: u64| {
            let rows: Vec<Int> = (0..n).map(|i| c.add(first, c.int(i))).collect();
            let x: Vec<Ptr> = rows.iter().map(|&r| c.at(inputs.base, c.times(r, inputs.row_bytes))).collect();
            let sums = match weight.dtype {
                DType::I8 { group } => tile_int8::emit(c, weight, group, l.planes, weights, &x),
                _ => tile_float::emit(c, weight, weights, &x),
            };
            for (row, sums) in rows.into_iter().zip(sums) {
                out.write(k, l, panel, row, sums);
            }
        };
        tiles(c.cpu.registers(), l.planes).into_iter().fold(c.int(0), |first, tile| {
            let left = c.sub(tokens, first);
            let end = c.add(first, c.times(c.div(left, c.int(tile)), tile));
            c.for_each(first, end, tile, |first| tokens_at(first, tile));
            end
        });
    });
    c.ret();
}

/// Panels that a thread takes at once: enough bytes to stream, little enough to share out evenly.
fn panels_at_once(panels: u64, panel_bytes: u64) -> u64 {
    const BYTES: u64 = 96 << 10;
    (BYTES / panel_bytes).clamp(1, panels.div_ceil(8))
}

/// Tokens per tile, largest first: as many accumulators as fit in registers beside weights and a
/// broadcast, then smaller tiles for what is left, down to one. A token has two vectors of sums, and as
/// many of integer dot products per plane.
fn tiles(registers: usize, planes: u32) -> Vec<u64> {
    let per_token = 2 + 2 * planes as usize;
    let largest = (registers.saturating_sub(6) / per_token).clamp(1, 12) as u64;
    let smaller = [4, 2, 1].into_iter().filter(|&n| n < largest);
    std::iter::once(largest).chain(smaller).collect()
}

/// Normalises or quantises input rows. With one token every thread does so for itself, which saves
/// a barrier; with more, rows are shared out.
fn prepared_inputs<'c>(
    k: &Kernel<'c, '_>,
    l: &Linear,
    [step, thread]: [BufferId; 2],
    tokens: Int<'c>,
) -> Inputs<'c> {
    let c = &k.code;
    let row_bytes = c.plan.buffer(step).row_bytes;
    let source = k.buffer(l.input);
    let prepare = |row: Int<'c>, to: Ptr<'c>| {
        let row = match l.out {
            Dest::Buffer(_) => row,
            Dest::Logits => {
                let outputs = k.pointer(offset_of!(StepArgs, outputs));
                c.zext(c.load_int(c.i32(), c.at(outputs, c.times(row, 4))), c.i64())
            }
        };
        prepare::emit(k, l, k.row_of(source, l.input, row), to);
    };
    let single = c.cmp(IntPredicate::EQ, tokens, c.int(1));
    let base = c.either(
        single,
        || {
            let own = k.buffer(thread);
            prepare(c.int(0), own);
            own.into()
        },
        || {
            let all = k.buffer(step);
            let (start, end) = k.share(tokens);
            c.for_each(start, end, 1, |row| prepare(row, k.row_of(all, step, row)));
            k.barrier();
            all.into()
        },
    );
    Inputs { base: base.into_pointer_value(), row_bytes }
}

/// Where results go.
struct Output<'c> {
    base: Ptr<'c>,
    row_bytes: u64,
    bias: Option<Ptr<'c>>,
}

impl<'c> Output<'c> {
    fn of(k: &Kernel<'c, '_>, l: &Linear) -> Output<'c> {
        let plan = k.code.plan;
        let bias = l.bias.map(|b| k.segment(b));
        match l.out {
            Dest::Buffer(b) => Output { base: k.buffer(b), row_bytes: plan.buffer(b).row_bytes, bias },
            Dest::Logits => {
                let base = k.pointer(offset_of!(StepArgs, logits));
                Output { base, row_bytes: 4 * logits_stride(plan.dims.vocab_rows), bias }
            }
        }
    }

    /// The epilogue of one token and panel: bias, SwiGLU or residual, store.
    fn write(&self, k: &Kernel<'c, '_>, l: &Linear, panel: Int<'c>, row: Int<'c>, sums: Sums<'c>) {
        let c = &k.code;
        let out = c.at(self.base, c.times(row, self.row_bytes));
        if l.swiglu {
            let y = c.vmul(c.silu(sums[0]), sums[1]);
            c.store(c.at(out, c.times(panel, 4 * u64::from(LANES))), y, 64);
            return;
        }
        let columns = c.times(panel, 4 * u64::from(PANEL_ROWS));
        for (i, mut y) in sums.into_iter().enumerate() {
            let at = c.add(columns, c.int(64 * i as u64));
            if let Some(bias) = self.bias {
                y = c.vadd(y, c.load_vec(c.vec_f32(LANES), c.at(bias, at), 64));
            }
            if l.residual.is_some() {
                y = c.vadd(c.load_vec(c.vec_f32(LANES), c.at(out, at), 64), y);
            }
            c.store(c.at(out, at), y, 64);
        }
    }
}

/// Floats between two rows of logits.
pub(crate) fn logits_stride(vocab_rows: u32) -> u64 {
    round_up(u64::from(vocab_rows), u64::from(PANEL_ROWS))
}
