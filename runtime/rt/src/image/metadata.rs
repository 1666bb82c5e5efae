//! The JSON object at the end of a weights image: what the model is and how it wants to be used.
//!
//! In: bytes of the image. Out: `Metadata`. Invariant: unknown keys are ignored and missing optional
//! ones have neutral values, so that old executables read new images' metadata and vice versa. The writer
//! is `compiler/qwenc/src/metadata.rs`, the format docs/model-bin.md: a key changes in all three.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::image::sampling::Defaults;

/// Everything that an executable knows about its model beyond the code.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Sizes and names.
    pub model: Model,
    /// Jinja source of the checkpoint's chat template.
    pub chat_template: Option<String>,
    /// Jinja sources of further templates, by name: `tool_use` is for conversations with tools.
    pub named_chat_templates: BTreeMap<String, String>,
    /// The texts of the tokens that begin and end a sequence, where the template names them.
    pub bos_token: Option<String>,
    /// See `bos_token`.
    pub eos_token: Option<String>,
    /// Sampling defaults; flags and requests override them.
    pub sampling: Defaults,
    /// Ids that end an answer: the union of config and generation_config.
    pub stop_tokens: Vec<u32>,
    /// Names of the adapters that a sequence may have; the first is number 1.
    pub adapters: Vec<String>,
    /// The KV cache to use: `f32`, `bf16` or `int8`; without it the default.
    pub kv_type: Option<String>,
    /// The KV cache for such weights where nothing else says.
    pub default_kv_type: Option<String>,
    /// What the compiler expects of the machine that it compiled for.
    pub predicted: Option<Predicted>,
    /// Where a step leaves activations; none if it does not say.
    pub activations: Option<Vec<Activation>>,
    /// What the code was compiled for.
    pub target: Target,
    /// Where the model came from; shown, never interpreted.
    pub source: Value,
}

/// Sizes and names of the model; zero or empty when unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the names are those of docs/model-bin.md
pub struct Model {
    pub name: String,
    pub architecture: String,
    pub layers: u64,
    pub hidden: u64,
    pub intermediate: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub vocab_rows: u64,
    pub context: u64,
    pub weight_type: String,
    pub group_size: u64,
    pub inputs: String,
    pub parameters: u64,
    pub tied: bool,
    pub rms_eps: f64,
    pub rope_theta: f64,
}

/// What the compiler expects; zero when unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Predicted {
    /// Bytes that decode reads per token when the context is empty.
    pub decode_bytes: u64,
    /// Operations of decode per token.
    pub decode_ops: u64,
    /// Operations of prefill per token.
    pub prefill_ops_per_token: u64,
    /// Tokens per second.
    pub decode_tok_s: f64,
    /// Tokens per second.
    pub prefill_tok_s: f64,
    /// What it takes the machine to be.
    pub machine: String,
}

/// A named activation in scratch memory, after one kernel.
#[derive(Clone, Debug, Deserialize)]
pub struct Activation {
    /// As transformers' modules are called: `q_proj`.
    pub name: String,
    /// The number of the kernel.
    pub kernel: u64,
    /// Layers that the kernel is run for, each of which has one; none where it is run once.
    pub layers: Option<Vec<u64>>,
    /// Of its buffer, in bytes for each row of the largest step.
    pub offset: u64,
    /// From one row to the next.
    pub row_bytes: u64,
    /// First column.
    pub first: u64,
    /// Columns.
    pub columns: u64,
}

/// What the code was compiled for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Target {
    /// As `--cpu` named it.
    pub cpu: String,
    /// As LLVM names the features.
    pub features: String,
}

impl Metadata {
    /// Whether an answer to this rendered prompt begins with thinking: the prompt opens it, or leaves it to the model
    /// where the template knows how to ask for it.
    pub fn thinks(&self, prompt: &str) -> bool {
        let end = prompt.trim_end();
        let asks = self.chat_template.as_ref().is_some_and(|source| source.contains("enable_thinking"));
        end.ends_with("<think>") || asks && !end.ends_with("</think>")
    }

    /// The number of an adapter, from 1.
    pub fn adapter(&self, name: &str) -> Option<u32> {
        self.adapters.iter().position(|other| other == name).map(|at| at as u32 + 1)
    }

    /// For people.
    pub fn adapter_names(&self) -> String {
        if self.adapters.is_empty() {
            return "none; compile with --lora-runtime".to_owned();
        }
        self.adapters.join(", ")
    }

    /// Reads the metadata section of an image.
    pub fn parse(bytes: &[u8]) -> Result<Metadata> {
        serde_json::from_slice(bytes).map_err(Error::Metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_opened_or_left_to_the_model() {
        let with = |source: &str| Metadata { chat_template: Some(source.into()), ..Metadata::default() };
        let (asks, silent) = (with("{% if enable_thinking is false %}"), with("{{ '<think>' in content }}"));
        for (prompt, expected) in [
            ("a<|im_start|>assistant\n", [true, false]),
            ("assistant\n<think>\n", [true, true]),
            ("assistant\n<think>\n\n</think>\n\n", [false, false]),
        ] {
            assert_eq!([asks.thinks(prompt), silent.thinks(prompt)], expected, "{prompt:?}");
        }
        assert!(!Metadata::default().thinks("once"));
    }

    #[test]
    fn optional_and_unknown_keys() {
        let m = Metadata::parse(b"{}").unwrap();
        assert!(m.chat_template.is_none() && m.stop_tokens.is_empty());
        let m = Metadata::parse(
            br#"{"model": {"name": "nano", "layers": 4, "new": 1}, "chat_template": null, "stop_tokens": [1, 2],
                 "sampling": {"temperature": 0.6, "top_k": 20, "later": [1]}, "later": []}"#,
        )
        .unwrap();
        assert_eq!((m.model.name.as_str(), m.model.layers), ("nano", 4));
        assert_eq!(m.sampling.top_k, 20);
        assert!(Metadata::parse(b"[").unwrap_err().to_string().contains("compile again"));
    }
}
