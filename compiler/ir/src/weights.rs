//! Stored tensors: how a graph declares them, and where their values come from.
//!
//! In: a name, a type, a shape. Out: a [`Tensor`]. Invariant: where bytes come from is for whoever implements
//! [`WeightSource`].

use qwenc_formats::{DType, Tensor, WeightError};

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

/// Source of the values of declared weights.
pub trait WeightSource: Sync {
    /// The tensor of `decl`, for this layer if it is per-layer.
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError>;
}
