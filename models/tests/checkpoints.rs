//! Checkpoint folders: shards, types, tying, and the words for what is wrong.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::BTreeMap;
use std::path::Path;

use fixtures::*;
use half::{bf16, f16};
use qwenc_formats::DType;
use qwenc_ir::interp::Precision;
use qwenc_models::{Checkpoint, Inspection, Quant};

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const Q0: &str = "model.layers.0.self_attn.q_proj.weight";

fn payload_after_header(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[256..264].try_into().unwrap()) as usize;
    bytes[264 + header..].to_vec()
}

/// The refusal's words, without the folder's name.
fn refusal(dir: &Path) -> String {
    let message = Checkpoint::open(dir).err().unwrap().to_string();
    let inspection = Inspection::of(dir).unwrap();
    assert!(!inspection.problems.is_empty(), "inspect finds nothing wrong, open says {message}");
    message.replace(&dir.display().to_string(), "DIR")
}

/// Splits a checkpoint into two files and an index.
fn sharded(config: &str, tensors: &BTreeMap<String, Raw>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let mut map = serde_json::Map::new();
    for (i, name) in
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].iter().enumerate()
    {
        let part: BTreeMap<_, _> = tensors
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 2 == i)
            .map(|(_, (k, v))| (k.clone(), v.clone()))
            .collect();
        std::fs::write(dir.path().join(name), image(&part)).unwrap();
        map.extend(part.keys().map(|k| (k.clone(), (*name).into())));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    dir
}

#[test]
fn shards_export_the_same_tensors() {
    let (config, tensors) = parts("qwen3-untied-mha");
    let dir = sharded(&config, &tensors);
    for quant in [None, Some(Quant::I8 { group: 64 })] {
        let (_a, whole) = exported(&Checkpoint::open(&folder("qwen3-untied-mha")).unwrap(), quant);
        let (_b, split) = exported(&Checkpoint::open(dir.path()).unwrap(), quant);
        assert_eq!(payload_after_header(&whole), payload_after_header(&split));
    }
}

#[test]
fn broken_shards_are_named() {
    let (config, tensors) = parts("qwen3-tied");
    let dir = sharded(&config, &tensors);
    let second = dir.path().join("model-00002-of-00002.safetensors");
    let bytes = std::fs::read(&second).unwrap();
    std::fs::remove_file(&second).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/model-00002-of-00002.safetensors: not found, but DIR/model.safetensors.index.json says that it holds 12 \
         tensors; fetch the missing shard"
    );
    std::fs::write(&second, image(&BTreeMap::new())).unwrap();
    assert!(refusal(dir.path()).contains("is not there, but DIR/model.safetensors.index.json says so"));
    std::fs::write(&second, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refusal(dir.path())
        .starts_with("DIR/model-00002-of-00002.safetensors: not a valid safetensors image: data: expected"));
    std::fs::write(&second, std::fs::read(dir.path().join("model-00001-of-00002.safetensors")).unwrap())
        .unwrap();
    assert!(refusal(dir.path())
        .contains("found in both model-00001-of-00002.safetensors and model-00002-of-00002.safetensors"));
    for name in ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "", "..", "model.bin"] {
        let index = serde_json::json!({"weight_map": {"x": name}});
        std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        assert!(refusal(dir.path()).contains(&format!("shard name {name:?}: expected a plain file name")));
    }
}

#[test]
fn a_folder_without_weights_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), parts("qwen3-tied").0).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR: expected model.safetensors or model.safetensors.index.json, found neither; give the folder of a Hugging \
         Face checkpoint"
    );
    std::fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    assert!(refusal(dir.path()).ends_with("pytorch_model.bin is not read: save the model as safetensors"));
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(refusal(dir.path()).starts_with("DIR: expected config.json, found none; give the folder"));
}

