//! Stored tensors: how a graph declares them, their bytes, and their values as f32.
//!
//! In: a tensor's bytes as a checkpoint holds them. Out: rows of f32. Invariant: lengths were
//! checked when the [`Tensor`] was made, so a row read never goes out of bounds. Where bytes come from is
//! for whoever implements [`WeightSource`].

use std::borrow::Cow;

use half::{bf16, f16};

use crate::dtype::{DType, ScaleType};

/// A stored tensor that the graph refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightDecl {
    /// Name in the checkpoint; `*` stands for the layer, and makes the weight per-layer.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// `[out, in]`, or `[n]` for norms and biases.
    pub shape: Vec<u32>,
}

impl WeightDecl {
    /// Whether each layer has its own.
    pub fn per_layer(&self) -> bool {
        self.name.contains('*')
    }

    /// The tensor's name in the checkpoint, for this layer.
    pub fn tensor_name(&self, layer: u32) -> String {
        self.name.replace('*', &layer.to_string())
    }
}

/// Scales of a quantised tensor, `[rows, ceil(cols / group)]`.
#[derive(Clone, Debug)]
pub enum Scales<'a> {
    /// Little-endian f32.
    F32(Cow<'a, [u8]>),
    /// Little-endian f16.
    F16(Cow<'a, [u8]>),
}

impl Scales<'_> {
    fn bytes(&self) -> (&[u8], ScaleType) {
        match self {
            Scales::F32(b) => (b, ScaleType::F32),
            Scales::F16(b) => (b, ScaleType::F16),
        }
    }

    fn at(&self, i: usize) -> &[u8] {
        let (bytes, ty) = self.bytes();
        let n = ty.bytes() as usize;
        &bytes[i * n..(i + 1) * n]
    }

    fn get(&self, i: usize) -> f32 {
        let b = self.at(i);
        match self {
            Scales::F32(_) => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Scales::F16(_) => f16::from_le_bytes([b[0], b[1]]).to_f32(),
        }
    }
}

/// A tensor of a checkpoint: `[rows, cols]`; a vector is one row.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    dtype: DType,
    rows: usize,
    cols: usize,
    data: Cow<'a, [u8]>,
    scales: Option<Scales<'a>>,
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
    /// Its bytes do not fit its shape.
    #[error("tensor {name}: expected {expected} bytes of {part}, found {found}")]
    Bytes {
        /// The tensor.
        name: String,
        /// Data or scales.
        part: &'static str,
        /// From shape and type.
        expected: usize,
        /// As stored.
        found: usize,
    },
    /// Its shape or type is not the declared one.
    #[error("tensor {name}: expected {expected}, found {found}")]
    Mismatch {
        /// The tensor.
        name: String,
        /// As declared.
        expected: String,
        /// As stored.
        found: String,
    },
}

/// Where the values of declared weights come from.
pub trait WeightSource: Sync {
    /// The tensor of `decl`, for this layer if it is per-layer.
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError>;
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

    /// How elements are stored.
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

    /// Scale of group `g` of row `r`; 1 where the type has none.
    pub fn scale(&self, r: usize, g: usize) -> f32 {
        match (&self.scales, self.dtype.group()) {
            (Some(s), Some(group)) => s.get(r * self.cols.div_ceil(group as usize) + g),
            _ => 1.0,
        }
    }

    /// Scale of group `g` of row `r` as stored; empty where the type has none.
    pub fn scale_bytes(&self, r: usize, g: usize) -> &[u8] {
        match (&self.scales, self.dtype.group()) {
            (Some(s), Some(group)) => s.at(r * self.cols.div_ceil(group as usize) + g),
            _ => &[],
        }
    }

    /// The values of row `r` as f32, written to `out` of length `cols`.
    pub fn read_row(&self, r: usize, out: &mut [f32]) {
        let bytes = self.row_bytes(r);
        match self.dtype {
            DType::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            DType::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            DType::Bf16 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            DType::I8 { group, .. } => {
                let groups = out.chunks_mut(group as usize).zip(bytes.chunks(group as usize));
                for (g, (o, b)) in groups.enumerate() {
                    let scale = self.scale(r, g);
                    for (o, &q) in o.iter_mut().zip(b) {
                        *o = f32::from(q as i8) * scale;
                    }
                }
            }
            DType::I4 { group, .. } => {
                for (g, o) in out.chunks_mut(group as usize).enumerate() {
                    let (first, scale) = (g * group as usize, self.scale(r, g));
                    for (k, o) in (first..).zip(o) {
                        let n = bytes[k / 2] >> (4 * (k % 2)) & 15;
                        *o = (f32::from(n) - 8.0) * scale;
                    }
                }
            }
        }
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
