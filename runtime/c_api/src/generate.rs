//! Generation with a callback: the loop of `generate` and `chat`, with every token handed to C as it comes.
//!
//! In: a cache, tokens, how to choose. Out: calls of the callback, a report. Invariant: the callback runs on the thread
//! that asked, the model waits for it, and it cannot ask the model for what would have to wait for itself.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;

use crate::border::{self, bad};
use crate::callback;
use crate::handles::{Model, QwenCache, QwenModel, Shared};
use crate::infer;
use crate::types::{Generation, OnToken, Report, SamplingChoice, NO_TOKEN};
use crate::worker::{ended, Desk};
use qwenc_engine::error::Result;
use qwenc_engine::inference::generate::{generate, Ending, Limits, Report as Done, Sampled};
use qwenc_engine::inference::logits_processor::{Adjust, AdjustedSampler, Penalties};
use qwenc_engine::inference::sampler::Sampler;
use qwenc_text::stream::TextStream;

/// Continues tokens.
///
/// # Safety
/// `model` and `cache` must be null or handles, `tokens` null or `count` long, `how` and `report` null or point to
/// what they say to be, and `on_token` null or a function that may be called with `user`.
#[no_mangle]
pub unsafe extern "C" fn qwen_generate(
    model: *mut QwenModel,
    cache: *mut QwenCache,
    tokens: *const u32,
    count: usize,
    how: *const Generation,
    on_token: OnToken,
    user: *mut c_void,
    report: *mut Report,
) -> i32 {
    border::status(|| {
        // SAFETY (all): by the caller's promise.
        let model = unsafe { &border::reference(model, "model")?.0 };
        let cache = unsafe { border::reference(cache, "cache")? };
        if !Arc::ptr_eq(&cache.model, model) {
            return Err(bad("cache is a cache of another model"));
        }
        let tokens = unsafe { border::array(tokens, count, "tokens")? }.to_vec();
        if tokens.is_empty() {
            return Err(bad("count is 0; give at least one token to continue"));
        }
        let asked = Asked { cache: cache.number, tokens, ..unsafe { Asked::read(model, how)? } };
        if !report.is_null() {
            unsafe { border::measured(report.cast_const(), "report")? };
        }
        let callback = |token: u32, text: &str| match on_token {
            None => true,
            // SAFETY: by the caller's promise.
            Some(call) => unsafe { call(user, token, text.as_ptr().cast(), text.len()) == 0 },
        };
        let (done, generated) = stream(model, asked, &callback)?;
        if !report.is_null() {
            // SAFETY: by the caller's promise; its size was checked.
            unsafe { report.write(told(&done, generated)) };
        }
        Ok(())
    })
}

struct Asked {
    cache: u64,
    tokens: Vec<u32>,
    sampler: Sampler,
    max_tokens: usize,
    ignore_stop: bool,
}

impl Asked {
    /// Request that `how` describes; cache and tokens are still to be set.
    unsafe fn read(model: &Model, how: *const Generation) -> Result<Asked> {
        let greedy = SamplingChoice { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, draw: 0 };
        let (sampling, most, ignore_stop) = match how.is_null() {
            true => (greedy, 0, false),
            false => {
                // SAFETY: by the caller's promise.
                let how = unsafe { border::measured(how, "how")? };
                (how.sampling, how.max_tokens as usize, how.ignore_stop != 0)
            }
        };
        let sampler = infer::sampler(model, &sampling, "how")?;
        let max_tokens = if most == 0 { usize::MAX } else { most };
        Ok(Asked { cache: 0, tokens: Vec::new(), sampler, max_tokens, ignore_stop })
    }
}

/// Event of a generation, sent by the worker.
enum Event {
    /// A token, and the text that is certain with it; it waits for whether to go on.
    Token(u32, String),
    Done(Result<Done>),
}

/// Runs the loop on the worker and the callback here; returns how many tokens there were.
fn stream(model: &Arc<Model>, asked: Asked, callback: &dyn Fn(u32, &str) -> bool) -> Result<(Done, u32)> {
    let (tell, told) = sync_channel(0);
    let (answer, answers) = sync_channel(1);
    let shared = Arc::clone(&model.shared);
    let teller = tell.clone();
    let job = move |desk: &mut Desk| desk.generate(&shared, asked, &teller, &answers);
    model.worker.ask(job, move |result| drop(tell.send(Event::Done(result))))?;
    let mut generated = 0;
    loop {
        match told.recv().map_err(|_| ended())? {
            Event::Done(result) => return Ok((result?, generated)),
            Event::Token(token, text) => {
                generated += u32::from(token != NO_TOKEN);
                let goes_on = callback::within(model.worker.number(), || callback(token, &text));
                answer.send(goes_on).map_err(|_| ended())?;
            }
        }
    }
}

impl Desk<'_> {
    fn generate(
        &mut self,
        shared: &Shared,
        mut asked: Asked,
        tell: &SyncSender<Event>,
        answers: &Receiver<bool>,
    ) -> Result<Done> {
        let mut text = shared.opened.tokenizer.as_ref().map(|t| TextStream::new(t));
        let interrupted = Cell::new(false);
        let say = |token: u32, text: String| {
            tell.send(Event::Token(token, text)).map_err(|_| ended())?;
            interrupted.set(!answers.recv().map_err(|_| ended())?);
            Ok(())
        };
        let stop_tokens: &[u32] = if asked.ignore_stop { &[] } else { &shared.opened.metadata().stop_tokens };
        let limits = Limits {
            max_tokens: asked.max_tokens,
            stop_tokens,
            speculate: 0,
            interrupted: &|| interrupted.get(),
        };
        let mut on_token = |sampled| match sampled {
            Sampled::Stop(token) => say(token, String::new()),
            Sampled::Token(token) => say(token, text.as_mut().map_or(String::new(), |t| t.push(token))),
        };
        let Desk { engine, caches, .. } = self;
        let session = caches.get_mut(&asked.cache).ok_or_else(ended)?;
        let adjust = Adjust::new(Penalties::default(), &[]);
        let mut sampler = AdjustedSampler { sampler: &mut asked.sampler, adjust };
        let done = generate(engine, session, &mut sampler, &asked.tokens, &limits, &mut on_token)?;
        match text.as_mut().map_or(String::new(), TextStream::finish) {
            rest if rest.is_empty() => {}
            rest => say(NO_TOKEN, rest)?,
        }
        Ok(done)
    }
}

fn told(done: &Done, generated: u32) -> Report {
    Report {
        size: size_of::<Report>(),
        ending: match done.ending {
            Ending::StopToken => 0,
            Ending::MaxTokens => 1,
            Ending::ContextFull => 2,
            Ending::Interrupted => 3,
        },
        generated,
        prefill_tokens: done.prefill_tokens as u64,
        prefill_seconds: done.prefill_time.as_secs_f64(),
        decode_tokens: done.decode_tokens as u64,
        decode_seconds: done.decode_time.as_secs_f64(),
    }
}
