//! Files larger than what is read of them: headers are enough to inspect one, and a disk without room is known beforehand.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;
use std::path::Path;
use std::time::Duration;

use fixtures::*;
use qwenc_models::{export, Checkpoint, Hints, Inspection, Look, Quant};

/// A GGUF file of 4.7 GB, all of its tensor data a hole: only what is read of it takes time or memory.
fn large(path: &Path, (layers, mlp): (u64, u64), change: impl Fn(&mut fixtures::gguf::Gguf)) -> u64 {
    use fixtures::gguf::{own_name, Gguf, Value, F32, Q4_K, Q6_K};
    let mut file = Gguf::default();
    for (key, value) in
        [("block_count", layers as u32), ("embedding_length", 4096), ("feed_forward_length", mlp as u32)]
    {
        file.set(&format!("qwen3.{key}"), Value::U32(value));
    }
    for (key, value) in [("head_count", 32), ("head_count_kv", 8), ("key_length", 128), ("value_length", 128)]
    {
        file.set(&format!("qwen3.attention.{key}"), Value::U32(value));
    }
    file.set("qwen3.context_length", Value::U32(40_960));
    file.set("qwen3.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    file.set("general.architecture", Value::Text("qwen3".into()));
    let mut sizes = Vec::new();
    let mut add = |name: &str, axes: &[u64], kind: u32| {
        file.add(&own_name(name), axes, kind, Vec::new());
        let values: u64 = axes.iter().product();
        sizes.push(match kind {
            Q4_K => values / 256 * 144,
            Q6_K => values / 256 * 210,
            _ => values * 4,
        });
    };
    add("model.embed_tokens.weight", &[4096, 151_936], Q4_K);
    for layer in 0..layers {
        for (part, axes, kind) in [
            ("input_layernorm", &[4096][..], F32),
            ("self_attn.q_proj", &[4096, 4096], Q4_K),
            ("self_attn.k_proj", &[4096, 1024], Q4_K),
            ("self_attn.v_proj", &[4096, 1024], Q6_K),
            ("self_attn.o_proj", &[4096, 4096], Q4_K),
            ("self_attn.q_norm", &[128], F32),
            ("self_attn.k_norm", &[128], F32),
            ("post_attention_layernorm", &[4096], F32),
            ("mlp.gate_proj", &[4096, mlp], Q4_K),
            ("mlp.up_proj", &[4096, mlp], Q4_K),
            ("mlp.down_proj", &[mlp, 4096], Q6_K),
        ] {
            add(&format!("model.layers.{layer}.{part}.weight"), axes, kind);
        }
    }
    add("model.norm.weight", &[4096], F32);
    add("lm_head.weight", &[4096, 151_936], Q6_K);
    change(&mut file);
    let header = file.listing(&sizes);
    let length = (header.len() as u64).next_multiple_of(32) + sizes.iter().sum::<u64>();
    fs::write(path, header).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    length
}

#[test]
fn a_large_file_is_inspected_by_its_headers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let length = large(&path, (36, 12_288), |_| {});
    assert!((4_500_000_000..5_500_000_000).contains(&length), "{length}");
    let started = std::time::Instant::now();
    let found = Inspection::of_with(&path, Hints::default(), Look::Headers).unwrap();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert_eq!((found.problems, found.file_bytes), (vec![], length));
    let types: Vec<_> = found.types.iter().map(|t| (t.dtype.as_str(), t.tensors)).collect();
    assert_eq!(types, [("Q4_K", 181), ("Q6_K", 73), ("F32", 145)]);
    let q6 = 36 * (4096 * 1024 + 12_288 * 4096) / 256 * 210 + 4096 * 151_936 / 256 * 210;
    assert_eq!(found.types[1].bytes, q6);
    let embedding = &found.tensors[0];
    let shown = (embedding.name.as_str(), embedding.dtype.as_str(), embedding.max_abs);
    assert_eq!(shown, ("token_embd.weight", "Q4_K", None));
    assert_eq!((&embedding.shape[..], embedding.bytes), (&[151_936, 4096][..], 4096 * 151_936 / 256 * 144));
    let fact = |name: &str| found.model.iter().find(|f| f.name == name).map(|f| f.value.as_str());
    assert_eq!(["architecture", "layers", "tokenizer"].map(fact), [Some("qwen3"), Some("36"), Some("none")]);
}