/// bf16 -> f32 and bf16 -> f16 -> f32 of these weights are exact, so the runs must agree to the bit.
#[test]
fn f32_and_f16_checkpoints_run_and_export() {
    let (config, tensors) = parts("qwen3-tied");
    let golden = golden(&folder("qwen3-tied").join("golden.safetensors"));
    let wide = write_checkpoint(&config, &converted(&tensors, "F32", |v| v.to_le_bytes().to_vec()));
    let half =
        write_checkpoint(&config, &converted(&tensors, "F16", |v| f16::from_f32(v).to_le_bytes().to_vec()));
    for (dir, dtype) in [(&wide, DType::F32), (&half, DType::F16)] {
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let graph = checkpoint.graph().unwrap();
        assert!(graph.weights.iter().all(|w| w.dtype == dtype));
        let seen = run(graph, &checkpoint, Precision::F32, &golden.tokens);
        let file = exported_file(&checkpoint, None);
        let kept = dtype.operand().map_or(DType::F32, |_| dtype);
        assert_eq!(file.weight_types().to_string(), kept.to_string());
        let again = run(file.graph().unwrap(), &file, Precision::F32, &golden.tokens);
        assert_eq!(seen["logits"], again["logits"], "{dtype}");
        assert!(relative(&seen["logits"].data, &golden.values["logits"]) < 2e-3, "{dtype}");
    }
    // f32 -> bf16 gives back the bits that the f32 came from.
    let original = exported(&Checkpoint::open(&folder("qwen3-tied")).unwrap(), Some(Quant::Bf16));
    let rounded = exported(&Checkpoint::open(wide.path()).unwrap(), Some(Quant::Bf16));
    assert_eq!(payload_after_header(&original.1), payload_after_header(&rounded.1));
}

#[test]
fn layers_of_different_types_are_widened() {
    let (config, mut tensors) = parts("qwen3-tied");
    let wide = converted(&tensors, "F32", |v| v.to_le_bytes().to_vec());
    tensors.insert(Q0.to_string(), wide[Q0].clone());
    let dir = write_checkpoint(&config, &tensors);
    let mixed = Checkpoint::open(dir.path()).unwrap();
    let plain = Checkpoint::open(&folder("qwen3-tied")).unwrap();
    let logits = |c: &Checkpoint| run(c.graph().unwrap(), c, Precision::F32, &[1, 2, 3])["logits"].clone();
    assert_eq!(logits(&mixed), logits(&plain));
    assert_eq!(exported_file(&mixed, None).weight_types().to_string(), "bf16 (14 matrices), f32 (1)");
}

#[test]
fn tensors_must_be_those_of_the_config() {
    let (config, tensors) = parts("qwen3-tied");
    let changed = |change: &dyn Fn(&mut BTreeMap<String, Raw>)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        refusal(write_checkpoint(&config, &tensors).path())
    };
    assert_eq!(
        changed(&|t| drop(t.remove(Q0))),
        "DIR: tensor model.layers.0.self_attn.q_proj.weight: expected [128, 64], found no such tensor; do config.json \
         and weights belong together?"
    );
    assert_eq!(
        changed(&|t| t.get_mut(Q0).unwrap().shape = vec![64, 128]),
        "DIR: tensor model.layers.0.self_attn.q_proj.weight: expected [128, 64], found bf16[64, 128]; do config.json \
         and weights belong together?"
    );
    assert_eq!(
        changed(&|t| t.get_mut(Q0).unwrap().dtype = "I16".to_string()),
        "DIR: tensor model.layers.0.self_attn.q_proj.weight: expected f32, f16 or bf16, found i16[128, 64]; do \
         config.json and weights belong together?"
    );
    let bias = "model.layers.0.self_attn.q_proj.bias";
    let extra = Raw { dtype: "BF16".to_string(), shape: vec![128], data: vec![0; 256] };
    assert_eq!(
        changed(&|t| drop(t.insert(bias.to_string(), extra.clone()))),
        "DIR: tensor model.layers.0.self_attn.q_proj.bias bf16[128]: no Qwen3ForCausalLM model of this config.json has \
         it; do config.json and weights belong together?"
    );
    let untied = config.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_eq!(
        refusal(write_checkpoint(&untied, &tensors).path()),
        "DIR: tensor lm_head.weight: expected [320, 64], found no such tensor; if this model has no output matrix of \
         its own, tie_word_embeddings must be true"
    );
}

