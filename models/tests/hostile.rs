//! model.bin files that were cut, changed or forged: always an error, never a panic.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::bytes::*;
use qwenc_models::{Inspection, ModelFile, Quant};
use serde_json::{json, Value};

const INT4: Quant = Quant::I4 { group: 32, embeddings: false };

#[test]
fn a_cut_file_is_refused_at_every_length() {
    let file = small(Quant::I8 { group: 64 });
    let header = image_header(&file).1;
    let lengths = (0..300).chain((300..header + 200).step_by(97)).chain((header..file.len()).step_by(9973));
    for length in lengths.chain([file.len() - 1]) {
        let message = refusal(&file[..length]);
        assert!(message.starts_with("FILE: "), "{length}: {message}");
    }
    assert!(refusal(&[&file[..], b"x"].concat()).starts_with("FILE: expected "));
    // With size and hash made to fit, the image itself is found short.
    for length in [256, 260, 264, 265, header, header + 1, file.len() - 1] {
        let message = refusal(&sealed(file[..length].to_vec()));
        assert!(message.contains("not a valid safetensors image"), "{length}: {message}");
    }
}

#[test]
fn every_bit_of_the_header_counts() {
    for quant in [INT4, Quant::Bf16] {
        let file = small(quant);
        for bit in 0..256 * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refusal(&changed);
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let file = small(Quant::I8 { group: 64 });
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = file.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(&changed)
    };
    assert_eq!(
        changed(0, b"\x31\x63\x6A\x61"),
        "FILE: expected a model, found an ajc1 file; `qwenc export` makes a model.bin of it"
    );
    assert_eq!(
        changed(4, &[1]),
        "FILE: model.bin version: expected 2 or 3, found 1; export it again with this qwenc"
    );
    assert_eq!(
        changed(16, &[161]),
        "FILE: header field hidden_dim at offset 16: expected 160, as the payload's metadata says, found 161; export it again"
    );
    assert_eq!(
        changed(44, &[65]),
        "FILE: header field group_size at offset 44: expected 0, as in every file of version 3, found 65; export it again"
    );
    assert_eq!(
        changed(56, &[3]),
        "FILE: header field weight_type at offset 56: expected 4, as in every file of version 3, found 3; export it again"
    );
    assert_eq!(
        changed(4, &[2]),
        "FILE: header field weight_type at offset 56: expected 0 (f32), 1 (bf16), 2 (int8) or 3 (int4), found 4; \
         export it again"
    );
    assert_eq!(
        changed(200, &[7]),
        "FILE: header field reserved at offset 200: expected 0, found 7; export it again"
    );
    let last = file.len() - 1;
    assert!(changed(last, &[file[last] ^ 1]).starts_with("FILE: payload SHA-256: expected "));
    assert_eq!(refusal(b""), "FILE: expected a model, found an empty file; fetch the model's file again");
}

/// A change to the safetensors header.
type Lie<'a> = &'a dyn Fn(&mut Value);

#[test]
fn images_that_lie_are_refused() {
    let file = small(Quant::I8 { group: 64 });
    let norm = "model.norm.weight";
    let q = "model.layers.0.self_attn.q_proj.weight";
    for length in [0, 1, u64::from(u32::MAX), u64::MAX, u64::MAX - 7, 100_000_001, file.len() as u64] {
        let mut changed = file.clone();
        changed[256..264].copy_from_slice(&length.to_le_bytes());
        let message = refusal(&sealed(changed));
        assert!(message.contains("not a valid safetensors image"), "{length}: {message}");
    }
    let lies: [(&str, Lie); 8] = [
        ("overlap", &|h| h[norm]["data_offsets"] = h[q]["data_offsets"].clone()),
        ("backwards", &|h| h[norm]["data_offsets"] = json!([100, 0])),
        ("past the end", &|h| {
            h["x"] = json!({"dtype": "I8", "shape": [u64::MAX], "data_offsets": [0, u64::MAX]})
        }),
        ("shape overflow", &|h| h[norm]["shape"] = json!([1u64 << 40, 1u64 << 40])),
        ("shape too small", &|h| h[norm]["shape"] = json!([63])),
        ("unknown type", &|h| h[norm]["dtype"] = json!("F128")),
        ("negative", &|h| h[norm]["data_offsets"] = json!([-4, 0])),
        ("no offsets", &|h| h[norm] = json!({})),
    ];
    for (what, lie) in lies {
        let message = refusal(&with_header(&file, lie));
        assert!(message.contains("not a valid safetensors image"), "{what}: {message}");
    }
}

