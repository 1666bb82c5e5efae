//! The metadata of a weights image, filled from a model and its plan.
//!
//! In: a model, a plan, what the command line chose. Out: [`Metadata`]. Invariant: the runtime finds here what it needs
//! to know of weights and scratch memory, so that it computes none of it.

use std::collections::BTreeMap;
use std::ops::Range;

#[cfg(feature = "llvm")]
use qwenc_abi::metadata::Activation;
use qwenc_abi::metadata::{
    InputForm, Metadata, ModelMetadata, PerToken, Predicted, SamplingDefaults, Source, Target,
    WithoutThinking,
};
use qwenc_abi::{KvType, Section};
use qwenc_formats::Inputs;
use qwenc_ir::WeightId;
use qwenc_models::{Model, Provenance, Sampling};
use qwenc_plan::{Home, Kernel, LayerGroup, Linear, Plan, Segment, SegmentId};

/// Metadata of the image but for activations, which only a CPU's step leaves.
pub fn of(
    (model, provenance): (&Model, Provenance),
    plan: &Plan,
    (cpu, features): (&str, &[&str]),
    kv: Option<KvType>,
    predicted: Predicted,
) -> Metadata {
    let texts = model.side_files();
    Metadata {
        model: of_model(model, plan),
        chat_template: texts.chat_template.clone(),
        named_chat_templates: texts.named_templates.clone(),
        bos_token: texts.bos_token.clone(),
        eos_token: texts.eos_token.clone(),
        sampling: sampling(&texts.sampling),
        stop_tokens: texts.stop_tokens.clone(),
        adapters: model.adapters().into_iter().map(str::to_owned).collect(),
        kv_type: kv.map(|ty| ty.name().to_owned()),
        default_kv_type: Some(default_kv_type(plan).name().to_owned()),
        per_token: Some(per_token(plan)),
        predicted: Some(predicted),
        activations: None,
        target: Target { cpu: cpu.to_owned(), features: features.join(",") },
        source: Some(Source {
            files: provenance.sources,
            exporter: provenance.exporter,
            compiler: concat!("qwenc ", env!("CARGO_PKG_VERSION")).to_owned(),
        }),
    }
}

fn of_model(model: &Model, plan: &Plan) -> ModelMetadata {
    let (config, d) = (model.config(), plan.dims);
    ModelMetadata {
        name: model.name().unwrap_or(&plan.name).to_owned(),
        architecture: config.model_type.clone(),
        layers: d.layers.into(),
        hidden: d.hidden.into(),
        intermediate: d.intermediate.into(),
        heads: d.heads.into(),
        kv_heads: d.kv_heads.into(),
        head_dim: d.head_dim.into(),
        vocab_rows: d.vocab_rows.into(),
        context: d.context.into(),
        weight_type: model.weight_types().name().to_owned(),
        group_size: model.weight_types().group().into(),
        inputs: inputs(plan),
        parameters: parameters(plan),
        tied: config.tied,
        rms_eps: as_written(config.eps.get()),
        rope_theta: as_written(config.rope.theta),
    }
}

fn sampling(of_model: &Sampling) -> SamplingDefaults {
    let s = of_model.clone();
    SamplingDefaults {
        temperature: s.temperature,
        top_k: s.top_k,
        top_p: s.top_p,
        min_p: s.min_p,
        repetition_penalty: s.repetition_penalty,
        suppress_tokens: s.suppress_tokens,
        stop: s.stop,
        max_tokens: s.max_tokens.map(|n| n as usize),
        without_thinking: s
            .without_thinking
            .map(|(temperature, top_p)| WithoutThinking { temperature, top_p }),
        origins: s.origins.into_iter().map(|(name, origin)| (name.to_owned(), origin)).collect(),
        ..SamplingDefaults::default()
    }
}

/// Places at which a CPU's step leaves activations that have names.
#[cfg(feature = "llvm")]
pub fn activations(plan: &Plan) -> Vec<Activation> {
    let layers = |kernel| -> Option<Vec<u64>> {
        let group = plan.group_of(kernel)?;
        Some(plan.groups[group as usize].layers.iter().map(u64::from).collect())
    };
    let one = |n: qwenc_plan::Named| {
        let buffer = plan.buffer(n.buffer);
        Activation {
            name: n.name.into(),
            kernel: n.kernel.into(),
            layers: layers(n.kernel),
            offset: buffer.offset,
            row_bytes: buffer.row_bytes,
            first: n.first.into(),
            columns: n.columns.into(),
        }
    };
    plan.named().into_iter().map(one).collect()
}

