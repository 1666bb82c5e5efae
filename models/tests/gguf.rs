//! GGUF files of all types and families that are read, written by the test itself.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::PathBuf;

use fixtures::gguf::*;
use fixtures::gguf_models::*;
use fixtures::*;
use half::f16;
use qwenc_formats::DType;
use qwenc_ir::interp::Precision;
use qwenc_ir::WeightSource;
use qwenc_models::{export, Checkpoint, Hints, ModelFile, Source};

fn written(file: &Gguf) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    (dir, path)
}

fn opened(file: &Gguf) -> Checkpoint {
    Checkpoint::open(&written(file).1).unwrap()
}

fn logits(graph: qwenc_ir::Graph, weights: &dyn WeightSource, tokens: &[u32]) -> Vec<f64> {
    run(graph, weights, Precision::F64, tokens)["logits"].data.clone()
}

#[test]
fn floats_of_every_family_give_the_golden_logits() {
    for name in ["qwen3-tied", "qwen3-untied-mha", "qwen2-bias", "llama3-rope"] {
        let golden = golden(&folder(name).join("golden.safetensors"));
        let folder = Checkpoint::open(&folder(name)).unwrap();
        let expected = logits(folder.graph().unwrap(), &folder, &golden.tokens);
        let nmse = relative(&expected, &golden.values["logits"]).powi(2);
        assert!(nmse <= 1e-10, "{name}: {nmse:e}");
        for (what, pack) in [("bf16", &as_bf16 as Pack), ("f32", &as_f32)] {
            let checkpoint = opened(&case(name, pack));
            assert_eq!(checkpoint.config().rope, folder.config().rope, "{name}");
            let found = logits(checkpoint.graph().unwrap(), &checkpoint, &golden.tokens);
            assert!(found == expected, "{name} {what}");
            let file = exported_file(&checkpoint, None);
            assert_eq!(file.weight_types().to_string(), what);
            assert!(
                logits(file.graph().unwrap(), &file, &golden.tokens) == expected,
                "{name} {what} exported"
            );
        }
        let half = exported_file(&opened(&case(name, &as_f16)), None);
        let kept = DType::F16.operand().map_or("f32", |_| "f16");
        assert_eq!(half.weight_types().to_string(), kept);
    }
}

/// The exported file and what it warns of.
fn reported(file: &Gguf) -> (ModelFile, Vec<String>) {
    let (dir, path) = written(file);
    let Source::Checkpoint(checkpoint) = Source::open(&path, Hints::default()).unwrap() else {
        panic!("a GGUF is to be exported")
    };
    let out = dir.path().join("model.bin");
    let report = export(&checkpoint, &out, None, &mut |_, _| {}).unwrap();
    let notes = report.warnings.into_iter().filter(|w| w.contains("rounded")).collect();
    (ModelFile::open(&out).unwrap(), notes)
}

#[test]
fn a_name_goes_with_the_model() {
    let long = "x".repeat(201);
    for (stated, name) in [
        (Value::Text("Qwen3 0.6B".to_string()), Some("Qwen3 0.6B")),
        (Value::Text("two\nlines".to_string()), None),
        (Value::Text(String::new()), None),
        (Value::Text(long), None),
        (Value::U32(7), None),
    ] {
        let mut file = case("qwen3-tied", &as_bf16);
        file.set("general.name", stated);
        let checkpoint = opened(&file);
        assert_eq!((checkpoint.name(), exported_file(&checkpoint, None).name()), (name, name));
    }
    let unnamed = opened(&case("qwen3-tied", &as_bf16));
    assert_eq!((unnamed.name(), exported_file(&unnamed, None).name()), (None, None));
}

