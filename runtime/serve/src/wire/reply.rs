//! Answers as OpenAI writes them, whole and in chunks.
//!
//! In: pieces of answers. Out: JSON. Invariant: the shapes of OpenAI's reference: a whole answer is never shaped like a
//! chunk, nor the other way round.

use serde_json::{json, Map, Value};

use crate::words::Piece;

/// Head of every chunk of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The answer's own id.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// Which code and weights answered.
    pub fingerprint: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was complete.
    Stop,
    /// It was cut off.
    Length,
    /// It calls tools.
    ToolCalls,
}

/// Tokens that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt: usize,
    /// Tokens of the prompts that were found in a cache.
    pub cached: usize,
    /// Tokens of the answers.
    pub completion: usize,
}

/// A token of an answer as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Others, the likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
        }
    }
}

impl Usage {
    /// JSON form.
    pub fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt, "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

impl Head {
    fn around(&self, object: &str, choices: Vec<Value>) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("id".into(), self.id.clone().into());
        map.insert("object".into(), object.into());
        map.insert("created".into(), self.created.into());
        map.insert("model".into(), self.model.clone().into());
        map.insert("system_fingerprint".into(), self.fingerprint.clone().into());
        map.insert("choices".into(), choices.into());
        map
    }

    /// A chunk of a chat: what one choice's message gets.
    pub fn chat_chunk(&self, index: usize, delta: Value, told: &[Told], finish: Option<Finish>) -> Value {
        let choice = json!({
            "index": index, "delta": delta, "logprobs": chat_logprobs(told),
            "finish_reason": finish.map(Finish::name),
        });
        self.around("chat.completion.chunk", vec![choice]).into()
    }

    /// A chunk of a completion.
    pub fn text_chunk(&self, index: usize, text: &str, told: Option<Value>, finish: Option<Finish>) -> Value {
        let choice = json!({
            "index": index, "text": text, "logprobs": told, "finish_reason": finish.map(Finish::name),
        });
        self.around("text_completion", vec![choice]).into()
    }

    /// The chunk after all others, which counts.
    pub fn usage_chunk(&self, chat: bool, usage: &Usage) -> Value {
        let mut map = self.around(if chat { "chat.completion.chunk" } else { "text_completion" }, Vec::new());
        map.insert("usage".into(), usage.json());
        map.into()
    }

    /// Whole answers.
    pub fn whole(&self, chat: bool, choices: Vec<Value>, usage: &Usage) -> Value {
        let mut map = self.around(if chat { "chat.completion" } else { "text_completion" }, choices);
        map.insert("usage".into(), usage.json());
        map.into()
    }
}

/// Delta that a piece adds to a message.
pub fn delta(piece: &Piece, id: &str) -> Value {
    match piece {
        Piece::Content(text) => json!({ "content": text }),
        Piece::Reasoning(text) => json!({ "reasoning_content": text }),
        Piece::Call { index, name } => json!({"tool_calls": [{
            "index": index, "id": call_id(id, *index), "type": "function",
            "function": {"name": name, "arguments": ""},
        }]}),
        Piece::Arguments { index, text } => {
            json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
        }
    }
}

/// One choice of a whole chat answer.
pub fn message(index: usize, pieces: &[Piece], id: &str, told: &[Told], finish: Finish) -> Value {
    let (mut content, mut reasoning) = (String::new(), String::new());
    let mut calls: Vec<(String, String)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Content(text) => content += text,
            Piece::Reasoning(text) => reasoning += text,
            Piece::Call { name, .. } => calls.push((name.clone(), String::new())),
            Piece::Arguments { index, text } => {
                if let Some(call) = calls.get_mut(*index) {
                    call.1 += text;
                }
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if content.is_empty() && !calls.is_empty() {
        message["content"] = Value::Null;
    }
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        let one = |(i, (name, arguments)): (usize, &(String, String))| {
            json!({"id": call_id(id, i), "type": "function",
                   "function": {"name": name, "arguments": arguments}})
        };
        message["tool_calls"] = calls.iter().enumerate().map(one).collect();
    }
    json!({
        "index": index, "message": message, "logprobs": chat_logprobs(told), "finish_reason": finish.name(),
    })
}

/// One choice of a whole completion.
pub fn text_choice(index: usize, text: &str, told: Option<Value>, finish: Finish) -> Value {
    json!({"index": index, "text": text, "logprobs": told, "finish_reason": finish.name()})
}

/// Unlike any other call's.
fn call_id(id: &str, index: usize) -> String {
    let random = id.rsplit('-').next().unwrap_or(id);
    format!("call_{random}_{index}")
}

fn chat_logprobs(told: &[Told]) -> Value {
    if told.is_empty() {
        return Value::Null;
    }
    let one = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes});
    let token = |t: &Told| {
        let mut value = one(&t.bytes, t.logprob);
        value["top_logprobs"] = t.top.iter().map(|(bytes, logprob)| one(bytes, *logprob)).collect();
        value
    };
    json!({"content": told.iter().map(token).collect::<Vec<_>>(), "refusal": null})
}

/// Log probabilities in the form of completions; `offset` is the place in the text of the first token, and then of the one
/// after the last.
pub fn text_logprobs(told: &[Told], offset: &mut usize) -> Value {
    let mut offsets = Vec::new();
    for token in told {
        offsets.push(*offset);
        *offset += String::from_utf8_lossy(&token.bytes).chars().count();
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let top = |t: &Told| -> Map<String, Value> {
        t.top.iter().map(|(bytes, logprob)| (text(bytes), json!(logprob))).collect()
    };
    json!({
        "tokens": told.iter().map(|t| text(&t.bytes)).collect::<Vec<_>>(),
        "token_logprobs": told.iter().map(|t| t.logprob).collect::<Vec<_>>(),
        "top_logprobs": told.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
