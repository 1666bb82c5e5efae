//! Files that are no models of any format that is read. In: a path, its first bytes. Out: a refusal that says what the
//! file is and what to do instead.

use std::path::Path;

use crate::error::Error;
use crate::files::is_lfs_pointer;
use crate::folder_problem::FolderProblem;

/// File formats that are not read: first bytes, name, advice.
const KNOWN: [(&[u8], &str, &str); 25] = [
    (b"GGUF", "a GGUF file", EXPORT),
    (b"\x31\x63\x6a\x61", "an ajc1 file", EXPORT),
    (b"\x32\x34\x6b\x61", "a llama2.c file", EXPORT),
    (b"PK\x03\x04", "a zip archive, as PyTorch's .pt and .bin files are", SAFETENSORS),
    (b"\x80\x02", "a Python pickle, as old PyTorch files are", SAFETENSORS),
    (b"\x80\x04", "a Python pickle, as old PyTorch files are", SAFETENSORS),
    (b"\x89HDF", "an HDF5 file, as Keras writes", SAFETENSORS),
    (b"\x7fELF", "a compiled program or library", "give the model that it was compiled from"),
    (b"\x1f\x8b", "gzip data", UNPACK),
    (b"\x28\xb5\x2f\xfd", "zstd data", UNPACK),
    (b"\xfd7zXZ", "xz data", UNPACK),
    (b"BZh", "bzip2 data", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"%PDF", "a PDF document", FETCH),
    (b"lmgg", "a GGML file, older than GGUF", GGML),
    (b"fmgg", "a GGML file, older than GGUF", GGML),
    (b"tjgg", "a GGML file, older than GGUF", GGML),
    (b"algg", "a LoRA adapter of llama.cpp", "give the model; adapters of PEFT go with --lora"),
    (b"FUGG", "a big-endian GGUF file", "fetch the little-endian one"),
    (b"TFL3", "a TensorFlow Lite model", SAFETENSORS),
    (b"<!DOCTYPE", "an HTML page, perhaps an error page of a download", FETCH),
    (b"<!doctype", "an HTML page, perhaps an error page of a download", FETCH),
    (b"<html", "an HTML page, perhaps an error page of a download", FETCH),
    (b"<?xml", "an XML document, perhaps an error page of a download", FETCH),
    (b"{", "a JSON text", "give the folder that it is in"),
];
const EXPORT: &str = "`qwenc export` makes a model.bin of it";
const SAFETENSORS: &str = "give a folder of safetensors files, or a GGUF file, of the same model";
const UNPACK: &str = "unpack it, and give what is in it";
const FETCH: &str = "fetch the model's file again";
const GGML: &str = "fetch the model as GGUF, or convert it with llama.cpp";
/// Advice for a file of an unknown format.
const ANYTHING: &str =
    "give a model.bin, a checkpoint folder, or a GGUF, ajc1 or llama2.c file that is whole \
     (one of llama2.c without a version is known by its size alone)";

/// The refusal of a file.
pub(crate) fn stranger(path: &Path, file: &[u8]) -> Error {
    if is_lfs_pointer(file) {
        return FolderProblem::LfsPointer { file: path.to_path_buf() }.into();
    }
    let (found, hint) = found(path, file);
    Error::NotModelFile { path: path.to_path_buf(), found, hint }
}

