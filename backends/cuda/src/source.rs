//! The translation unit of a model.
//!
//! In: a checked plan. Out: CUDA C++ as text, and the description of its launches. Invariant: nothing outside the plan
//! reaches the text; on the device it includes nothing.

use qwenc_abi::{CudaModel, Hidden, ABI_VERSION};
use qwenc_formats::Operand;
use qwenc_ir::Checked;
use qwenc_plan::{Kernel, Layout, Plan, SegmentId};

use crate::arena::{kv_bytes_per_position, padded_head_dim, Arena, DECODE_ROWS, PART};
use crate::constants::{self, logits_stride, Counters};
use crate::decoder::{Decoder, WORDS};
use crate::launches::{probes, variants, Definitions};
use crate::linear::Linear;
use crate::persistent;

/// Generated code before it is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// CUDA C++.
    pub text: String,
    /// How the runtime runs it; no modules yet.
    pub model: CudaModel,
}

/// What this backend cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Heads whose fragments would not fit a warp's registers.
    #[error("heads of {head_dim} dimensions: the CUDA target does up to {most}; use --target cpu")]
    HeadDim {
        /// The model's.
        head_dim: u32,
        /// The largest.
        most: u32,
    },
    /// A format without a decoder.
    #[error("{segment} is in {format}, which the CUDA target does not read; plan it as {}", instead(*format))]
    Format {
        /// The first such segment.
        segment: SegmentId,
        /// Operand format of that segment.
        format: Operand,
    },
}

/// The format in which weights can be planned that have none that this target reads.
fn instead(format: Operand) -> Operand {
    format.source().operand().filter(|&plain| plain != format).unwrap_or(Operand::F32)
}

const LARGEST_HEAD: u32 = 256;

const WRAPPERS: &str = include_str!("../device/wrappers.cuh");
/// Of linears of f32 weights, and of those with tensor cores.
const EXACT: &str = include_str!("../device/exact.cuh");
const FAST: [&str; 2] = [include_str!("../device/decode.cuh"), include_str!("../device/prefill.cuh")];
/// Of low-rank adapters.
const ADAPTERS: &str = include_str!("../device/adapters.cuh");

/// The parts of `device/` that a model needs, in order; they follow the model's constants.
fn library(plan: &Plan, linears: &[Linear]) -> Vec<&'static str> {
    let mut parts = vec![include_str!("../device/step.cuh")];
    parts.extend(decoders(plan));
    parts.extend([
        include_str!("../device/rows.cuh"),
        include_str!("../device/embed.cuh"),
        include_str!("../device/linear.cuh"),
    ]);
    let exact = linears.iter().filter(|l| l.shape.exact()).count();
    if exact > 0 {
        parts.push(EXACT);
    }
    if exact < linears.len() {
        parts.extend(FAST);
    }
    if plan.kernels().any(|(_, kernel)| matches!(kernel, Kernel::SelectAdapter(_) | Kernel::Swiglu(_))) {
        parts.push(ADAPTERS);
    }
    parts.extend([
        include_str!("../device/cache.cuh"),
        include_str!("../device/qkv.cuh"),
        include_str!("../device/attention.cuh"),
        include_str!("../device/attention_prefill.cuh"),
        include_str!("../device/pick.cuh"),
        include_str!("../device/persistent.cuh"),
        include_str!("../device/probes.cuh"),
    ]);
    parts
}

/// Device code of the decoders of a plan's matrices, each part once.
fn decoders(plan: &Plan) -> Vec<&'static str> {
    let matrices = plan.segments.iter().filter(|s| s.layout != Layout::Vector);
    let mut parts = vec![WORDS];
    for part in matrices.filter_map(|s| Decoder::of(s.format)).flat_map(|decoder| decoder.sources) {
        if !parts.contains(part) {
            parts.push(part);
        }
    }
    parts
}

/// Generates the code of a plan.
pub fn emit(plan: &Checked<Plan>) -> Result<Source, EmitError> {
    if plan.dims.head_dim > LARGEST_HEAD {
        return Err(EmitError::HeadDim { head_dim: plan.dims.head_dim, most: LARGEST_HEAD });
    }
    for (number, s) in (0..).zip(&plan.segments) {
        if Decoder::of(s.format).is_none() {
            return Err(EmitError::Format { segment: SegmentId(number), format: s.format });
        }
    }
    let linears: Vec<Linear> = plan
        .kernels()
        .filter_map(|(number, kernel)| match kernel {
            Kernel::Linear(l) => Some(Linear::of(plan, number, l)),
            _ => None,
        })
        .collect();
    let arena = Arena::of(plan, &linears);
    let counters = counters(plan, &linears);
    let mut definitions = Definitions::default();
    let variants = variants(plan, &linears, &mut definitions);
    let probes = probes(&mut definitions);
    let mut text = format!("// {}, compiled by qwenc: {} layers.\n\n", plan.name, plan.dims.layers);
    text.push_str("#ifndef __CUDACC__\n#include \"cuda_on_host.hpp\"\n#endif\n\n");
    let model =
        format!("// The model's shapes.\n\n{}", constants::of_model(plan, &linears, &arena, &counters));
    let parts = constants::of_parts(plan, &linears, &counters);
    let parts = format!("// Packed tensors, buffers and kernels.\n\n{parts}");
    let sections = [WRAPPERS, &model].into_iter().chain(library(plan, &linears)).chain([parts.as_str()]);
    for section in sections {
        text.push_str(section);
        text.push('\n');
    }
    text.push_str(&definitions.text);
    let (persistent, kernel) = persistent::kernel(plan, &linears, &variants[0], &definitions);
    text.push('\n');
    text.push_str(&kernel);
    let dims = &plan.dims;
    let [offset, row_bytes, width, gain] = plan.hidden_record();
    let model = CudaModel {
        abi_version: ABI_VERSION,
        vocab_rows: dims.vocab_rows,
        logits_stride: logits_stride(plan),
        layers: dims.layers,
        layer_groups: plan.layer_groups(),
        max_context: dims.context,
        kv_heads: dims.kv_heads,
        kv_head_dim: padded_head_dim(dims.head_dim),
        weights_bytes: plan.weights_bytes,
        kv_bytes_per_position: kv_bytes_per_position(plan),
        kv_positions: PART,
        arena: arena.sizes(),
        hidden: Hidden { offset, row_bytes, width, gain },
        counters: counters.total,
        variants,
        persistent: Some(persistent),
        probes: Some(probes),
        modules: Vec::new(),
    };
    Ok(Source { text, model })
}

/// Each kernel's counters, one after the other.
fn counters(plan: &Plan, linears: &[Linear]) -> Counters {
    let (mut first, mut total) = (Vec::new(), 0);
    for (number, kernel) in plan.kernels() {
        first.push(total);
        total += match kernel {
            Kernel::Attention(_) => DECODE_ROWS * plan.dims.heads,
            Kernel::Linear(_) => {
                let split = |l: &&Linear| l.number == number && l.shape.partial_bytes(1) > 0;
                linears.iter().find(split).map_or(0, |l| l.shape.weight.panels())
            }
            _ => 0,
        };
    }
    Counters { first, barrier: total, total: total + 2 }
}
