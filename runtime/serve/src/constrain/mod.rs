//! Answers that are kept to a JSON schema, a regex or a grammar.
//!
//! In: what the answer must be, then each token as it is chosen. Out: the tokens that may come. Invariant: it fails
//! closed: what cannot be enforced is refused before it starts, and where it cannot go on there is an error, never an
//! unconstrained token. Grammars live in processes of the sandbox; nothing here waits for one but where it says so. A format
//! that is soon prepared never waits for one that takes long: each begins in a lane with a short budget, and only what is
//! not done there goes on, from its beginning, in the lane for long ones.
//!
//! `grammar` is llguidance, `keeper` what a process does with it, `schema` brings schemas into its form.

mod grammar;
mod keeper;
mod schema;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::constrain::grammar::Words;
use crate::constrain::keeper::{Keeper, Said};
use crate::sandbox::limits::{MEMORY, MEMORY_OF_ALL, MODEST, PREPARATION, SHORT_PREPARATION, STEP};
use crate::sandbox::{frame, Process, Sandbox};
use qwenc_engine::error::{Error, Result};
use qwenc_text::tokenizer::Tokenizer;

/// Formats that wait in a lane; more are refused.
const WAITING: usize = 64;
/// Time for one to be prepared, beside whatever else the machine does, and to wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Format that an answer is kept to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// JSON that keeps to this schema.
    Json(Value),
    /// A text that this regex matches.
    Regex(String),
    /// A text of this grammar, in llguidance's Lark.
    Lark(String),
    /// Calls of one of these functions (name, schema of its arguments), more than one if so said.
    Calls(Vec<(String, Value)>, bool),
}

/// State that all constraints of a model share.
pub struct Constraints {
    sandbox: Arc<Sandbox>,
    tokenizer: Arc<Tokenizer>,
    rows: usize,
    stop: Vec<u32>,
    /// Ids of `<think>` and `</think>`.
    think: Option<(u32, u32)>,
    /// The sandbox knows the vocabulary: made when first needed, since it takes a moment.
    prepared: OnceCell<std::result::Result<(), String>>,
    lanes: [Lane; 2],
}

/// Queue of formats with one budget, compiled one at a time.
struct Lane {
    /// Processor time that each may take.
    budget: Duration,
    turn: Semaphore,
    places: Semaphore,
}

impl Lane {
    fn new(budget: Duration) -> Lane {
        Lane { budget, turn: Semaphore::new(1), places: Semaphore::new(1 + WAITING) }
    }

    /// Waits for a turn, which ends when both are dropped.
    async fn enter(&self) -> Result<[SemaphorePermit<'_>; 2]> {
        let place = self.places.try_acquire().map_err(|_| busy())?;
        let turn = timeout(PATIENCE, self.turn.acquire()).await.ok().and_then(|turn| turn.ok());
        Ok([turn.ok_or_else(busy)?, place])
    }
}

/// One answer's bounds.
pub struct Constraint {
    process: Process,
    stream: UnixStream,
    inbox: Vec<u8>,
    think: Option<(u32, u32)>,
    thinking: Thinking,
    state: State,
    /// Mask of the answer's first token, in which `<think>` is allowed too.
    opening: Vec<u32>,
}

enum State {
    /// These tokens may come, one bit an id.
    Next(Vec<u32>),
    /// The process works, since then.
    Waits(Instant),
    /// The answer is complete.
    Over,
    /// It cannot go on.
    Stuck(String),
}

/// The tokens that may come next.
pub struct Allowed<'a>(Option<&'a [u32]>);

impl Allowed<'_> {
    /// One bit an id; none: all.
    pub fn words(&self) -> Option<&[u32]> {
        self.0
    }
}

/// Before an answer a model may think, within no bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thinking {
    /// Thinking may begin.
    May,
    /// The model thinks.
    Does,
    /// Thinking is over.
    Over,
}

impl Constraints {
    /// A sandbox for formats. Call this before other threads are started.
    pub fn sandbox() -> Result<Arc<Sandbox>> {
        Sandbox::start::<Keeper>()
    }

