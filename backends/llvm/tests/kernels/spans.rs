//! Matrices that are cut into spans of their columns: near the interpreter, in the stated order of sums, and the same bits in
//! any company.

use qwenc_abi::KvType;
use qwenc_formats::{DType, Tensor};
use qwenc_ir::WeightSource;
use qwenc_plan::{Activations, Dest, Kernel, Linear, Plan};

use crate::loaded::{Caches, Loaded, Runner};
use crate::{kinds, tokens, Case};
use qwenc_testing::shapes::{Random, Shape};

/// 576 columns of o make two spans, the second with a rest; 2100 of down make eight, the last the longest. 120 rows make four
/// panels, so that strips are of several.
const WIDE: Shape = Shape {
    layers: 1,
    hidden: 120,
    intermediate: 2100,
    heads: 6,
    kv_heads: 2,
    head_dim: 96,
    vocab: 70,
    tied: false,
    windows: false,
};

#[test]
fn spans_of_all_formats() {
    for kind in kinds() {
        let tolerance = match kind {
            (DType::F32 | DType::F16 | DType::Bf16, Activations::Default, _) => 1e-11,
            (DType::Bf16, ..) => 1e-4,
            (_, Activations::Int8, _) => 2e-3,
            _ => 1e-3,
        };
        let case = Case::of(kind, tolerance);
        let spans: Vec<u32> = case.plan(WIDE).segments.iter().map(|s| s.spans).filter(|&n| n > 1).collect();
        assert_eq!(spans, [2, 8]);
        case.check_on(&["native"], WIDE);
    }
}

/// Bytes of the rows of a step that hold a buffer's columns, for one token and one row of scratch memory.
fn values(plan: &Plan, rows: &[u8], buffer: qwenc_plan::BufferId) -> Vec<f32> {
    let buffer = plan.buffer(buffer);
    let bytes = &rows[buffer.offset as usize..][..4 * buffer.width as usize];
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// A row's products, added up as documented: a chain for each span, and the spans as a complete binary tree.
fn sum(weights: &[f32], inputs: &[f32], borders: &[usize]) -> f32 {
    let chain = |span: &[usize]| {
        let columns = span[0]..span[1];
        columns.fold(0.0f32, |sum, k| weights[k].mul_add(inputs[k], sum))
    };
    let mut sums: Vec<f32> = borders.windows(2).map(chain).collect();
    while sums.len() > 1 {
        sums = sums.chunks(2).map(|pair| pair[0] + pair[1]).collect();
    }
    sums[0]
}

#[test]
fn spans_are_added_as_a_tree() {
    let plan = Case::of((DType::F32, Activations::Default, false), 0.0).plan(WIDE);
    let loaded = Loaded::of(&plan, "native", &Random);
    let mut caches = Caches::new(&loaded, KvType::F32, 1, 1);
    let seen = Runner::new(&loaded, 1, 1).watched(&[(tokens(1, WIDE.vocab)[0], 0, 0)], &mut caches);
    let cut = |kernel: &Kernel| matches!(kernel, Kernel::Linear(l) if plan.segment(l.weight).spans > 1);
    let mut found = Vec::new();
    for (number, kernel) in plan.kernels().filter(|(_, kernel)| cut(kernel)) {
        let Kernel::Linear(l @ Linear { out: Dest::Buffer(out), residual: Some(_), .. }) = kernel else {
            panic!("{kernel:?} adds to a residual");
        };
        let at = seen.iter().position(|(kernel, _)| *kernel == u64::from(number)).unwrap();
        let [before, after] = [at - 1, at].map(|at| &seen[at].1);
        let segment = plan.segment(l.weight);
        let borders: &[usize] = match segment.spans {
            2 => &[0, 256, 576],
            _ => &[0, 256, 512, 768, 1024, 1280, 1536, 1792, 2100],
        };
        let weights = Random.tensor(&plan.weights[segment.parts[0].0 as usize], 0).unwrap();
        let (inputs, residual) = (values(&plan, before, l.input), values(&plan, before, *out));
        let results = values(&plan, after, *out);
        for (row, weights) in Tensor::to_f32(&weights).chunks(segment.cols as usize).enumerate() {
            let expected = residual[row] + sum(weights, &inputs, borders);
            assert_eq!(results[row].to_bits(), expected.to_bits(), "{} row {row}", kernel.name());
        }
        found.push(segment.spans);
    }
    assert_eq!(found, [2, 8]);
}
