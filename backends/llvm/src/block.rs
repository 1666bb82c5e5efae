//! A panel of weights against a block of tokens, cut so that what is used again stays in cache.
//!
//! In: a panel, rows of prepared inputs. Out: 32 sums per token, in memory. A panel is taken in ranges of
//! steps that fit in the first-level cache beside the inputs of a tile; each range meets all tiles of the
//! block before the next one begins.

use inkwell::IntPredicate;
use qwenc_plan::LANES;

use crate::builder::{Code, Int, Ptr};
use crate::tile::{Ahead, Loop, SUMS_BYTES};

/// Bytes of weights that stay in the first-level cache.
const RANGE_BYTES: u64 = 18 << 10;
/// Bytes of inputs that stay in the second-level cache.
const INPUT_BYTES: u64 = 256 << 10;
/// Most tokens of a block: their sums pass through the first-level cache with every range.
const MOST_TOKENS: u64 = 96;

/// How a linear's work is cut.
pub(crate) struct Block {
    /// Tokens of a block; a multiple of the largest tile.
    pub tokens: u64,
    /// Tokens per tile, largest first, down to one.
    tiles: Vec<u64>,
    /// Steps per range.
    range: u64,
    panel_bytes: u64,
}

impl Block {
    pub fn of(c: &Code, inner: &Loop, row_bytes: u64, panel_bytes: u64) -> Block {
        let largest = inner.most_tokens(c.cpu.registers());
        let smaller = [4, 2, 1].into_iter().filter(|&n| n < largest);
        let tokens = (INPUT_BYTES / row_bytes).clamp(largest, MOST_TOKENS) / largest * largest;
        let range = (RANGE_BYTES / inner.step_bytes()).max(1);
        Block { tokens, tiles: std::iter::once(largest).chain(smaller).collect(), range, panel_bytes }
    }

    /// The sums of `count` tokens, whose rows start at `x` and are `row_bytes` apart.
    pub fn multiply<'c>(
        &self,
        c: &Code<'c, '_>,
        inner: &Loop,
        panel: Ptr<'c>,
        (x, row_bytes): (Ptr<'c>, u64),
        count: Int<'c>,
        sums: Ptr<'c>,
    ) {
        c.for_each(c.int(0), c.times(count, SUMS_BYTES), 64, |at| {
            c.store(c.at(sums, at), c.floats(0.0, LANES), 64);
        });
        let rows = |first: Int<'c>, n: u64| {
            let row = |i| c.add(first, c.int(i));
            let x: Vec<Ptr> = (0..n).map(|i| c.at(x, c.times(row(i), row_bytes))).collect();
            let sums: Vec<Ptr> = (0..n).map(|i| c.at(sums, c.times(row(i), SUMS_BYTES))).collect();
            (x, sums)
        };
        let steps = c.int(inner.steps());
        c.for_each(c.int(0), steps, self.range, |start| {
            let end = c.min(c.add(start, c.int(self.range)), steps);
            self.each_tile(c, count, |first, n| {
                let is_first = c.cmp(IntPredicate::EQ, first, c.int(0));
                let ahead = Ahead::of(c, n, is_first, self.panel_bytes);
                let (x, sums) = rows(first, n);
                inner.add(c, panel, &x, (start, end, ahead), &sums);
            });
        });
        if inner.has_rest() {
            self.each_tile(c, count, |first, n| {
                let (x, sums) = rows(first, n);
                inner.add_rest(c, panel, &x, &sums);
            });
        }
        inner.add_exceptions(c, panel, (x, row_bytes), count, sums);
    }

    /// `body(first token, tokens)` for tiles that make up `count` tokens.
    fn each_tile<'c>(&self, c: &Code<'c, '_>, count: Int<'c>, body: impl Fn(Int<'c>, u64)) {
        self.tiles.iter().fold(c.int(0), |first, &n| {
            let whole = c.add(first, c.times(c.div(c.sub(count, first), c.int(n)), n));
            c.for_each(first, whole, n, |first| body(first, n));
            whole
        });
    }
}
