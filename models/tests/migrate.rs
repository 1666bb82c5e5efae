//! Old files to model.bin and back, byte for byte.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::BTreeMap;
use std::path::Path;

use fixtures::bytes::{sealed, with_header};
use fixtures::old::*;
use fixtures::*;
use qwenc_models::{migrate, to_ajc1, Checkpoint, Hints, MigrateReport, ModelFile, Quant, Source};
use serde_json::{json, Value};

const ENDINGS: [&str; 4] = ["", ".with-thinking", ".with-system", ".with-system-and-thinking"];
const USER: &str = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n";

fn template(i: usize) -> String {
    let system = if i >= 2 { "<|im_start|>system\n%s<|im_end|>\n" } else { "" };
    let end = if i.is_multiple_of(2) { "<think>\n\n</think>\n\n" } else { "" };
    format!("{system}{USER}{end}")
}

/// Every file of a folder whose name begins so, by the rest of its name.
fn all(dir: &Path, name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let named = entries.filter_map(|e| {
        let rest = e.file_name().to_str()?.strip_prefix(name)?.to_string();
        Some((rest, std::fs::read(e.path()).unwrap()))
    });
    named.collect()
}

fn back(from: &Path, to: &Path) -> Result<MigrateReport, qwenc_models::Error> {
    to_ajc1(&Source::open(from, Hints::default())?, to)
}

fn there(from: &Path, to: &Path) {
    migrate(&Checkpoint::open(from).unwrap(), to, &mut |_, _| {}).unwrap();
}

#[test]
fn there_and_back_every_byte_is_the_same() {
    let (mut side, rows) = sample_vocabulary();
    // Unused bytes come back too.
    side[0] = 77;
    for case in ["qwen3-tied", "qwen3-untied-mha"] {
        for architecture in [None, Some(1)] {
            let dir = tempfile::tempdir().unwrap();
            let (old, new) = (dir.path().join("old.bin"), dir.path().join("new.bin"));
            let mut bytes = match case {
                "qwen3-tied" => model(case).with_rows(rows).ajc1(architecture),
                _ => model(case).ajc1(architecture),
            };
            bytes[255] = 9;
            std::fs::write(&old, &bytes).unwrap();
            if case == "qwen3-tied" {
                std::fs::write(dir.path().join("old.bin.tokenizer"), &side).unwrap();
                for (i, ending) in ENDINGS.iter().enumerate() {
                    std::fs::write(dir.path().join(format!("old.bin.template{ending}")), template(i))
                        .unwrap();
                }
            }
            there(&old, &dir.path().join("model.bin"));
            let report = back(&dir.path().join("model.bin"), &new).unwrap();
            assert_eq!(report.warnings, Vec::<String>::new(), "{case} {architecture:?}");
            assert_eq!(report.file_bytes, bytes.len() as u64);
            let (before, after) = (all(dir.path(), "old.bin"), all(dir.path(), "new.bin"));
            assert_eq!(before.len(), if case == "qwen3-tied" { 6 } else { 1 });
            assert!(before == after, "{case} {architecture:?}: {:?}, {:?}", before.keys(), after.keys());
            // And once more, from the copy.
            there(&new, &dir.path().join("again.bin"));
            let hash = |name: &str| ModelFile::open(&dir.path().join(name)).unwrap().config().clone();
            assert_eq!(hash("again.bin"), hash("model.bin"));
        }
    }
}

/// From QWEN version 1 the integers, the scales and the files beside it are the same, the order another.
#[test]
fn qwen_version_1_becomes_ajc1() {
    let (side, rows) = sample_vocabulary();
    let model = model("qwen3-tied").with_rows(rows);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("old.bin"), model.qwen_v1(260)).unwrap();
    std::fs::write(at("old.bin.tokenizer"), &side).unwrap();
    let words = ["head_dim=32", "group_size=32", "tied=true", "body=260"];
    let checkpoint = Checkpoint::open_with(&at("old.bin"), Hints::of_words(words).unwrap()).unwrap();
    migrate(&checkpoint, &at("model.bin"), &mut |_, _| {}).unwrap();
    back(&at("model.bin"), &at("new.bin")).unwrap();
    assert!(std::fs::read(at("new.bin")).unwrap() == model.ajc1(None));
    assert!(std::fs::read(at("new.bin.tokenizer")).unwrap() == side);
    // Directly, too.
    to_ajc1(&Source::Checkpoint(Box::new(checkpoint)), &at("direct.bin")).unwrap();
    assert!(std::fs::read(at("direct.bin")).unwrap() == model.ajc1(None));
}

