//! The JSON object in a weights image: what the model is and how it wants to be used.
//!
//! In: what the compiler knows of a model (`compiler/qwenc/src/metadata.rs`). Out: the same in the runtime. Invariant:
//! the keys are the fields' names and stand here alone; unknown keys are ignored and missing ones have neutral values.
//! docs/model-bin.md describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Section;

/// Facts about a model beyond its code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Sizes and names.
    pub model: ModelMetadata,
    /// Jinja source of the checkpoint's chat template.
    pub chat_template: Option<String>,
    /// Jinja sources of further templates, by name: `tool_use` is for conversations with tools.
    pub named_chat_templates: BTreeMap<String, String>,
    /// Text of the token that begins a sequence, where the template names it.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence, where the template names it.
    pub eos_token: Option<String>,
    /// Sampling defaults; flags and requests override them.
    pub sampling: SamplingDefaults,
    /// Ids that end an answer: the union of config and generation_config.
    pub stop_tokens: Vec<u32>,
    /// Names of the adapters that a sequence may have; the first is number 1.
    pub adapters: Vec<String>,
    /// Element type of the KV cache that was asked for, by its [`crate::KvType::name`].
    pub kv_type: Option<String>,
    /// Element type of the KV cache for such weights, by its [`crate::KvType::name`], where nothing else says.
    pub default_kv_type: Option<String>,
    /// Weights that a token reads and multiplies.
    pub per_token: Option<PerToken>,
    /// Predictions for the machine that the code was compiled for, for people.
    pub predicted: Option<Predicted>,
    /// Activations in scratch memory; none if they cannot be read.
    pub activations: Option<Vec<Activation>>,
    /// Machine that the code was compiled for.
    pub target: Target,
    /// Origin of the model; shown, never interpreted.
    pub source: Option<Source>,
}

impl Metadata {
    /// The adapter's number as [`crate::Row::adapter`] has it, from 1.
    pub fn adapter(&self, name: &str) -> Option<u32> {
        self.adapters.iter().position(|other| other == name).map(|at| at as u32 + 1)
    }
}

/// Sizes and names of the model; zero or empty when unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the names are those of docs/model-bin.md
pub struct ModelMetadata {
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
    /// In the order of their first use in a layer.
    pub inputs: Vec<InputForm>,
    pub parameters: u64,
    pub tied: bool,
    pub rms_eps: f64,
    pub rope_theta: f64,
}

/// Form in which inputs meet a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputForm {
    /// Inputs as computed.
    F32,
    /// Inputs rounded to bf16.
    Bf16,
    /// Inputs as one plane of int8.
    Int8,
    /// Inputs as two planes of int8.
    Int16,
}

impl InputForm {
    /// Spelling of the form in metadata and for people.
    pub fn name(self) -> &'static str {
        match self {
            InputForm::F32 => "f32",
            InputForm::Bf16 => "bf16",
            InputForm::Int8 => "int8",
            InputForm::Int16 => "int16",
        }
    }
}

/// Sampling defaults: values for every answer that asks for no others; neutral where absent, so that an image without
/// them is greedy and changes no logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingDefaults {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0: all.
    pub top_k: u32,
    /// Keep the likeliest tokens that together have this probability; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this likely, relative to the likeliest; 0: all.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens of prompt and answer; 1: changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logit of a token that the answer holds.
    pub presence_penalty: f32,
    /// The same, as many times as the answer holds the token.
    pub frequency_penalty: f32,
    /// Tokens that are never chosen.
    pub suppress_tokens: Vec<u32>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Most tokens of an answer; none: the command decides.
    pub max_tokens: Option<usize>,
    /// Other values for answers without thinking, if the family's maker recommends them.
    pub without_thinking: Option<WithoutThinking>,
    /// Source of each value, by its key.
    pub origins: BTreeMap<String, String>,
}

/// Temperature and top-p of answers without thinking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are those of [`SamplingDefaults`]
pub struct WithoutThinking {
    pub temperature: f32,
    pub top_p: f32,
}

impl Default for SamplingDefaults {
    fn default() -> SamplingDefaults {
        SamplingDefaults {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            suppress_tokens: Vec::new(),
            stop: Vec::new(),
            max_tokens: None,
            without_thinking: None,
            origins: BTreeMap::new(),
        }
    }
}