/// The forms in which a layer's inputs meet its weights, in the order of their first use.
fn inputs(plan: &Plan) -> Vec<InputForm> {
    let mut forms = Vec::new();
    for linear in plan.groups.iter().flat_map(|group| &group.block).filter_map(linear) {
        let form = match linear.inputs {
            Inputs::F32 => InputForm::F32,
            Inputs::Bf16 => InputForm::Bf16,
            Inputs::Int8 => InputForm::Int8,
            Inputs::Int16 => InputForm::Int16,
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

fn linear(kernel: &Kernel) -> Option<&Linear> {
    match kernel {
        Kernel::Linear(linear) => Some(linear),
        _ => None,
    }
}

/// Weights that blocks and head read, and the work of the layers' matrices.
fn per_token(plan: &Plan) -> PerToken {
    let kernels = plan.groups.iter().flat_map(|group| &group.block).chain(&plan.head);
    let ranges = kernels.flat_map(operands).flat_map(|id| places(plan, plan.segment(id)));
    let whole = ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or_default();
    let of_layer = |group: &LayerGroup| -> u64 {
        let matrices = group.block.iter().filter_map(linear).map(|l| plan.segment(l.weight));
        matrices.map(|s| u64::from(s.rows) * u64::from(s.cols)).sum()
    };
    PerToken {
        weights: Section { offset: whole.start, bytes: whole.end - whole.start },
        matrix_bytes: plan.bytes_per_token(),
        layer_multiply_adds: plan
            .groups
            .iter()
            .map(|group| u64::from(group.layers.count()) * of_layer(group))
            .sum(),
    }
}

/// Segments that a kernel of a block or of the head reads.
fn operands(kernel: &Kernel) -> Vec<SegmentId> {
    match kernel {
        Kernel::Linear(l) => [Some(l.weight), l.gain, l.bias].into_iter().flatten().collect(),
        Kernel::PrepareQkv(p) => [p.q_gain, p.k_gain].into_iter().flatten().collect(),
        Kernel::Embed(_) | Kernel::Attention(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => Vec::new(),
    }
}

/// Byte ranges of a segment's copies in the packed weights.
fn places(plan: &Plan, segment: &Segment) -> Vec<Range<u64>> {
    let bases = match segment.home {
        Home::Model => vec![0],
        Home::Layers(group) => {
            let groups = plan.layer_groups();
            let of_layers = plan.layer_offsets().into_iter().zip(groups);
            of_layers.filter(|&(_, of)| of == group).map(|(base, _)| base).collect()
        }
    };
    let begin = segment.offset;
    bases.into_iter().map(|base| base + begin..base + begin + segment.bytes()).collect()
}

/// Element type of the KV cache where no flag says: rounded where most weights are rounded more, so that exact weights keep
/// their exact answers.
fn default_kv_type(plan: &Plan) -> KvType {
    let bytes = |s: &Segment| s.bytes() * plan.copies(s.home);
    let rounded = |s: &&Segment| s.format.exact_inputs().planes() > 0;
    let of_layers = || plan.segments.iter().filter(|s| s.home.per_layer());
    let (some, all) =
        (of_layers().filter(rounded).map(bytes).sum::<u64>(), of_layers().map(bytes).sum::<u64>());
    if 2 * some > all {
        KvType::Bf16
    } else {
        KvType::F32
    }
}

/// The shortest decimal number that is this float: `1e-6`, not the digits of its nearest double.
fn as_written(value: f32) -> f64 {
    // What a float prints is a number.
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Values in all stored tensors but the adapters'.
fn parameters(plan: &Plan) -> u64 {
    let mut copies: BTreeMap<WeightId, u64> = BTreeMap::new();
    for s in &plan.segments {
        copies.extend(s.parts.iter().chain(&s.gain).map(|&part| (part, plan.copies(s.home))));
    }
    let values = |(id, copies): (WeightId, u64)| {
        let decl = &plan.weights[id.0 as usize];
        let one: u64 = decl.shape.iter().map(|&n| u64::from(n)).product();
        if Model::is_of_adapter(decl) {
            0
        } else {
            one * copies
        }
    };
    copies.into_iter().map(values).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_testing::qwen3;

    /// Whether the range holds these packed bytes.
    fn holds(range: Section, place: &Range<u64>) -> bool {
        range.offset <= place.start && place.end <= range.offset + range.bytes
    }

    #[test]
    fn a_token_reads_blocks_and_head_but_no_other_row_of_the_embedding() {
        let plan = qwen3::plan("bf16", &[]);
        let found = per_token(&plan);
        let Some(Kernel::Embed(embed)) = plan.prologue.first() else { panic!("the embedding comes first") };
        for (id, segment) in (0..).map(SegmentId).zip(&plan.segments) {
            for place in places(&plan, segment) {
                assert_eq!(holds(found.weights, &place), id != embed.table, "{id} at {place:?}");
            }
        }
        assert_eq!(found.matrix_bytes, plan.bytes_per_token());
        // Rows and columns of qkv, o, gate and up, down; two layers.
        assert_eq!(found.layer_multiply_adds, 2 * (16 * 7 + 7 * 8 + 38 * 7 + 7 * 19));
    }

    #[test]
    fn a_shared_embedding_is_read_as_the_head() {
        let plan = qwen3::plan("bf16", &[qwen3::TIED]);
        let found = per_token(&plan);
        for segment in &plan.segments {
            assert!(places(&plan, segment).iter().all(|place| holds(found.weights, place)), "{segment:?}");
        }
    }

    #[test]
    fn segments_of_layers_are_in_every_record() {
        let plan = qwen3::plan("bf16", &[]);
        let of_layers = plan.segments.iter().filter(|s| s.home.per_layer());
        let mut all: Vec<_> = of_layers.flat_map(|s| places(&plan, s)).collect();
        all.sort_by_key(|place| place.start);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "{all:?}");
        assert!(all[0].start >= plan.layers_offset && all.last().unwrap().end <= plan.weights_bytes);
    }
}