#[test]
fn payloads_that_are_another_model_are_refused() {
    let file = small(Quant::I8 { group: 64 });
    let q = "model.layers.0.self_attn.q_proj.weight";
    let changed = |change: &dyn Fn(&mut Value)| refusal(&with_header(&file, change));
    let rename = |from: &'static str, to: &'static str| {
        move |h: &mut Value| {
            let entry = h.as_object_mut().unwrap().remove(from).unwrap();
            h[to] = entry;
        }
    };
    assert!(changed(&rename("model.norm.weight", "model.norm.weigh"))
        .starts_with("FILE: tensor model.norm.weight: expected [64], found no such tensor"));
    let scales = "model.layers.0.self_attn.q_proj.weight.scales";
    assert!(changed(&rename(scales, "x"))
        .contains("q_proj.weight.scales: expected [128, 1], found no such tensor"));
    assert!(changed(&|h| h[q]["dtype"] = json!("U8")).contains("expected i8, found u8[128, 64]"));
    assert!(changed(&|h| h[q]["shape"] = json!([64, 128])).contains("expected [128, 64], found i8[64, 128]"));
    assert_eq!(
        changed(&|h| drop(h["__metadata__"].as_object_mut().unwrap().remove("config.json"))),
        "FILE: safetensors metadata: expected key \"config.json\", found none; export it again"
    );
    assert!(changed(&|h| h["__metadata__"]["config.json"] = json!("{}"))
        .starts_with("FILE: config.json: model_type"));
    assert!(changed(&|h| h["__metadata__"]["tokenizer.json"] = json!("{"))
        .starts_with("FILE: tokenizer.json: expected JSON"));
}

#[test]
fn int4_that_is_not_what_it_says_is_refused() {
    let file = small(INT4);
    let q = "model.layers.0.self_attn.q_proj.weight";
    let scales = "model.layers.0.self_attn.q_proj.weight.scales";
    let changed = |change: &dyn Fn(&mut Value)| refusal(&with_header(&file, change));
    let start = "FILE: tensor model.layers.0.self_attn.q_proj.weight";
    for (found, expected) in [
        (changed(&|h| h[q]["dtype"] = json!("I8")), ": expected u8, found i8[128, 32]"),
        (changed(&|h| h[q]["shape"] = json!([64, 64])), ": expected [128, 32], found u8[64, 64]"),
        (
            changed(&|h| h[scales]["shape"] = json!([64, 4])),
            ".scales: expected f16[128, 2], found f16[64, 4]",
        ),
        (
            changed(&|h| h[scales]["dtype"] = json!("BF16")),
            ".scales: expected f16[128, 2], found bf16[128, 2]",
        ),
    ] {
        assert!(found.starts_with(&format!("{start}{expected}")), "{found}");
    }
    // One byte less is no safetensors image, whatever the shape says.
    assert!(changed(&|h| h[q]["shape"] = json!([128, 31])).contains("not a valid safetensors image"));
}

/// A scale may be negative, but not infinite or no number, in int8 neither.
#[test]
fn scales_that_are_no_numbers_are_refused() {
    let scales = "model.layers.0.self_attn.q_proj.weight.scales";
    for (quant, infinity, nan) in [
        (INT4, &0xfc00u16.to_le_bytes()[..], &0x7e01u16.to_le_bytes()[..]),
        (Quant::I8 { group: 64 }, &f32::NEG_INFINITY.to_le_bytes()[..], &f32::NAN.to_le_bytes()[..]),
    ] {
        let file = small(quant);
        let (header, data) = image_header(&file);
        let at = data + header[scales]["data_offsets"][0].as_u64().unwrap() as usize;
        let row_bytes = header[scales]["shape"][1].as_u64().unwrap() as usize * nan.len();
        for (bytes, found) in [(infinity, "-inf"), (nan, "NaN")] {
            let mut changed = file.clone();
            changed[at + 3 * row_bytes..][..bytes.len()].copy_from_slice(bytes);
            let expected =
                format!("FILE: tensor {scales}: expected finite numbers, found {found} in row 3; ");
            let message = refusal(&sealed(changed));
            assert!(message.starts_with(&expected), "{message}");
        }
        let mut negative = file.clone();
        negative[at + nan.len() - 1] ^= 0x80;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        std::fs::write(&path, sealed(negative)).unwrap();
        assert!(ModelFile::open(&path).is_ok());
    }
}

/// Byte noise in the safetensors header, sealed: anything but a panic.
#[test]
fn noise_in_the_image_header_never_panics() {
    let file = small(Quant::Bf16);
    let end = image_header(&file).1;
    let mut state = 12345u64;
    for _ in 0..400 {
        let mut changed = file.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            changed[256 + (state >> 33) as usize % (end - 256)] = (state >> 56) as u8;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        std::fs::write(&path, sealed(changed)).unwrap();
        let opened = ModelFile::open(&path);
        let inspected = Inspection::of(&path).unwrap();
        assert!(opened.is_ok() || !inspected.problems.is_empty());
    }
}
