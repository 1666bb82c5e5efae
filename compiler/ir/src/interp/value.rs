//! A matrix of the interpreter. In: f32 data. Out: f64 rows, rounded to f32 after each op if asked.
//!
//! Data only: what is computed with it is in `eval.rs` and `attention.rs`.

/// Rounding of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Accumulate in f64, round each op's result to f32.
    F32,
    /// f64 throughout.
    F64,
}

/// `[rows, cols]`, row-major; `[T, H, S]` scores are `[T · H, S]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `rows · cols` elements.
    pub data: Vec<f64>,
}

impl Value {
    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Value {
        Value { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// From f32 data of `rows · cols` elements.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Value {
        Value { rows, cols, data: data.iter().map(|&v| f64::from(v)).collect() }
    }

    /// The elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// Row `r`.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..(r + 1) * self.cols]
    }

    /// Row `r`, to be changed.
    pub fn row_mut(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.cols..(r + 1) * self.cols]
    }

    /// These rows, then those of `other`.
    pub fn concat_rows(&self, other: &Value) -> Value {
        let mut data = self.data.clone();
        data.extend_from_slice(&other.data);
        Value { rows: self.rows + other.rows, cols: self.cols.max(other.cols), data }
    }

    /// Columns `start .. start + len`.
    pub fn columns(&self, start: usize, len: usize) -> Value {
        let data = (0..self.rows).flat_map(|r| self.row(r)[start..start + len].iter().copied()).collect();
        Value { rows: self.rows, cols: len, data }
    }

    pub(super) fn rounded(mut self, precision: Precision) -> Value {
        if precision == Precision::F32 {
            for v in &mut self.data {
                *v = f64::from(*v as f32);
            }
        }
        self
    }
}
