//! Matrices that the plan cuts into spans of columns: 2, 4 and 8 of them, all formats, even and uneven, whole steps and none.

use qwenc_formats::{DType, ScaleType};
use qwenc_plan::Activations;

use crate::{Case, I4};
use qwenc_testing::shapes::Shape;

/// A model with few rows, whose matrices may have many columns; 104 rows make four panels, which a strip may have.
const CUT: Shape = Shape {
    layers: 1,
    hidden: 104,
    intermediate: 0,
    heads: 9,
    kv_heads: 1,
    head_dim: 64,
    vocab: 40,
    tied: true,
    windows: false,
};

/// One token, few and many, against the interpreter and each other.
#[test]
fn weights_in_spans() {
    let in_groups = |group| DType::I8 { group, scales: ScaleType::F16 };
    for (dtype, intermediate, spans, tolerance) in [
        (DType::F32, 1100, 4, 1e-7),
        (DType::Bf16, 2048, 8, 1e-7),
        (DType::Bf16, 3089, 8, 1e-7),
        (in_groups(96), 1610, 2, 5e-4),
        // One chain in a span; with four spans, warps without one.
        (in_groups(256), 2310, 8, 5e-4),
        (in_groups(256), 1100, 4, 5e-4),
        (I4, 2063, 8, 1e-3),
        (DType::Q4K, 2304, 8, 1e-3),
        (DType::Q6K, 768, 2, 1e-3),
    ] {
        let case = Case { dtype, activations: Activations::Default, tolerance };
        let shape = Shape { intermediate, ..CUT };
        let all: Vec<u32> = case.plan(shape).segments.iter().map(|s| s.spans).collect();
        assert_eq!(all.iter().max(), Some(&spans), "{dtype} {intermediate}");
        case.check(shape);
    }
}