#[test]
fn what_a_refused_file_says_is_told_first() {
    use fixtures::gguf::Value;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let look = |change: &dyn Fn(&mut fixtures::gguf::Gguf)| {
        large(&path, (2, 12_288), change);
        Inspection::of_with(&path, Hints::default(), Look::Headers).unwrap()
    };
    let fact = |found: &Inspection, name: &str| {
        found.model.iter().find(|f| f.name == name).map(|f| f.value.clone()).unwrap_or_default()
    };
    let other = look(&|f| {
        f.set("general.architecture", Value::Text("mamba".into()));
        f.set("mamba.block_count", Value::U32(64));
        f.set("tokenizer.ggml.model", Value::Text("gpt2".into()));
        f.set("tokenizer.ggml.pre", Value::Text("olmo".into()));
        f.set("tokenizer.ggml.tokens", Value::Texts(vec!["a".into(), "b".into()]));
    });
    assert_eq!(
        ["architecture", "layers", "tokenizer"].map(|name| fact(&other, name)),
        ["mamba", "64", "gpt2, olmo, 2 tokens"]
    );
    assert_eq!((other.tensors.len(), other.types.len(), other.problems.len()), (25, 3, 1));
    // A type that is not read, and one that there is not.
    for (kind, name) in [(10, "Q2_K"), (99, "type 99")] {
        let found = look(&|f| f.tensors[1].2 = kind);
        assert_eq!((found.tensors.len(), fact(&found, "layers")), (25, "2".to_string()));
        assert!(found.types.iter().any(|t| t.dtype == name && t.tensors == 1), "{:?}", found.types);
        assert!(found.problems[0].contains(&format!("of type {kind}")), "{:?}", found.problems);
    }
    // A folder: an architecture that is not read, a type that is not read, tensors that are missing.
    let dir = copied();
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let other = config.replace("Qwen3ForCausalLM", "MambaForCausalLM").replace("\"qwen3\"", "\"mamba\"");
    fs::write(dir.path().join("config.json"), other).unwrap();
    let found = Inspection::of_with(dir.path(), Hints::default(), Look::Headers).unwrap();
    assert_eq!(
        ["architecture", "layers", "tokenizer"].map(|name| fact(&found, name)),
        ["MambaForCausalLM", "2", "BPE, 1 tokens and 0 added ones"]
    );
    assert!(!found.tensors.is_empty() && found.problems.len() == 1 && found.problems[0].contains("mamba"));
    fs::write(dir.path().join("config.json"), config).unwrap();
    with_header(dir.path(), |header| header.replacen("model.norm.weight", "model.norm.weigh", 1));
    let found = Inspection::of_with(dir.path(), Hints::default(), Look::Headers).unwrap();
    assert!(found.problems.iter().any(|p| p.contains("model.norm.weight")), "{:?}", found.problems);
    assert!(!found.types.is_empty() && fact(&found, "layers") == "2");
}

/// A model so large that no result of it fits: refused before a byte is written.
#[test]
fn a_full_disk_is_known_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("m.gguf"), dir.path().join("model.bin"));
    let free = qwenc_files::available(dir.path()).unwrap();
    // A layer has 3 · 4096 · 2^20 values in its MLP, of 4 bytes each in f32.
    let layers = free / (3 * 4096 * (1 << 20) * 4) + 1;
    large(&path, (layers, 1 << 20), |_| {});
    let checkpoint = Checkpoint::open(&path).unwrap();
    let done = std::cell::Cell::new(0);
    let said =
        export(&checkpoint, &out, Some(Quant::F32), &mut |bytes, _| done.set(bytes)).unwrap_err().to_string();
    let words = said.strip_prefix(&format!("{}: this needs ", dir.path().display())).unwrap();
    let (gigabytes, rest) = words.split_once(" GB of disk space, ").unwrap();
    assert!(gigabytes.parse::<f64>().unwrap() > (free as f64 / 1e9).floor(), "{said}");
    assert!(rest.contains(" are free; ") && done.get() == 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
