//! Files that are not what their names promise: pipes, git-lfs pointers, keys that stand twice, folders of a cache.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use fixtures::bytes::{image_header, sealed, small};
use fixtures::gguf_models::{as_bf16, case};
use fixtures::*;
use qwenc_models::{AdapterSource, Checkpoint, Hints, Inspection, Look, ModelFile, Quant, Source};

/// Refusal of a path, which must come within a few seconds and be the same from every entry point.
fn refusal(path: &Path) -> String {
    let (send, receive) = channel();
    let given = path.to_path_buf();
    std::thread::spawn(move || {
        let opened = Source::open(&given, Hints::default()).err().map(|e| e.to_string());
        let inspected = match Inspection::of(&given) {
            Ok(inspection) => inspection.problems.first().map(|p| p.to_string()),
            Err(e) => Some(e.to_string()),
        };
        send.send((opened, inspected)).unwrap();
    });
    let (opened, inspected) = receive.recv_timeout(Duration::from_secs(20)).expect("opening does not wait");
    let opened = opened.expect("refused");
    assert_eq!(inspected.as_deref(), Some(&*opened), "inspect and open say the same");
    opened.replace(&path.display().to_string(), "M")
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn pipes_sockets_and_devices_are_refused_at_once() {
    for name in ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"] {
        let dir = copied();
        pipe(&dir.path().join(name));
        let said = refusal(dir.path());
        assert_eq!(said, format!("M/{name}: cannot open: expected a regular file, found a pipe"));
    }
    let dir = copied();
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    fs::create_dir(dir.path().join("tokenizer.json")).unwrap();
    assert_eq!(refusal(dir.path()), "M/tokenizer.json: cannot open: expected a regular file, found a folder");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    pipe(&path);
    assert_eq!(refusal(&path), "M: cannot open: expected a regular file, found a pipe");
    fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(refusal(&path), "M: cannot open: expected a regular file, found a socket");
    assert_eq!(refusal(Path::new("/dev/zero")), "M: cannot open: expected a regular file, found a device");
    // An index that names a pipe, and an adapter of pipes.
    let dir = copied();
    let [weights, shard] = ["model.safetensors", "part.safetensors"].map(|name| dir.path().join(name));
    fs::remove_file(weights).unwrap();
    pipe(&shard);
    let index = r#"{"weight_map": {"model.norm.weight": "part.safetensors"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(refusal(dir.path()), "M/part.safetensors: cannot open: expected a regular file, found a pipe");
    let adapter = tempfile::tempdir().unwrap();
    pipe(&adapter.path().join("adapter_config.json"));
    let source = AdapterSource::of_word(adapter.path().to_str().unwrap());
    let said = Checkpoint::open(copied().path()).unwrap().merge(&source).unwrap_err().to_string();
    assert!(
        said.ends_with("adapter_config.json: cannot open: expected a regular file, found a pipe"),
        "{said}"
    );
}