#[test]
fn a_tied_head_must_be_a_copy() {
    let (config, mut tensors) = parts("qwen3-tied");
    let copy = tensors[EMBEDDING].clone();
    tensors.insert(HEAD.to_string(), copy.clone());
    let dir = write_checkpoint(&config, &tensors);
    let (_a, with_copy) = exported(&Checkpoint::open(dir.path()).unwrap(), None);
    let (_b, without) = exported(&Checkpoint::open(&folder("qwen3-tied")).unwrap(), None);
    assert_eq!(payload_after_header(&with_copy), payload_after_header(&without));

    let mut other = copy;
    other.data[10..12].copy_from_slice(&bf16::from_f32(3.0).to_le_bytes());
    let was = bf16::from_le_bytes([tensors[EMBEDDING].data[10], tensors[EMBEDDING].data[11]]);
    tensors.insert(HEAD.to_string(), other);
    assert_eq!(
        refusal(write_checkpoint(&config, &tensors).path()),
        format!(
            "DIR: config.json says tie_word_embeddings = true, but lm_head.weight (bf16[320, 64], element 5 = 3) is \
             not model.embed_tokens.weight (bf16[320, 64], element 5 = {was}); set tie_word_embeddings to false, or \
             remove lm_head.weight"
        )
    );
}

#[test]
fn numbers_that_are_not_finite_are_not_rounded() {
    let (config, mut tensors) = parts("qwen3-tied");
    let bytes = bf16::NEG_INFINITY.to_le_bytes();
    tensors.get_mut(Q0).unwrap().data[2 * 64 * 2 + 6..][..2].copy_from_slice(&bytes);
    let dir = write_checkpoint(&config, &tensors);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let out = dir.path().join("model.bin");
    let result = qwenc_models::export(&checkpoint, &out, Some(Quant::I8 { group: 64 }), &mut |_, _| {});
    assert_eq!(
        result.unwrap_err().to_string(),
        format!(
            "{}: tensor model.layers.0.self_attn.q_proj.weight: expected finite numbers, found -inf in row 2; fetch or \
             write the file again",
            dir.path().display()
        )
    );
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the temporary file must be gone: {left:?}");
    assert!(Inspection::of(dir.path())
        .unwrap()
        .problems
        .iter()
        .any(|p| p.contains("found 1 NaN or infinite")));
}

#[test]
fn an_absent_head_dim_is_that_of_the_stored_q_norm() {
    let (config, tensors) = parts("qwen3-tied");
    let mut changed: serde_json::Value = serde_json::from_str(&config).unwrap();
    let fields = changed.as_object_mut().unwrap();
    let given = fields.remove("head_dim").unwrap();
    let (hidden, heads) = (fields["hidden_size"].as_u64(), fields["num_attention_heads"].as_u64());
    assert_ne!(given.as_u64(), hidden.zip(heads).map(|(d, h)| d / h), "the case tells the two apart");
    let dir = write_checkpoint(&changed.to_string(), &tensors);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(Some(u64::from(checkpoint.config().dims.head_dim)), given.as_u64());
    // The exported file says it too.
    assert_eq!(exported_file(&checkpoint, None).config().dims, checkpoint.config().dims);
}

#[test]
fn a_weight_that_is_no_number_is_refused_whatever_the_type() {
    let (config, mut tensors) = parts("qwen3-tied");
    let weight = tensors.get_mut(Q0).unwrap();
    weight.data[..2].copy_from_slice(&bf16::NAN.to_le_bytes());
    let dir = write_checkpoint(&config, &tensors);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    for quant in [Quant::F32, Quant::Bf16, Quant::I8 { group: 64 }] {
        let out = dir.path().join("model.bin");
        let error = qwenc_models::export(&checkpoint, &out, Some(quant), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains(Q0), "{quant}: {error}");
        assert!(!out.exists(), "{quant}");
    }
}

