//! Names of tensors in checkpoints of transformers; `*` stands for the layer.
//!
//! In: nothing. Out: names. Invariant: names of model.bin are these, so they stay.

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
/// The embedding's name in a checkpoint, `[V, D]`.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The last norm's, `[D]`.
pub(crate) const FINAL_NORM: &str = "model.norm.weight";
/// The output matrix's where it is not the embedding, `[V, D]`.
pub(crate) const LM_HEAD: &str = "lm_head.weight";
