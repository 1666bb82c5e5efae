//! Every reader on mutated files: the seeds of the fuzz targets, and a bounded run on them without libFuzzer.
//!
//! With QWENC_SEEDS=FOLDER the seeds are written there, a folder for each target, as scripts/fuzz.sh wants them.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;
#[path = "../fuzz/src/readers.rs"]
mod readers;

use std::path::Path;

use fixtures::gguf::{own_name, q8_0, Gguf, Value, BF16, F32, Q8_0};
use fixtures::old::*;
use fixtures::*;
use qwenc_models::{Checkpoint, Quant};

type Reader = fn(&[u8]) -> bool;

/// Mutated files for each seed.
const ROUNDS: usize = 400;

/// A part that says its length, before the rest.
fn with_length(part: &[u8], rest: &[u8]) -> Vec<u8> {
    [&(part.len() as u16).to_le_bytes(), part, rest].concat()
}

fn checkpoint(model: &Model) -> tempfile::TempDir {
    write_checkpoint(&model.config.to_string(), &model.tensors)
}

fn model_bin(quant: Quant) -> Vec<u8> {
    let folder = checkpoint(&tiny(true));
    std::fs::read(exported(&Checkpoint::open(folder.path()).unwrap(), Some(quant)).1).unwrap()
}

/// One matrix in f32 among others in bf16.
fn mixed_model_bin() -> Vec<u8> {
    let mut model = tiny(true);
    let wide = converted(&model.tensors, "F32", |v| v.to_le_bytes().to_vec());
    let name = "model.layers.1.mlp.up_proj.weight";
    model.tensors.insert(name.to_string(), wide[name].clone());
    std::fs::read(exported(&Checkpoint::open(checkpoint(&model).path()).unwrap(), None).1).unwrap()
}

fn version_2(name: &str) -> Vec<u8> {
    std::fs::read(data().join("version2").join(name)).unwrap()
}

