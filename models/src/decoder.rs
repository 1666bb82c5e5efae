//! The dense decoder that all families are: its block, written down as their papers do.
//!
//! In: a config, and what its family adds. Out: the graph. Invariant: nothing is fused here: that is for `qwenc-opt`.

use qwenc_ir::{Graph, Op, SectionKind};

use crate::config::Config;
use crate::error::Result;
use crate::families::{llama, qwen2, qwen3};
use crate::family::Family;
use crate::graph_builder::{GraphBuilder, TypeOf};
use crate::runtime_lora::RuntimeLora;
use crate::tensor_names::{ATTN_NORM, FFN_NORM, O};
use crate::tensor_order::tensors;

/// The graph, with weights of these types and, where there are runtime adapters, their matrices in f32.
pub(crate) fn graph(config: &Config, adapters: Option<&RuntimeLora>, type_of: TypeOf) -> Result<Graph> {
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
