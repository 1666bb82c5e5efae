//! A panel of weights against a block of tokens, cut so that what is used again stays in cache.
//!
//! In: a panel, rows of prepared inputs. Out: 32 sums per token, in memory. A panel is taken in ranges of
//! steps that fit in the first-level cache beside the inputs of a tile; each range meets all tiles of the
//! block before the next one begins.

use inkwell::IntPredicate;
use qwenc_formats::LANES;

use crate::builder::{Code, Int, Ptr};
use crate::decoders::Exceptions;
use crate::names::Named;
use crate::spans::SpanPanel;
use crate::tile::{largest_tile, Ahead, Loop, Sums, SUMS_BYTES};
use crate::tile_float::{self, Floats, Place};

/// Bytes of weights that stay in the first-level cache.
const RANGE_BYTES: u64 = 18 << 10;
/// Bytes of inputs that stay in the second-level cache.
const INPUT_BYTES: u64 = 256 << 10;
/// From so many of the largest tiles on, compressed weights are copied as plain ones first: fewer are not worth the copy.
const COPY_TILES: u64 = 3;
/// Most tokens of a block: their sums pass through the first-level cache with every range.
const MOST_TOKENS: u64 = 96;
/// Most tokens of a block where sums are of spans, several levels of which stay in the first-level cache.
const MOST_TOKENS_OF_SPANS: u64 = 64;

/// A block of a linear's work: tokens and panels.
pub(crate) struct Block {
    /// Tokens of a block; a multiple of the largest tile.
    pub tokens: u64,
    /// Tokens per tile, largest first, down to one.
    tiles: Vec<u64>,
    /// Steps per range.
    range: u64,
}

/// Some tokens of a block.
pub(crate) struct Tokens<'c> {
    /// The first one's prepared row.
    pub x: Ptr<'c>,
    /// Bytes from one row to the next.
    pub row_bytes: u64,
    /// Number of tokens.
    pub count: Int<'c>,
}

impl Block {
    pub fn of(c: &Code, inner: &Loop, row_bytes: u64, spans: u32) -> Block {
        let largest = largest_tile(c.cpu.registers());
        let smaller = [4, 2, 1].into_iter().filter(|&n| n < largest);
        let most = if spans == 1 { MOST_TOKENS } else { MOST_TOKENS_OF_SPANS };
        let tokens = (INPUT_BYTES / row_bytes).clamp(largest, most) / largest * largest;
        let range = (RANGE_BYTES / inner.step_bytes()).max(1);
        Block { tokens, tiles: std::iter::once(largest).chain(smaller).collect(), range }
    }

    /// The sums of some tokens.
    pub fn multiply<'c>(
        &self,
        c: &Code<'c, '_>,
        inner: &Loop,
        panel: SpanPanel<'c>,
        tokens: &Tokens<'c>,
        sums: Ptr<'c>,
    ) {
        let work = Work { block: self, inner, panel, tokens, sums };
        match inner.compressed().zip(panel.of.exceptions) {
            None => work.plain(c),
            Some((weights, places)) => {
                work.compressed(c, weights, Exceptions::of(c, panel.at, panel.of.cols, places));
            }
        }
    }
}

/// A panel and a block of tokens.
struct Work<'a, 'c> {
    block: &'a Block,
    inner: &'a Loop,
    panel: SpanPanel<'c>,
    tokens: &'a Tokens<'c>,
    sums: Ptr<'c>,
}

