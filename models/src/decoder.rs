//! The dense decoder that all families are: its tensors and its block, written down as their papers do.
//!
//! In: a config, and what its family adds. Out: the tensor table in the order of model.bin, and the graph.
//! Invariant: nothing is fused here: that is for `qwenc-opt`. The order of the table is part of the format of
//! model.bin, so it stays.

use qwenc_ir::{Graph, NodeId, Op, SectionKind, ShapeError};

use crate::adapter::Beside;
use crate::config::Config;
use crate::error::Result;
use crate::families::{llama, qwen2, qwen3};
use crate::family::Family;
use crate::graph_builder::{GraphBuilder, TypeOf, EMBEDDING, FINAL_NORM, LM_HEAD};
use crate::tensor_spec::TensorSpec;

pub(crate) const Q: &str = "model.layers.*.self_attn.q_proj.weight";
pub(crate) const K: &str = "model.layers.*.self_attn.k_proj.weight";
pub(crate) const V: &str = "model.layers.*.self_attn.v_proj.weight";
pub(crate) const O: &str = "model.layers.*.self_attn.o_proj.weight";
pub(crate) const GATE: &str = "model.layers.*.mlp.gate_proj.weight";
pub(crate) const UP: &str = "model.layers.*.mlp.up_proj.weight";
pub(crate) const DOWN: &str = "model.layers.*.mlp.down_proj.weight";
pub(crate) const Q_BIAS: &str = "model.layers.*.self_attn.q_proj.bias";
pub(crate) const K_BIAS: &str = "model.layers.*.self_attn.k_proj.bias";
pub(crate) const V_BIAS: &str = "model.layers.*.self_attn.v_proj.bias";
pub(crate) const O_BIAS: &str = "model.layers.*.self_attn.o_proj.bias";
pub(crate) const ATTN_NORM: &str = "model.layers.*.input_layernorm.weight";
pub(crate) const FFN_NORM: &str = "model.layers.*.post_attention_layernorm.weight";

/// Names and shapes of the tensors that only one family has, each layer's.
pub(crate) type Own = Vec<(&'static str, Vec<u32>)>;
/// q, k and v, as RoPE and the cache take them: `[T, H·h]`, `[T, K·h]` twice.
pub(crate) type Projected = std::result::Result<[NodeId; 3], ShapeError>;

/// Every tensor of a model, in the order of model.bin; per-layer ones first, each layer's together.
pub(crate) fn tensors(config: &Config) -> Vec<TensorSpec> {
    let d = config.dims;
    let (q, kv) = (d.q_width(), d.kv_width());
    let mut table = vec![
        (Q, vec![q, d.hidden]),
        (K, vec![kv, d.hidden]),
        (V, vec![kv, d.hidden]),
        (O, vec![d.hidden, q]),
        (GATE, vec![d.intermediate, d.hidden]),
        (UP, vec![d.intermediate, d.hidden]),
        (DOWN, vec![d.hidden, d.intermediate]),
        (ATTN_NORM, vec![d.hidden]),
        (FFN_NORM, vec![d.hidden]),
    ];
    table.extend(match config.family {
        Family::Qwen3 => qwen3::own_tensors(config),
        Family::Qwen2 => qwen2::own_tensors(config),
        Family::Llama => Own::new(),
    });
    table.push((EMBEDDING, vec![d.vocab_rows, d.hidden]));
    table.push((FINAL_NORM, vec![d.hidden]));
    if !config.tied {
        table.push((LM_HEAD, vec![d.vocab_rows, d.hidden]));
    }
    table.into_iter().map(|(name, shape)| TensorSpec { name, shape }).collect()
}

/// The graph, with weights of these types and, where there are adapters, those beside them in f32.
pub(crate) fn graph(config: &Config, adapters: Option<&Beside>, type_of: TypeOf) -> Result<Graph> {
    let mut b = GraphBuilder::new(config, &tensors(config), type_of, adapters);
    b.prologue()?;
    for group in 0..b.graph.groups.len() as u32 {
        block(&mut b, config, group)?;
    }
    b.head(config)?;
    Ok(b.graph)
}

fn block(b: &mut GraphBuilder, config: &Config, group: u32) -> Result<()> {
    b.enter(SectionKind::Block(group));
    let x = b.push(Op::Input, &[])?;
    let n = b.rms_norm("attn_norm", x, ATTN_NORM, config.eps)?;
    let [q, k, v] = match config.family {
        Family::Qwen3 => qwen3::project(b, config, n)?,
        Family::Qwen2 => qwen2::project(b, n)?,
        Family::Llama => llama::project(b, n)?,
    };
    let attn = b.attention(q, k, v)?;
    let bias = match config.family {
        Family::Qwen3 => qwen3::output_bias(config),
        Family::Qwen2 | Family::Llama => None,
    };
    let o = b.linear("o_proj", attn, O, bias)?;
    let h = b.push(Op::Add, &[x, o])?;
    let n = b.rms_norm("ffn_norm", h, FFN_NORM, config.eps)?;
    let down = b.swiglu_mlp(n)?;
    let out = b.named("out", Op::Add, &[h, down])?;
    b.result(out);
    Ok(())
}
