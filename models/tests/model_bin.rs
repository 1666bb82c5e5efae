//! model.bin: a second reader written from the format's table, metadata, determinism, inspection.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::Path;

use fixtures::bytes::*;
use fixtures::*;
use half::{bf16, f16};
use qwenc_formats::DType;
use qwenc_ir::{WeightDecl, WeightSource};
use qwenc_models::{export, Checkpoint, Inspection, ModelFile, Quant};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

const INT4: Quant = Quant::I4 { group: 32, embeddings: false };

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The bytes of an entry, as its offsets say.
fn entry<'a>(file: &'a [u8], name: &str) -> (&'a [u8], Value) {
    let (header, data) = image_header(file);
    let entry = header[name].clone();
    let at = |i: usize| data + entry["data_offsets"][i].as_u64().unwrap() as usize;
    (&file[at(0)..at(1)], entry)
}

#[test]
fn header_is_as_the_table_says() {
    let checkpoint = Checkpoint::open(&folder("qwen3-untied-mha")).unwrap();
    let (_dir, path) = exported(&checkpoint, Some(Quant::I8 { group: 48 }));
    let file = std::fs::read(path).unwrap();
    assert_eq!(file[..4], [0x4E, 0x45, 0x57, 0x51]);
    let words: Vec<u32> = (4..60).step_by(4).map(|at| u32_at(&file, at)).collect();
    let (theta, eps) = (1e6f32.to_bits(), 1e-6f32.to_bits());
    assert_eq!(words, [3, 320, 64, 160, 2, 4, 4, 512, theta, 16, 0, 0, eps, 4]);
    assert_eq!(u64_at(&file, 60) as usize, file.len() - 256);
    assert_eq!(file[68..100], Sha256::digest(&file[256..])[..]);
    assert!(file[100..256].iter().all(|&b| b == 0));
    let (_, data) = image_header(&file);
    assert_eq!(data % 64, 0);
}

#[test]
fn tensors_stand_in_the_documented_order() {
    let checkpoint = Checkpoint::open(&folder("qwen3-untied-mha")).unwrap();
    let (_dir, path) = exported(&checkpoint, Some(Quant::I8 { group: 64 }));
    let (header, _) = image_header(&std::fs::read(path).unwrap());
    let mut wanted = Vec::new();
    let matrix = |name: String| [name.clone(), name + ".scales"];
    for i in 0..2 {
        for part in ["q", "k", "v", "o"] {
            wanted.extend(matrix(format!("model.layers.{i}.self_attn.{part}_proj.weight")));
        }
        for part in ["gate", "up", "down"] {
            wanted.extend(matrix(format!("model.layers.{i}.mlp.{part}_proj.weight")));
        }
        for norm in ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"] {
            wanted.push(format!("model.layers.{i}.{norm}.weight"));
        }
    }
    wanted.extend(matrix("model.embed_tokens.weight".to_string()));
    wanted.push("model.norm.weight".to_string());
    wanted.extend(matrix("lm_head.weight".to_string()));
    let header = header.as_object().unwrap();
    let names: Vec<&String> = header.keys().skip(1).collect();
    assert_eq!(names, wanted.iter().collect::<Vec<_>>());
    let mut end = 0;
    for name in names {
        assert_eq!(header[name]["data_offsets"][0], end, "{name}: no gaps, in order");
        end = header[name]["data_offsets"][1].as_u64().unwrap();
    }
}

/// int8 from the definition, with a group that divides neither 64 nor 160.
#[test]
fn a_second_reader_finds_the_same_integers() {
    let group = 48;
    let file = small(Quant::I8 { group: group as u32 });
    let (_, tensors) = parts("qwen3-tied");
    for (name, raw) in tensors {
        let floats = raw.data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32());
        let values: Vec<f32> = floats.collect();
        let (bytes, about) = entry(&file, &name);
        assert_eq!(about["shape"], json!(raw.shape));
        if raw.shape.len() == 1 {
            assert_eq!((about["dtype"].as_str(), bytes.len()), (Some("F32"), 4 * values.len()));
            assert!(bytes.chunks(4).zip(&values).all(|(b, v)| b == v.to_le_bytes()));
            continue;
        }
        let (scales, scales_about) = entry(&file, &format!("{name}.scales"));
        let (rows, cols) = (raw.shape[0], raw.shape[1]);
        assert_eq!((about["dtype"].as_str(), scales_about["dtype"].as_str()), (Some("I8"), Some("F32")));
        assert_eq!(scales_about["shape"], json!([rows, cols.div_ceil(group)]));
        let mut scale_at = 0;
        for r in 0..rows {
            let row = &values[r * cols..(r + 1) * cols];
            for (g, part) in row.chunks(group).enumerate() {
                let scale = part.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
                assert_eq!(scales[scale_at..scale_at + 4], scale.to_le_bytes());
                scale_at += 4;
                for (j, v) in part.iter().enumerate() {
                    let q = bytes[r * cols + g * group + j] as i8;
                    assert_eq!(
                        f32::from(q),
                        (v / scale).round_ties_even(),
                        "{name} [{r}, {}]",
                        g * group + j
                    );
                }
            }
        }
        assert_eq!(scale_at, scales.len());
    }
}

