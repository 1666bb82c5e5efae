//! Files of version 2, written by an older qwenc: read as they always were, or refused.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::bytes::{refusal, with_header};
use fixtures::old::*;
use fixtures::*;
use qwenc_ir::WeightSource;
use qwenc_models::{Checkpoint, Inspection, ModelFile, Quant};
use serde_json::{json, Value};

/// Files in tests/data/version2: name, whether the embedding is the LM head, and the choice that made it of the tiny model.
const FILES: [(&str, bool, Quant); 3] = [
    ("bf16.bin", true, Quant::Bf16),
    ("int8.bin", false, Quant::I8 { group: 24 }),
    ("int4.bin", true, Quant::I4 { group: 16, embeddings: false }),
];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data().join("version2").join(name)).unwrap()
}

/// Every tensor is that of the same model in the version that is written now.
#[test]
fn old_files_hold_what_new_ones_do() {
    for (name, tied, quant) in FILES {
        let path = data().join("version2").join(name);
        let model = tiny(tied);
        let folder = write_checkpoint(&model.config.to_string(), &model.tensors);
        let (old, new) = (
            ModelFile::open(&path).unwrap(),
            exported_file(&Checkpoint::open(folder.path()).unwrap(), Some(quant)),
        );
        assert_eq!(old.weight_types(), new.weight_types(), "{name}");
        assert_eq!(old.config(), new.config());
        let graph = old.graph().unwrap();
        assert_eq!(graph.to_string(), new.graph().unwrap().to_string());
        for decl in &graph.weights {
            for layer in 0..if decl.per_layer() { LAYERS as u32 } else { 1 } {
                let (a, b) = (old.tensor(decl, layer).unwrap(), new.tensor(decl, layer).unwrap());
                let rows = |t: &qwenc_formats::Tensor| -> Vec<u8> {
                    (0..t.rows()).flat_map(|r| [t.row_bytes(r), t.row_scales(r)].concat()).collect()
                };
                assert!(a.dtype() == b.dtype() && rows(&a) == rows(&b), "{name} {}", decl.tensor_name(layer));
            }
        }
        let seen = Inspection::of(&path).unwrap();
        assert_eq!((seen.kind, seen.problems), ("model.bin version 2", vec![]));
        let weights = seen.model.iter().find(|f| f.name == "weights").unwrap();
        assert_eq!(weights.value, new.weight_types().words());
    }
}

#[test]
fn every_bit_of_an_old_header_counts() {
    for (name, ..) in FILES {
        let file = bytes(name);
        for bit in 0..256 * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refusal(&changed);
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let file = bytes("int8.bin");
    let changed = |at: usize, with: &[u8]| {
        let mut changed = file.clone();
        changed[at..at + with.len()].copy_from_slice(with);
        refusal(&changed)
    };
    let start = "FILE: header field weight_type and group_size at offset 44: expected int8 in groups of 24, as the payload's \
                 metadata says, found";
    assert_eq!(changed(44, &[25]), format!("{start} int8 in groups of 25; export it again"));
    assert_eq!(changed(56, &[3]), format!("{start} int4 in groups of 24; export it again"));
    assert_eq!(
        changed(4, &[3]),
        "FILE: safetensors metadata: expected key \"types\", found none; export it again"
    );
}

/// The word of a file of int4 is needed, and must be one that says what the header does.
#[test]
fn words_that_contradict_the_header_are_refused() {
    let file = bytes("int4.bin");
    let changed = |change: &dyn Fn(&mut Value)| refusal(&with_header(&file, change));
    let with_word = |word: &str| changed(&|h| h["__metadata__"]["weights"] = json!(word));
    for other in [
        "i4g16s16+i4g64s16",
        "i4g16s16+bf16",
        "i4g16s16+i8g0s16",
        "i4g40s16",
        "i8g32",
        "f16",
        "q4_k",
        "",
        "+",
    ] {
        let message = with_word(other);
        let expected = match other {
            "i4g40s16" => "int4 in groups of 40".to_string(),
            "i8g32" => "int8 in groups of 32".to_string(),
            _ => format!("{other:?}"),
        };
        let found = "as the payload's metadata says, found int4 in groups of 16; export it again";
        assert!(message.ends_with(&format!("expected {expected}, {found}")), "{message}");
    }
    // The tensors themselves show whether all matrices are int4, and whether scales are f32.
    let message = with_word("i4g16s16");
    assert!(message.contains("model.embed_tokens.weight: expected [4, 16], found i8[4, 32]"), "{message}");
    let message = with_word("i4g16+i8g64s16");
    assert!(message.contains(".scales: expected f32[32, 2], found f16[32, 2]"), "{message}");
    assert_eq!(
        changed(&|h| drop(h["__metadata__"].as_object_mut().unwrap().remove("weights"))),
        "FILE: safetensors metadata: expected key \"weights\", found none; export it again"
    );
    for group in [0u32, 12, 1 << 17] {
        let mut changed = file.clone();
        changed[44..48].copy_from_slice(&group.to_le_bytes());
        let rule = format!("group_size at offset 44: expected a multiple of 8 up to 65536, found {group};");
        assert!(refusal(&changed).contains(&rule), "{group}");
    }
}

/// A file older than the word is believed by its header.
#[test]
fn a_file_without_a_word_is_read() {
    for name in ["bf16.bin", "int8.bin"] {
        let file = with_header(&bytes(name), &|h| {
            drop(h["__metadata__"].as_object_mut().unwrap().remove("weights"))
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), file).unwrap();
        let whole = ModelFile::open(&data().join("version2").join(name)).unwrap();
        assert_eq!(ModelFile::open(&dir.path().join("m")).unwrap().weight_types(), whole.weight_types());
    }
}
