//! One sequence of tokens and its KV cache.
//!
//! In: tokens. Out: logits at the wanted positions. Invariant: the cache holds exactly the tokens
//! of `tokens()`; nothing is fed that is out of range or does not fit.

use qwenc_abi::KvType;

use crate::error::{Error, Result};
use crate::inference::cache::Cache;
use crate::inference::engine::Engine;
use crate::inference::layout::Layout;

/// A sequence in progress.
pub struct Session {
    kv: Cache,
    kv_type: KvType,
    layout: Layout,
    capacity: usize,
    limit: usize,
    most: usize,
    adapter: u32,
    tokens: Vec<u32>,
}

impl Session {
    /// An empty sequence of at most `context` tokens (default: the model's longest), whose cache stores
    /// `kv_type`.
    pub fn new(engine: &Engine, context: Option<usize>, kv_type: KvType) -> Result<Session> {
        let most = engine.sizes().max_context as usize;
        let limit = check_context(context, most)?;
        let capacity = engine.sizes().capacity(limit);
        let kv = engine.cache(kv_type, capacity)?;
        let layout = Layout::new(engine.sizes(), kv_type, capacity);
        Ok(Session { kv, kv_type, layout, capacity, limit, most, adapter: 0, tokens: Vec::new() })
    }

    /// From now on with this adapter, counted from 1; 0: none. What was fed with another one is forgotten.
    pub fn adapt(&mut self, adapter: u32) {
        if self.adapter != adapter {
            self.truncate(0);
        }
        self.adapter = adapter;
    }

    /// The adapter, counted from 1; 0: none.
    pub fn adapter(&self) -> u32 {
        self.adapter
    }

    /// The tokens fed so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that still fit.
    pub fn room(&self) -> usize {
        self.limit - self.tokens.len()
    }

    /// Most tokens that the sequence may have.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Most tokens that a sequence of this model may have, whatever this one's limit.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Forgets everything from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }

    /// Makes the sequence begin as `wanted` does and gives the rest of `wanted`, which is to be fed
    /// and never empty (unless `wanted` is): the last token is run again for its logits.
    pub fn reuse<'t>(&mut self, wanted: &'t [u32]) -> &'t [u32] {
        let same = self.tokens.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let keep = same.min(wanted.len().saturating_sub(1));
        self.truncate(keep);
        &wanted[keep..]
    }

    /// Another sequence, as long as this one may become, that begins with this one's first `len` tokens (all of
    /// them if it has fewer): they need not be fed again.
    pub fn fork(&self, engine: &Engine, len: usize) -> Result<Session> {
        let kv = engine.cache(self.kv_type, self.capacity)?;
        let mut copy = Session { kv, layout: self.layout, tokens: Vec::new(), ..*self };
        copy.begin_as(self, len)?;
        Ok(copy)
    }

    /// Becomes the first `len` tokens of `other` (all of them if it has fewer) with its adapter, which must be of the same model,
    /// cache type and length: they need not be fed.
    pub fn begin_as(&mut self, other: &Session, len: usize) -> Result<()> {
        if self.layout != other.layout || self.limit != other.limit {
            let what = "a sequence can begin as another only if both have the same --context and --kv-type";
            return Err(Error::Usage(what.into()));
        }
        let len = len.min(other.tokens.len());
        // Until the copy is done nothing of it counts.
        self.tokens.clear();
        self.adapter = other.adapter;
        self.kv.copy(&other.kv, self.layout.pieces(len))?;
        self.tokens.extend_from_slice(&other.tokens[..len]);
        Ok(())
    }

    /// Gives the system the memory that the sequence's tokens do not need.
    pub fn give_back(&mut self) {
        self.kv.keep(self.layout.pieces(self.tokens.len()));
    }

    /// Positions and type of the cache.
    pub(super) fn shape(&self) -> (usize, KvType) {
        (self.capacity, self.kv_type)
    }

    /// Position of the next token, and the cache.
    pub(super) fn next(&mut self) -> (usize, *mut u8) {
        (self.tokens.len(), self.kv.address())
    }

    /// Records tokens that a step has put into the cache.
    pub(super) fn fed(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Refuses more tokens than fit.
    pub(super) fn check_room(&self, tokens: usize) -> Result<()> {
        if tokens <= self.room() {
            return Ok(());
        }
        let needed = self.tokens.len() + tokens;
        Err(Error::ContextFull { needed, limit: self.limit, most: self.most })
    }
}

/// The number of tokens that a sequence may have, given `--context`.
pub fn check_context(context: Option<usize>, most: usize) -> Result<usize> {
    match context {
        None => Ok(most),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(n) => {
            Err(Error::Usage(format!("--context {n} is out of range: this model handles 1 to {most} tokens")))
        }
    }
}
