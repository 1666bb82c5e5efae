//! A row of a model's tensor table. In: a name and a shape from a family's file. Out: the names of that
//! tensor in each layer, its extent. Invariant: this is what should be there; what is there, in a
//! checkpoint or a model.bin, is an [`Entry`](crate::payload::Entry).

/// A tensor that a model of this family has.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    /// Name in the checkpoint; `*` stands for the layer.
    pub name: &'static str,
    /// `[out, in]`, or `[n]` for norms and biases.
    pub shape: Vec<u32>,
}

impl TensorSpec {
    pub fn per_layer(&self) -> bool {
        self.name.contains('*')
    }

    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    pub fn tensor_name(&self, layer: u32) -> String {
        self.name.replace('*', &layer.to_string())
    }

    /// `(rows, cols)`; a vector is one row.
    pub fn extent(&self) -> (u64, u64) {
        match self.shape.as_slice() {
            [rows, cols] => (u64::from(*rows), u64::from(*cols)),
            other => (1, other.iter().map(|&n| u64::from(n)).product()),
        }
    }
}

/// Names and shapes of the tensors that only one family has, each layer's.
pub(crate) type Own = Vec<(&'static str, Vec<u32>)>;
