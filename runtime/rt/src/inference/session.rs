//! One sequence of tokens and its KV cache.
//!
//! In: tokens. Out: logits at the wanted positions. Invariant: the cache holds exactly the tokens
//! of `tokens()`; nothing is fed that is out of range or does not fit. How a prompt is cut into steps is
//! decided here, and may not change a bit of the logits.

use qwenc_abi::{KvType, Row};

use crate::error::{Error, Result};
use crate::inference::cache::Cache;
use crate::inference::engine::{Engine, Output, Results, Step};

/// Which positions of the fed tokens want logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None; the head is not run.
    Nothing,
    /// The last one.
    Last,
    /// Every one.
    All,
}

/// A sequence in progress.
pub struct Session {
    kv: Cache,
    kv_type: KvType,
    capacity: usize,
    limit: usize,
    most: usize,
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
        Ok(Session { kv, kv_type, capacity, limit, most, tokens: Vec::new() })
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

    /// Feeds `tokens` in steps of at most `engine.max_rows()`; `sink` gets each wanted position's
    /// index within `tokens` and its logits. On an error of `sink` the tokens of the steps already
    /// run remain fed.
    pub fn feed(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        wanted: Wanted,
        mut sink: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.steps(engine, tokens, (wanted, Results::Logits), |engine, index, output| {
            sink(index, engine.logits(output)?)
        })
    }

    /// As [`feed`](Session::feed), but `sink` gets no more than `results` asks for, where that is quicker.
    pub fn feed_for(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        wanted: (Wanted, Results),
        mut sink: impl FnMut(usize, Output) -> Result<()>,
    ) -> Result<()> {
        self.steps(engine, tokens, wanted, |engine, index, output| sink(index, engine.output(output)?))
    }

    /// `each` gets the index of a wanted position within `tokens` and that of its output within the step.
    fn steps(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        (wanted, results): (Wanted, Results),
        mut each: impl FnMut(&mut Engine, usize, usize) -> Result<()>,
    ) -> Result<()> {
        tokens.iter().try_for_each(|&t| engine.check_token(t))?;
        self.check_room(tokens.len())?;
        let most = if wanted == Wanted::All { engine.max_outputs() } else { engine.max_rows() };
        let mut done = 0;
        for chunk in tokens.chunks(most) {
            let outputs: Vec<u32> = match wanted {
                Wanted::All => (0..chunk.len() as u32).collect(),
                Wanted::Last if done + chunk.len() == tokens.len() => vec![chunk.len() as u32 - 1],
                _ => Vec::new(),
            };
            self.step(engine, chunk, &outputs, results)?;
            for (i, &row) in outputs.iter().enumerate() {
                each(engine, done + row as usize, i)?;
            }
            done += chunk.len();
        }
        Ok(())
    }

    /// Feeds one token to each of `sequences`, which must be of one capacity and type, in one step that asks for
    /// `results` of all.
    pub(crate) fn feed_each(
        sequences: &mut [Session],
        engine: &mut Engine,
        tokens: &[u32],
        results: Results,
    ) -> Result<()> {
        debug_assert!(sequences.len() == tokens.len());
        tokens.iter().try_for_each(|&t| engine.check_token(t))?;
        let Some((capacity, kv_type)) = sequences.first().map(|s| (s.capacity, s.kv_type)) else {
            return Ok(());
        };
        let mut rows = Vec::with_capacity(tokens.len());
        for (sequence, &token) in sequences.iter_mut().zip(tokens) {
            debug_assert!((sequence.capacity, sequence.kv_type) == (capacity, kv_type));
            let position = sequence.tokens.len();
            sequence.check_room(1)?;
            rows.push(Row { token: token as i32, position: position as u32, kv: sequence.kv.address() });
        }
        let outputs: Vec<u32> = (0..rows.len() as u32).collect();
        let step = Step { rows: &rows, outputs: &outputs, kv_capacity: capacity, kv: kv_type, results };
        // SAFETY: every cache has `capacity` positions and is its sequence's own; positions are
        // below `limit <= capacity`; tokens were checked.
        unsafe { engine.step(&step)? };
        sequences.iter_mut().zip(tokens).for_each(|(sequence, &token)| sequence.tokens.push(token));
        Ok(())
    }

    /// Refuses more tokens than fit.
    fn check_room(&self, tokens: usize) -> Result<()> {
        if tokens <= self.room() {
            return Ok(());
        }
        let needed = self.tokens.len() + tokens;
        Err(Error::ContextFull { needed, limit: self.limit, most: self.most })
    }

    fn step(&mut self, engine: &mut Engine, chunk: &[u32], outputs: &[u32], results: Results) -> Result<()> {
        let kv = self.kv.address();
        let start = self.tokens.len();
        let row = |(i, &token): (usize, &u32)| Row { token: token as i32, position: (start + i) as u32, kv };
        let rows: Vec<Row> = chunk.iter().enumerate().map(row).collect();
        let step = Step { rows: &rows, outputs, kv_capacity: self.capacity, kv: self.kv_type, results };
        // SAFETY: the cache has `capacity` positions and is ours; positions are consecutive and below
        // `limit <= capacity`; tokens were checked by `steps`.
        unsafe { engine.step(&step)? };
        self.tokens.extend_from_slice(chunk);
        Ok(())
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
