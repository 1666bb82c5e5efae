//! Sums over the spans of a packed matrix (`compiler/plan/src/spans.rs`).
//!
//! In: some panels of a matrix, a block of tokens. Out: 32 sums per token and panel. Invariant: a span is one chain of sums,
//! and the spans' sums are added as a complete binary tree, for any number of tokens and threads.
//!
//! The tree is a binary counter: a span's sums stand in level `d` of the stack, where `d` is the number of ones in its own
//! number, and are added to those of the levels below, one for each trailing one.

use inkwell::IntPredicate;
use qwenc_formats::LANES;
use qwenc_plan::{Segment, SegmentId, Span as PlanSpan};

use crate::block::{Block, Tokens};
use crate::builder::{Code, Int, Ptr};
use crate::kernel::Kernel;
use crate::names::Named;
use crate::schedule::FEW_TOKENS;
use crate::tile::{Loop, SUMS_BYTES};

/// A panel of a span, or of a matrix that is whole.
#[derive(Clone, Copy)]
pub(crate) struct SpanPanel<'c> {
    /// Its first byte.
    pub at: Ptr<'c>,
    /// First byte that the panel would have with the columns before the span: steps of weights and of inputs are counted
    /// alike, and loops need one counter.
    pub origin: Ptr<'c>,
    /// The span.
    pub of: Extent<'c>,
}

/// Numbers of a span, or of a matrix that is whole.
#[derive(Clone, Copy)]
pub(crate) struct Extent<'c> {
    /// Bytes of a panel.
    pub bytes: Int<'c>,
    /// Its columns.
    pub cols: Int<'c>,
    /// Its whole steps among those of a row: the first, and the one behind the last.
    pub steps: [Int<'c>; 2],
    /// Offset in a panel of elements that do not fit its compression, and their greatest number; none where panels are
    /// not compressed.
    pub exceptions: Option<[Int<'c>; 2]>,
    /// Whether it is the last span, which alone has a shorter step; none for a matrix that is whole.
    is_last: Option<Int<'c>>,
}

impl<'c> Extent<'c> {
    /// Steps of the panel before a step of the row.
    pub fn within(&self, c: &Code<'c, '_>, step: Int<'c>) -> Int<'c> {
        self.is_last.map_or(step, |_| c.sub(step, self.steps[0]))
    }

    /// Step of the row of a step of the panel.
    pub fn in_row(&self, c: &Code<'c, '_>, step: Int<'c>) -> Int<'c> {
        self.is_last.map_or(step, |_| c.add(step, self.steps[0]))
    }

    /// `body` if the last columns of the matrix are the panel's.
    pub fn when_last(&self, c: &Code<'c, '_>, body: impl FnOnce()) {
        match self.is_last {
            Some(is_last) => c.when("last_span", is_last, body),
            None => body(),
        }
    }
}

/// A span and its place in the tree of sums.
struct Span<'c> {
    of: Extent<'c>,
    /// Bytes of the spans before it, in one panel.
    offset: Int<'c>,
    /// The same of their steps alone.
    stored_before: Int<'c>,
    /// Level of its own sums.
    level: Int<'c>,
    /// Number of levels below that its sums are added to.
    joins: Int<'c>,
}

/// The spans of a linear's matrix.
pub(crate) struct Spans<'a> {
    id: SegmentId,
    weight: &'a Segment,
    inner: &'a Loop,
    block: &'a Block,
}

/// Panels of a matrix, from `first` to before `end`.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'c> {
    /// Start of the matrix.
    pub image: Ptr<'c>,
    pub first: Int<'c>,
    pub end: Int<'c>,
    /// Whether the step has at most [`FEW_TOKENS`] tokens.
    pub few: Int<'c>,
}

