//! Corrupt, cut and contradictory files of every format, through the whole program: each is refused by `export` and
//! `compile` with a clear message and exit code 1, and nothing is written.

use std::path::PathBuf;

use qwenc_tests::variants::folder;

use crate::fixtures::gguf::{Gguf, Value};
use crate::fixtures::gguf_models::{as_bf16, case, stories_file};
use crate::fixtures::stories;
use crate::refused_models::in_vain;
use crate::shown::refusal;

/// One refusal per file; `export` and `compile` must agree.
fn check(files: Vec<(&str, Vec<u8>)>) -> String {
    let one = |(name, bytes): (&str, Vec<u8>)| {
        let path: PathBuf = folder().join("model");
        std::fs::write(&path, bytes).unwrap();
        let exported = refusal(name, 1, in_vain("export", &path, "model.bin"));
        assert_eq!(exported, refusal(name, 1, in_vain("compile", &path, "qwen")), "{name}");
        exported
    };
    files.into_iter().map(one).collect()
}

fn changed(file: &Gguf, change: impl Fn(&mut Gguf)) -> Vec<u8> {
    let mut file = file.clone();
    change(&mut file);
    file.bytes()
}

#[test]
fn gguf() {
    let good = case("qwen3-tied", &as_bf16);
    let (bytes, set) =
        (good.bytes(), |key: &'static str, value: Value| changed(&good, move |f| f.set(key, value.clone())));
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    insta::assert_snapshot!(check(vec![
        ("cut in the magic's line", bytes[..10].to_vec()),
        ("cut in the keys", bytes[..200].to_vec()),
        ("cut in the tensors", bytes[..bytes.len() - 1000].to_vec()),
        ("version 9", with(4, &[9])),
        ("more tensors than there can be", with(8, &u64::MAX.to_le_bytes())),
        ("more keys than there can be", with(16, &(1u64 << 60).to_le_bytes())),
        ("an architecture that is not read", set("general.architecture", Value::Text("mamba".into()))),
        ("more layers than there are tensors of", set("qwen3.block_count", Value::U32(3))),
        ("another width than the tensors'", set("qwen3.embedding_length", Value::U32(96))),
        ("a number that is a text", set("qwen3.block_count", Value::Text("two".into()))),
        ("a tensor missing", changed(&good, |f| drop(f.tensors.pop()))),
        ("the same tensor twice", changed(&good, |f| f.tensors.push(f.tensors[0].clone()))),
        ("a type that there is not", changed(&good, |f| f.tensors[0].2 = 99)),
        ("axes that multiply past all numbers", changed(&good, |f| f.tensors[0].1 = vec![1 << 40, 1 << 40])),
    ]));
}

#[test]
fn gguf_vocabularies() {
    let good = stories_file();
    insta::assert_snapshot!(check(vec![
        (
            "fewer scores than tokens",
            changed(&good, |f| f.set("tokenizer.ggml.scores", Value::Floats(vec![0.0; 3]))),
        ),
        (
            "a kind of vocabulary that is not read",
            changed(&good, |f| f.set("tokenizer.ggml.model", Value::Text("rwkv".into()))),
        ),
    ]));
}

#[test]
fn llama2c() {
    let good = std::fs::read(stories::path("stories260K.bin")).unwrap();
    let versioned = |version: u32, rest: &[u32], length: usize| {
        let words = [&[0x616b_3432, version], rest].concat();
        let mut out: Vec<u8> = words.iter().flat_map(|n| n.to_le_bytes()).collect();
        out.push(1);
        out.resize(length, 0);
        out
    };
    let sizes = [64, 172, 5, 8, 4, 512, 512];
    insta::assert_snapshot!(check(vec![
        ("without a version, one byte short", good[..good.len() - 1].to_vec()),
        ("without a version, one layer more", {
            let mut bytes = good.clone();
            bytes[8..12].copy_from_slice(&6u32.to_le_bytes());
            bytes
        }),
        ("version 1, cut in the header", versioned(1, &sizes, 100)),
        ("version 1, cut in the tensors", versioned(1, &sizes, 5000)),
        ("version 2 without a group size", versioned(2, &sizes, 5000)),
        ("version 7", versioned(7, &sizes, 5000)),
        ("version 1, no heads", versioned(1, &[64, 172, 5, 0, 4, 512, 512], 5000)),
        ("version 1, too large for any memory", versioned(1, &[u32::MAX; 7], 5000)),
    ]));
}

/// Headers of 256 bytes and what follows.
fn old(words: &[u32], length: usize) -> Vec<u8> {
    let mut out: Vec<u8> = words.iter().flat_map(|n| n.to_le_bytes()).collect();
    out.resize(length, 0);
    out
}

#[test]
fn ajc1() {
    // Width, MLP, layers, heads, kv heads, vocabulary, context, head_dim, tied, group.
    let good = [0x616a_6331, 1, 64, 160, 2, 4, 2, 320, 512, 32, 1, 32];
    let with = |i: usize, n: u32| {
        let mut words = good;
        words[i] = n;
        old(&words, 4096)
    };
    insta::assert_snapshot!(check(vec![
        ("cut in the header", old(&good, 100)),
        ("cut in the tensors", old(&good, 4096)),
        ("version 2", with(1, 2)),
        ("heads that cannot be shared", with(6, 3)),
        ("neither tied nor not", with(10, 7)),
        ("no group size", with(11, 0)),
        ("groups that cross rows", with(11, 48)),
        ("no layers", with(4, 0)),
        (
            "of an architecture that is not stated in full",
            old(&[0x616a_6331, 1, 2, 64, 160, 2, 4, 2, 320, 512, 32, 1, 32], 4096)
        ),
    ]));
}

#[test]
fn qwen_version_1() {
    // Vocabulary, width, MLP, layers, heads, kv heads, context, theta.
    let good = [0x5157_454e, 1, 320, 64, 160, 2, 4, 2, 512, 1e6f32.to_bits()];
    let with = |i: usize, n: u32| {
        let mut words = good;
        words[i] = n;
        old(&words, 4096)
    };
    insta::assert_snapshot!(check(vec![
        ("cut in the header", old(&good, 100)),
        ("a size that no answer fits", old(&good, 4096)),
        ("theta that is no number", with(9, f32::NAN.to_bits())),
        ("heads that cannot be shared", with(7, 3)),
        ("no width", with(3, 0)),
    ]));
}