    /// For a vocabulary of `rows` ids; `stop` ends answers.
    pub fn new(sandbox: &Arc<Sandbox>, tokenizer: &Arc<Tokenizer>, rows: usize, stop: &[u32]) -> Constraints {
        let stop = stop.iter().copied().filter(|&id| (id as usize) < rows).collect();
        let think = tokenizer.added_id("<think>").zip(tokenizer.added_id("</think>"));
        let (sandbox, tokenizer, prepared) = (Arc::clone(sandbox), Arc::clone(tokenizer), OnceCell::new());
        let lanes = [SHORT_PREPARATION, PREPARATION].map(Lane::new);
        Constraints { sandbox, tokenizer, rows, stop, think, prepared, lanes }
    }

    /// Bounds for one answer; `opened`: the prompt ends amid thinking, `None` where it rules thinking out. Dropping the
    /// future ends what it began.
    pub async fn start(&self, shape: &Shape, opened: Option<bool>) -> Result<Constraint> {
        check(shape)?;
        let mut begun = None;
        for lane in &self.lanes {
            let _turn = lane.enter().await?;
            self.prepared.get_or_init(|| self.prepare()).await.clone().map_err(|why| refused(&why))?;
            begun = self.attempt(shape, lane.budget).await?;
            if begun.is_some() {
                break;
            }
        }
        let (process, stream, said) = begun.ok_or_else(|| {
            let (seconds, megabytes) = (PREPARATION.as_secs(), MEMORY >> 20);
            refused(&format!("it takes more than {seconds} s or {megabytes} MB to prepare"))
        })?;
        let thinking = match (self.think, opened) {
            (None, _) | (_, None) => Thinking::Over,
            (Some(_), Some(true)) => Thinking::Does,
            (Some(_), Some(false)) => Thinking::May,
        };
        let (think, inbox, state) = (self.think, Vec::new(), State::Waits(Instant::now()));
        let opening = Vec::new();
        let mut constraint = Constraint { process, stream, inbox, think, thinking, state, opening };
        match said {
            Said::Refused(why) => Err(refused(&why)),
            said => {
                constraint.hear(said);
                match constraint.state {
                    State::Stuck(what) => Err(Error::Busy { what }),
                    _ => Ok(constraint),
                }
            }
        }
    }

    /// Prepares a format in a process of its own; `None` if it goes beyond its limits.
    async fn attempt(&self, shape: &Shape, budget: Duration) -> Result<Option<(Process, UnixStream, Said)>> {
        let failed = |e: std::io::Error| Error::Busy {
            what: format!("formats hold all processes that can be had ({e})"),
        };
        let (process, stream) = self.sandbox.process().map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
        let asked = serde_json::to_vec(&(budget, shape)).map_err(|e| refused(&e.to_string()))?;
        let answer =
            timeout(PATIENCE, exchange(&stream, &frame::framed(&asked))).await.map_err(|_| busy())?;
        let stream = stream.into_std().map_err(failed)?;
        Ok(answer.ok().and_then(|message| Said::read(&message)).map(|said| (process, stream, said)))
    }

