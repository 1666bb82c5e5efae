//! Every reader of files, on bytes that may be anything.
//!
//! In: bytes. Out: whether they were a model. Invariant: nothing panics; what opens can be looked at, exported and
//! opened again, and an ajc1 that goes to model.bin and back is the same to the byte.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use qwenc_models::{
    export, migrate, to_ajc1, AdapterSource, Checkpoint, Hints, Inspection, ModelFile, RopeChoice, Source,
};
use sha2::{Digest, Sha256};

/// Larger files are opened, but not exported: that would be slow and shows nothing new.
const SMALL: usize = 1 << 18;

/// A folder for this process and thread.
fn scratch() -> PathBuf {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        made.expect("a temporary folder can be made")
    });
    let own = root.path().join(format!("{:?}", std::thread::current().id()));
    // A thread's folder is empty at the beginning of every run.
    let _ = std::fs::remove_dir_all(&own);
    std::fs::create_dir(&own).expect("a folder can be made in a temporary one");
    own
}

fn write(path: &Path, data: &[u8]) {
    std::fs::write(path, data).expect("a temporary file can be written");
}

/// Two parts of which the first says its length.
fn parts(data: &[u8]) -> (&[u8], &[u8]) {
    match data.split_first_chunk::<2>() {
        None => (data, &[]),
        Some((length, rest)) => rest.split_at(rest.len().min(u16::from_le_bytes(*length).into())),
    }
}

/// Opens it, and if that works does everything with it.
fn whole(path: &Path) -> bool {
    let _ = Inspection::of(path);
    match Source::open(path, Hints::default()) {
        Err(error) => {
            let _ = error.to_string();
            false
        }
        Ok(source) => {
            used(path, &source);
            true
        }
    }
}

fn used(path: &Path, source: &Source) {
    let out = path.with_extension("out");
    let large = path.is_file() && path.metadata().map_or(0, |m| m.len()) > SMALL as u64;
    match source {
        _ if large => {}
        Source::ModelFile(file) => {
            let _ = file.graph();
            let _ = to_ajc1(source, &out);
            if let Ok(chosen) = RopeChoice::of_words(Some("yarn:4"), Some(64)) {
                if let Ok(file) = ModelFile::open(path) {
                    let _ = file.with_rope(&chosen);
                }
            }
        }
        Source::Checkpoint(checkpoint) => {
            let _ = checkpoint.graph();
            let _ = to_ajc1(source, &out);
            if export(checkpoint, &out, None, &mut |_, _| {}).is_ok() {
                let again = ModelFile::open(&out);
                assert!(
                    again.is_ok(),
                    "an exported file is refused: {:?}",
                    again.err().map(|e| e.to_string())
                );
            }
        }
    }
}

/// config.json and model.safetensors of a folder.
pub fn folder(data: &[u8]) -> bool {
    let dir = scratch();
    let (config, weights) = parts(data);
    write(&dir.join("config.json"), config);
    write(&dir.join("model.safetensors"), weights);
    whole(&dir)
}

/// A model.bin, whose size and hash are made right.
pub fn model_bin(data: &[u8]) -> bool {
    let mut file = data.to_vec();
    if file.len() >= 256 {
        let payload = file.len() as u64 - 256;
        file[60..68].copy_from_slice(&payload.to_le_bytes());
        let hash = Sha256::digest(&file[256..]);
        file[68..100].copy_from_slice(&hash);
    }
    one_file(&file)
}

fn one_file(data: &[u8]) -> bool {
    let path = scratch().join("model");
    write(&path, data);
    whole(&path)
}

/// A chat template, rendered with a short conversation.
pub fn chat_template(data: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(data) else { return false };
    let Ok(template) = qwenc_jinja::Template::parse(source) else { return false };
    let messages = serde_json::json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "it's <b>"}, 1, 2.5, null, true]},
    ]);
    let variables = serde_json::Map::from_iter([("messages".to_string(), messages)]);
    // Few steps, so that many templates fit into the time.
    let limits = qwenc_jinja::Limits { steps: 100_000, bytes: 16 << 20 };
    let rendered = template.render_within(&variables, limits);
    let panicked = rendered.err().is_some_and(|e| e.to_string().contains("cannot be rendered"));
    assert!(!panicked, "the renderer panics");
    true
}

/// A GGUF file.
pub fn gguf(data: &[u8]) -> bool {
    one_file(data)
}

/// A file of llama2.c, of any version.
pub fn llama2c(data: &[u8]) -> bool {
    one_file(data)
}

/// An ajc1 file.
pub fn ajc1(data: &[u8]) -> bool {
    let path = scratch().join("model");
    write(&path, data);
    let opened = whole(&path);
    let (there, back) = (path.with_extension("there"), path.with_extension("back"));
    let Ok(checkpoint) = Checkpoint::open(&path) else { return opened };
    if data.len() <= SMALL && migrate(&checkpoint, &there, &mut |_, _| {}).is_ok() {
        let migrated = Source::open(&there, Hints::default()).and_then(|source| to_ajc1(&source, &back));
        if migrated.is_ok() && data.starts_with(b"1cja") {
            assert!(
                std::fs::read(&back).is_ok_and(|found| found == data),
                "there and back it is another file"
            );
        }
    }
    opened
}

/// A QWEN version 1 file.
pub fn qwen_v1(data: &[u8]) -> bool {
    one_file(data)
}

/// Files beside a model: the vocabulary of llama2.c, or vocabulary and template of ajc1. The model comes first.
pub fn tokenizer(data: &[u8]) -> bool {
    let dir = scratch();
    let (head, rest) = parts(data);
    let (vocabulary, model) = parts(rest);
    write(&dir.join("model"), model);
    write(&dir.join("tokenizer.bin"), vocabulary);
    write(&dir.join("model.tokenizer"), vocabulary);
    if !head.is_empty() {
        write(&dir.join("model.template"), head);
        write(&dir.join("model.template.with-system"), &[head, head].concat());
    }
    whole(&dir.join("model"))
}

/// adapter_config.json and adapter_model.safetensors, for the sample.
pub fn adapter(data: &[u8]) -> bool {
    let dir = scratch();
    let (config, weights) = parts(data);
    write(&dir.join("adapter_config.json"), config);
    write(&dir.join("adapter_model.safetensors"), weights);
    let merged = Checkpoint::sample().merge(&AdapterSource { folder: dir, scale: 0.5 });
    merged.map(|report| report.to_string()).is_ok()
}