/// Integers and scales in the exported file are those of the blocks, by the definition of the types.
#[test]
fn q8_and_q4_are_copied() {
    for name in ["qwen3-tied", "llama3-rope"] {
        let (_, tensors) = parts(name);
        let cases: [(&str, Pack); 3] =
            [("i8g32s16", &as_q8), ("i4g32s16", &as_q4), ("i4g32s16+i8g32s16", &as_q4_with_q8)];
        for (word, pack) in cases {
            let (file, notes) = reported(&case(name, pack));
            assert_eq!((file.weight_types().to_string().as_str(), notes.len()), (word, 0), "{name}");
            let graph = file.graph().unwrap();
            for decl in graph.weights.iter().filter(|w| w.shape.len() == 2) {
                let raw = &tensors[&decl.tensor_name(1)];
                let (kind, blocks) = pack(&decl.name, &values_of(raw));
                let tensor = file.tensor(decl, 1).unwrap();
                let cols = raw.shape[1];
                let each = if kind == Q8_0 { 34 } else { 18 };
                for (i, block) in blocks.chunks_exact(each).enumerate() {
                    let (row, group) = (i / (cols / 32), i % (cols / 32));
                    assert_eq!(
                        tensor.row_scales(row)[2 * group..][..2],
                        block[..2],
                        "{name} {word} {}",
                        decl.name
                    );
                    for k in 0..32 {
                        let at = 32 * group + k;
                        let stored = tensor.row_bytes(row);
                        let (found, expected) = match kind {
                            Q8_0 => (stored[at] as i8, block[2 + k] as i8),
                            _ => (
                                (stored[at / 2] >> (4 * (at % 2)) & 15) as i8 - 8,
                                (block[2 + k % 16] >> (4 * (k / 16)) & 15) as i8 - 8,
                            ),
                        };
                        assert_eq!(found, expected, "{name} {word} {} [{row}, {at}]", decl.name);
                    }
                }
            }
        }
    }
}

/// The checkpoint itself and its export compute the same, and nearly what the floats do.
#[test]
fn integers_run_before_and_after_export() {
    let golden = golden(&folder("llama3-rope").join("golden.safetensors"));
    for (pack, limit) in [(&as_q8 as Pack, 3e-3), (&as_q4, 0.3)] {
        let checkpoint = opened(&case("llama3-rope", pack));
        let before = logits(checkpoint.graph().unwrap(), &checkpoint, &golden.tokens);
        let file = exported_file(&checkpoint, None);
        assert!(before == logits(file.graph().unwrap(), &file, &golden.tokens));
        let nmse = relative(&before, &golden.values["logits"]).powi(2);
        assert!(nmse > 0.0 && nmse < limit, "{nmse:e}");
    }
}

#[test]
fn minus_128_is_no_int8_weight() {
    let pack = |_: &str, values: &[f32]| {
        let mut bytes = q8_0(values);
        bytes[2] = 0x80;
        (Q8_0, bytes)
    };
    let (dir, path) = written(&case("qwen3-tied", &pack));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let out = dir.path().join("model.bin");
    let error = export(&checkpoint, &out, None, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("expected integers of -127 to 127, found -128 in row 0"), "{error}");
    assert!(!out.exists());
    let int8 = qwenc_models::Quant::I8 { group: 32 };
    assert!(export(&checkpoint, &out, Some(int8), &mut |_, _| {}).is_ok());
}

