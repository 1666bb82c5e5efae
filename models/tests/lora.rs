//! LoRA adapters against goldens made with numpy, and all that must be refused.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::{Path, PathBuf};

use fixtures::*;
use half::bf16;
use qwenc_ir::interp::Precision;
use qwenc_ir::WeightSource;
use qwenc_models::{export, AdapterSource, Checkpoint, ModelFile, Quant};
use safetensors::SafeTensors;
use serde_json::{json, Value};

fn lora(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora").join(name)
}

fn base() -> Checkpoint {
    Checkpoint::open(&folder("qwen3-tied")).unwrap()
}

fn with(adapters: &[(&str, f32)]) -> Checkpoint {
    let mut checkpoint = base();
    for (name, scale) in adapters {
        checkpoint.merge(&AdapterSource { folder: lora(name), scale: *scale }).unwrap();
    }
    checkpoint
}

const CASES: [(&str, &[(&str, f32)]); 4] = [
    ("plain", &[("plain", 1.0)]),
    ("patterns", &[("patterns", 1.0)]),
    ("swapped", &[("swapped", 1.0)]),
    ("all", &[("plain", 0.5), ("patterns", -1.0), ("swapped", 2.0)]),
];

/// Logits of a golden case.
fn expected(case: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(lora("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        file.tensor(name).unwrap().data().chunks_exact(4).map(|b| b.try_into().unwrap()).collect()
    };
    let tokens = words("tokens").into_iter().map(u32::from_le_bytes).collect();
    (tokens, words(case).into_iter().map(f32::from_le_bytes).collect())
}

fn error(graph: qwenc_ir::Graph, weights: &dyn WeightSource, case: &str) -> f64 {
    let (tokens, expected) = expected(case);
    relative(&run(graph, weights, Precision::F32, &tokens)["logits"].data, &expected).powi(2)
}

#[test]
fn merged_models_say_what_numpy_says() {
    for (case, adapters) in CASES {
        let checkpoint = with(adapters);
        let unmerged = error(base().graph().unwrap(), &base(), case);
        assert!(unmerged > 1e-3, "{case}: the adapter changes nothing: {unmerged:e}");
        let file = exported_file(&checkpoint, Some(Quant::F32));
        let errors = [
            error(checkpoint.graph().unwrap(), &checkpoint, case),
            error(file.graph().unwrap(), &file, case),
        ];
        println!("{case}: {unmerged:.1e} without, {errors:?} with");
        assert!(errors.iter().all(|e| *e <= 1e-11), "{case}: {errors:?}");
    }
}

/// Values merged in f32 and rounded once: the same bytes as an f32 checkpoint of the sums gives.
#[test]
fn merging_comes_before_rounding() {
    let merged = exported_file(&with(CASES[3].1), Some(Quant::F32));
    let (config, mut tensors) = parts("qwen3-tied");
    for decl in &merged.graph().unwrap().weights {
        for layer in 0..if decl.per_layer() { 2 } else { 1 } {
            let values = merged.tensor(decl, layer).unwrap().to_f32();
            let raw = tensors.get_mut(&decl.tensor_name(layer)).unwrap();
            (raw.dtype, raw.data) =
                ("F32".to_string(), values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
    }
    let folder = write_checkpoint(&config, &tensors);
    let sums = Checkpoint::open(folder.path()).unwrap();
    for quant in [Quant::Bf16, Quant::I8 { group: 64 }, Quant::I4 { group: 32, embeddings: false }] {
        let [a, b] = [&with(CASES[3].1), &sums].map(|c| exported_file(c, Some(quant)));
        for decl in &a.graph().unwrap().weights {
            for layer in 0..if decl.per_layer() { 2 } else { 1 } {
                let [a, b] = [&a, &b].map(|f| f.tensor(decl, layer).unwrap().to_f32());
                assert!(a == b, "{quant} {} {layer}", decl.name);
            }
        }
    }
    // Without --quant the checkpoint's own type.
    let own = exported_file(&with(CASES[0].1), None);
    assert_eq!(own.weight_types().to_string(), "bf16");
    let decl = own.graph().unwrap().weights.iter().find(|w| w.name.contains("q_proj")).unwrap().clone();
    let sum =
        exported_file(&with(CASES[0].1), Some(Quant::F32)).tensor(&decl_f32(&decl), 1).unwrap().to_f32();
    let rounded: Vec<f32> = sum.iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
    assert!(own.tensor(&decl, 1).unwrap().to_f32() == rounded);
}

fn decl_f32(decl: &qwenc_ir::WeightDecl) -> qwenc_ir::WeightDecl {
    qwenc_ir::WeightDecl { dtype: qwenc_formats::DType::F32, ..decl.clone() }
}

#[test]
fn the_report_counts_and_the_file_remembers() {
    let mut checkpoint = base();
    let source = AdapterSource { folder: lora("patterns"), scale: 0.5 };
    let report = checkpoint.merge(&source).unwrap().to_string();
    let counts = "14 deltas merged, times 0.5: q_proj 2, k_proj 2, v_proj 2, o_proj 2, gate_proj 2, up_proj 2, down_proj 2";
    assert_eq!(report, format!("{}: {counts}", lora("patterns").display()));
    let twice = checkpoint.merge(&AdapterSource { scale: 1.0, ..source }).unwrap_err().to_string();
    assert!(twice.contains("expected each adapter once, found it twice"), "{twice}");
    let (_dir, path) = exported(&checkpoint, None);
    let file = ModelFile::open(&path).unwrap();
    let sources: Value = serde_json::from_str(file.sources().unwrap()).unwrap();
    assert!(sources["lora.0/adapter_model.safetensors"].is_string(), "{sources}");
    let (header, _) = bytes::image_header(&std::fs::read(&path).unwrap());
    assert_eq!(header["__metadata__"]["adapters"], r#"[{"folder":"patterns","scale":0.5,"deltas":14}]"#);
}

#[test]
fn a_scale_stands_after_the_last_colon() {
    let of = |word: &str| (AdapterSource::of_word(word).folder, AdapterSource::of_word(word).scale);
    assert_eq!(of("a/b"), ("a/b".into(), 1.0));
    assert_eq!(of("a/b:0.25"), ("a/b".into(), 0.25));
    assert_eq!(of("a:b:-2"), ("a:b".into(), -2.0));
    assert_eq!(of("a:b"), ("a:b".into(), 1.0));
    assert_eq!(of("a:NaN"), ("a:NaN".into(), 1.0));
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join("x:3");
    std::fs::create_dir(&named).unwrap();
    assert_eq!(of(named.to_str().unwrap()), (named, 1.0));
}

/// The refusal of a changed copy of an adapter; its folder is `DIR`.
fn refusal(name: &str, change: impl Fn(&mut Value, &mut std::collections::BTreeMap<String, Raw>)) -> String {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(lora(name).join("adapter_config.json")).unwrap()).unwrap();
    let mut tensors = raw_tensors(&lora(name).join("adapter_model.safetensors"));
    change(&mut config, &mut tensors);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
    std::fs::write(dir.path().join("adapter_model.safetensors"), image(&tensors)).unwrap();
    let source = AdapterSource { folder: dir.path().to_path_buf(), scale: 1.0 };
    let mut checkpoint = base();
    let error = checkpoint.merge(&source).expect_err("must be refused").to_string();
    // Nothing of a refused adapter is left.
    assert!(error_free(&checkpoint), "{error}");
    error.replace(&dir.path().display().to_string(), "DIR")
}

fn error_free(checkpoint: &Checkpoint) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    export(checkpoint, &path, None, &mut |_, _| {}).unwrap();
    !bytes::image_header(&std::fs::read(path).unwrap()).0["__metadata__"]
        .as_object()
        .unwrap()
        .contains_key("adapters")
}

#[test]
fn settings_that_are_not_done_are_refused_by_name() {
    let cases = [
        (
            json!({"use_dora": true}),
            "DIR/adapter_config.json: use_dora true is not supported (supported: adapters without it)",
        ),
        (
            json!({"bias": "lora_only"}),
            "DIR/adapter_config.json: bias \"lora_only\" is not supported (supported: none)",
        ),
        (
            json!({"modules_to_save": ["lm_head"]}),
            "DIR/adapter_config.json: modules_to_save [\"lm_head\"] is not supported",
        ),
        (json!({"lora_bias": true}), "DIR/adapter_config.json: lora_bias true is not supported"),
        (
            json!({"layer_replication": [[0, 2]]}),
            "DIR/adapter_config.json: layer_replication [[0,2]] is not supported",
        ),
        (
            json!({"trainable_token_indices": [1]}),
            "DIR/adapter_config.json: trainable_token_indices [1] is not",
        ),
        (json!({"use_qalora": true}), "DIR/adapter_config.json: use_qalora true is not supported"),
        (json!({"of_next_year": 1}), "DIR/adapter_config.json: of_next_year 1 is not supported"),
        (
            json!({"peft_type": "LOHA"}),
            "DIR/adapter_config.json: peft_type \"LOHA\" is not supported (supported: LORA)",
        ),
        (json!({"peft_type": null}), "DIR/adapter_config.json: peft_type: expected \"LORA\", found nothing"),
        (
            json!({"init_lora_weights": "pissa"}),
            "DIR/adapter_config.json: init_lora_weights \"pissa\", which changes",
        ),
        (json!({"r": 0}), "DIR/adapter_config.json: r: expected an integer of 1 to 65536, found 0"),
        (
            json!({"lora_alpha": null}),
            "DIR/adapter_config.json: lora_alpha: expected a number, found nothing",
        ),
        (
            json!({"rank_pattern": {"(": 4}}),
            "DIR/adapter_config.json: rank_pattern: expected names or regular",
        ),
        (
            json!({"alpha_pattern": {"q_proj": "x"}}),
            "DIR/adapter_config.json: alpha_pattern.q_proj: expected a number",
        ),
    ];
    for (changes, expected) in cases {
        let message = refusal("plain", |config, _| {
            changes.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
        });
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn tensors_that_become_no_delta_are_refused_by_name() {
    let prefix = "base_model.model.model.layers.0.self_attn.q_proj";
    let renamed = |to: &str| {
        refusal("plain", |_, tensors| {
            let tensor = tensors.remove(&format!("{prefix}.lora_A.weight")).unwrap();
            tensors.insert(to.to_string(), tensor);
        })
    };
    let weights = "DIR/adapter_model.safetensors: ";
    for (key, what) in [
        (format!("{prefix}.lora_magnitude_vector"), " (DoRA) is not supported"),
        (
            "base_model.model.lm_head.lora_A.weight".to_string(),
            " is not supported (supported: lora_A and lora_B of q,",
        ),
        ("base_model.model.model.embed_tokens.lora_embedding_A".to_string(), " is not supported"),
        ("base_model.model.model.layers.0.input_layernorm.lora_A.weight".to_string(), " is not supported"),
        ("base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight".to_string(), " is not supported"),
        (format!("{prefix}.lora_B.bias"), " is not supported"),
    ] {
        let message = renamed(&key);
        assert!(message.starts_with(&format!("{weights}tensor {key}{what}")), "{message}");
    }
    let beyond = "base_model.model.model.layers.7.self_attn.q_proj";
    let message = refusal("plain", |_, tensors| {
        for half in ["A", "B"] {
            let tensor = tensors.remove(&format!("{prefix}.lora_{half}.weight")).unwrap();
            tensors.insert(format!("{beyond}.lora_{half}.weight"), tensor);
        }
    });
    assert_eq!(
        message,
        format!(
            "{weights}{beyond}.lora_A.weight: expected model.layers.7.self_attn.q_proj.weight in the model, found no such \
             weight; is the adapter of this model?"
        )
    );
    let half = refusal("plain", |_, tensors| drop(tensors.remove(&format!("{prefix}.lora_B.weight"))));
    assert!(half.contains(&format!("found only {prefix}.lora_A.weight")), "{half}");
    let twice = refusal("plain", |_, tensors| {
        let tensor = tensors[&format!("{prefix}.lora_A.weight")].clone();
        tensors.insert(format!("{prefix}.lora_A.default.weight"), tensor);
    });
    assert!(twice.contains("are of the same module"), "{twice}");
    assert_eq!(
        refusal("plain", |_, tensors| tensors.clear()),
        format!("{weights}expected tensors lora_A and lora_B, found none; is this a LoRA adapter?")
    );
    let rank = refusal("plain", |config, _| config["r"] = json!(8));
    assert!(rank.contains("expected floats [8, 64] for a weight of [128, 64]"), "{rank}");
    let order = refusal("plain", |config, _| config["fan_in_fan_out"] = json!(true));
    assert!(order.contains("expected floats [4, 128] for a weight of [128, 64]"), "{order}");
    let nan = refusal("plain", |_, tensors| {
        let tensor = tensors.get_mut(&format!("{prefix}.lora_B.weight")).unwrap();
        tensor.data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(nan.contains("expected finite numbers, found NaN in row 0"), "{nan}");
}

#[test]
fn folders_that_are_no_adapter_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let merge = || {
        base().merge(&AdapterSource { folder: dir.path().to_path_buf(), scale: 1.0 }).unwrap_err().to_string()
    };
    assert!(merge().contains("adapter_config.json: cannot open"), "{}", merge());
    std::fs::copy(lora("plain/adapter_config.json"), dir.path().join("adapter_config.json")).unwrap();
    assert!(merge().contains("adapter_model.safetensors: cannot open"), "{}", merge());
    std::fs::write(dir.path().join("adapter_model.bin"), "x").unwrap();
    assert!(
        merge().contains("adapter_model.bin (a pickle, which can run code) is not supported"),
        "{}",
        merge()
    );
    std::fs::write(dir.path().join("adapter_model.safetensors"), "x").unwrap();
    assert!(merge().contains("not a valid safetensors image"), "{}", merge());
    let word = format!("{}:2x", lora("plain").display());
    let nowhere = base().merge(&AdapterSource::of_word(&word)).unwrap_err().to_string();
    assert_eq!(
        nowhere,
        format!(
            "{word}: expected the folder of a LoRA adapter, alone or as FOLDER:SCALE with a number, found no such folder"
        )
    );
}
