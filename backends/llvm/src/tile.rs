//! A panel of weights against a tile of tokens: what all formats of weights and inputs share.
//!
//! In: a panel, prepared rows, and a range of steps. Out: 32 sums per token, added to where they are.
//! Invariant: sums are in f32 and steps in ascending order, so it does not matter how they are cut into
//! ranges. A step is what the inner loop of the type takes at once.

use qwenc_formats::{Inputs, LANES, PANEL_ROWS};
use qwenc_plan::Segment;

use crate::builder::{Any, Code, Int, Near, Ptr, Vector};
use crate::decoders::Decoder;
use crate::names::{half, Named};
use crate::spans::SpanPanel;
use crate::tile_float::{self, Floats, Place};
use crate::tile_int::{self, Quantised};

/// Largest tile that streams: with so few tokens the inner loop waits for memory, with more for itself.
pub(crate) const STREAM_TILE: usize = 4;
/// Prefetch distance of a small tile in bytes, and the cache level: hardware prefetchers stop at the end
/// of a 4 KiB page.
const STREAM_AHEAD: (u64, Near) = (4 << 10, Near::First);
/// The same for compressed weights, whose loop does more between two reads.
const COMPRESSED_AHEAD: (u64, Near) = (16 << 10, Near::Second);
/// Bytes of a token's sums: one of f32 per row of the panel.
pub(crate) const SUMS_BYTES: u64 = 4 * PANEL_ROWS as u64;

/// Tokens of the largest tile, whose sums leave registers for weights and a broadcast. Floats have room for 12, but a
/// prompt is as fast with 8, and few tokens are faster.
pub(crate) fn largest_tile(registers: usize) -> u64 {
    match registers {
        32.. => 8,
        8.. => 2,
        _ => 1,
    }
}

/// Which weights a tile asks for while it multiplies others: those so many bytes further on.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'c> {
    bytes: Int<'c>,
    near: Near,
}

impl<'c> Ahead<'c> {
    /// For a tile of `tokens`, the first of its block or not. A large one asks for the same part of the next
    /// panel; all tiles after it would ask again, and fetch what they have.
    pub fn of(
        c: &Code<'c, '_>,
        inner: &Loop,
        tokens: u64,
        is_first: Int<'c>,
        panel_bytes: Int<'c>,
    ) -> Ahead<'c> {
        if tokens as usize <= STREAM_TILE {
            let (bytes, near) = if inner.compressed().is_some() { COMPRESSED_AHEAD } else { STREAM_AHEAD };
            return Ahead { bytes: c.int(bytes), near };
        }
        Ahead { bytes: c.select(is_first, panel_bytes, c.int(0)).named("ahead"), near: Near::Second }
    }

    /// Some lines, as they lie after `weights`.
    pub fn fetch(self, c: &Code<'c, '_>, weights: Ptr<'c>, lines: u64) {
        let at = c.at(weights, self.bytes);
        (0..lines).for_each(|line| c.prefetch(c.plus(at, 64 * line), self.near));
    }
}

/// The inner loop of a linear.
pub(crate) enum Loop {
    Int(Quantised),
    Float(Floats),
}

impl Loop {
    pub fn of(weight: &Segment, inputs: Inputs) -> Loop {
        match Decoder::of(weight.format) {
            Decoder::Int(decoder) => Loop::Int(Quantised::of(decoder, weight, inputs)),
            Decoder::Float(decoder) => Loop::Float(Floats::of(decoder, weight, inputs)),
        }
    }

    /// Whole steps of so many columns.
    pub fn steps(&self, cols: u32) -> u64 {
        u64::from(cols)
            / match self {
                Loop::Int(q) => q.group(),
                Loop::Float(f) => f.step_inputs(),
            }
    }

    /// Bytes in a panel of so many steps.
    pub fn stored_bytes(&self, steps: u64) -> u64 {
        match self {
            Loop::Int(q) => steps * q.group_bytes(),
            Loop::Float(f) => f.stored_bytes(steps),
        }
    }

    /// Offset of the elements that do not fit the compression, in a panel of so many columns, and their greatest number;
    /// none where panels are not compressed.
    pub fn exceptions(&self, cols: u32) -> Option<[u64; 2]> {
        self.compressed()?.compressed().map(|compressed| compressed.exceptions(cols))
    }

    /// Whether a shorter step follows.
    pub fn has_rest(&self) -> bool {
        match self {
            Loop::Int(q) => q.rest() > 0,
            Loop::Float(f) => f.has_rest(),
        }
    }

    /// Bytes of a step's weights where the inner loop reads them; compressed ones take fewer in the panel.
    pub fn step_bytes(&self) -> u64 {
        match self {
            Loop::Int(q) => q.group_bytes(),
            Loop::Float(f) => f.step_bytes(),
        }
    }

    /// The weights, if they are compressed.
    pub fn compressed(&self) -> Option<&Floats> {
        match self {
            Loop::Float(f) => f.compressed().map(|_| f),
            Loop::Int(_) => None,
        }
    }

    /// Adds steps `start .. end` to the sums of a tile.
    pub fn add<'c>(
        &self,
        c: &Code<'c, '_>,
        (panel, place): (SpanPanel<'c>, Place<'c>),
        x: &[Ptr<'c>],
        (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
        sums: &Sums<'c>,
    ) {
        let range = (start, end, ahead);
        match self {
            Loop::Int(q) => tile_int::emit(c, q, panel.origin, x, range, sums),
            Loop::Float(f) => held(c, sums, |sums| tile_float::emit(c, f, (panel, place), x, range, sums)),
        }
    }

    /// Adds the shorter step after the whole ones.
    pub fn add_rest<'c>(
        &self,
        c: &Code<'c, '_>,
        (panel, place): (SpanPanel<'c>, Place<'c>),
        x: &[Ptr<'c>],
        sums: &Sums<'c>,
    ) {
        match self {
            Loop::Int(q) => tile_int::emit_rest(c, q, panel.origin, x, sums),
            Loop::Float(f) => held(c, sums, |sums| tile_float::emit_rest(c, f, (panel, place), x, sums)),
        }
    }
}

/// Sums of a tile: their places, one for each token, and whether they begin at 0, whatever stands there.
pub(crate) struct Sums<'c> {
    pub places: Vec<Ptr<'c>>,
    pub begin: Int<'c>,
}

/// Loads the sums of a tile, two vectors a token, and stores what `body` makes of them.
pub(crate) fn held<'c>(c: &Code<'c, '_>, sums: &Sums<'c>, body: impl FnOnce(&[Any<'c>]) -> Vec<Any<'c>>) {
    let places: Vec<Ptr> = sums.places.iter().flat_map(|&at| [at, c.plus(at, 64)]).collect();
    let load = |(i, &at)| {
        let stored = c.load_vec(c.vec_f32(LANES), at, 64);
        c.select_vec(sums.begin, c.floats(0.0, LANES), stored).named(&half("sum", i)).into()
    };
    let before: Vec<Any> = places.iter().enumerate().map(load).collect();
    for (at, sum) in places.into_iter().zip(body(&before)) {
        c.store(at, sum.into_vector_value(), 64);
    }
}

/// Carried values of a loop, all of which are vectors: two for each row of a tile, and named so.
pub(crate) fn vectors<'c>(name: &str, values: &[Any<'c>]) -> Vec<Vector<'c>> {
    (0..).zip(values).map(|(i, v)| v.into_vector_value().named(&half(name, i))).collect()
}
