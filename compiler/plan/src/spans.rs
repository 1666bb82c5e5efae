//! Spans: the parts into which a matrix is cut between its columns.
//!
//! In: columns and an operand format. Out: the number of spans, and where each begins. Invariant: they depend on the matrix
//! alone, so that whoever computes a row's products with a span of the inputs, in whatever company, gets the same bits.
//!
//! A result is the sum of its spans' sums, added as a complete binary tree: 0 and 1, 2 and 3, then these two sums, and so
//! on. Devices that share a matrix by its columns own subtrees, of which each gives one sum.
//!
//! In the image such a matrix is a sequence of strips of a few panels, and a strip has its panels' columns span by span: one
//! device reads strip after strip without a gap, and one that owns some spans reads long pieces.

use std::ops::Range;

use qwenc_formats::Operand;

/// Spans begin at multiples of so many columns, which are whole blocks of every format.
const COLUMNS: u32 = 256;
/// Most spans of a matrix.
const MOST: u32 = 8;
/// Bytes of a strip's panels of one span, where the number of panels allows: several pages, so that a device that owns some
/// spans touches hardly any page of the others.
const STRIP_BYTES: u64 = 32 << 10;

/// A span of a packed matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The columns.
    pub columns: Range<u32>,
    /// Bytes of the spans before it, in one panel.
    pub offset: u64,
    /// Bytes of one panel; a multiple of 64.
    pub panel_bytes: u64,
}

/// Panels of a strip of a matrix with so many panels, of so many bytes each: a power of two that divides their number, the
/// least with enough bytes of a span.
pub(crate) fn strip(count: u32, (panels, panel_bytes): (u32, u64)) -> u32 {
    let of_span = (panel_bytes / u64::from(count)).max(1);
    let wanted = STRIP_BYTES.div_ceil(of_span).next_power_of_two();
    1 << wanted.ilog2().min(panels.max(1).trailing_zeros())
}

/// Spans of a matrix of `cols` columns: a power of two.
pub(crate) fn count(format: Operand, cols: u32) -> u32 {
    1 << blocks(format, cols).clamp(1, MOST).ilog2()
}

/// Columns of each of `count` spans, as even as whole blocks allow.
pub(crate) fn columns(format: Operand, cols: u32, count: u32) -> impl Iterator<Item = Range<u32>> {
    let (block, blocks) = (block(format), blocks(format, cols));
    let begin = move |span: u32| (blocks * span / count * block).min(cols);
    (0..count).map(move |span| begin(span)..if span + 1 == count { cols } else { begin(span + 1) })
}

/// Columns that no border divides.
fn block(format: Operand) -> u32 {
    let group = format.group().unwrap_or(1);
    (1..=group).map(|n| COLUMNS * n).find(|block| block.is_multiple_of(group)).unwrap_or(COLUMNS)
}

fn blocks(format: Operand, cols: u32) -> u32 {
    cols.div_ceil(block(format))
}