impl<'a> Spans<'a> {
    pub fn of(id: SegmentId, weight: &'a Segment, inner: &'a Loop, block: &'a Block) -> Spans<'a> {
        Spans { id, weight, inner, block }
    }

    /// Bytes of the sums of a level: of a block of tokens and one panel, or of few tokens and a strip of panels.
    fn level_bytes(&self) -> u64 {
        let strip = FEW_TOKENS * u64::from(self.weight.strip());
        SUMS_BYTES * if self.weight.spans == 1 { self.block.tokens } else { self.block.tokens.max(strip) }
    }

    /// Memory for the sums of a block of tokens.
    pub fn sums<'c>(&self, c: &Code<'c, '_>) -> Ptr<'c> {
        let levels = u64::from(self.weight.spans.ilog2()) + 1;
        let vectors = levels * self.level_bytes() / 64;
        c.stack("sums", c.vec_f32(LANES).array_type(vectors as u32).into())
    }

    /// Calls `before(panel)`, and `after(panel, its sums)` once they are complete, for the panels of a piece and some tokens.
    pub fn multiply<'c>(
        &self,
        k: &Kernel<'c, '_>,
        piece: Piece<'c>,
        tokens: &Tokens<'c>,
        sums: Ptr<'c>,
        (before, after): (impl Fn(Int<'c>), impl Fn(Int<'c>, Ptr<'c>)),
    ) {
        let c = &k.code;
        if self.weight.spans == 1 {
            return c.for_each("panel", piece.first, piece.end, 1, |panel| {
                before(panel);
                self.block.multiply(c, self.inner, self.whole(c, piece.image, panel), tokens, sums);
                after(panel, sums);
            });
        }
        // Few tokens read a strip in the order in which it is packed; many, whose sums take more room, panel by panel.
        let panels = c.sub(piece.end, piece.first);
        let turns = c.select(piece.few, c.int(1), panels).named("turns");
        c.for_each("turn", c.int(0), turns, 1, |turn| {
            let first = c.add(piece.first, turn).named("turn.first");
            let end = c.select(piece.few, piece.end, c.add(first, c.int(1))).named("turn.end");
            let turn = Piece { first, end, ..piece };
            c.for_each("panel", first, end, 1, &before);
            c.for_each("span", c.int(0), c.int(u64::from(self.weight.spans)), 1, |span| {
                let span = self.span(k, span);
                c.for_each("panel", first, end, 1, |panel| {
                    self.add_span(c, &span, (turn, panel), tokens, sums);
                });
            });
            c.for_each("panel", first, end, 1, |panel| after(panel, self.of_panel(c, sums, (turn, panel))));
        });
    }

    /// Sums of a panel.
    fn of_panel<'c>(&self, c: &Code<'c, '_>, sums: Ptr<'c>, (piece, panel): (Piece<'c>, Int<'c>)) -> Ptr<'c> {
        let within = c.sub(panel, piece.first);
        c.at(sums, c.times(within, FEW_TOKENS * SUMS_BYTES)).named("panel.sums")
    }

    /// A panel of a matrix that is whole.
    fn whole<'c>(&self, c: &Code<'c, '_>, image: Ptr<'c>, panel: Int<'c>) -> SpanPanel<'c> {
        let (cols, bytes) = (self.weight.cols, self.weight.panel_bytes());
        let at = c.at(image, c.times(panel, bytes)).named("panel.w");
        let exceptions = self.inner.exceptions(cols).map(|places| places.map(|n| c.int(n)));
        let steps = [0, self.inner.steps(cols)].map(|n| c.int(n));
        let [bytes, cols] = [bytes, u64::from(cols)].map(|n| c.int(n));
        SpanPanel { at, origin: at, of: Extent { bytes, cols, steps, exceptions, is_last: None } }
    }

