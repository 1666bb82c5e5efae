//! `/v1/completions`.
//!
//! In: texts or ids. Out: what follows them. Invariant: the tokens that `generate` gives for the same prompt and seed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::Json;
use serde_json::Value;

use crate::api::answers::{Answers, Delta, Question};
use crate::api::stream::{self, Style};
use crate::api::Asked;
use crate::refusal::Refusal;
use crate::state::{Model, Server};
use crate::wire::completion::{self, CompletionRequest, Prompt};
use crate::wire::reply::{self, Finish, Head, Told, Usage};
use crate::words::{Piece, Reading};

/// The handler.
pub async fn completions(State(server): State<Arc<Server>>, asked: Asked) -> Result<Response, Refusal> {
    let Asked { value, load } = asked;
    let request = completion::read(value, &server.model()?.metadata)?;
    let (streams, usage, n) = (request.options.stream, request.options.include_usage, request.options.n);
    let told = request.logprobs.is_some();
    let head = server.model()?.head("cmpl");
    // Before anything is done that takes a while.
    let permit = server.admit(request.prompts.len() * n)?;
    let shared = Arc::clone(&server);
    let (question, echoes) = super::aside(move || {
        let _load = load;
        let echo = request.echo;
        let model = shared.model()?;
        let question = question(model, request)?;
        let tokenizer = &model.tokenizer;
        let echo = |ids: &Vec<u32>| if echo { tokenizer.decode(ids) } else { String::new() };
        let echoes: Vec<String> = question.prompts.iter().map(echo).collect();
        Ok((question, echoes))
    })
    .await?;
    let answers = Answers::begin(&server, question, permit).await?;
    let mut writer = Texts { head, usage, told, said: Vec::new() };
    writer.said = (0..answers.count()).map(|i| (echoes[i / n].clone(), 0)).collect();
    if streams {
        return Ok(stream::respond(answers, writer));
    }
    Ok(Json(writer.whole(answers).await?).into_response())
}

fn question(model: &Model, request: CompletionRequest) -> Result<Question, Refusal> {
    let ids = |prompt: Prompt| match prompt {
        Prompt::Text(text) => {
            model.check_length(&text, "prompt")?;
            Ok(model.tokenizer.encode_prompt(&text)?)
        }
        Prompt::Ids(ids) => Ok(ids),
    };
    Ok(Question {
        field: "prompt",
        prompts: request.prompts.into_iter().map(ids).collect::<Result<_, Refusal>>()?,
        max_tokens: Some(request.max_tokens),
        logprobs: request.logprobs,
        shape: request.shape,
        opened: None,
        thinks: false,
        reading: Reading::Plain,
        options: request.options,
    })
}

/// Writes texts, whole or in chunks.
struct Texts {
    head: Head,
    usage: bool,
    told: bool,
    /// For each answer the text to send before it, and the characters of the tokens sent so far.
    said: Vec<(String, usize)>,
}

impl Texts {
    async fn whole(self, mut answers: Answers) -> Result<Value, Refusal> {
        let mut all: Vec<(String, Vec<Told>, Finish)> =
            self.said.iter().map(|(echo, _)| (echo.clone(), Vec::new(), Finish::Length)).collect();
        while let Some(delta) = answers.next().await {
            let delta = delta?;
            let one = &mut all[delta.index];
            one.0 += &text(&delta.pieces);
            one.1.extend(delta.told);
            one.2 = delta.finish.unwrap_or(one.2);
        }
        let choice = |(i, (text, told, finish)): (usize, &(String, Vec<Told>, Finish))| {
            let told = self.told.then(|| reply::text_logprobs(told, &mut 0));
            reply::text_choice(i, text, told, *finish)
        };
        let choices = all.iter().enumerate().map(choice).collect();
        Ok(self.head.whole(false, choices, answers.usage()))
    }
}

fn text(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| match piece {
        Piece::Content(text) => text.clone(),
        // Only chats have other pieces.
        _ => String::new(),
    };
    pieces.iter().map(one).collect()
}

impl Style for Texts {
    fn chunks(&mut self, delta: &Delta) -> Vec<Value> {
        let (echo, offset) = &mut self.said[delta.index];
        let said = std::mem::take(echo) + &text(&delta.pieces);
        if said.is_empty() && delta.finish.is_none() {
            return Vec::new();
        }
        let told = (self.told && !delta.told.is_empty()).then(|| reply::text_logprobs(&delta.told, offset));
        let mut chunk = self.head.text_chunk(delta.index, &said, told, delta.finish);
        if self.usage {
            chunk["usage"] = Value::Null;
        }
        vec![chunk]
    }

    fn last(&self, usage: &Usage) -> Option<Value> {
        self.usage.then(|| self.head.usage_chunk(false, usage))
    }
}