fn found(path: &Path, file: &[u8]) -> (String, &'static str) {
    let ends_with = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let text = file.trim_ascii_start();
    let known = KNOWN.iter().find(|(start, ..)| match start[0] {
        b'<' | b'{' => text.starts_with(start),
        _ => file.starts_with(start),
    });
    if file.is_empty() {
        return ("an empty file".to_string(), FETCH);
    }
    if is_safetensors(file) {
        return ("a safetensors file".to_string(), "give its folder, in which config.json is too");
    }
    if let Some((_, what, hint)) = known {
        return (what.to_string(), hint);
    }
    if file.get(257..262) == Some(b"ustar") {
        return ("a tar archive".to_string(), UNPACK);
    }
    // Protocol buffers have no first bytes of their own; field 1 is the version.
    if ends_with("onnx")
        || (file.starts_with(b"\x08") && file[..file.len().min(64)].windows(7).any(|w| w == b"pytorch"))
    {
        return ("an ONNX model".to_string(), SAFETENSORS);
    }
    for (ending, what, hint) in [
        (
            "safetensors",
            "a file that ends early or is no safetensors file",
            "fetch it again, and give its folder",
        ),
        ("gguf", "a file that is no GGUF file", FETCH),
    ] {
        if ends_with(ending) {
            return (format!("{what} (first bytes {})", hex(file)), hint);
        }
    }
    match std::str::from_utf8(&file[..file.len().min(256)]) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            ("a text".to_string(), ANYTHING)
        }
        _ => (format!("a file of another kind (first bytes {})", hex(file)), ANYTHING),
    }
}

/// The length of a header, then the header, a JSON object.
fn is_safetensors(file: &[u8]) -> bool {
    let Some((length, rest)) = file.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    (2..=crate::payload::MAX_HEADER).contains(&length) && rest.starts_with(b"{\"")
}

fn hex(file: &[u8]) -> String {
    let shown: Vec<String> = file.iter().take(4).map(|b| format!("{b:02X}")).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_what_they_are() {
        let said = |name: &str, bytes: &[u8]| stranger(Path::new(name), bytes).to_string();
        let safetensors = [&[16, 0, 0, 0, 0, 0, 0, 0][..], b"{\"a\":{}}        "].concat();
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        for (name, bytes, what, advice) in [
            ("m.safetensors", &safetensors[..], "a safetensors file;", "give its folder"),
            ("m", &safetensors, "a safetensors file;", "give its folder"),
            (
                "m.safetensors",
                b"\x01\x02\x03\x04\x05",
                "no safetensors file (first bytes 01 02 03 04)",
                "fetch it",
            ),
            ("m.pt", b"PK\x03\x04....", "a zip archive", "safetensors"),
            ("m.bin", b"\x80\x02\x8a\x0a", "a Python pickle", "safetensors"),
            ("m.gz", b"\x1f\x8b\x08\x00", "gzip data", "unpack"),
            ("m.tar", &tar, "a tar archive", "unpack"),
            ("m.onnx", b"\x08\x07\x12\x00", "an ONNX model", "safetensors"),
            ("m", b"\x08\x07\x12\x07pytorch", "an ONNX model", "safetensors"),
            ("m.gguf", b"\n <!DOCTYPE html>", "an HTML page", "fetch"),
            ("m.gguf", b"<html><body>404", "an HTML page", "fetch"),
            ("m.gguf", b"\x00\x00\x00\x00", "no GGUF file (first bytes 00 00 00 00)", "fetch"),
            ("m.pdf", b"%PDF-1.7", "a PDF document", "fetch"),
            ("m.bin", b"tjgg\x03\x00", "a GGML file", "GGUF"),
            ("config.json", b" {\"a\": 1}", "a JSON text", "folder"),
            ("m.bin", b"Entry not found", "a text;", "give a model.bin"),
            ("m.bin", b"", "an empty file", "fetch"),
            ("qwen", b"\x7fELF", "a compiled program", "compiled from"),
        ] {
            let said = said(name, bytes);
            assert!(said.starts_with(&format!("{name}: expected a model, found ")), "{said}");
            let (found, hint) = said.split_once("; ").unwrap();
            assert!(format!("{found};").contains(what) && hint.contains(advice), "{said}");
        }
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n";
        let said = said("folder/m.gguf", pointer);
        assert!(said.contains("git-lfs pointer") && said.ends_with("run `git lfs pull` in folder"), "{said}");
    }
}
