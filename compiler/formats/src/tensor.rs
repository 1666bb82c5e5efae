//! Tensors as stored: their bytes, and their values as f32.
//!
//! In: a tensor's bytes as a checkpoint holds them. Out: rows of f32. Invariant: lengths were checked when the [`Tensor`]
//! was made, so a row read never goes out of bounds.

use std::borrow::Cow;
use std::ops::Range;

use crate::registry::DType;
use crate::scales::{ScaleType, Scales};

/// A tensor of a checkpoint: `[rows, cols]`; a vector is one row.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    dtype: DType,
    rows: usize,
    cols: usize,
    data: Cow<'a, [u8]>,
    scales: Option<Scales<'a>>,
}

/// Stored bytes of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// The elements.
    pub data: &'a [u8],
    /// The scales; empty where the format has none.
    pub scales: &'a [u8],
}

impl Row<'_> {
    /// Scale of group `g`.
    pub fn scale(&self, scales: ScaleType, g: usize) -> f32 {
        let n = scales.bytes() as usize;
        scales.read(&self.scales[g * n..(g + 1) * n])
    }

    /// The values of a row of blocks of `bytes` bytes and `N` elements; the last may have more than `out`.
    pub fn read_blocks<const N: usize>(
        &self,
        bytes: usize,
        read: impl Fn(&[u8], &mut [f32; N]),
        out: &mut [f32],
    ) {
        for (values, block) in out.chunks_mut(N).zip(self.data.chunks_exact(bytes)) {
            let mut all = [0.0; N];
            read(block, &mut all);
            values.copy_from_slice(&all[..values.len()]);
        }
    }
}

/// Why weights cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WeightError {
    /// The checkpoint has no such tensor.
    #[error("tensor {name}: not found in the checkpoint")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// The number of bytes does not match the shape.
    #[error("tensor {name}: expected {expected} bytes of {part}, found {found}")]
    Bytes {
        /// The tensor.
        name: String,
        /// Data or scales.
        part: &'static str,
        /// Number of bytes by shape and type.
        expected: usize,
        /// Number of bytes stored.
        found: usize,
    },
    /// Shape or type differ from the declaration.
    #[error("tensor {name}: expected {expected}, found {found}")]
    Mismatch {
        /// The tensor.
        name: String,
        /// Declared shape or type.
        expected: String,
        /// Stored shape or type.
        found: String,
    },
    /// Values that cannot be had in the wanted format; the reader's message names the tensor.
    #[error("{0}")]
    Values(String),
}

impl<'a> Tensor<'a> {
    /// A tensor over stored bytes; checks their number.
    pub fn new(
        name: &str,
        dtype: DType,
        (rows, cols): (usize, usize),
        data: Cow<'a, [u8]>,
        scales: Option<Scales<'a>>,
    ) -> Result<Tensor<'a>, WeightError> {
        let size = |part, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(WeightError::Bytes { name: name.to_string(), part, expected, found }),
        };
        size("data", rows * dtype.bytes(cols as u64) as usize, data.len())?;
        if let Some((_, expected)) = dtype.quantised() {
            let (bytes, found) = scales.as_ref().map_or((&[][..], expected), Scales::bytes);
            if expected != found {
                let (expected, found) = (format!("{expected:?} scales"), format!("{found:?} scales"));
                return Err(WeightError::Mismatch { name: name.to_string(), expected, found });
            }
            size("scales", rows * dtype.scale_bytes(cols as u64) as usize, bytes.len())?;
        }
        Ok(Tensor { dtype, rows, cols, data, scales })
    }

    /// A tensor of f32 values.
    pub fn from_f32(
        name: &str,
        shape: (usize, usize),
        values: &[f32],
    ) -> Result<Tensor<'static>, WeightError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(name, DType::F32, shape, Cow::Owned(bytes), None)
    }

    /// Storage format of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored bytes of row `r`, scales not included.
    pub fn row_bytes(&self, r: usize) -> &[u8] {
        let n = self.dtype.bytes(self.cols as u64) as usize;
        &self.data[r * n..(r + 1) * n]
    }

    /// The stored scales of row `r`; empty where the type has none.
    pub fn row_scales(&self, r: usize) -> &[u8] {
        let n = self.dtype.scale_bytes(self.cols as u64) as usize;
        self.scales.as_ref().map_or(&[][..], |scales| &scales.bytes().0[r * n..(r + 1) * n])
    }

    fn row(&self, r: usize) -> Row<'_> {
        Row { data: self.row_bytes(r), scales: self.row_scales(r) }
    }

    /// A copy of some columns, of all rows. Blocks and groups of the format are kept whole: each begins at `columns.start`, or
    /// behind it.
    pub fn columns(&self, columns: Range<u32>) -> Tensor<'static> {
        let cut = |row_of: fn(&Self, usize) -> &[u8], bytes: &dyn Fn(u64) -> u64| {
            let [start, end] = [columns.start, columns.end].map(|column| bytes(u64::from(column)) as usize);
            let mut all = Vec::with_capacity(self.rows * (end - start));
            (0..self.rows).for_each(|r| all.extend_from_slice(&row_of(self, r)[start..end]));
            all
        };
        let data = cut(Self::row_bytes, &|cols| self.dtype.bytes(cols));
        let scales = self
            .scales
            .as_ref()
            .map(|scales| scales.with_bytes(cut(Self::row_scales, &|cols| self.dtype.scale_bytes(cols))));
        Tensor { dtype: self.dtype, rows: self.rows, cols: columns.len(), data: Cow::Owned(data), scales }
    }

    /// Scale of group `g` of row `r`; 1 where the type has none.
    pub fn scale(&self, r: usize, g: usize) -> f32 {
        self.dtype.quantised().map_or(1.0, |(_, scales)| self.row(r).scale(scales, g))
    }

    /// The values of row `r` as f32, written to `out` of length `cols`.
    pub fn read_row(&self, r: usize, out: &mut [f32]) {
        self.dtype.entry(|e| e.read_row(&self.row(r), out));
    }

    /// All values as f32, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        for (r, row) in out.chunks_mut(self.cols.max(1)).enumerate() {
            self.read_row(r, row);
        }
        out
    }
}