/// The sample's golden case with theta 1e6 and the sample's vocabulary, exported by qwenc itself: nothing is kept of
/// an old file, so all is made.
#[test]
fn a_model_that_never_was_ajc1_gets_all_its_files() {
    let (config, mut tensors) = parts("qwen3-tied");
    let (side, rows) = sample_vocabulary();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["vocab_size"] = json!(rows);
    config["eos_token_id"] = json!(u32::from_le_bytes(side[8..12].try_into().unwrap()));
    config["bos_token_id"] = json!(0);
    let source = model("qwen3-tied").with_rows(rows);
    tensors.insert("model.embed_tokens.weight".into(), source.tensors["model.embed_tokens.weight"].clone());
    let folder = write_checkpoint(&config.to_string(), &tensors);
    let sample = Checkpoint::sample();
    std::fs::write(
        folder.path().join("tokenizer.json"),
        sample.side_files().tokenizer_json.as_deref().unwrap(),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("chat_template.jinja"),
        sample.side_files().chat_template.as_deref().unwrap(),
    )
    .unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let (dir, path) = exported(&checkpoint, Some(Quant::I8 { group: 32 }));
    let report = back(&path, &dir.path().join("new.bin")).unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let made = all(dir.path(), "new.bin");
    assert!(made[""] == source.ajc1(None));
    // The longest token is the only number of the header that the fixture makes up.
    assert!(made[".tokenizer"][4..] == side[4..]);
    for (i, ending) in ENDINGS.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(&made[&format!(".template{ending}")]), template(i));
    }
    let again = Checkpoint::open(&dir.path().join("new.bin")).unwrap();
    assert!(
        again.side_files().chat_template.as_deref().is_some()
            && again.side_files().tokenizer_json.as_deref().is_some()
    );
}

#[test]
fn what_ajc1_cannot_say_is_refused_and_nothing_is_written() {
    let refusal = |path: &Path| {
        let dir = tempfile::tempdir().unwrap();
        let message = back(path, &dir.path().join("x")).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{message}");
        message.replace(&path.display().to_string(), "FILE")
    };
    let of = |case: &str, quant| exported(&Checkpoint::open(&folder(case)).unwrap(), Some(quant));
    let int8 = Quant::I8 { group: 32 };
    for (case, quant, expected) in [
        ("qwen2-bias", int8, "FILE: Qwen2ForCausalLM in ajc1 is not supported (supported: Qwen3ForCausalLM)"),
        (
            "qwen3-sliding",
            int8,
            "FILE: a sliding window in ajc1 is not supported (supported: models without one)",
        ),
        ("qwen3-yarn", int8, "FILE: this RoPE, rope theta=10000 yarn factor=4 "),
        (
            "qwen3-tied",
            Quant::Bf16,
            "FILE: bf16 weights in ajc1 is not supported (supported: int8 with f32 scales)",
        ),
        ("qwen3-tied", Quant::I8 { group: 48 }, "FILE: groups of 48 that cross rows (dim is 64) in ajc1"),
    ] {
        let (_dir, path) = of(case, quant);
        let message = refusal(&path);
        assert!(message.starts_with(expected), "{message}");
    }
}

/// A header kept in the metadata counts only if it is one of this model.
#[test]
fn a_forged_origin_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let bytes = model("qwen3-tied").ajc1(Some(1));
    std::fs::write(at("old.bin"), &bytes).unwrap();
    there(&at("old.bin"), &at("model.bin"));
    let file = std::fs::read(at("model.bin")).unwrap();
    let forged = with_header(&file, &|header| {
        header["__metadata__"]["origin"] = json!(r#"{"ajc1": "AAAA", "/../../escaped": "AAAA"}"#);
    });
    std::fs::write(at("forged.bin"), sealed(forged)).unwrap();
    back(&at("forged.bin"), &at("new.bin")).unwrap();
    assert!(std::fs::read(at("new.bin")).unwrap() == model("qwen3-tied").ajc1(None));
}

#[test]
fn nothing_is_rounded_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k/stories260K.bin");
    there(&story, &dir.path().join("model.bin"));
    assert_eq!(ModelFile::open(&dir.path().join("model.bin")).unwrap().weight_types().to_string(), "f32");
}
