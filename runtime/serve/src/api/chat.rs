//! `/v1/chat/completions`.
//!
//! In: a conversation. Out: the answers to its last message. Invariant: the prompt is the one that `chat` in the
//! terminal gives to the model for the same conversation: what users and tools write never becomes a control token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::Json;
use serde_json::{json, Value};

use crate::api::answers::{Answers, Delta, Question};
use crate::api::stream::{self, Style};
use crate::api::Asked;
use crate::refusal::Refusal;
use crate::state::{Model, Server};
use crate::wire::chat::{self, ChatRequest};
use crate::wire::reply::{self, Finish, Head, Told, Usage};
use crate::words::{Piece, Reading};
use qwenc_engine::image::metadata::thinks;
use qwenc_text::prompt::{self, Rendered};
use qwenc_text::template::Conversation;

/// The handler.
pub async fn chat(State(server): State<Arc<Server>>, asked: Asked) -> Result<Response, Refusal> {
    let Asked { value, load } = asked;
    let request = chat::read(value, &server.model()?.metadata)?;
    let (streams, usage) = (request.options.stream, request.options.include_usage);
    let head = server.model()?.head("chatcmpl");
    // Before anything is done that takes a while.
    let permit = server.admit(request.options.n)?;
    let shared = Arc::clone(&server);
    let question = super::aside(move || {
        let _load = load;
        question(shared.model()?, request)
    })
    .await?;
    let answers = Answers::begin(&server, question, permit).await?;
    if streams {
        return Ok(stream::respond(answers, Chunks { head, usage }));
    }
    Ok(Json(whole(answers, &head).await?).into_response())
}

/// The text of a conversation.
pub fn render(model: &Model, conversation: &Conversation) -> Result<Rendered, Refusal> {
    let no_template = || {
        let message = "this model has no chat template, so it cannot chat; use /v1/completions";
        Refusal::bad("messages", message)
    };
    let template = model.template.as_ref().ok_or_else(no_template)?;
    Ok(prompt::render(template, &model.tokenizer, conversation)?)
}

fn question(model: &Model, request: ChatRequest) -> Result<Question, Refusal> {
    let calls = !request.tools.shown.is_empty();
    let conversation = Conversation {
        messages: request.messages,
        tools: request.tools.shown,
        enable_thinking: request.enable_thinking,
    };
    let rendered = render(model, &conversation)?;
    model.check_length(&rendered.text(), "messages")?;
    let prompt = rendered.encode(&model.tokenizer)?;
    let end = prompt.text.trim_end();
    let opened = end.ends_with("<think>");
    Ok(Question {
        field: "messages",
        prompts: vec![prompt.ids],
        max_tokens: request.max_tokens.or(model.metadata.sampling.max_tokens),
        logprobs: request.logprobs,
        shape: request.shape,
        opened: if end.ends_with("</think>") { None } else { Some(opened) },
        thinks: thinks(&model.metadata, &prompt.text),
        reading: Reading::Chat { opened, calls },
        options: request.options,
    })
}

async fn whole(mut answers: Answers, head: &Head) -> Result<Value, Refusal> {
    let mut all: Vec<(Vec<Piece>, Vec<Told>, Finish)> =
        (0..answers.count()).map(|_| (Vec::new(), Vec::new(), Finish::Length)).collect();
    while let Some(delta) = answers.next().await {
        let delta = delta?;
        let one = &mut all[delta.index];
        one.0.extend(delta.pieces);
        one.1.extend(delta.told);
        one.2 = delta.finish.unwrap_or(one.2);
    }
    let choice = |(i, (pieces, told, finish)): (usize, &(Vec<Piece>, Vec<Told>, Finish))| {
        reply::message(i, pieces, &id(head, i), told, *finish)
    };
    let choices = all.iter().enumerate().map(choice).collect();
    Ok(head.whole(true, choices, answers.usage()))
}

/// Prefix of the ids of an answer's tool calls.
fn id(head: &Head, index: usize) -> String {
    if index == 0 {
        return head.id.clone();
    }
    format!("{}.{index}", head.id)
}

struct Chunks {
    head: Head,
    usage: bool,
}

impl Style for Chunks {
    fn chunks(&mut self, delta: &Delta) -> Vec<Value> {
        let (head, index) = (&self.head, delta.index);
        let mut chunks = Vec::new();
        if delta.begun {
            chunks.push(head.chat_chunk(index, json!({"role": "assistant", "content": ""}), &[], None));
        }
        let mut told = &delta.told[..];
        for piece in &delta.pieces {
            let change = reply::delta(piece, &id(head, index));
            chunks.push(head.chat_chunk(index, change, std::mem::take(&mut told), None));
        }
        if delta.finish.is_some() {
            chunks.push(head.chat_chunk(index, json!({}), told, delta.finish));
        }
        if self.usage {
            chunks.iter_mut().for_each(|chunk| chunk["usage"] = Value::Null);
        }
        chunks
    }

    fn last(&self, usage: &Usage) -> Option<Value> {
        self.usage.then(|| self.head.usage_chunk(true, usage))
    }
}