fn f16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

/// int4 from the definition: every half byte is the nearest multiple of its group's scale. A group of 48
/// divides neither 64 nor 160. Embeddings are int8 with scales in f16, or int4 where that was asked for.
#[test]
fn a_second_reader_finds_the_same_halves() {
    let (gs, embedding) = (48, "model.embed_tokens.weight");
    for embeddings in [false, true] {
        let file = small(Quant::I4 { group: gs as u32, embeddings });
        assert_eq!((u32_at(&file, 44), u32_at(&file, 56)), (0, 4));
        let types = image_header(&file).0["__metadata__"]["types"].as_str().unwrap().to_string();
        let types: Value = serde_json::from_str(&types).unwrap();
        for (name, raw) in parts("qwen3-tied").1.into_iter().filter(|(_, raw)| raw.shape.len() == 2) {
            let floats = raw.data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32());
            let (values, rows, cols) = (floats.collect::<Vec<f32>>(), raw.shape[0], raw.shape[1]);
            let ((bytes, about), (scales, scales_about)) =
                (entry(&file, &name), entry(&file, &(name.clone() + ".scales")));
            let int8 = name == embedding && !embeddings;
            assert_eq!(types[&name], json!(if int8 { "i8g64s16" } else { "i4g48s16" }));
            let (dtype, stored_cols, gs) = if int8 { ("I8", cols, 64) } else { ("U8", cols / 2, gs) };
            assert_eq!((&about["dtype"], &about["shape"]), (&json!(dtype), &json!([rows, stored_cols])));
            let groups = cols.div_ceil(gs);
            assert_eq!(scales_about["dtype"], json!("F16"));
            assert_eq!(scales_about["shape"], json!([rows, groups]));
            let scales = f16s(scales);
            for (i, v) in values.iter().enumerate() {
                let (r, k) = (i / cols, i % cols);
                let (scale, least, most) =
                    (scales[r * groups + k / gs], if int8 { -127 } else { -8 }, if int8 { 127 } else { 7 });
                let q = match (int8, k % 2) {
                    (true, _) => i32::from(bytes[i] as i8),
                    (false, 0) => i32::from(bytes[r * cols / 2 + k / 2] % 16) - 8,
                    (false, _) => i32::from(bytes[r * cols / 2 + k / 2] / 16) - 8,
                };
                let off = |q: i32| (v - q as f32 * scale).abs();
                let nearest = (least..=most).map(off).fold(f32::MAX, f32::min);
                assert!(off(q) <= nearest * 1.0001 + 1e-12, "{name} [{r}, {k}]: {v} as {q} x {scale}");
            }
        }
    }
}

/// The reader gives the values that the definition has for the file's bytes.
#[test]
fn the_interpreter_reads_halves_times_scales() {
    let file = exported_file(&Checkpoint::open(&folder("qwen3-tied")).unwrap(), Some(INT4));
    let bytes = small(INT4);
    let graph = file.graph().unwrap();
    let decl = graph.weights.iter().find(|w| w.name.contains("down_proj")).unwrap();
    assert_eq!(decl.dtype.to_string(), "i4g32s16");
    assert_eq!(
        graph.weights.iter().find(|w| w.name.contains("embed")).unwrap().dtype.to_string(),
        "i8g64s16"
    );
    let name = decl.tensor_name(1);
    let ((halves, _), (scales, _)) = (entry(&bytes, &name), entry(&bytes, &(name.clone() + ".scales")));
    let scales = f16s(scales);
    let expected: Vec<f32> = (0..64 * 160)
        .map(|i| (f32::from(halves[i / 2] >> (4 * (i % 2)) & 15) - 8.0) * scales[i / 32])
        .collect();
    assert_eq!(file.tensor(decl, 1).unwrap().to_f32(), expected);
}

