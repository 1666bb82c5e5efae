//! A type for each matrix: what is kept, what is rounded, layers that differ, metadata that lies.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::bytes::{image_header, refusal, small, with_header};
use fixtures::gguf::{q4_0, q8_0, F32, Q4_0, Q8_0};
use fixtures::gguf_models::{as_f16, as_q4, case, values_of};
use fixtures::*;
use qwenc_formats::DType;
use qwenc_ir::WeightDecl;
use qwenc_ir::WeightSource;
use qwenc_models::{export, Checkpoint, Inspection, ModelFile, Quant};
use serde_json::{json, Value};

const Q: &str = "model.layers.0.self_attn.q_proj.weight";
const DOWN: &str = "model.layers.1.mlp.down_proj.weight";
const NORM: &str = "model.norm.weight";

/// The metadata of the types, changed.
fn with_types(file: &[u8], change: &dyn Fn(&mut Value)) -> Vec<u8> {
    with_header(file, &|header| {
        let mut types: Value =
            serde_json::from_str(header["__metadata__"]["types"].as_str().unwrap()).unwrap();
        change(&mut types);
        header["__metadata__"]["types"] = json!(types.to_string());
    })
}

#[test]
fn types_that_lie_are_refused() {
    let file = small(Quant::I4 { group: 32, embeddings: false });
    let changed = |change: &dyn Fn(&mut Value)| refusal(&with_types(&file, change));
    let format = "expected the name of a weight format, found";
    for word in ["i4g032s16", "i4g32s32", "I4G32", "i4g0s16", "bf16 ", "", "i4g99999999999", "u8"] {
        let message = changed(&|t| t[Q] = json!(word));
        assert_eq!(message, format!("FILE: types: {Q}: {format} {word:?}; correct the file"));
    }
    assert_eq!(
        changed(&|t| drop(t.as_object_mut().unwrap().remove(Q))),
        format!("FILE: types: {Q}: {format} nothing; correct the file")
    );
    assert_eq!(
        changed(&|t| t[Q] = Value::Null),
        format!("FILE: types: {Q}: {format} nothing; correct the file")
    );
    assert!(
        changed(&|t| t[Q] = json!(4)).starts_with(&format!("FILE: types: {Q}: expected a string, found 4"))
    );
    assert!(
        changed(&|t| *t = json!([])).starts_with("FILE: types: the whole file: expected an object, found []")
    );
    for other in [NORM, "lm_head.weight", "model.layers.2.self_attn.q_proj.weight", "x"] {
        assert_eq!(
            changed(&|t| t[other] = json!("bf16")),
            format!(
                "FILE: types: {other}: expected no entry, since the model has no matrix of this name, found \"bf16\"; \
                 correct the file"
            )
        );
    }
    for (word, rule) in [
        ("i4g12s16", "groups of a multiple of 8 up to 65536"),
        ("i4g131072", "groups of a multiple of 8 up to 65536"),
        ("i8g65537", "groups of 1 to 65536"),
    ] {
        let message = changed(&|t| t[Q] = json!(word));
        assert_eq!(message, format!("FILE: types: {Q}: expected {rule}, found {word:?}; correct the file"));
    }
    let raw = |text: &str| refusal(&with_header(&file, &|h| h["__metadata__"]["types"] = json!(text)));
    assert!(raw("").starts_with("FILE: types: expected JSON"));
    assert_eq!(
        raw(r#"{"a": "f32", "a": "f32"}"#),
        "FILE: types: key a: expected once, found twice; remove one of the two"
    );
    assert_eq!(
        refusal(&with_header(&file, &|h| drop(h["__metadata__"].as_object_mut().unwrap().remove("types")))),
        "FILE: safetensors metadata: expected key \"types\", found none; export it again"
    );
}

/// A type that the tensor is not of, for every pair of types.
#[test]
fn types_that_are_not_those_of_the_tensors_are_refused() {
    let quants = [
        Quant::F32,
        Quant::Bf16,
        Quant::I8 { group: 64 },
        Quant::I4 { group: 32, embeddings: true },
        Quant::I4 { group: 64, embeddings: true },
    ];
    for quant in quants {
        let file = small(quant);
        for word in [
            "f32", "f16", "bf16", "i8g64", "i8g32", "i8g64s16", "i4g32s16", "i4g64s16", "i4g32", "q4_k",
            "q4_1",
        ] {
            let forged = with_types(&file, &|t| t[DOWN] = json!(word));
            let own: Value =
                serde_json::from_str(image_header(&file).0["__metadata__"]["types"].as_str().unwrap())
                    .unwrap();
            if own[DOWN] != json!(word) {
                let message = refusal(&forged);
                assert!(message.contains(DOWN), "{quant} as {word}: {message}");
            }
        }
    }
}

/// Formats of blocks: refused where kernels do not read them, and where rows are not a whole number of blocks.
#[test]
fn blocks_are_only_in_files_whose_kernels_read_them() {
    let file = small(Quant::Bf16);
    for dtype in [DType::Q4_1, DType::Q4K, DType::Q5K, DType::Q6K] {
        // Rows of 160 are five blocks of 32, but no whole number of blocks of 256.
        let message = refusal(&with_types(&file, &|t| t[DOWN] = json!(dtype.to_string())));
        let expected = match (dtype.operand(), dtype.block().0) {
            (None, _) => "expected a format that kernels read",
            (Some(_), 256) => "expected a format whose blocks rows of 160 are a whole number of",
            (Some(_), _) => "expected [64, 100]",
        };
        assert!(message.contains(DOWN) && message.contains(expected), "{message}");
    }
}

/// Matrices of one model in four types, each as stored where kernels read it.
#[test]
fn each_matrix_keeps_its_own_type() {
    let pack = |name: &str, values: &[f32]| match name {
        _ if name.contains("down_proj") => (Q8_0, q8_0(values)),
        _ if name.contains("embed") => as_f16(name, values),
        _ if name.contains("v_proj") => (F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        _ => (Q4_0, q4_0(values)),
    };
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("m.gguf"), dir.path().join("model.bin"));
    std::fs::write(&path, case("qwen3-tied", &pack).bytes()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let report = export(&checkpoint, &out, None, &mut |_, _| {}).unwrap();
    assert!(report.warnings.iter().all(|w| !w.contains("rounded")), "{:?}", report.warnings);
    let file = ModelFile::open(&out).unwrap();
    let f16 = if DType::F16.operand().is_some() { DType::F16 } else { DType::F32 };
    let types = file.weight_types();
    for (name, raw) in parts("qwen3-tied").1 {
        let found = types.of_tensor(&name).map(|dtype| dtype.to_string());
        let expected = match raw.shape.len() {
            1 => None,
            _ if name.contains("down_proj") => Some("i8g32s16".to_string()),
            _ if name.contains("embed") => Some(f16.to_string()),
            _ if name.contains("v_proj") => Some("f32".to_string()),
            _ => Some("i4g32s16".to_string()),
        };
        assert_eq!(found, expected, "{name}");
        let decl = WeightDecl {
            name: name.clone(),
            dtype: types.of_tensor(&name).unwrap_or(DType::F32),
            shape: raw.shape.iter().map(|&n| n as u32).collect(),
        };
        let exact = WeightDecl { dtype: DType::F32, ..decl.clone() };
        assert_eq!(
            file.tensor(&decl, 0).unwrap().to_f32(),
            checkpoint.tensor(&exact, 0).unwrap().to_f32(),
            "{name}"
        );
        if name.contains("v_proj") {
            assert_eq!(file.tensor(&decl, 0).unwrap().to_f32(), values_of(&raw), "{name}");
        }
    }
    assert_eq!(groups(&file), ["0-1"]);
    assert_eq!((types.name(), types.group()), ("int4".to_string(), 32));
    // The type of most bytes first: 320 · 64 values of the embedding in f32 are more than the layers' int4, in f16 fewer.
    let shares = match f16 {
        DType::F16 => "i4g32s16 (10 matrices), f16 (1), f32 (2), i8g32s16 (2)",
        _ => "f32 (3 matrices), i4g32s16 (10), i8g32s16 (2)",
    };
    assert_eq!(types.to_string(), shares);
    assert_eq!(report.types, *types);
    // The interpreter computes the same before and after.
    let logits = |graph, weights: &dyn WeightSource| {
        run(graph, weights, qwenc_ir::interp::Precision::F64, &[1, 2, 3])["logits"].data.clone()
    };
    assert_eq!(logits(checkpoint.graph().unwrap(), &checkpoint), logits(file.graph().unwrap(), &file));
    let seen = Inspection::of(&out).unwrap();
    assert_eq!(seen.problems, vec![]);
    assert!(seen.model.iter().any(|f| f.name == "weights" && f.value == types.words()));
}

/// Layers of each group of a model.bin's graph.
fn groups(file: &ModelFile) -> Vec<String> {
    file.graph().unwrap().groups.iter().map(|group| group.layers.to_string()).collect()
}

/// Layers whose types differ are layer groups, and their weights are declared for each.
#[test]
fn layers_of_other_types_are_groups() {
    let (config, tensors) = parts("qwen3-tied");
    let wide = converted(&tensors, "F32", |v| v.to_le_bytes().to_vec());
    let mut mixed = tensors.clone();
    mixed.insert(DOWN.to_string(), wide[DOWN].clone());
    let folder = write_checkpoint(&config, &mixed);
    let file = exported_file(&Checkpoint::open(folder.path()).unwrap(), None);
    assert_eq!(groups(&file), ["0", "1"]);
    assert_eq!(file.weight_types().to_string(), "bf16 (14 matrices), f32 (1)");
    assert_eq!(file.weight_types().of_tensor(DOWN), Some(DType::F32));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let logits = |graph, weights: &dyn WeightSource| {
        run(graph, weights, qwenc_ir::interp::Precision::F64, &[1, 2, 3])["logits"].data.clone()
    };
    let expected = logits(checkpoint.graph().unwrap(), &checkpoint);
    assert_eq!(logits(file.graph().unwrap(), &file), expected);
    let decl = WeightDecl { name: DOWN.to_string(), dtype: DType::F32, shape: vec![64, 160] };
    assert_eq!(file.tensor(&decl, 0).unwrap().to_f32(), values_of(&tensors[DOWN]));
}

/// Types of GGUF are decided by tensor: a K type in one layer leaves the others as they are.
#[test]
fn a_type_without_kernels_is_rounded_alone() {
    // Rows of 64 and 160 are no blocks of 256; Q4_1 has blocks of 32.
    let q4_1 = |values: &[f32]| -> Vec<u8> {
        let block = |b: &[f32]| {
            let min = half::f16::from_f32(b.iter().copied().fold(f32::MAX, f32::min));
            let most = b.iter().copied().fold(f32::MIN, f32::max);
            let step = half::f16::from_f32((most - min.to_f32()) / 15.0);
            let q = |v: f32| ((v - min.to_f32()) / step.to_f32()).round().clamp(0.0, 15.0) as u8;
            let nibbles = (0..16).map(|i| q(b[i]) | q(b[i + 16]) << 4);
            [&step.to_le_bytes()[..], &min.to_le_bytes(), &nibbles.collect::<Vec<u8>>()].concat()
        };
        values.chunks_exact(32).flat_map(block).collect()
    };
    let pack = |name: &str, values: &[f32]| match name == DOWN {
        true => (3, q4_1(values)),
        false => as_q4(name, values),
    };
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("m.gguf"), dir.path().join("model.bin"));
    std::fs::write(&path, case("qwen3-tied", &pack).bytes()).unwrap();
    let report = export(&Checkpoint::open(&path).unwrap(), &out, None, &mut |_, _| {}).unwrap();
    let (kept, notes) = match DType::Q4_1.operand() {
        Some(_) => ("q4_1", vec![]),
        None => (
            "i8g32s16",
            vec![
                "1 matrices in Q4_1 are rounded to int8 in groups of 32 with f16 scales, the nearest type that kernels \
                 read"
                    .to_string(),
            ],
        ),
    };
    let rounded: Vec<String> = report.warnings.into_iter().filter(|w| w.contains("rounded")).collect();
    assert_eq!(rounded, notes);
    let types = report.types;
    assert_eq!(types.of_tensor(DOWN).unwrap().to_string(), kept);
    assert_eq!(types.to_string(), format!("i4g32s16 (14 matrices), {kept} (1)"));
    assert_eq!(groups(&ModelFile::open(&out).unwrap()), ["0", "1"]);
}