/// The tiny model as GGUF, with a vocabulary of either kind.
fn gguf(llama_vocabulary: bool) -> Vec<u8> {
    let model = tiny(true);
    let mut file = Gguf::default();
    let text = |s: &str| Value::Text(s.to_string());
    file.set("general.architecture", text("qwen3"));
    for (key, value) in [
        ("block_count", 2),
        ("embedding_length", 32),
        ("feed_forward_length", 32),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 32),
        ("context_length", 16),
    ] {
        file.set(&format!("qwen3.{key}"), Value::U32(value));
    }
    file.set("qwen3.rope.freq_base", Value::F32(1e6));
    file.set("qwen3.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    let tokens = ["<unk>", "a", "b", "ab"].map(str::to_string).to_vec();
    file.set("tokenizer.ggml.tokens", Value::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Value::Ints(vec![2, 1, 1, 1]));
    file.set("tokenizer.ggml.eos_token_id", Value::U32(3));
    match llama_vocabulary {
        true => {
            file.set("tokenizer.ggml.model", text("llama"));
            file.set("tokenizer.ggml.scores", Value::Floats(vec![0.0, -1.0, -2.0, -3.0]));
        }
        false => {
            file.set("tokenizer.ggml.model", text("gpt2"));
            file.set("tokenizer.ggml.pre", text("qwen2"));
            file.set("tokenizer.ggml.merges", Value::Texts(vec!["a b".to_string()]));
        }
    }
    for (name, raw) in &model.tensors {
        let axes: Vec<u64> = raw.shape.iter().rev().map(|&n| n as u64).collect();
        let values = model.values(name.strip_suffix(".weight").unwrap());
        let (kind, bytes) = match (axes.len(), llama_vocabulary) {
            (1, _) => (F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (_, true) => (BF16, raw.data.clone()),
            (_, false) => (Q8_0, q8_0(&values)),
        };
        file.add(&own_name(name), &axes, kind, bytes);
    }
    file.bytes()
}

/// llama2.c with one layer of width 8, two heads, 300 rows or few.
fn llama2c(version: u32, vocab: u32) -> Vec<u8> {
    let (dim, heads, context) = (8u32, 2u32, 4u32);
    let sizes: Vec<u8> = [dim, 8, 1, heads, 1, vocab, context].iter().flat_map(|n| n.to_le_bytes()).collect();
    let (norms, matrices) = (3 * dim, vocab * dim + dim * (8 + 4 + 4 + 8) + 3 * 8 * dim);
    let floats =
        |n: u32| (0..n).flat_map(|i| ((i % 13) as f32 / 8.0 - 0.7).to_le_bytes()).collect::<Vec<u8>>();
    if version == 0 {
        return [sizes, floats(norms + matrices + context * dim / heads)].concat();
    }
    let mut out: Vec<u8> = [0x616b_3432u32, version].iter().flat_map(|n| n.to_le_bytes()).collect();
    out.extend(sizes);
    out.push(1);
    out.extend(4u32.to_le_bytes());
    out.resize(256, 0);
    out.extend(floats(norms));
    match version {
        1 => out.extend(floats(matrices)),
        _ => {
            for n in [vocab * 8, 64, 32, 32, 64, 64, 64, 64] {
                out.extend((0..n).map(|i| (i % 200) as u8 >> 1));
                out.extend(floats(n / 4));
            }
        }
    }
    out
}

/// A vocabulary of scores after `header` bytes.
fn scored(header: usize, tokens: impl Iterator<Item = (Vec<u8>, f32)>) -> Vec<u8> {
    let mut out = vec![0; header];
    for (bytes, score) in tokens {
        out.extend(score.to_le_bytes());
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out
}

fn beside() -> Vec<Vec<u8>> {
    let bytes = (0..=255u8).map(|b| (vec![b], -1e6));
    let merged = [(b"ab".to_vec(), -0.1), (b"abc".to_vec(), -0.7), (b"<|im_end|>".to_vec(), -1e6)];
    let mut model = tiny(true).with_rows(259);
    let raw = model.tensors.get_mut("model.embed_tokens.weight").unwrap();
    (raw.shape, raw.data) = (vec![259, 32], vec![0; 259 * 64]);
    let own = scored(12, bytes.chain(merged));
    let pieces = ["<unk>", "<s>", "</s>", " ", "a", "b", " a"].map(|t| (t.as_bytes().to_vec(), -1.0));
    let frames = (0..=255u8).map(|b| (format!("<0x{b:02X}>").into_bytes(), 0.0));
    let stories = scored(4, pieces.into_iter().take(3).chain(frames).chain([(b" a".to_vec(), -1.0)]));
    vec![
        with_length(b"<|im_start|>user\n%s<|im_end|>\n", &with_length(&own, &model.ajc1(None))),
        with_length(b"", &with_length(&stories, &llama2c(0, 260))),
    ]
}

fn adapters() -> Vec<Vec<u8>> {
    let mut tensors = std::collections::BTreeMap::new();
    for (half, shape) in [("A", [2usize, 128]), ("B", [128, 2])] {
        let raw = Raw { dtype: "F16".to_string(), shape: shape.to_vec(), data: vec![0x11; 512] };
        tensors.insert(format!("base_model.model.model.layers.0.self_attn.k_proj.lora_{half}.weight"), raw);
    }
    let config = br#"{"peft_type": "LORA", "r": 3, "lora_alpha": 4, "bias": "none", "use_rslora": true,
        "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"layers.[01].self_attn.k_proj": 2.5}, "use_dora": false}"#;
    vec![with_length(config, &image(&tensors))]
}

/// Templates with most of the language.
fn templates() -> Vec<Vec<u8>> {
    let sample = Checkpoint::sample();
    let own = "{% macro m(a, b=[1]) %}{{ a ~ b[::-1] }}{{ caller() if caller }}{% endmacro %}{% call m('x') %}y{% endcall %}\
        {% set n = namespace(i=2 ** 70) %}{% for m in messages if m.role recursive %}{% set n.i = n.i // 3 - 1.5 %}\
        {{ m | tojson(indent=2) | indent(1) }}{{ loop.index }}{% else %}-{% endfor %}{{ '%5.2f %s' % (n.i, messages) }}\
        {{ '{:>8}'.format('é') }}{{ messages | map(attribute='content') | list | string | wordwrap(20) | truncate(30) }}";
    vec![sample.side_files().chat_template.as_deref().unwrap().as_bytes().to_vec(), own.into()]
}

/// Target, reader, seeds.
fn targets() -> Vec<(&'static str, Reader, Vec<Vec<u8>>)> {
    let folder = |model: Model| with_length(model.config.to_string().as_bytes(), &image(&model.tensors));
    let int4 = Quant::I4 { group: 32, embeddings: false };
    vec![
        ("folder", readers::folder as Reader, vec![folder(tiny(true)), folder(tiny(false))]),
        (
            "model_bin",
            readers::model_bin,
            vec![
                model_bin(Quant::I8 { group: 32 }),
                model_bin(int4),
                mixed_model_bin(),
                version_2("int4.bin"),
            ],
        ),
        ("gguf", readers::gguf, vec![gguf(true), gguf(false)]),
        ("llama2c", readers::llama2c, vec![llama2c(0, 4), llama2c(1, 4), llama2c(2, 4)]),
        ("ajc1", readers::ajc1, vec![tiny(true).ajc1(None), tiny(false).ajc1(Some(1))]),
        ("qwen_v1", readers::qwen_v1, vec![tiny(true).qwen_v1(256), tiny(false).qwen_v1(260)]),
        ("tokenizer", readers::tokenizer, beside()),
        ("adapter", readers::adapter, adapters()),
        ("chat_template", readers::chat_template, templates()),
    ]
}

/// Numbers that the same seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Numbers that readers may stumble over.
const ODD: [u64; 12] = [
    0,
    1,
    2,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

fn mutated(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut data = seed.to_vec();
    // Headers are where readers decide: half of all changes are in the first 2 KiB.
    for _ in 0..1 + dice.below(3) {
        let reach = if dice.below(2) == 0 { data.len().min(2048) } else { data.len() };
        let at = dice.below(reach);
        match dice.below(6) {
            0 => data[at] ^= 1 << dice.below(8),
            1 => data[at] = dice.below(256) as u8,
            2 => {
                let width = [2, 4, 8][dice.below(3)].min(data.len() - at);
                let value = ODD[dice.below(ODD.len())].to_le_bytes();
                data[at..at + width].copy_from_slice(&value[..width]);
            }
            3 => data.truncate(at.max(1)),
            4 => {
                let end = (at + 1 + dice.below(64)).min(data.len());
                data.drain(at..end);
            }
            _ => {
                let end = (at + 1 + dice.below(64)).min(data.len());
                let copy = data[at..end].to_vec();
                data.splice(at..at, copy);
            }
        }
        if data.is_empty() {
            data.push(0);
        }
    }
    data
}

#[test]
fn seeds_are_models() {
    let out = std::env::var_os("QWENC_SEEDS");
    for (target, read, seeds) in targets() {
        for (i, seed) in seeds.iter().enumerate() {
            assert!(read(seed), "{target}: seed {i} is refused");
            if let Some(out) = &out {
                let folder = Path::new(out).join(target);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(format!("seed-{i}")), seed).unwrap();
            }
        }
    }
}

#[test]
fn mutated_files_are_read_or_refused() {
    for (target, read, seeds) in targets() {
        let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutation-{target}"));
        let mut opened = 0;
        for (i, seed) in seeds.iter().enumerate() {
            let mut dice = Dice(i as u64 + 1);
            for _ in 0..ROUNDS {
                let data = mutated(seed, &mut dice);
                // What a panic leaves behind.
                std::fs::write(&last, &data).unwrap();
                opened += usize::from(read(&data));
            }
        }
        let all = seeds.len() * ROUNDS;
        println!("{target}: {opened} of {all} were models");
        assert!(
            opened > 0 && opened < all,
            "{target}: {opened} of {all} were models: do mutations reach it?"
        );
        std::fs::remove_file(last).unwrap();
    }
}
