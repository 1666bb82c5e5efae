//! Packed tensors: layout of a weight in the image.
//!
//! In: rows, columns, type. Out: byte sizes and positions of the packed form. Invariant: a matrix is
//! a sequence of panels of [`PANEL_ROWS`] output rows, read front to back by one pass over the
//! inputs, so a kernel streams a panel with no stride; where it is cut into spans, they stand in strips of a few panels.
//!
//! The layout within a panel is defined by the operand format (`compiler/formats`).

use std::fmt;
use std::ops::Range;

use qwenc_formats::{Operand, LANES, PANEL_ROWS};
use qwenc_ir::WeightId;

use crate::round_up;
use crate::spans::{self, Span};

/// A row of [`Plan::segments`](crate::Plan); prints as `w3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Order of a segment's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// f32 values, zeros up to a multiple of [`PANEL_ROWS`].
    Vector,
    /// Panels of the parts' rows, one part after the other.
    Panels,
    /// Two parts of equal size: a panel is [`LANES`] rows of the first, then the same rows of the
    /// second, so that a gate and its up value meet in one tile.
    PairedPanels,
    /// Panels in which a part's columns begin where those of the part before end, with zeros beside them.
    Diagonal,
}

impl Layout {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Vector => "vector",
            Layout::Panels => "panels",
            Layout::PairedPanels => "paired",
            Layout::Diagonal => "diagonal",
        }
    }
}

/// Part of the image that a segment stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The beginning of the image, once.
    Model,
    /// The record of each layer of the layer group of this number.
    Layers(u32),
}

impl Home {
    /// Whether layers have one each.
    pub fn per_layer(self) -> bool {
        self.group().is_some()
    }

    /// The layer group whose records it is part of.
    pub fn group(self) -> Option<u32> {
        match self {
            Home::Model => None,
            Home::Layers(group) => Some(group),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Home::Model => f.write_str("image"),
            Home::Layers(group) => write!(f, "layers{group}"),
        }
    }
}

/// A range of the packed image and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Stored tensors whose rows are joined, in order.
    pub parts: Vec<WeightId>,
    /// Vector whose elements multiply the columns when packing (f32 only).
    pub gain: Option<WeightId>,
    /// Operand format of its elements.
    pub format: Operand,
    /// Rows of all parts; 1 for a vector.
    pub rows: u32,
    /// Columns; the length of a vector.
    pub cols: u32,
    /// Order of elements.
    pub layout: Layout,
    /// Spans into which it is cut between columns; 1 where it is whole.
    pub spans: u32,
    /// Whether it stands in the image once, or in the record of every layer of a group.
    pub home: Home,
    /// From the start of the image, or of the layer's record.
    pub offset: u64,
}

impl Segment {
    /// Number of panels; 0 for a vector.
    pub fn panels(&self) -> u32 {
        match self.layout {
            Layout::Vector => 0,
            Layout::Panels | Layout::Diagonal => self.rows.div_ceil(PANEL_ROWS),
            Layout::PairedPanels => (self.rows / 2).div_ceil(LANES),
        }
    }

    /// Bytes of one panel, of all spans; a multiple of 64.
    pub fn panel_bytes(&self) -> u64 {
        self.spans().iter().map(|span| span.panel_bytes).sum()
    }

    /// The spans of a matrix, in order.
    pub fn spans(&self) -> Vec<Span> {
        let mut offset = 0;
        let span = |columns: Range<u32>| {
            let panel_bytes = self.format.panel_bytes(columns.len() as u32);
            let span = Span { columns, offset, panel_bytes };
            offset += panel_bytes;
            span
        };
        spans::columns(self.format, self.cols, self.spans).map(span).collect()
    }

    /// Panels of a strip, whose spans stand one behind the other; their number is a multiple of it. 1 where the matrix is
    /// whole.
    pub fn strip(&self) -> u32 {
        match self.spans {
            1 => 1,
            count => spans::strip(count, (self.panels(), self.panel_bytes())),
        }
    }

    /// Offset of a panel of a span from the start of the segment, in bytes.
    pub fn panel_offset(&self, span: &Span, panel: u32) -> u64 {
        let (strip, within) = (panel / self.strip(), panel % self.strip());
        let before = u64::from(strip) * self.panel_bytes() + span.offset;
        u64::from(self.strip()) * before + u64::from(within) * span.panel_bytes
    }

    /// Columns of the last span, where a row's shorter groups end.
    pub fn last_columns(&self) -> Range<u32> {
        spans::columns(self.format, self.cols, self.spans).last().unwrap_or(0..self.cols)
    }

    /// Bytes of the segment; a multiple of 64.
    pub fn bytes(&self) -> u64 {
        match self.layout {
            Layout::Vector => 4 * round_up(u64::from(self.cols), u64::from(PANEL_ROWS)),
            _ => u64::from(self.panels()) * self.panel_bytes(),
        }
    }

    /// The part and its row that stand in lane `lane` of panel `panel`, or none where padding is.
    /// `part_rows` are the parts' row counts.
    pub fn source_row(&self, panel: u32, lane: u32, part_rows: &[u32]) -> Option<(usize, u32)> {
        match self.layout {
            Layout::Vector => None,
            Layout::Panels | Layout::Diagonal => {
                let mut row = panel * PANEL_ROWS + lane;
                for (part, &n) in part_rows.iter().enumerate() {
                    if row < n {
                        return Some((part, row));
                    }
                    row -= n;
                }
                None
            }
            Layout::PairedPanels => {
                let (part, row) = ((lane / LANES) as usize, panel * LANES + lane % LANES);
                (row < part_rows[part]).then_some((part, row))
            }
        }
    }
}
