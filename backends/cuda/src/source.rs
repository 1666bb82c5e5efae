//! The translation unit of a model.
//!
//! In: a checked plan. Out: CUDA C++ as text, and the description of its launches. Invariant: nothing outside the plan
//! reaches the text; on the device it includes nothing.

use qwenc_abi::{CudaModel, Hidden, ABI_VERSION};
use qwenc_formats::Operand;
use qwenc_ir::Checked;
use qwenc_plan::{round_up, Kernel, Layout, Plan, SegmentId};
use qwenc_target::{Limit, Target};

use crate::arena::{kv_bytes_per_position, Arena};
use crate::constants::{self, logits_stride, Counters};
use crate::decoder::{Decoder, WORDS};
use crate::launches::{probes, variants, Definitions};
use crate::linear::Linear;
use crate::persistent;
use crate::schedule::{padded_head_dim, DECODE_ROWS, PART};
use crate::target::Gpu;

/// Generated code before it is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// CUDA C++.
    pub text: String,
    /// Launches and sizes for the runtime; no modules yet.
    pub model: CudaModel,
}

/// Error: this backend cannot run the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// A model beyond the device code.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// A format without a decoder.
    #[error("{segment} is in {format}, which the CUDA target does not read; plan it as {}", instead(*format))]
    Format {
        /// The first such segment.
        segment: SegmentId,
        /// Operand format of that segment.
        format: Operand,
    },
    /// A plan that another target was asked for.
    #[error("k{kernel}: planned with {found} bytes of scratch memory a row, expected {expected}; plan it for a GPU")]
    Scratch {
        /// Number of the kernel.
        kernel: u32,
        /// Bytes that the device code needs.
        expected: u64,
        /// Bytes in the plan.
        found: u64,
    },
}

/// The format in which weights can be planned that have none that this target reads.
fn instead(format: Operand) -> Operand {
    format.source().operand().filter(|&plain| plain != format).unwrap_or(Operand::F32)
}

const WRAPPERS: &str = include_str!("../device/wrappers.cuh");
/// Functions of linears of f32 weights, and of those with tensor cores.
const EXACT: &str = include_str!("../device/exact.cuh");
const FAST: [&str; 2] = [include_str!("../device/decode.cuh"), include_str!("../device/prefill.cuh")];
/// Functions of low-rank adapters.
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

/// Whether the device code does such models and reads their formats: a plan may be another target's.
fn check(plan: &Plan) -> Result<(), EmitError> {
    Gpu.check(&plan.dims)?;
    let mut segments = (0..).map(SegmentId).zip(&plan.segments);
    match segments.find(|(_, s)| Decoder::of(s.format).is_none()) {
        Some((segment, s)) => Err(EmitError::Format { segment, format: s.format }),
        None => Ok(()),
    }
}

/// Whether linears have the scratch memory that the device code writes.
fn check_scratch(plan: &Plan, linears: &[Linear]) -> Result<(), EmitError> {
    for l in linears {
        let expected = round_up(l.shape.row.prepared_bytes(), 128);
        let found = l.plan.scratch.map_or(0, |b| plan.buffer(b).row_bytes);
        if found != expected {
            return Err(EmitError::Scratch { kernel: l.number, expected, found });
        }
    }
    Ok(())
}

/// Generates the code of a plan.
pub fn emit(plan: &Checked<Plan>) -> Result<Source, EmitError> {
    check(plan)?;
    let linears: Vec<Linear> = plan
        .kernels()
        .filter_map(|(number, kernel)| match kernel {
            Kernel::Linear(l) => Some(Linear::of(plan, number, l)),
            _ => None,
        })
        .collect();
    check_scratch(plan, &linears)?;
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
    let (persistent, kernel) = persistent::kernel(&variants[0], &definitions);
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
