//! Values that transformers computed, and those that an executable computes for the same tokens.
//!
//! In: names of golden cases, executables. Out: tokens, logits, distances between them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::data::{folder, root};
use crate::program::{run, Outcome};
use crate::tensors::Tensors;
use crate::variants::folder as new_folder;

/// Values that transformers computed for a golden case in float32.
pub struct Golden {
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Its greedy continuation.
    pub generated: Vec<u32>,
    /// `[T, vocab_rows]`.
    pub logits: Vec<f32>,
}

/// Reads a golden case.
pub fn golden(case: &str) -> Golden {
    let file = Tensors::read(&folder(case).join("golden.safetensors"));
    Golden { tokens: file.ids("tokens"), generated: file.ids("generated"), logits: file.floats("logits") }
}

/// An entry of nano.json: a prompt or conversation, and transformers' greedy answer of the sample.
pub struct Answer {
    /// A text to continue.
    pub prompt: Option<String>,
    /// A conversation of one user message, without tools.
    pub question: Option<String>,
    /// Whether the template was told to think.
    pub thinking: bool,
    /// The rendered prompt's tokens.
    pub prompt_ids: Vec<u32>,
    /// The answer's tokens, with the one that stops.
    pub ids: Vec<u32>,
    /// The answer.
    pub text: String,
    /// Smallest difference between the two largest logits on the way.
    pub margin: f64,
}

/// All entries of nano.json.
pub fn answers() -> Vec<Answer> {
    let text = std::fs::read_to_string(root().join("runtime/rt/tests/data/nano.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    entries.iter().map(answer).collect()
}

fn answer(entry: &Value) -> Answer {
    let ids = |key: &str| {
        let ids = entry[key].as_array().unwrap();
        ids.iter().map(|v| v.as_u64().unwrap() as u32).collect()
    };
    let text = |v: &Value| v.as_str().map(str::to_string);
    let messages = entry["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let alone = messages.len() == 1 && entry.get("tools").is_none();
    Answer {
        prompt: text(&entry["prompt"]),
        question: if alone { text(&messages[0]["content"]) } else { None },
        thinking: entry["thinking"] == true,
        prompt_ids: ids("prompt_ids"),
        ids: ids("greedy_ids"),
        text: text(&entry["greedy_text"]).unwrap(),
        margin: entry["smallest_margin"].as_f64().unwrap(),
    }
}

/// Runs an executable.
pub fn say(executable: &Path, args: &[&str]) -> Outcome {
    run(Command::new(executable).args(args))
}

/// Logits of every position, `[T, vocab_rows]`.
pub fn logits(executable: &Path, tokens: &[u32], args: &[&str]) -> Vec<f32> {
    let file = new_folder().join("logits.safetensors");
    let (ids, out) = (comma(tokens), file.to_str().unwrap());
    say(executable, &[&["logits", "--tokens", &ids, "--out", out], args].concat()).ok();
    let tensors = Tensors::read(&file);
    assert_eq!(tensors.ids("tokens"), tokens);
    std::fs::remove_file(&file).unwrap();
    tensors.floats("logits")
}

/// Ids that an executable samples greedily.
pub fn greedy(executable: &Path, tokens: &[u32], args: &[&str]) -> Vec<u32> {
    let ids = comma(tokens);
    let common = ["generate", "--tokens", &ids, "--temperature", "0", "--print-tokens"];
    ids_of(&say(executable, &[&common, args].concat()).ok())
}

/// Comma-separated ids.
pub fn ids_of(text: &str) -> Vec<u32> {
    text.trim_end().split(',').map(|id| id.parse().unwrap_or_else(|_| panic!("{text:?}"))).collect()
}

/// `1,2,3`.
pub fn comma(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Squared error over squared size.
pub fn nmse(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let (error, size) = pairs.fold((0.0, 0.0), |(e, s), (a, b)| (e + (a - b) * (a - b), s + b * b));
    error / size
}
