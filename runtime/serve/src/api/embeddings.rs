//! `/v1/embeddings`.
//!
//! In: texts or ids. Out: each one's last hidden state, of length 1. Invariant: as many are read at a time as the request
//! has permits for; the texts of a client that goes away are read no further.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::Json;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use crate::api::Asked;
use crate::refusal::Refusal;
use crate::schedule::job::{Ended, Event, Job};
use crate::state::{Model, Server};
use crate::wire::completion::Prompt;
use crate::wire::embedding::{read, reply, EmbeddingRequest};

/// The handler.
pub async fn embeddings(
    State(server): State<Arc<Server>>,
    Asked { value, load }: Asked,
) -> Result<Json<Value>, Refusal> {
    let request = read(value, &server.model()?.metadata)?;
    let (encoding, dimensions, adapter) = (request.encoding, request.dimensions, request.adapter);
    let width = request.inputs.len().min(server.parallel);
    let _permit = server.admit(width)?;
    let shared = Arc::clone(&server);
    let prompts = super::aside(move || {
        let _load = load;
        prompts(shared.model()?, request)
    })
    .await?;
    let tokens = prompts.iter().map(Vec::len).sum();
    server.metrics.prompt.inc_by(tokens as u64);
    let mut found = Vec::new();
    for some in prompts.chunks(width.max(1)) {
        let mut readers = Vec::new();
        for prompt in some {
            let (job, events) = Job::embedding(prompt.clone(), adapter);
            server.run(job)?;
            readers.push(events);
        }
        for mut events in readers {
            found.push(wait(&mut events).await?);
        }
    }
    if let Some(dimensions) = dimensions {
        found.iter_mut().for_each(|values| cut(values, dimensions));
    }
    Ok(Json(reply(&server.model()?.name, &found, encoding, tokens)))
}

/// The ids of every input, all of which fit.
fn prompts(model: &Model, request: EmbeddingRequest) -> Result<Vec<Vec<u32>>, Refusal> {
    let one = |(index, input): (usize, Prompt)| {
        let ids = match input {
            Prompt::Text(text) => {
                model.check_length(&text, "input")?;
                model.tokenizer.encode_prompt(&text)?
            }
            Prompt::Ids(ids) => ids,
        };
        model.check_tokens(&ids, "input")?;
        match ids.len() {
            0 => {
                Err(Refusal::bad("input", format!("input {index} has no tokens: there is nothing to embed")))
            }
            n if n > model.context => {
                let why = format!("input {index} has {n} tokens and the context holds {}", model.context);
                Err(model.too_long("input", &why))
            }
            _ => Ok(ids),
        }
    };
    request.inputs.into_iter().enumerate().map(one).collect()
}

async fn wait(events: &mut Receiver<Event>) -> Result<Vec<f32>, Refusal> {
    loop {
        let why = match events.recv().await {
            Some(Event::Embedding(values)) => return Ok(values),
            Some(Event::Begun { .. } | Event::Token(_)) => continue,
            Some(Event::Ended(Ended::Failed(why))) => why,
            Some(Event::Ended(_)) | None => "the server ended before the embedding was there".to_owned(),
        };
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
}

/// The first `dimensions` numbers, of length 1 again.
fn cut(values: &mut Vec<f32>, dimensions: usize) {
    values.truncate(dimensions);
    let length = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
}