    /// The sums of a span and a panel, added to those of the spans before it.
    fn add_span<'c>(
        &self,
        c: &Code<'c, '_>,
        span: &Span<'c>,
        (piece, panel): (Piece<'c>, Int<'c>),
        tokens: &Tokens<'c>,
        sums: Ptr<'c>,
    ) {
        let sums = self.of_panel(c, sums, (piece, panel));
        let of_level = |level| c.at(sums, c.times(level, self.level_bytes())).named("level");
        let at = self.at(c, span, (piece.image, panel));
        let origin = c.at(at, c.sub(c.int(0), span.stored_before)).named("panel.origin");
        let own = SpanPanel { at, origin, of: span.of };
        self.block.multiply(c, self.inner, own, tokens, of_level(span.level));
        c.for_each("join", c.int(0), span.joins, 1, |join| {
            let from = c.sub(span.level, join);
            add(c, tokens.count, (of_level(from), of_level(c.sub(from, c.int(1)))));
        });
    }

    /// First byte of a panel of a span.
    fn at<'c>(&self, c: &Code<'c, '_>, span: &Span<'c>, (image, panel): (Ptr<'c>, Int<'c>)) -> Ptr<'c> {
        let strip = u64::from(self.weight.strip());
        let (number, within) = (c.div(panel, c.int(strip)), c.rem(panel, c.int(strip)));
        let before = c.add(c.times(number, self.weight.panel_bytes()), span.offset);
        let offset = c.add(c.times(before, strip), c.mul(within, span.of.bytes));
        c.at(image, offset).named("panel.w")
    }

    /// The numbers of a span.
    fn span<'c>(&self, k: &Kernel<'c, '_>, span: Int<'c>) -> Span<'c> {
        let c = &k.code;
        let last = c.int(u64::from(self.weight.spans - 1));
        let is_last = c.cmp(IntPredicate::EQ, span, last).named("is_last");
        let cols = |span: &PlanSpan| span.columns.len() as u32;
        let bytes = self.entry(k, "panel_bytes", span, |_, span| span.panel_bytes);
        let before = |span: &PlanSpan| self.inner.steps(span.columns.start);
        let first = self.entry(k, "first", span, |_, span| before(span));
        let end = self.entry(k, "end", span, |_, span| before(span) + self.inner.steps(cols(span)));
        let exceptions = self.inner.exceptions(self.weight.cols).map(|_| {
            let place =
                |i: usize| move |_, span: &PlanSpan| self.inner.exceptions(cols(span)).map_or(0, |p| p[i]);
            [self.entry(k, "exceptions", span, place(0)), self.entry(k, "room", span, place(1))]
        });
        let columns = self.entry(k, "columns", span, |_, span| u64::from(cols(span)));
        let stored_before = |span: &PlanSpan| self.inner.stored_bytes(before(span));
        Span {
            of: Extent { bytes, cols: columns, steps: [first, end], exceptions, is_last: Some(is_last) },
            stored_before: self.entry(k, "stored_before", span, |_, span| stored_before(span)),
            offset: self.entry(k, "offset", span, |_, span| span.offset),
            level: self.entry(k, "level", span, |i, _| u64::from(i.count_ones())),
            joins: self.entry(k, "joins", span, |i, _| u64::from(i.trailing_ones())),
        }
    }

    /// A number of a span, from a table of all.
    fn entry<'c>(
        &self,
        k: &Kernel<'c, '_>,
        name: &str,
        span: Int<'c>,
        of: impl Fn(u32, &PlanSpan) -> u64,
    ) -> Int<'c> {
        let table: Vec<u64> = (0..).zip(&self.weight.spans()).map(|(i, span)| of(i, span)).collect();
        k.entry(&format!("{}.span.{name}", self.id), &table, span).named(&format!("span.{name}"))
    }
}

/// Adds one level's sums of some tokens to another's.
fn add<'c>(c: &Code<'c, '_>, tokens: Int<'c>, (from, to): (Ptr<'c>, Ptr<'c>)) {
    c.for_each("byte", c.int(0), c.times(tokens, SUMS_BYTES), 64, |at| {
        let to = c.at(to, at);
        let [sum, more] = [to, c.at(from, at)].map(|p| c.load_vec(c.vec_f32(LANES), p, 64));
        c.store(to, c.vadd(sum, more), 64);
    });
}
