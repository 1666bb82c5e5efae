//! KV caches as handles: made, duplicated, cut, dropped.
//!
//! In: a model, lengths, tokens. Out: handles and counts. Invariant: a cache is a number here; what it stands for
//! lives with the model's worker, and a handle keeps its model alive.

use std::sync::Arc;

use crate::border::{self, bad};
use crate::handles::{QwenCache, QwenModel};
use crate::worker::{ended, Desk};
use qwenc_engine::error::Result;
use qwenc_engine::inference::session::Session;

impl Drop for QwenCache {
    fn drop(&mut self) {
        let number = self.number;
        self.model.worker.later(move |desk| drop(desk.caches.remove(&number)));
    }
}

impl QwenCache {
    fn with(&self, number: u64) -> QwenCache {
        QwenCache { model: Arc::clone(&self.model), number }
    }

    /// Has something done with it.
    fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let number = self.number;
        self.model.worker.run(move |desk| job(desk.cache(number)?))
    }
}

impl Desk<'_> {
    /// Keeps a new cache.
    fn keep(&mut self, session: Session) -> u64 {
        self.made += 1;
        self.caches.insert(self.made, session);
        self.made
    }

    /// A handle's cache, which is there unless a call failed within.
    pub(super) fn cache(&mut self, number: u64) -> Result<&mut Session> {
        self.caches.get_mut(&number).ok_or_else(ended)
    }
}

/// An empty cache.
///
/// # Safety
/// `model` must be null or a handle.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_new(model: *mut QwenModel) -> *mut QwenCache {
    border::handle(|| {
        // SAFETY: by the caller's promise.
        let model = unsafe { Arc::clone(&border::reference(model, "model")?.0) };
        let (context, kv) = (model.shared.context, model.shared.kv);
        let number = model.worker.run(move |desk| {
            let session = Session::new(&desk.engine, context, kv)?;
            Ok(desk.keep(session))
        })?;
        Ok(QwenCache { model, number })
    })
}

/// A cache with the beginning of another.
///
/// # Safety
/// `cache` must be null or a handle.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_duplicate(cache: *const QwenCache, length: usize) -> *mut QwenCache {
    border::handle(|| {
        // SAFETY: by the caller's promise.
        let cache = unsafe { border::reference(cache, "cache")? };
        let from = cache.number;
        let number = cache.model.worker.run(move |desk| {
            let old = desk.cache(from)?;
            check_length(old, length)?;
            let old = desk.caches.get(&from).ok_or_else(ended)?;
            let copy = old.fork(&desk.engine, length)?;
            Ok(desk.keep(copy))
        })?;
        Ok(cache.with(number))
    })
}

/// Frees a cache's handle.
///
/// # Safety
/// `cache` must be null or a handle that is not used any more.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_free(cache: *mut QwenCache) {
    border::status(|| {
        if !cache.is_null() {
            // SAFETY: by the caller's promise; `handle` made it.
            drop(unsafe { Box::from_raw(cache) });
        }
        Ok(())
    });
}

/// Tokens in a cache.
///
/// # Safety
/// `cache` must be null or a handle.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_length(cache: *const QwenCache) -> i64 {
    // SAFETY: by the caller's promise.
    border::count(|| unsafe { border::reference(cache, "cache")? }.run(|session| Ok(session.tokens().len())))
}

/// The tokens in a cache.
///
/// # Safety
/// `cache` must be null or a handle, `tokens` null or `capacity` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_tokens(
    cache: *const QwenCache,
    tokens: *mut u32,
    capacity: usize,
) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let held =
            unsafe { border::reference(cache, "cache")? }.run(|session| Ok(session.tokens().to_vec()))?;
        // SAFETY: by the caller's promise.
        unsafe { border::fill(&held, tokens, capacity, "tokens") }
    })
}

/// Cuts a cache.
///
/// # Safety
/// `cache` must be null or a handle.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_truncate(cache: *mut QwenCache, length: usize) -> i32 {
    border::status(|| {
        // SAFETY: by the caller's promise.
        unsafe { border::reference(cache, "cache")? }.run(move |session| {
            check_length(session, length)?;
            session.truncate(length);
            Ok(())
        })
    })
}

/// Cuts a cache to what it has in common with `tokens`.
///
/// # Safety
/// `cache` must be null or a handle, `tokens` null or `count` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_cache_reuse(cache: *mut QwenCache, tokens: *const u32, count: usize) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let tokens = unsafe { border::array(tokens, count, "tokens")? }.to_vec();
        // SAFETY: by the caller's promise.
        unsafe { border::reference(cache, "cache")? }.run(move |session| {
            session.reuse(&tokens);
            Ok(session.tokens().len())
        })
    })
}

fn check_length(session: &Session, length: usize) -> Result<()> {
    let held = session.tokens().len();
    if length <= held {
        return Ok(());
    }
    Err(bad(format!("length is {length}, and the cache holds {held} tokens; give at most that")))
}