/// Packed weights that blocks and head read and multiply for a token; facts of the plan on any machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerToken {
    /// Range of the packed weights that holds all that a token reads but its row of the embedding.
    pub weights: Section,
    /// Bytes of matrices in that range, what lies between them not counted.
    pub matrix_bytes: u64,
    /// Multiplications, each with an addition, with the matrices of all layers.
    pub layer_multiply_adds: u64,
}

/// Predictions of the compiler's table of machines; zero when unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Predicted {
    /// Bytes of matrices that decode reads per token.
    pub decode_bytes: u64,
    /// Operations of decode per token.
    pub decode_ops: u64,
    /// Operations of prefill per token.
    pub prefill_ops_per_token: u64,
    /// Tokens per second.
    pub decode_tok_s: f64,
    /// Tokens per second.
    pub prefill_tok_s: f64,
    /// Machine of the table, in words.
    pub machine: String,
}

/// A named activation in scratch memory, after one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Name of the module of transformers that computes it: `q_proj`.
    pub name: String,
    /// The number of the kernel.
    pub kernel: u64,
    /// Layers that the kernel is run for, each of which has one; none where it is run once.
    pub layers: Option<Vec<u64>>,
    /// Offset of its buffer, in bytes for each row of the largest step.
    pub offset: u64,
    /// From one row to the next.
    pub row_bytes: u64,
    /// First column.
    pub first: u64,
    /// Columns.
    pub columns: u64,
}

/// Machine that the code was compiled for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Name given to `--cpu`; `cuda` for GPUs.
    pub cpu: String,
    /// Features as LLVM names them, or architectures of GPUs, comma-separated.
    pub features: String,
}

/// Origin of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// JSON object of the checkpoint's files and their SHA-256.
    pub files: Option<String>,
    /// Program that converted the weights: the one that wrote the model.bin, or the compiler.
    pub exporter: Option<String>,
    /// Program that made the image.
    pub compiler: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    /// Keys of the object that are null or absent are the same.
    #[test]
    fn an_empty_object_is_neutral() {
        let read = |text: &str| serde_json::from_str::<Metadata>(text).unwrap();
        let none = read("{}");
        assert_eq!(none.sampling, SamplingDefaults::default());
        assert_eq!((none.model, none.per_token, none.source), (ModelMetadata::default(), None, None));
        let null = read(r#"{"kv_type": null, "per_token": null, "activations": null, "later": 1}"#);
        assert!(null.kv_type.is_none() && null.per_token.is_none() && null.activations.is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let written = json!({
            "model": {"name": "nano", "layers": 4, "inputs": ["bf16", "int16"], "rms_eps": 1e-6},
            "sampling": {"temperature": 0.6, "without_thinking": {"temperature": 0.7, "top_p": 0.8}},
            "adapters": ["one", "two"],
            "per_token": {"weights": {"offset": 64, "bytes": 128}, "matrix_bytes": 100, "layer_multiply_adds": 7},
            "activations": [{"name": "q_proj", "kernel": 1, "layers": [0, 2], "offset": 3, "row_bytes": 4,
                "first": 5, "columns": 6}],
        });
        let read: Metadata = serde_json::from_value(written).unwrap();
        let text = serde_json::to_string(&read).unwrap();
        assert!(text.contains(r#""temperature":0.6,"#) && text.contains(r#""rms_eps":1e-6,"#), "{text}");
        let again: Metadata = serde_json::from_str(&text).unwrap();
        assert_eq!((&again.model, &again.sampling), (&read.model, &read.sampling));
        assert_eq!((again.per_token, &again.activations), (read.per_token, &read.activations));
        assert_eq!(read.per_token.map(|p| p.weights), Some(Section { offset: 64, bytes: 128 }));
        assert_eq!(["two", "none"].map(|name| read.adapter(name)), [Some(2), None]);
    }

    #[test]
    fn forms_of_inputs_are_spelled_alike_everywhere() {
        for form in [InputForm::F32, InputForm::Bf16, InputForm::Int8, InputForm::Int16] {
            assert_eq!(serde_json::to_value(form).unwrap(), Value::from(form.name()));
        }
    }
}
