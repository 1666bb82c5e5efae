//! How a weight lies in the packed image.
//!
//! In: rows, columns, type. Out: byte sizes and positions of the packed form. Invariant: a matrix is
//! a sequence of panels of [`PANEL_ROWS`] output rows, read front to back by one pass over the
//! inputs, so a kernel streams a panel with no stride.
//!
//! Within a panel (`l` is the row within the panel, zero rows pad the last one):
//! - f32: `[cols][32]`;
//! - bf16: `[ceil(cols/2)][32][2]`, two neighbouring inputs of one row side by side;
//! - bf16, coded: 12 bits an element and exceptions, as `coded.rs` says;
//! - int8: per group `[32]` scales, then `[ceil(group/4)][32][4]` bytes `q + 128`: the unsigned
//!   operand of a u8 x i8 dot product. Padding bytes are 128, that is 0.
//! - int4: per group `[32]` scales, then `[ceil(group/8)][32][4]` bytes: byte `i` of row `l` in octet `j`
//!   has input `8j + i` in its low half and input `8j + 4 + i` in its high half, each as `q + 8`. So a
//!   vector of 64 bytes is 16 rows of one quad of inputs, and its high halves are the next quad. Padding
//!   halves are 8, that is 0.
//!
//! Scales are f32 or f16, as the tensor has them; those of padding rows are 0.

use std::fmt;

use qwenc_ir::{DType, WeightId};

use crate::coded;
use crate::round_up;

/// Rows of a panel: two vectors of [`LANES`].
pub const PANEL_ROWS: u32 = 32;
/// Lanes of the vectors in which kernels compute.
pub const LANES: u32 = 16;

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
    /// As panels, but a part's columns begin where those of the part before end; zeros beside them.
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

/// A range of the packed image and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Stored tensors whose rows are joined, in order.
    pub parts: Vec<WeightId>,
    /// Vector whose elements multiply the columns when packing (f32 only).
    pub gain: Option<WeightId>,
    /// Element type.
    pub dtype: DType,
    /// Rows of all parts; 1 for a vector.
    pub rows: u32,
    /// Columns; the length of a vector.
    pub cols: u32,
    /// Order of elements.
    pub layout: Layout,
    /// Whether elements of bf16 are stored in 12 bits, from which they come back exactly.
    pub coded: bool,
    /// Whether each layer has one.
    pub per_layer: bool,
    /// From the start of the image, or of the layer's record if `per_layer`.
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

    /// Bytes of one panel; a multiple of 64: of 128 but where scales are f16, or bf16 coded.
    pub fn panel_bytes(&self) -> u64 {
        let (rows, cols) = (u64::from(PANEL_ROWS), u64::from(self.cols));
        match self.dtype {
            DType::F32 => 4 * rows * cols,
            DType::Bf16 if self.coded => coded::panel_bytes(self.cols),
            DType::F16 | DType::Bf16 => 2 * rows * round_up(cols, 2),
            DType::I8 { group, .. } | DType::I4 { group, .. } => {
                let (full, rest) = (cols / u64::from(group), cols % u64::from(group));
                let tail = if rest > 0 { self.group_bytes(rest) } else { 0 };
                full * self.group_bytes(u64::from(group)) + tail
            }
        }
    }

    /// Bytes of one panel's group of `width` inputs: scales, then quads or octets of inputs; 0 where the
    /// type has no groups.
    pub fn group_bytes(&self, width: u64) -> u64 {
        let row = match self.dtype {
            DType::I8 { scales, .. } => scales.bytes() + round_up(width, 4),
            DType::I4 { scales, .. } => scales.bytes() + round_up(width, 8) / 2,
            DType::F32 | DType::F16 | DType::Bf16 => 0,
        };
        u64::from(PANEL_ROWS) * row
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
