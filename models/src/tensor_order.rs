//! A config to the list of its tensors. In: a config. Out: every tensor's name and shape. Invariant: this is the
//! order of model.bin: layer by layer, then the rest.

use std::collections::HashMap;

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

/// `[out, in]` of every matrix, by its name.
pub(crate) fn matrix_shapes(config: &Config) -> HashMap<String, [usize; 2]> {
    let matrices = tensors_in_order(config).into_iter().filter(|(_, spec)| spec.is_matrix());
    matrices.map(|(name, spec)| (name, [spec.shape[0] as usize, spec.shape[1] as usize])).collect()
}
