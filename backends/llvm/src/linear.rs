//! A linear layer: prepare rows, then panels of weights against tiles of tokens, then the epilogue.
//!
//! In: a plan's [`Linear`]. Out: a kernel for any number of tokens: one (decode) reads each panel
//! once; many (prefill) reuse a panel for tile after tile while it is in cache. Invariant: an output
//! is one chain of accumulations over the inputs of a span in order, and spans are a tree (`spans.rs`), whatever the tile.

use inkwell::IntPredicate;
use qwenc_abi::StepArgs;
use qwenc_formats::{LANES, PANEL_ROWS};
use qwenc_plan::{round_up, BufferId, Dest, Linear, Segment};

use crate::block::{Block, Tokens};
use crate::builder::{Code, Int, Near, Ptr, Vector};
use crate::kernel::Kernel;
use crate::names::{field, halves, Named};
use crate::prepare;
use crate::schedule::FEW_TOKENS;
use crate::spans::{Piece, Spans};
use crate::tile::{Loop, SUMS_BYTES};

/// Rows that the inner loop reads: start and distance.
struct Lines<'c> {
    base: Ptr<'c>,
    row_bytes: u64,
}

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, l: &Linear) {
    let c = &k.code;
    let tokens = match l.out {
        Dest::Logits => k.field(field!(StepArgs, n_outputs)),
        Dest::Buffer(_) => k.n_rows(),
    };
    let inputs = match l.scratch {
        Some(scratch) => prepared_inputs(k, l, scratch, tokens),
        None => Lines { base: k.buffer(l.input), row_bytes: c.plan.buffer(l.input).row_bytes },
    };
    let out = Output::of(k, l);
    let weight = c.plan.segment(l.weight);
    let image = k.segment(l.weight);
    let inner = Loop::of(weight, l.inputs);
    let panels = u64::from(weight.panels());
    let block = Block::of(c, &inner, inputs.row_bytes, weight.spans);
    let spans = Spans::of(l.weight, weight, &inner, &block);
    let sums = spans.sums(c);
    let few = c.cmp(IntPredicate::ULE, tokens, c.int(FEW_TOKENS)).named("few");
    let [of_few, of_many] = [true, false].map(|few| c.int(panels_at_once(weight, few)));
    let piece = c.select(few, of_few, of_many).named("piece.panels");
    k.take("piece", c.int(panels), piece, |first, end| {
        c.for_each("block", c.int(0), tokens, block.tokens, |start| {
            let count = c.min(c.int(block.tokens), c.sub(tokens, start)).named("block.tokens");
            let x = c.at(inputs.base, c.times(start, inputs.row_bytes)).named("block.x");
            let tokens = Tokens { x, row_bytes: inputs.row_bytes, count };
            let fetch = |panel| {
                c.for_each("token", c.int(0), count, 1, |t| out.fetch(c, l, (panel, c.add(start, t))));
            };
            let write = |panel, sums| {
                c.for_each("token", c.int(0), count, 1, |t| {
                    let sums = c.at(sums, c.times(t, SUMS_BYTES));
                    let both = [0, 64].map(|at| c.load_vec(c.vec_f32(LANES), c.plus(sums, at), 64));
                    out.write(k, l, (panel, c.add(start, t)), halves("sum", both));
                });
            };
            spans.multiply(k, Piece { image, first, end, few }, &tokens, sums, (fetch, write));
        });
    });
    c.ret();
}

/// Weights that a thread takes at once when there are many tokens: each block of inputs meets all of them
/// while it is in the second-level cache.
const PIECE_BYTES: u64 = 768 << 10;
/// Weights that a thread takes at once when there are few tokens: enough to stream, little enough to share
/// out evenly.
const STREAM_BYTES: u64 = 96 << 10;
/// Panels that a thread takes at once: for few tokens of a matrix in spans, a strip.
fn panels_at_once(weight: &Segment, few: bool) -> u64 {
    if few && weight.spans > 1 {
        return u64::from(weight.strip());
    }
    let bytes = if few { STREAM_BYTES } else { PIECE_BYTES };
    (bytes / weight.panel_bytes()).clamp(1, u64::from(weight.panels()).div_ceil(8))
}

/// Normalises or quantises input rows. With one token every thread does so for itself, which saves
/// a barrier; with more, rows are shared out.
fn prepared_inputs<'c>(k: &Kernel<'c, '_>, l: &Linear, scratch: BufferId, tokens: Int<'c>) -> Lines<'c> {
    let c = &k.code;
    let row_bytes = c.plan.buffer(scratch).row_bytes;
    let source = k.buffer(l.input);
    let prepare = |row: Int<'c>, to: Ptr<'c>| {
        let row = match l.out {
            Dest::Buffer(_) => row,
            Dest::Logits => {
                let outputs = k.pointer(field!(StepArgs, outputs));
                c.zext(c.load_int(c.i32(), c.at(outputs, c.times(row, 4))), c.i64()).named("output")
            }
        };
        prepare::emit(k, l, k.row_of(source, l.input, row), to);
    };
    let single = c.cmp(IntPredicate::EQ, tokens, c.int(1));
    let base = c.either(
        "single",
        single,
        || {
            let own = k.thread_scratch("prepared", k.thread);
            prepare(c.int(0), own);
            own.into()
        },
        || {
            let all = k.buffer(scratch);
            let (start, end) = k.share(tokens);
            c.for_each("row", start, end, 1, |row| prepare(row, k.row_of(all, scratch, row)));
            k.barrier();
            all.into()
        },
    );
    Lines { base: base.named("prepared").into_pointer_value(), row_bytes }
}

