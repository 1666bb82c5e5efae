//! State that all requests share: the model's text side, limits, the way to the scheduler.
//!
//! In: what the command opened. Out: references. Invariant: nothing here runs the model; what is not loaded yet is not
//! there, and requests for it are told to come again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use qwenc_abi::metadata::Metadata;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::Bodies;
use crate::constrain::{Constraint, Constraints, Shape};
use crate::hosts::Hosts;
use crate::key::ApiKey;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::schedule::job::Job;
use crate::schedule::Order;
use crate::wire::reply::Head;
use qwenc_engine::error::Error;
use qwenc_text::template::ChatTemplate;
use qwenc_text::tokenizer::Tokenizer;

/// Bytes of text for each token of the context. Usual are three to five.
const BYTES_PER_TOKEN: usize = 64;

/// The server.
pub struct Server {
    /// Metrics of the server.
    pub metrics: Metrics,
    /// Answers under way at a time.
    pub parallel: usize,
    model: OnceLock<Model>,
    draining: AtomicBool,
    orders: Sender<Order>,
    /// One for each answer that is under way, waits, or is still being read.
    permits: Arc<Semaphore>,
    most: usize,
    bodies: Bodies,
    access: Access,
}

/// Which requests are answered, and whether they are logged.
#[derive(Clone, Debug)]
pub struct Access {
    /// Host names that requests may have.
    pub hosts: Hosts,
    /// The key that clients must show, if any.
    pub key: Option<ApiKey>,
    /// One line on standard error for each request.
    pub log: bool,
}

/// Model metadata: everything but the weights.
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its vocabulary.
    pub tokenizer: Arc<Tokenizer>,
    /// Chat template; `None` if the model cannot chat.
    pub template: Option<ChatTemplate>,
    /// Everything else that is known.
    pub metadata: Metadata,
    /// Which ids may be chosen.
    pub allowed: Arc<[bool]>,
    /// Longest sequence.
    pub context: usize,
    /// Longest sequence that the model allows; `context` may have been set lower.
    pub max_context: usize,
    /// Which code and weights.
    pub fingerprint: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Keeps answers to formats.
    pub constraints: Constraints,
}

impl Server {
    /// A server that has no model yet. At most `max_queue` answers wait.
    pub fn new(
        metrics: Metrics,
        access: Access,
        parallel: usize,
        max_queue: usize,
        orders: Sender<Order>,
    ) -> Server {
        let most = (parallel + max_queue).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(most));
        let (model, draining) = (OnceLock::new(), AtomicBool::new(false));
        let bodies = Bodies::default();
        Server { metrics, access, parallel, model, draining, orders, permits, most, bodies }
    }

    /// Which requests are answered.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Limits and memory that bodies of requests share.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// The model is there.
    pub fn loaded(&self, model: Model) {
        // Only the first counts; there is no second.
        let _ = self.model.set(model);
    }

    /// The model, once it is loaded.
    pub fn model(&self) -> Result<&Model, Refusal> {
        let loading =
            || Refusal::later(StatusCode::SERVICE_UNAVAILABLE, 2, "the model is still being loaded");
        self.model.get().ok_or_else(loading)
    }

    /// No new answers are begun; when the last has ended the scheduler ends.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        // A scheduler that is gone has nothing to end.
        let _ = self.orders.send(Order::Drain);
    }

    /// Whether it is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Room for `count` answers, until what is given is dropped.
    pub fn admit(&self, count: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.is_draining() {
            return Err(ending());
        }
        if count > self.most {
            let message = format!("{count} answers are more than this server ever holds ({})", self.most);
            return Err(Refusal::bad("n", message));
        }
        Arc::clone(&self.permits).try_acquire_many_owned(count as u32).map_err(|_| {
            let waiting = self.most / self.parallel.max(1);
            let seconds = waiting.clamp(1, 30) as u32;
            let message = format!(
                "{} answers are under way or waiting, which is as many as this server takes; try again later",
                self.most - self.permits.available_permits()
            );
            Refusal::later(StatusCode::TOO_MANY_REQUESTS, seconds, message).code("queue_full")
        })
    }

    /// To the scheduler.
    pub fn run(&self, job: Job) -> Result<(), Refusal> {
        self.orders.send(Order::Run(Box::new(job))).map_err(|_| ending())
    }
}

fn ending() -> Refusal {
    Refusal::later(StatusCode::SERVICE_UNAVAILABLE, 5, "the server is about to end; ask another one")
}

impl Model {
    /// Bounds for an answer, as [`Constraints::start`].
    pub async fn constrain(&self, shape: &Shape, opened: Option<bool>) -> Result<Constraint, Refusal> {
        self.constraints.start(shape, opened).await.map_err(|e| refused(shape, e))
    }

    /// Refuses ids of `field` that are no tokens: those out of range, and rows that only fill the vocabulary up.
    pub fn check_tokens(&self, ids: &[u32], field: &str) -> Result<(), Refusal> {
        let is_token = |id: u32| self.allowed.get(id as usize).copied().unwrap_or(false);
        let Some(&id) = ids.iter().find(|&&id| !is_token(id)) else { return Ok(()) };
        let last = self.last_token().unwrap_or(0);
        let message = if id as usize > last {
            format!("token {id} is out of range: this model has tokens 0 to {last}")
        } else {
            format!("{id} is no token: this model's tokenizer does not know it")
        };
        Err(Refusal::bad(field, message))
    }

    /// The largest id of a token.
    pub fn last_token(&self) -> Option<usize> {
        self.allowed.iter().rposition(|&allowed| allowed)
    }

    /// Maximum request text in bytes; longer input is rejected.
    pub fn longest_text(&self) -> usize {
        self.context.saturating_mul(BYTES_PER_TOKEN)
    }

    /// Refuses a text of `field` that is too long for the context, before time and memory are spent on it.
    pub fn check_length(&self, text: &str, field: &str) -> Result<(), Refusal> {
        let (context, most, bytes) = (self.context, self.longest_text(), text.len());
        let why = if bytes > most {
            format!("{bytes} bytes of text are more than are taken for a context of {context} tokens, which is {most}")
        } else if self.tokenizer.has_more_than(text, context)? {
            format!("the context of {context} tokens has no room for {bytes} bytes of such text")
        } else {
            return Ok(());
        };
        Err(self.too_long(field, &why))
    }

    /// The refusal of a `field` that the context has no room for, with what can be done.
    pub fn too_long(&self, field: &str, why: &str) -> Refusal {
        let (context, most) = (self.context, self.max_context);
        let advice = if context < most {
            format!("shorten it, or start the server with --context up to {most}")
        } else {
            format!("shorten it: this executable was compiled for at most {most} tokens")
        };
        Refusal::bad(field, format!("{why}; {advice}")).code("context_length_exceeded")
    }

    /// The head of a new answer.
    pub fn head(&self, kind: &str) -> Head {
        Head {
            id: format!("{kind}-{}", random_name()),
            created: seconds(),
            model: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// Seconds since 1970; 0 on a clock that is set before.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// With the field that the shape came from.
fn refused(shape: &Shape, e: Error) -> Refusal {
    match (shape, Refusal::from(e)) {
        (Shape::Calls(..), refusal) if refusal.param.is_some() => {
            Refusal { param: Some("tools".into()), ..refusal }
        }
        (_, refusal) => refusal,
    }
}

fn random_name() -> String {
    let mut bytes = [0; 12];
    ChaCha8Rng::from_os_rng().fill_bytes(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