#[test]
fn values_that_no_f16_scale_reaches_are_refused() {
    let (config, mut tensors) = parts("qwen3-tied");
    let q = "model.layers.1.self_attn.q_proj.weight";
    let large = |v: f32| bf16::from_f32(v).to_le_bytes();
    let export_with = |tensors: &std::collections::BTreeMap<String, Raw>, quant| {
        let dir = write_checkpoint(&config, tensors);
        let out = dir.path().join("m");
        export(&Checkpoint::open(dir.path()).unwrap(), &out, Some(quant), &mut |_, _| {}).map(|_| ())
    };
    tensors.get_mut(q).unwrap().data[6..8].copy_from_slice(&large(-520_192.0));
    assert!(export_with(&tensors, INT4).is_ok());
    tensors.get_mut(q).unwrap().data[6..8].copy_from_slice(&large(-1e6));
    assert!(export_with(&tensors, Quant::I8 { group: 64 }).is_ok());
    assert_eq!(
        export_with(&tensors, INT4).unwrap_err().to_string(),
        "tensor model.layers.1.self_attn.q_proj.weight: expected values of at most 524032 for int4 in groups of 32, whose \
         scales are f16, found 999424; export it as int8"
    );
}

#[test]
fn the_interpreter_reads_integers_times_scales() {
    let checkpoint = Checkpoint::open(&folder("qwen3-tied")).unwrap();
    let file = exported_file(&checkpoint, Some(Quant::I8 { group: 48 }));
    let graph = file.graph().unwrap();
    let decl = graph.weights.iter().find(|w| w.name.contains("down_proj")).unwrap();
    let (near, exact) = (file.tensor(decl, 1).unwrap(), WeightDecl { dtype: DType::F32, ..decl.clone() });
    let exact = checkpoint.tensor(&exact, 1).unwrap().to_f32();
    for (i, (a, b)) in near.to_f32().iter().zip(&exact).enumerate() {
        let half_step = near.scale(i / 160, i % 160 / 48) / 2.0;
        assert!((a - b).abs() <= half_step * 1.0001, "{i}: {a} and {b}");
    }
}

