//! What a dense Qwen3 is: its tensors and its block, written down as its paper does.
//!
//! In: a config. Out: the tensor table in the order of model.bin, and the graph. Invariant: q and k are
//! normalised per head before RoPE, and there are no biases. Nothing is fused here: that is for
//! `qwenc-opt`. The order of the table is part of the format of model.bin, so it stays.

use qwenc_ir::{DType, Graph, Op, SectionKind};

use crate::config::Config;
use crate::error::Result;
use crate::graph_builder::{GraphBuilder, EMBEDDING, FINAL_NORM, LM_HEAD};
use crate::tensor_spec::TensorSpec;

const Q: &str = "model.layers.*.self_attn.q_proj.weight";
const K: &str = "model.layers.*.self_attn.k_proj.weight";
const V: &str = "model.layers.*.self_attn.v_proj.weight";
const O: &str = "model.layers.*.self_attn.o_proj.weight";
const GATE: &str = "model.layers.*.mlp.gate_proj.weight";
const UP: &str = "model.layers.*.mlp.up_proj.weight";
const DOWN: &str = "model.layers.*.mlp.down_proj.weight";
const ATTN_NORM: &str = "model.layers.*.input_layernorm.weight";
const FFN_NORM: &str = "model.layers.*.post_attention_layernorm.weight";
const Q_NORM: &str = "model.layers.*.self_attn.q_norm.weight";
const K_NORM: &str = "model.layers.*.self_attn.k_norm.weight";

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
        (Q_NORM, vec![d.head_dim]),
        (K_NORM, vec![d.head_dim]),
        (EMBEDDING, vec![d.vocab_rows, d.hidden]),
        (FINAL_NORM, vec![d.hidden]),
    ];
    if !config.tied {
        table.push((LM_HEAD, vec![d.vocab_rows, d.hidden]));
    }
    table.into_iter().map(|(name, shape)| TensorSpec { name, shape }).collect()
}

pub(crate) fn graph(config: &Config, dtype: &dyn Fn(&TensorSpec) -> DType) -> Result<Graph> {
    let mut b = GraphBuilder::new(config, &tensors(config), dtype);
    b.prologue()?;
    block(&mut b, config)?;
    b.head(config)?;
    Ok(b.graph)
}

fn block(b: &mut GraphBuilder, config: &Config) -> Result<()> {
    b.enter(SectionKind::Block);
    let x = b.push(Op::Input, &[])?;
    let n = b.rms_norm("attn_norm", x, ATTN_NORM, config.eps)?;
    let q = b.linear("q_proj", n, Q, None)?;
    let k = b.linear("k_proj", n, K, None)?;
    let v = b.linear("v_proj", n, V, None)?;
    let q = b.head_norm("q_norm", q, Q_NORM, config.eps)?;
    let k = b.head_norm("k_norm", k, K_NORM, config.eps)?;
    let attn = b.attention(q, k, v)?;
    let o = b.linear("o_proj", attn, O, None)?;
    let h = b.push(Op::Add, &[x, o])?;
    let n = b.rms_norm("ffn_norm", h, FFN_NORM, config.eps)?;
    let down = b.swiglu_mlp(n)?;
    let out = b.named("out", Op::Add, &[h, down])?;
    b.result(out);
    Ok(())
}