/// Destination of results.
struct Output<'c> {
    base: Ptr<'c>,
    row_bytes: u64,
    bias: Option<Ptr<'c>>,
    /// Alignment of a panel's results.
    align: u32,
    /// The last panel and how many of its results are written, where not all are: others write the columns behind.
    cut: Option<(u64, u32)>,
}

impl<'c> Output<'c> {
    fn of(k: &Kernel<'c, '_>, l: &Linear) -> Output<'c> {
        let plan = k.code.plan;
        let from_first = |base| match l.first {
            0 => base,
            first => k.code.plus(base, 4 * u64::from(first)),
        };
        let bias = l.bias.map(|b| from_first(k.segment(b)));
        let (base, row_bytes) = match l.out {
            Dest::Buffer(b) => (from_first(k.buffer(b)), plan.buffer(b).row_bytes),
            Dest::Logits => (k.pointer(field!(StepArgs, logits)), 4 * logits_stride(plan.dims.vocab_rows)),
        };
        let (columns, panels) = (plan.columns(l), plan.segment(l.weight).panels());
        let of_panel = if l.swiglu { LANES } else { PANEL_ROWS };
        let last = panels.saturating_sub(1);
        let kept = columns.end - columns.start - last * of_panel;
        let cut = (kept < of_panel).then_some((u64::from(last), kept));
        let align = if l.first.is_multiple_of(LANES) { 64 } else { 4 };
        Output { base, row_bytes, bias, align, cut }
    }

    /// Address of the outputs of one token and panel, and the number of lines that they take.
    fn place(&self, c: &Code<'c, '_>, l: &Linear, (panel, row): (Int<'c>, Int<'c>)) -> (Ptr<'c>, u64) {
        let outputs = u64::from(if l.swiglu { LANES } else { PANEL_ROWS });
        let row = c.at(self.base, c.times(row, self.row_bytes));
        (c.at(row, c.times(panel, 4 * outputs)).named("out"), 4 * outputs / 64)
    }

    /// Asks for the lines that the epilogue writes, which most likely were pushed out of the caches since.
    fn fetch(&self, c: &Code<'c, '_>, l: &Linear, at: (Int<'c>, Int<'c>)) {
        let (out, lines) = self.place(c, l, at);
        (0..lines).for_each(|line| c.prefetch(c.plus(out, 64 * line), Near::Second));
    }

    /// The epilogue of one token and panel: bias, SwiGLU or residual, store.
    fn write(&self, k: &Kernel<'c, '_>, l: &Linear, at: (Int<'c>, Int<'c>), sums: [Vector<'c>; 2]) {
        let c = &k.code;
        let (out, _) = self.place(c, l, at);
        if l.swiglu {
            c.store(out, c.vmul(c.silu(sums[0]), sums[1]), 64);
            return;
        }
        for (i, sums) in (0..).zip(sums) {
            let here = c.plus(out, 64 * u64::from(i));
            let bias = self.bias.map(|bias| {
                c.at(bias, c.add(c.times(at.0, 4 * u64::from(PANEL_ROWS)), c.int(64 * u64::from(i))))
            });
            let finish = |lanes: u32| {
                let (ty, align) = (c.vec_f32(lanes), if lanes == LANES { self.align } else { 4 });
                let mut y = sums;
                if lanes < LANES {
                    y = c.shuffle(y, y, &(0..lanes).collect::<Vec<u32>>());
                }
                if let Some(bias) = bias {
                    y = c.vadd(y, c.load_vec(ty, bias, align).named("bias"));
                }
                if l.residual.is_some() {
                    y = c.vadd(c.load_vec(ty, here, align).named("residual"), y);
                }
                c.store(here, y.named("y"), align);
            };
            match self.cut {
                None => finish(LANES),
                Some((last, kept)) => {
                    let is_last = c.cmp(IntPredicate::EQ, at.0, c.int(last));
                    let some = || match kept.saturating_sub(LANES * i).min(LANES) {
                        0 => (),
                        lanes => finish(lanes),
                    };
                    c.choose("cut", is_last, some, || finish(LANES));
                }
            }
        }
    }
}

/// Floats between two rows of logits.
pub(crate) fn logits_stride(vocab_rows: u32) -> u64 {
    round_up(u64::from(vocab_rows), u64::from(PANEL_ROWS))
}