#[test]
fn git_lfs_pointers_are_told_with_the_way_out() {
    let pointer =
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\
                   b1258daaa5e2ca24d17e2393\nsize 1189243\n";
    let what =
        "this is a git-lfs pointer, not the weights or text that it stands for: run `git lfs pull` in M";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = copied();
        fs::write(dir.path().join(name), pointer).unwrap();
        assert_eq!(refusal(dir.path()), format!("M/{name}: {what}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.gguf");
    fs::write(&file, pointer).unwrap();
    assert!(refusal(&file).starts_with("M: this is a git-lfs pointer"));
}

#[test]
fn safetensors_headers_are_those_of_the_format() {
    let check = |change: &dyn Fn(&str) -> String| {
        let dir = copied();
        with_header(dir.path(), change);
        refusal(dir.path())
    };
    for blank in [" ", "\n", "\t", "\u{feff}"] {
        let said = check(&|header| format!("{blank}{header}"));
        assert!(said.contains("header: expected `{` as its first byte, found 0x"), "{said}");
    }
    let entry = |header: &str| {
        let all: serde_json::Value = serde_json::from_str(header).unwrap();
        format!("\"model.norm.weight\":{}", all["model.norm.weight"])
    };
    let twice = |key: &str| {
        format!("M/model.safetensors: key {key}: expected once, found twice; remove one of the two")
    };
    assert_eq!(check(&|header| format!("{{{},{}", entry(header), &header[1..])), twice("model.norm.weight"));
    let dtype = |header: &str| header.replacen("\"dtype\":", "\"dtype\":\"F32\",\"dtype\":", 1);
    let said = check(&dtype);
    assert!(said.contains(": dtype: expected once, found twice"), "{said}");
    let metadata = r#"{"__metadata__":{"format":"pt","format":"np"},"#;
    assert_eq!(check(&|header| format!("{metadata}{}", &header[1..])), twice("__metadata__: format"));
    // Blanks after it are the format's padding.
    let dir = copied();
    with_header(dir.path(), |header| format!("{header}    "));
    Checkpoint::open(dir.path()).unwrap();
}

#[test]
fn keys_that_stand_twice_are_refused_everywhere() {
    let twice = |file: &str, key: &str| {
        format!("M{file}: key {key}: expected once, found twice; remove one of the two")
    };
    for (file, text, key) in [
        (
            "tokenizer.json",
            r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "a": 2}}}"#,
            "model: vocab: a",
        ),
        ("generation_config.json", r#"{"top_k": 1, "top_k": 2}"#, "top_k"),
        ("tokenizer_config.json", r#"{"chat_template": "a", "chat_template": "b"}"#, "chat_template"),
    ] {
        let dir = copied();
        fs::write(dir.path().join(file), text).unwrap();
        let said = refusal(dir.path());
        assert!(said.ends_with(&twice("", key)[1..]) && said.contains(file), "{said}");
    }
    let dir = copied();
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    fs::write(dir.path().join("config.json"), config.replacen('{', "{\"hidden_size\": 64,", 1)).unwrap();
    assert_eq!(refusal(dir.path()), twice("/config.json", "hidden_size"));
    let dir = copied();
    fs::rename(dir.path().join("model.safetensors"), dir.path().join("a.safetensors")).unwrap();
    let index = r#"{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(refusal(dir.path()), twice("/model.safetensors.index.json", "weight_map: x"));
    // A model.bin whose hash is right all the same.
    let file = small(Quant::Bf16);
    let (_, data) = image_header(&file);
    let header = std::str::from_utf8(&file[264..data]).unwrap();
    let forged = header.replacen("\"dtype\":", "\"dtype\":\"F32\",\"dtype\":", 1);
    let forged = sealed(
        [&file[..256], &(forged.len() as u64).to_le_bytes(), forged.as_bytes(), &file[data..]].concat(),
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m"), forged).unwrap();
    let said = ModelFile::open(&dir.path().join("m")).err().unwrap().to_string();
    assert!(said.contains(": dtype: expected once, found twice"), "{said}");
}

#[test]
fn gguf_names_stand_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let good = case("qwen3-tied", &as_bf16);
    let refused = |file: &fixtures::gguf::Gguf| {
        fs::write(&path, file.bytes()).unwrap();
        refusal(&path)
    };
    let mut file = good.clone();
    file.values.push(file.values[0].clone());
    let key = file.values[0].0.clone();
    assert_eq!(refused(&file), format!("M: {key}: expected one value, found two; correct the file"));
    let mut file = good.clone();
    file.tensors.push(file.tensors[0].clone());
    assert!(refused(&file).contains("expected one of that name, found two"));
    // The same tensor under the name of another format.
    let mut file = good;
    let norm = file.tensors.iter().find(|t| t.0 == "output_norm.weight").unwrap().clone();
    file.tensors.push(("model.norm.weight".to_string(), norm.1, norm.2, norm.3));
    let said = refused(&file);
    assert!(said.contains("tensor model.norm.weight: expected one of that name, found two"), "{said}");
}