/// A config of one family beside the tensors of another: the message shows both.
#[test]
fn a_config_of_another_family_is_refused() {
    let of = |config: &str, tensors: &str| {
        let mut fields: serde_json::Value = serde_json::from_str(&parts(tensors).0).unwrap();
        let other: serde_json::Value = serde_json::from_str(&parts(config).0).unwrap();
        for key in ["architectures", "model_type"] {
            fields[key] = other[key].clone();
        }
        refusal(write_checkpoint(&fields.to_string(), &parts(tensors).1).path())
    };
    let end = "; do config.json and weights belong together?";
    assert_eq!(
        of("llama3-rope", "qwen2-bias").replace("parameters.", ""),
        format!(
            "DIR: config.json says LlamaForCausalLM, but the tensors are those of Qwen2ForCausalLM, with \
             model.layers.0.self_attn.q_proj.bias and no q_norm{end}"
        )
    );
    let says = |message: String, config: &str, tensors: &str| {
        assert!(
            message.contains(&format!("says {config}, but the tensors are those of {tensors}")),
            "{message}"
        );
    };
    says(of("qwen3-tied", "qwen2-bias"), "Qwen3ForCausalLM", "Qwen2ForCausalLM");
    says(of("qwen2-bias", "qwen3-tied"), "Qwen2ForCausalLM", "Qwen3ForCausalLM");
    says(of("qwen3-tied", "llama3-rope"), "Qwen3ForCausalLM", "LlamaForCausalLM");
    says(of("qwen2-bias", "llama3-rope"), "Qwen2ForCausalLM", "LlamaForCausalLM");
    let (config, mut tensors) = parts("qwen3-tied");
    let up = tensors.remove("model.layers.1.mlp.up_proj.weight").unwrap();
    tensors.insert("model.layers.1.mlp.experts.0.up_proj.weight".to_string(), up);
    let message = refusal(write_checkpoint(&config, &tensors).path());
    assert!(
        message.contains("but the tensors are a mixture of experts, with model.layers.1.mlp.experts.0"),
        "{message}"
    );
}

/// Templates may name the tokens of a text's beginning and end; tokenizer_config.json has them as texts or objects.
#[test]
fn tokens_that_a_template_names_come_with_it() {
    let (config, tensors) = parts("llama3-rope");
    let dir = write_checkpoint(&config, &tensors);
    let write = |tokenizer_config: serde_json::Value| {
        std::fs::write(dir.path().join("tokenizer_config.json"), tokenizer_config.to_string()).unwrap();
    };
    let template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    let eos = serde_json::json!({"content": "</s>", "lstrip": false});
    write(serde_json::json!({"chat_template": template, "bos_token": "<s>", "eos_token": eos}));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let file = exported_file(&checkpoint, None);
    assert_eq!(
        (checkpoint.side_files().bos_token.as_deref(), checkpoint.side_files().eos_token.as_deref()),
        (Some("<s>"), Some("</s>"))
    );
    assert_eq!(
        (file.side_files().bos_token.as_deref(), file.side_files().eos_token.as_deref()),
        (Some("<s>"), Some("</s>"))
    );
    write(serde_json::json!({"chat_template": "{{ messages }}", "bos_token": "<s>"}));
    assert_eq!(exported_file(&Checkpoint::open(dir.path()).unwrap(), None).side_files().bos_token, None);
    write(serde_json::json!({"chat_template": template, "bos_token": null, "eos_token": 2}));
    assert_eq!(
        refusal(dir.path()),
        "DIR/tokenizer_config.json: eos_token: expected a string, or an object with content, found 2; correct the file"
    );
}