impl<'c> Work<'_, 'c> {
    /// Range by range, then what is left.
    fn plain(&self, c: &Code<'c, '_>) {
        let [first, steps] = self.panel.of.steps;
        c.for_each("range", first, steps, self.block.range, |start| {
            let end = c.min(c.add(start, c.int(self.block.range)), steps).named("range.end");
            self.steps(c, Place::Panel, (start, end));
        });
        if self.inner.has_rest() {
            self.panel.of.when_last(c, || self.rest(c, Place::Panel));
        }
    }

    /// The same of compressed weights. Many tokens meet a copy of a range that is plain. Few meet the panel itself, but
    /// for steps that have exceptions: each of those is copied.
    fn compressed(&self, c: &Code<'c, '_>, weights: &Floats, exceptions: Exceptions<'c>) {
        let range = c.int(self.block.range);
        let vectors = self.block.range * self.inner.step_bytes() / 64;
        let copy = c.stack("copy", c.vec_f32(LANES).array_type(vectors as u32).into());
        let [step, exception] = ["range", "exception"].map(|name| c.variable(name));
        let many = c
            .cmp(IntPredicate::UGE, self.tokens.count, c.int(COPY_TILES * self.block.tiles[0]))
            .named("many");
        let [first, steps] = self.panel.of.steps;
        step.set(c, first);
        let input = |step| c.times(self.panel.of.within(c, step), weights.step_inputs());
        let next = || {
            let start = step.get(c);
            (start, c.cmp(IntPredicate::ULT, start, steps))
        };
        c.repeat("range", next, |start| {
            let i = exception.get(c).named("exception");
            let excepted = c.div(exceptions.input(c, i), c.int(weights.step_inputs()));
            let excepted = self.panel.of.in_row(c, excepted).named("excepted");
            // Before `start` only where the panel is damaged.
            let here = c.cmp(IntPredicate::ULE, excepted, start);
            let most = c.min(c.add(start, range), steps);
            let few = c.select(here, c.add(start, c.int(1)), c.min(excepted, most));
            let end = c.select(many, most, few).named("range.end");
            let copied = || {
                tile_float::copy(c, weights, self.panel, (start, end), copy);
                exception.set(c, exceptions.put(c, i, (input(start), input(end)), copy));
                self.steps(c, Place::Copy(copy), (start, end));
            };
            c.choose("copied", c.select(many, many, here), copied, || {
                self.steps(c, Place::Panel, (start, end))
            });
            step.set(c, end);
        });
        if self.inner.has_rest() {
            self.panel.of.when_last(c, || {
                tile_float::copy_rest(c, weights, self.panel, copy);
                exceptions.put(c, exception.get(c), (input(steps), self.panel.of.cols), copy);
                self.rest(c, Place::Copy(copy));
            });
        }
    }

    /// `body(first token, tokens)` for tiles that make up all tokens.
    fn each_tile(&self, c: &Code<'c, '_>, body: impl Fn(Int<'c>, u64)) {
        self.block.tiles.iter().fold(c.int(0), |first, &n| {
            let whole = c.add(first, c.times(c.div(c.sub(self.tokens.count, first), c.int(n)), n));
            c.for_each("token", first, whole, n, |first| body(first, n));
            whole
        });
    }

    /// All tiles with steps `start .. end`.
    fn steps(&self, c: &Code<'c, '_>, place: Place<'c>, (start, end): (Int<'c>, Int<'c>)) {
        self.each_tile(c, |first, n| {
            let is_first = c.cmp(IntPredicate::EQ, first, c.int(0));
            let ahead = Ahead::of(c, self.inner, n, is_first, self.panel.of.bytes);
            let (x, sums) = self.rows(c, first, n);
            self.inner.add(c, (self.panel, place), &x, (start, end, ahead), &self.sums(c, start, sums));
        });
    }

    /// All tiles with the shorter step.
    fn rest(&self, c: &Code<'c, '_>, place: Place<'c>) {
        self.each_tile(c, |first, n| {
            let (x, sums) = self.rows(c, first, n);
            let [_, end] = self.panel.of.steps;
            self.inner.add_rest(c, (self.panel, place), &x, &self.sums(c, end, sums));
        });
    }

    /// Sums of a tile to which step `step` is added: 0 before the first.
    fn sums(&self, c: &Code<'c, '_>, step: Int<'c>, places: Vec<Ptr<'c>>) -> Sums<'c> {
        let [first, _] = self.panel.of.steps;
        Sums { places, begin: c.cmp(IntPredicate::EQ, step, first).named("begin") }
    }

    /// Inputs and places of the sums of a tile.
    fn rows(&self, c: &Code<'c, '_>, first: Int<'c>, n: u64) -> (Vec<Ptr<'c>>, Vec<Ptr<'c>>) {
        // As one value: LLVM would look for other ways to add it up, in every loop, for as long as all else takes.
        let x = c.opaque(c.at(self.tokens.x, c.times(first, self.tokens.row_bytes))).named("tile.x");
        let sums = c.at(self.sums, c.times(first, SUMS_BYTES)).named("tile.sums");
        let rows = |first, bytes| (0..n).map(|i| c.plus(first, i * bytes)).collect();
        (rows(x, self.tokens.row_bytes), rows(sums, SUMS_BYTES))
    }
}