#[test]
fn metadata_holds_what_a_compile_needs() {
    let (_dir, path) = exported(&Checkpoint::sample(), None);
    let file = ModelFile::open(&path).unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    let text = |name: &str| std::fs::read_to_string(sample.join(name)).unwrap();
    assert_eq!(file.side_files().tokenizer_json.as_deref(), Some(text("tokenizer.json").as_str()));
    let tokenizer_config: Value = serde_json::from_str(&text("tokenizer_config.json")).unwrap();
    assert_eq!(file.side_files().chat_template.as_deref(), tokenizer_config["chat_template"].as_str());
    assert_eq!(
        serde_json::from_str::<Value>(file.side_files().generation_config.as_ref().unwrap()).unwrap()
            ["top_k"],
        20
    );
    assert_eq!(file.side_files().stop_tokens, [2037, 2039]);
    assert_eq!((file.side_files().warnings.len(), file.weight_types().name()), (0, "bf16".to_string()));
    assert_eq!(file.config(), Checkpoint::sample().config());
    let sources: Value = serde_json::from_str(file.sources().unwrap()).unwrap();
    for (name, hash) in sources.as_object().unwrap() {
        let digest = Sha256::digest(std::fs::read(sample.join(name)).unwrap());
        let digits: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, &json!(digits), "{name}");
    }
    assert_eq!(sources.as_object().unwrap().len(), 5);
    assert_eq!(file.exporter(), Some(concat!("qwenc ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_name_that_is_none_is_left_out() {
    let good = small(Quant::Bf16);
    let named = |file: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), file).unwrap();
        ModelFile::open(&dir.path().join("m")).unwrap().name().map(str::to_string)
    };
    let forged = |name: Value| {
        fixtures::bytes::with_header(&good, &|header| header["__metadata__"]["name"] = name.clone())
    };
    assert_eq!(named(&good), None);
    assert_eq!(named(&forged(json!("Qwen3 0.6B"))), Some("Qwen3 0.6B".to_string()));
    assert_eq!(named(&forged(json!("\u{1b}[31mred"))), None);
    assert_eq!(named(&forged(json!("x".repeat(201)))), None);
    assert_eq!(exported_file(&Checkpoint::sample(), None).name(), None);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let mut totals = Vec::new();
    for quant in [None, Some(Quant::F32), Some(Quant::I8 { group: 64 }), Some(INT4)] {
        let once = exported(&Checkpoint::sample(), quant);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("another name.bin");
        std::fs::write(&path, "an older file").unwrap();
        let mut last = (0, 0);
        let report = export(&Checkpoint::sample(), &path, quant, &mut |done, total| {
            assert!(done >= last.0 && done <= total);
            last = (done, total);
        });
        let report = report.unwrap();
        assert_eq!(last.0, last.1, "progress must end at its total");
        let (a, b) = (std::fs::read(&once.1).unwrap(), std::fs::read(&path).unwrap());
        assert!(a == b, "{quant:?}");
        assert_eq!((report.file_bytes, report.payload_hash.to_vec()), (b.len() as u64, b[68..100].to_vec()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        totals.push(report.file_bytes);
    }
    assert!(totals[3] < totals[2] && totals[2] < totals[0] && totals[0] < totals[1]);
}

#[test]
fn impossible_exports_are_refused() {
    let sample = Checkpoint::sample();
    let error =
        |path: &Path, quant| export(&sample, path, Some(quant), &mut |_, _| {}).unwrap_err().to_string();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        error(&dir.path().join("m"), Quant::I8 { group: 0 }),
        "group size: expected 1 to 65536, found 0; use 32 or 64"
    );
    for group in [0, 12, 1 << 17] {
        assert_eq!(
            error(&dir.path().join("m"), Quant::I4 { group, embeddings: false }),
            format!("group size: expected a multiple of 8 up to 65536, found {group}; use 32 or 64")
        );
    }
    assert!(error(&dir.path().join("no/such/m"), Quant::F32).contains("cannot create: No such file"));
    assert!(error(dir.path(), Quant::F32).contains("cannot replace"));
}

#[test]
fn inspection_of_a_whole_file_finds_nothing_wrong() {
    let (_dir, path) = exported(&Checkpoint::sample(), Some(Quant::I8 { group: 64 }));
    let seen = Inspection::of(&path).unwrap();
    assert_eq!((seen.problems.len(), seen.warnings.len()), (0, 0));
    assert_eq!((seen.parameters, seen.stated_hash.as_ref()), (1_246_848, seen.computed_hash.as_ref()));
    assert!(seen.tensors.iter().filter(|t| t.dtype == "i8").all(|t| t.max_abs == Some(127.0)));
    let text = seen.to_string();
    assert!(
        text.contains("\n  weights            int8 in groups of 64\n") && text.ends_with("no problems\n"),
        "{text}"
    );
    let json = serde_json::to_value(&seen).unwrap();
    assert_eq!(json["header"][0], json!({"name": "vocab_size", "value": "2048"}));
    let int4 = Inspection::of(&exported(&Checkpoint::sample(), Some(INT4)).1).unwrap();
    assert_eq!((int4.problems.len(), int4.parameters), (0, 1_246_848));
    assert!(int4.tensors.iter().filter(|t| t.dtype == "u8").all(|t| t.max_abs == Some(8.0)));
    assert_eq!(int4.tensors.iter().filter(|t| t.dtype == "u8").count(), 28);
    // A cut file still lists its tensors.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let cut = Inspection::of(&path).unwrap();
    assert_eq!(cut.tensors.len(), seen.tensors.len());
    assert!(cut.problems.iter().any(|p| p.contains("past the end of the file")));
}

#[test]
fn the_dump_in_the_documentation_is_real() {
    let file = std::fs::read(exported(&Checkpoint::sample(), None).1).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/model-bin.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = page.lines().filter(|l| l.len() > 50 && l.get(8..10) == Some(": ")).collect();
    assert_eq!(lines.len(), 11);
    for line in lines {
        let at = usize::from_str_radix(&line[..8], 16).unwrap();
        let hex: Vec<String> =
            file[at..at + 16].chunks(2).map(|b| format!("{:02x}{:02x}", b[0], b[1])).collect();
        assert_eq!(
            &line[10..49],
            hex.join(" "),
            "docs/model-bin.md, offset {at:#x}: write the new bytes there"
        );
    }
}
