//! A config to its graph and its tensors: asks the file of the config's family.
//!
//! In: a config. Out: the tensor table, the list of all tensors, the graph. Invariant: this is the only
//! place that chooses between families' graphs; what a model looks like is in the family's own folder.

use qwenc_ir::{DType, Graph};

use crate::config::Config;
use crate::error::Result;
use crate::family::Family;
use crate::qwen3;
use crate::tensor_spec::TensorSpec;

/// Every tensor of a model, in the order of model.bin; per-layer ones first, each layer's
/// together.
fn tensors(config: &Config) -> Vec<TensorSpec> {
    match config.family {
        Family::Qwen3 => qwen3::graph::tensors(config),
    }
}

/// Each tensor that the config implies, with its layer's name filled in, in the order of model.bin:
/// layer by layer, then the rest.
pub(crate) fn tensors_in_order(config: &Config) -> Vec<(String, TensorSpec)> {
    let table = tensors(config);
    let (block, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(TensorSpec::per_layer);
    let layers =
        (0..config.dims.layers).flat_map(|i| block.iter().map(move |s| (s.tensor_name(i), s.clone())));
    layers.chain(rest.iter().map(|s| (s.name.to_string(), s.clone()))).collect()
}

/// The graph, with weights of the types that `dtype` says.
pub(crate) fn graph(config: &Config, dtype: &dyn Fn(&TensorSpec) -> DType) -> Result<Graph> {
    match config.family {
        Family::Qwen3 => qwen3::graph::graph(config, dtype),
    }
}