/// Deterministic bytes.
fn noise(n: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn small_half(bytes: &mut [u8], at: usize) -> f64 {
    let value = f16::from_f32(f32::from(bytes[at]) / 65536.0 + 1e-4);
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    f64::from(value.to_f32())
}

/// Random blocks of a K type with their values, reckoned value by value from the types' definitions.
fn k_blocks(kind: u32, blocks: usize, seed: u64) -> (Vec<u8>, Vec<f64>) {
    let each = match kind {
        Q4_K => 144,
        Q5_K => 176,
        _ => 210,
    };
    let mut bytes = noise(each * blocks, seed);
    let mut values = Vec::new();
    for b in bytes.chunks_exact_mut(each) {
        if kind == Q6_K {
            let d = small_half(b, 208);
            for k in 0..256 {
                // Bit by bit: low four of ql, high two of qh, in interleaved runs of 32 within 128.
                let (n, l) = (k / 128, k % 32);
                let (low, shift_high) = match k % 128 / 32 {
                    0 => (b[64 * n + l] & 15, 0),
                    1 => (b[64 * n + 32 + l] & 15, 2),
                    2 => (b[64 * n + l] >> 4, 4),
                    _ => (b[64 * n + 32 + l] >> 4, 6),
                };
                let q = f64::from(low + ((b[128 + 32 * n + l] >> shift_high) % 4) * 16) - 32.0;
                values.push(d * f64::from(b[192 + k / 16] as i8) * q);
            }
            continue;
        }
        let (d, dmin) = (small_half(b, 0), small_half(b, 2));
        let s = b[4..16].to_vec();
        for k in 0..256 {
            let j = k / 32;
            let (scale, min) = match j {
                0..=3 => (s[j] % 64, s[j + 4] % 64),
                _ => (s[j + 4] % 16 + (s[j - 4] / 64) * 16, s[j + 4] / 16 + (s[j] / 64) * 16),
            };
            let (at, high) = match kind {
                Q4_K => (16, 0),
                _ => (48, (b[16 + k % 32] >> j) % 2 * 16),
            };
            let byte = b[at + k / 64 * 32 + k % 32];
            let q = if j % 2 == 0 { byte % 16 } else { byte / 16 } + high;
            values.push(d * f64::from(scale) * f64::from(q) - dmin * f64::from(min));
        }
    }
    (bytes, values)
}

/// A model of one layer, 256 wide, all its matrices of one K type.
fn k_model(kind: u32) -> (Gguf, Vec<(String, Vec<f64>)>) {
    let mut file = Gguf::default();
    file.set("general.architecture", Value::Text("llama".to_string()));
    for (key, n) in [
        ("block_count", 1),
        ("embedding_length", 256),
        ("feed_forward_length", 256),
        ("attention.head_count", 4),
        ("context_length", 64),
    ] {
        file.set(&format!("llama.{key}"), Value::U32(n));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    let mut expected = Vec::new();
    for (i, part) in
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"].iter().enumerate()
    {
        let (bytes, values) = k_blocks(kind, 256, i as u64 + 7);
        file.add(&format!("blk.0.{part}.weight"), &[256, 256], kind, bytes);
        expected.push((part.to_string(), values));
    }
    let (bytes, values) = k_blocks(kind, 64, 99);
    file.add("token_embd.weight", &[256, 64], kind, bytes);
    expected.push(("embed".to_string(), values));
    for norm in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
        file.add(&format!("{norm}.weight"), &[256], F32, vec![0; 1024]);
    }
    (file, expected)
}

/// Row of the file that holds a row of a llama's q.
fn row_in_file(part: &str, row: usize) -> usize {
    match part {
        "attn_q" => row / 64 * 64 + row % 32 * 2 + row % 64 / 32,
        _ => row,
    }
}

/// The blocks as they are where kernels read them, but for the order of rows; else int8, with a note.
#[test]
fn k_types_are_read_by_their_definition_and_kept_or_rounded() {
    for (kind, dtype) in [(Q4_K, DType::Q4K), (Q5_K, DType::Q5K), (Q6_K, DType::Q6K)] {
        let (file, expected) = k_model(kind);
        let (checkpoint, (exported, notes)) = (opened(&file), reported(&file));
        let graph = checkpoint.graph().unwrap();
        let (kept, name) = (dtype.operand().is_some(), dtype.words());
        let (word, note) = match kept {
            true => (dtype.to_string(), None),
            false => ("i8g32s16".to_string(), Some(format!(
                "8 matrices in {name} are rounded to int8 in groups of 32 with f16 scales, the nearest type that kernels read"
            ))),
        };
        assert_eq!((exported.weight_types().to_string(), notes), (word, note.into_iter().collect()));
        for (part, usual) in
            [("attn_v", "v_proj"), ("attn_q", "q_proj"), ("ffn_down", "down_proj"), ("embed", "embed")]
        {
            let values = &expected.iter().find(|(p, _)| p == part).unwrap().1;
            let decl = graph.weights.iter().find(|w| w.name.contains(usual)).unwrap();
            assert_eq!(decl.dtype, dtype);
            let found: Vec<f64> =
                checkpoint.tensor(decl, 0).unwrap().to_f32().into_iter().map(f64::from).collect();
            for (row, found) in found.chunks_exact(256).enumerate() {
                let values = &values[row_in_file(part, row) * 256..][..256];
                let most = values.iter().fold(0f64, |m, v| m.max(v.abs()));
                let near = found.iter().zip(values).all(|(a, b)| (a - b).abs() <= 1e-6 * most);
                assert!(near, "{name} {part} row {row}");
            }
            let decl =
                exported.graph().unwrap().weights.iter().find(|w| w.name.contains(usual)).unwrap().clone();
            let stored = exported.tensor(&decl, 0).unwrap();
            let exact: Vec<f32> = found.iter().map(|&v| v as f32).collect();
            if kept {
                assert_eq!(stored.to_f32(), exact);
                let own = if part == "embed" {
                    "token_embd.weight".to_string()
                } else {
                    format!("blk.0.{part}.weight")
                };
                let (.., bytes) = file.tensors.iter().find(|(name, ..)| *name == own).unwrap();
                let each = stored.row_bytes(0).len();
                let same =
                    |row: usize| stored.row_bytes(row) == &bytes[row_in_file(part, row) * each..][..each];
                assert!((0..stored.rows()).all(same), "{name} {part}");
            } else {
                let values: Vec<f64> = stored.to_f32().into_iter().map(f64::from).collect();
                let nmse = relative(&values, &exact).powi(2);
                assert!(nmse < 5e-5, "{name} {part}: {nmse:e}");
            }
        }
    }
}