    /// Tells the sandbox of the vocabulary.
    async fn prepare(&self) -> std::result::Result<(), String> {
        if self.stop.is_empty() {
            return Err("this model has no stop token, so no answer could end".into());
        }
        let (sandbox, tokenizer, rows, stop) =
            (Arc::clone(&self.sandbox), Arc::clone(&self.tokenizer), self.rows, self.stop.clone());
        let work = move || {
            let mut words: Vec<Vec<u8>> = (0..rows as u32).map(|id| tokenizer.bytes(id)).collect();
            let mut special = Vec::new();
            for (text, id) in tokenizer.added() {
                if let Some(word) = words.get_mut(id as usize) {
                    *word = text.as_bytes().to_vec();
                    special.push(id);
                }
            }
            let call = tokenizer.added_id("<tool_call>").zip(tokenizer.added_id("</tool_call>"));
            let about =
                serde_json::to_vec(&Words { words, special, stop, call }).map_err(|e| e.to_string())?;
            sandbox.prepare(&about)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
    }
}

/// Sends bytes and reads the message that is the answer.
async fn exchange(stream: &tokio::net::UnixStream, mut bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    let (mut inbox, mut part) = (Vec::new(), [0; 1 << 14]);
    loop {
        stream.readable().await?;
        match stream.try_read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => inbox.extend_from_slice(&part[..read]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if let Some(message) = frame::take(&mut inbox)? {
            return Ok(message);
        }
    }
}

impl Constraint {
    /// True once the mask of the next token has come, or the answer has ended.
    pub fn is_ready(&mut self) -> bool {
        if let State::Waits(since) = self.state {
            self.receive();
            if matches!(self.state, State::Waits(_)) && since.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                self.state = State::Stuck(format!("the next token was not known within {seconds} s"));
            }
        }
        !matches!(self.state, State::Waits(_))
    }

    /// Socket that becomes readable when the mask comes.
    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Whether the answer is complete. An error where it cannot go on.
    pub fn is_over(&self) -> Result<bool> {
        match &self.state {
            State::Over => Ok(true),
            State::Stuck(why) => Err(stuck(why)),
            State::Next(_) | State::Waits(_) => Ok(false),
        }
    }

    /// Which tokens may come next; it must be ready.
    pub fn allowed(&mut self) -> Result<Allowed<'_>> {
        if self.thinking == Thinking::Does {
            return Ok(Allowed(None));
        }
        match &self.state {
            State::Next(words) => {
                let mut words = words;
                if let (Thinking::May, Some((begin, _))) = (self.thinking, self.think) {
                    // A copy: once thinking is over it may not begin again.
                    self.opening.clone_from(words);
                    if let Some(word) = self.opening.get_mut(begin as usize / 32) {
                        *word |= 1 << (begin % 32);
                    }
                    words = &self.opening;
                }
                if words.iter().all(|&word| word == 0) {
                    return Err(stuck("no token may follow"));
                }
                Ok(Allowed(Some(words)))
            }
            State::Stuck(why) => Err(stuck(why)),
            State::Over => Err(stuck("the answer is complete")),
            State::Waits(_) => {
                Err(Error::Internal("a format was asked for tokens before it knew them".into()))
            }
        }
    }

    /// The answer goes on with `token`, which was allowed.
    pub fn push(&mut self, token: u32) {
        match (self.thinking, self.think) {
            (Thinking::May, Some((begin, _))) if token == begin => self.thinking = Thinking::Does,
            (Thinking::Does, Some((_, end))) => {
                if token == end {
                    self.thinking = Thinking::Over;
                }
            }
            _ => {
                self.thinking = Thinking::Over;
                // A message of a few bytes goes in one piece; the one before was answered.
                self.state = match self.stream.write_all(&frame::framed(&token.to_le_bytes())) {
                    Ok(()) => State::Waits(Instant::now()),
                    Err(_) => State::Stuck(slow()),
                };
            }
        }
    }

    fn receive(&mut self) {
        let mut part = [0; 1 << 14];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => self.state = State::Stuck(slow()),
                Ok(read) => {
                    self.inbox.extend_from_slice(&part[..read]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.state = State::Stuck(slow()),
            }
            break;
        }
        match frame::take(&mut self.inbox) {
            Ok(None) => {}
            Ok(Some(message)) => match Said::read(&message) {
                Some(said) => self.hear(said),
                None => self.state = State::Stuck(slow()),
            },
            Err(_) => self.state = State::Stuck(slow()),
        }
    }

    fn hear(&mut self, said: Said) {
        self.state = match said {
            Said::Refused(why) => State::Stuck(why),
            Said::Over => State::Over,
            Said::Next { held, words } => {
                if self.process.holds(held) > MEMORY_OF_ALL && held > MODEST {
                    State::Stuck(
                        "formats that need all of this server's memory for them are under way".into(),
                    )
                } else {
                    State::Next(words)
                }
            }
        };
    }
}

/// Refuses what would not be kept exactly.
fn check(shape: &Shape) -> Result<()> {
    let inexact = match shape {
        Shape::Json(schema) => schema::inexact(schema),
        Shape::Calls(functions, _) => functions.iter().find_map(|(_, schema)| schema::inexact(schema)),
        Shape::Lark(grammar) => schema::within(grammar).iter().find_map(schema::inexact),
        Shape::Regex(_) => None,
    };
    inexact.map_or(Ok(()), |why| Err(refused(&why)))
}

fn busy() -> Error {
    Error::Busy { what: "formats are being prepared".into() }
}

fn slow() -> String {
    let (seconds, megabytes) = (STEP.as_secs(), MEMORY >> 20);
    format!("to find out what may follow takes more than {seconds} s or {megabytes} MB")
}

fn refused(why: &str) -> Error {
    Error::Constraint { why: why.to_owned() }
}

fn stuck(why: &str) -> Error {
    Error::DeadEnd { why: why.to_owned() }
}
