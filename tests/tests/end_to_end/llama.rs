//! Llama's way with text: a token at the beginning of every prompt, once, and a chat template that writes it itself.

use std::path::PathBuf;

use qwenc_tests::data::folder as case_folder;
use qwenc_tests::golden::say;
use qwenc_tests::tensors::Tensors;
use qwenc_tests::variants::folder;
use qwenc_tests::{forged, golden};
use serde_json::{json, Map, Value};

use crate::formats::compiled;

const BEGIN: u32 = 256;
const START: u32 = 257;
const END: u32 = 258;
const EOT: u32 = 259;

/// GPT-2's character for a byte.
fn spelt(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
            char::from_u32(0x100 + before).unwrap()
        }
    }
}

/// A vocabulary of bytes with Llama 3's tokens, and its rule for prompts.
fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> =
        (0..=255u8).map(|b| (spelt(b).to_string(), json!(u32::from(b)))).collect();
    let added = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [
            added(BEGIN, "<|begin_of_text|>"), added(START, "<|start_header_id|>"),
            added(END, "<|end_header_id|>"), added(EOT, "<|eot_id|>"),
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|begin_of_text|>":
                {"id": "<|begin_of_text|>", "ids": [BEGIN], "tokens": ["<|begin_of_text|>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []},
    })
}

const TEMPLATE: &str = "{{- bos_token }}\
    {%- for message in messages %}\
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}\
    {%- endfor %}\
    {%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}";

fn program() -> PathBuf {
    let model = forged::copy(&case_folder("llama3-rope"));
    let write = |name: &str, value: Value| std::fs::write(model.join(name), value.to_string()).unwrap();
    write("tokenizer.json", tokenizer());
    write(
        "tokenizer_config.json",
        json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": TEMPLATE}),
    );
    write("generation_config.json", json!({"eos_token_id": [1, EOT]}));
    compiled(&model, &["--quant", "f32"])
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// Greedy text after ids, as many tokens as are asked for.
fn after(program: &std::path::Path, ids: &[u32], count: &str) -> String {
    let ids = golden::comma(ids);
    say(program, &["generate", "--tokens", &ids, "--max-tokens", count, "--ignore-eos"]).ok()
}

#[test]
fn a_prompt_begins_with_its_token_once_and_so_does_a_conversation() {
    let program = program();
    let file = folder().join("logits.safetensors");
    let out = ["logits", "--prompt", "hi you", "--out", file.to_str().unwrap()];
    say(&program, &out).ok();
    let prompt = [&[BEGIN][..], &bytes("hi you")].concat();
    assert_eq!(Tensors::read(&file).ids("tokens"), prompt);
    let limits = ["--max-tokens", "8", "--ignore-eos"];
    let generated = say(&program, &[&["generate", "hi you"], &limits[..]].concat()).ok();
    assert_eq!(generated, after(&program, &prompt, "8"));
    // The template writes the token, so the rule for prompts must not.
    let header = |role: &str| [&[START][..], &bytes(role), &[END], &bytes("\n\n")].concat();
    let turn = |role: &str, said: &str| [&header(role)[..], &bytes(said), &[EOT]].concat();
    let conversation =
        [&[BEGIN][..], &turn("system", "Be brief."), &turn("user", "<|eot_id|>?"), &header("assistant")]
            .concat();
    let chat =
        ["chat", "--system", "Be brief.", "--prompt", " <|eot_id|>? ", "--temperature", "0", "--stats"];
    let said = say(&program, &[&chat, &limits[..]].concat());
    assert!(said.err.contains(&format!("prefill: {} tokens", conversation.len())), "{}", said.err);
    assert_eq!(said.ok(), after(&program, &conversation, "8"));
}