/// A cache folder with these snapshots, their files links to blobs, and what refs/main says.
fn cache(snapshots: &[&str], main: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let hub = tempfile::tempdir().unwrap();
    let model = hub.path().join("models--Qwen--Qwen3-0.6B");
    fs::create_dir_all(model.join("blobs")).unwrap();
    fs::create_dir_all(model.join("refs")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder("qwen3-tied").join(name), model.join("blobs").join(format!("b-{name}"))).unwrap();
    }
    for snapshot in snapshots {
        fs::create_dir_all(model.join("snapshots").join(snapshot)).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let link = model.join("snapshots").join(snapshot).join(name);
            std::os::unix::fs::symlink(format!("../../blobs/b-{name}"), link).unwrap();
        }
    }
    if let Some(main) = main {
        fs::write(model.join("refs/main"), main).unwrap();
    }
    (hub, model)
}

#[test]
fn a_cache_folder_is_its_main_snapshot() {
    let opened = |snapshots: &[&str], main: Option<&str>| {
        let (hub, model) = cache(snapshots, main);
        let found = Checkpoint::open(&model);
        if found.is_ok() {
            assert_eq!(Inspection::of(&model).unwrap().problems, []);
            assert!(Source::open(&model, Hints::default()).is_ok());
        }
        drop(hub);
        found.map(drop).map_err(|e| e.to_string().replace(&model.display().to_string(), "M"))
    };
    assert_eq!(opened(&["aaaa", "bbbb"], Some("bbbb")), Ok(()));
    assert_eq!(opened(&["aaaa", "bbbb"], Some("aaaa\n")), Ok(()));
    assert_eq!(opened(&["aaaa"], None), Ok(()));
    let refused = |snapshots: &[&str], main| opened(snapshots, main).unwrap_err();
    assert_eq!(
        refused(&["aaaa", "bbbb"], None),
        "M: expected refs/main, or one snapshot, found snapshots/aaaa, snapshots/bbbb; give the folder of a snapshot"
    );
    assert_eq!(
        refused(&["aaaa"], Some("cccc")),
        "M: expected snapshots/cccc, which refs/main names, found snapshots/aaaa; give the folder of a snapshot"
    );
    assert!(refused(&["aaaa"], Some("../../x")).contains("which refs/main names"));
    let (hub, _model) = cache(&["aaaa"], None);
    let said = Checkpoint::open(hub.path()).err().unwrap().to_string();
    assert!(
        said.ends_with(
            "expected config.json, found none; it holds models--Qwen--Qwen3-0.6B: give one of these"
        ),
        "{said}"
    );
    // A blob that was never fetched.
    let (_hub, model) = cache(&["aaaa"], None);
    fs::remove_file(model.join("blobs/b-model.safetensors")).unwrap();
    let said = Checkpoint::open(&model).err().unwrap().to_string();
    assert!(said.contains("snapshots/aaaa/model.safetensors: cannot open: No such file"), "{said}");
}

/// Headers alone find what values are not needed for; values find the rest.
#[test]
fn values_are_read_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let mut file = small(Quant::Bf16);
    let last = file.len() - 1;
    file[last] ^= 1;
    fs::write(&path, file).unwrap();
    let headers = Inspection::of_with(&path, Hints::default(), Look::Headers).unwrap();
    assert_eq!((&headers.problems[..], &headers.computed_hash), (&[][..], &None));
    assert!(headers.tensors.iter().all(|t| t.max_abs.is_none()) && headers.stated_hash.is_some());
    let values = Inspection::of(&path).unwrap();
    assert!(values.problems.iter().any(|p| p.contains("SHA-256")) && values.tensors[0].max_abs.is_some());
    assert_eq!(values.types, headers.types);
}
