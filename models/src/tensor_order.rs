//! A config to the list of its tensors. In: a config. Out: every tensor's name and shape. Invariant: this is the
//! order of model.bin: layer by layer, then the rest.

use crate::config::Config;
use crate::decoder;
use crate::tensor_spec::TensorSpec;

/// Each tensor that the config implies, with its layer's name filled in, in the order of model.bin:
/// layer by layer, then the rest.
pub(crate) fn tensors_in_order(config: &Config) -> Vec<(String, TensorSpec)> {
    let table = decoder::tensors(config);
    let (block, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(TensorSpec::per_layer);
    let layers =
        (0..config.dims.layers).flat_map(|i| block.iter().map(move |s| (s.tensor_name(i), s.clone())));
    layers.chain(rest.iter().map(|s| (s.name.to_string(), s.clone()))).collect()
}
