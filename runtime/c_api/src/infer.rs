//! Several requests in one step: their next tokens, or their logits.
//!
//! In: requests, each with its tokens, position and cache. Out: a token or a row of logits for each. Invariant: all
//! requests are checked before any changes anything, and what one gets does not depend on the others.

use std::sync::Arc;

use crate::border::{self, bad};
use crate::handles::{Model, QwenModel};
use crate::request::Request;
use crate::types::{SamplingChoice, AT_END};
use crate::worker::{ended, Desk};
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::batched_step::{self, SequenceChunk};
use qwenc_engine::inference::sampler::{Sampler, Sampling};
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Wanted;
use qwenc_engine::inference::step::{Output, Results};

/// A request as the worker gets it.
struct Asked {
    cache: u64,
    tokens: Vec<u32>,
    /// Position of the first token; `None`: the end of the cache.
    position: Option<usize>,
}

/// The next token of each request.
///
/// # Safety
/// `model` must be null or a handle; `requests` and `next` null or `count` long, each request's pointers too.
#[no_mangle]
pub unsafe extern "C" fn qwen_infer_batch(
    model: *mut QwenModel,
    requests: *const Request,
    count: usize,
    next: *mut u32,
) -> i32 {
    border::status(|| {
        // SAFETY: by the caller's promise.
        let (model, requests) = unsafe { (&border::reference(model, "model")?.0, read(requests, count)?) };
        // SAFETY: by the caller's promise.
        let next = unsafe { border::array_mut(next, count, "next")? };
        let asked = asked(model, requests)?;
        let samplers =
            requests.iter().enumerate().map(|(i, r)| sampler(model, &r.sampling, &format!("requests[{i}]")));
        let mut samplers = samplers.collect::<Result<Vec<_>>>()?;
        let chosen = model.worker.run(move |desk| {
            let results = match samplers.iter().all(|s| s.results() == Results::Picks) {
                true => Results::Picks,
                false => Results::Logits,
            };
            let mut chosen = vec![0; asked.len()];
            desk.infer(asked, results, &mut |i, output| {
                chosen[i] = samplers[i].choose(output)?;
                Ok(())
            })?;
            Ok(chosen)
        })?;
        next.copy_from_slice(&chosen);
        Ok(())
    })
}

/// The logits after each request's last token.
///
/// # Safety
/// `model` must be null or a handle; `requests` null or `count` long, each request's pointers too; `logits` null or
/// `count` times the vocabulary long.
#[no_mangle]
pub unsafe extern "C" fn qwen_logits_batch(
    model: *mut QwenModel,
    requests: *const Request,
    count: usize,
    logits: *mut f32,
) -> i32 {
    border::status(|| {
        // SAFETY: by the caller's promise.
        let (model, requests) = unsafe { (&border::reference(model, "model")?.0, read(requests, count)?) };
        let rows = model.shared.sizes.vocab_rows as usize;
        let floats = count.checked_mul(rows).ok_or_else(|| bad(format!("count is {count}; check it")))?;
        // SAFETY: by the caller's promise.
        let logits = unsafe { border::array_mut(logits, floats, "logits")? };
        let asked = asked(model, requests)?;
        let found = model.worker.run(move |desk| {
            let mut found = vec![0f32; floats];
            desk.infer(asked, Results::Logits, &mut |i, output| {
                found[i * rows..(i + 1) * rows].copy_from_slice(output.logits()?);
                Ok(())
            })?;
            Ok(found)
        })?;
        logits.copy_from_slice(&found);
        Ok(())
    })
}

unsafe fn read<'a>(requests: *const Request, count: usize) -> Result<&'a [Request]> {
    // SAFETY: by the caller's promise.
    unsafe { border::array(requests, count, "requests") }
}

fn asked(model: &Arc<Model>, requests: &[Request]) -> Result<Vec<Asked>> {
    let mut all: Vec<Asked> = Vec::with_capacity(requests.len());
    for (i, request) in requests.iter().enumerate() {
        let named = |field: &str| format!("requests[{i}].{field}");
        // SAFETY: by the promise of the C caller.
        let cache = unsafe { border::reference(request.cache, &named("cache"))? };
        if !Arc::ptr_eq(&cache.model, model) {
            return Err(bad(format!("{} is a cache of another model", named("cache"))));
        }
        if let Some(other) = all.iter().position(|a| a.cache == cache.number) {
            return Err(bad(format!(
                "requests[{other}] and requests[{i}] have one cache; give each its own"
            )));
        }
        // SAFETY: by the promise of the C caller.
        let tokens = unsafe { border::array(request.tokens, request.count, &named("tokens"))? }.to_vec();
        if tokens.is_empty() {
            return Err(bad(format!("{} is 0; a request has at least one token", named("count"))));
        }
        let position = (request.position != AT_END).then_some(request.position);
        all.push(Asked { cache: cache.number, tokens, position });
    }
    Ok(all)
}

/// Sampler for the choice `how`; `whose` names it in messages.
pub(super) fn sampler(model: &Model, how: &SamplingChoice, whose: &str) -> Result<Sampler> {
    let &SamplingChoice { temperature, top_k, top_p, min_p, seed, draw } = how;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return Err(bad(format!("{whose}.sampling.temperature is {temperature}, expected 0 or more")));
    }
    for (name, p) in [("top_p", top_p), ("min_p", min_p)] {
        if !(0.0..=1.0).contains(&p) {
            return Err(bad(format!("{whose}.sampling.{name} is {p}, expected a number from 0 to 1")));
        }
    }
    let how = Sampling { temperature, top_k, top_p, min_p };
    let mut sampler = Sampler::new(how, model.shared.allowed.clone(), Some(seed));
    sampler.skip_to(draw);
    Ok(sampler)
}

impl Desk<'_> {
    /// Feeds every request's tokens, in as few steps as can be, and gives `sink` each one's number and the output of
    /// its last token.
    fn infer(
        &mut self,
        asked: Vec<Asked>,
        results: Results,
        sink: &mut dyn FnMut(usize, Output) -> Result<()>,
    ) -> Result<()> {
        for (i, a) in asked.iter().enumerate() {
            a.tokens.iter().try_for_each(|&t| self.engine.check_token(t))?;
            let session = self.cache(a.cache)?;
            let length = session.tokens().len();
            let at = a.position.unwrap_or(length);
            if at > length {
                return Err(bad(format!(
                    "requests[{i}].position is {at}, and its cache holds {length} tokens; give at most that"
                )));
            }
            let (needed, limit) = (at + a.tokens.len(), session.limit());
            if needed > limit {
                let most = self.engine.sizes().max_context as usize;
                return Err(Error::ContextFull { needed, limit, most });
            }
        }
        let take = |a: &Asked| self.caches.remove(&a.cache).ok_or_else(ended);
        let mut sessions = asked.iter().map(take).collect::<Result<Vec<Session>>>()?;
        for (session, a) in sessions.iter_mut().zip(&asked) {
            session.truncate(a.position.unwrap_or(usize::MAX));
        }
        let mut parts: Vec<SequenceChunk> = sessions
            .iter_mut()
            .zip(&asked)
            .map(|(session, a)| SequenceChunk { session, tokens: &a.tokens, wanted: Wanted::Last })
            .collect();
        let done = batched_step::feed(&mut self.engine, &mut parts, results, |i, _, output| sink(i, output));
        for (session, a) in sessions.into_iter().zip(&asked) {
            self.caches.insert(a.cache, session);
        }
        done
    }
}
