//! Declared weights.

use qwenc_formats::DType;
use qwenc_ir::WeightDecl;

#[test]
fn a_star_stands_for_the_layer() {
    let decl = |name: &str| WeightDecl { name: name.to_string(), dtype: DType::F32, shape: vec![4] };
    let per_layer = decl("model.layers.*.q");
    assert!(per_layer.per_layer() && !decl("model.norm").per_layer());
    assert_eq!(per_layer.tensor_name(12), "model.layers.12.q");
    assert_eq!(decl("model.norm").tensor_name(12), "model.norm");
}
