//! Several sequences that take their steps together: the weights are read once for all of them.
//!
//! In: a beginning for each sequence, then one token for each and step. Out: each one's logits. Invariant: all
//! caches have the same capacity and type, as a step asks; the sequences know nothing of each other, so each gets
//! the logits that it would get alone.

use qwenc_abi::KvType;

use crate::error::{Error, Result};
use crate::inference::batched_step::{self, SequenceChunk};
use crate::inference::engine::Engine;
use crate::inference::session::Session;
use crate::inference::step::Wanted;
use crate::inference::step::{Output, Results};

/// Sequences that are as long as each other's caches.
pub struct Batch {
    sequences: Vec<Session>,
}

impl Batch {
    /// `count` empty sequences; as for [`Session::new`]. A step must have room for one token of each.
    pub fn new(engine: &Engine, count: usize, context: Option<usize>, kv_type: KvType) -> Result<Batch> {
        if count > engine.max_rows() {
            return Err(Error::Usage(format!(
                "{count} sequences need steps of {count} tokens, found {} at most; raise --chunk or --context",
                engine.max_rows()
            )));
        }
        let one = |_| Session::new(engine, context, kv_type);
        Ok(Batch { sequences: (0..count).map(one).collect::<Result<_>>()? })
    }

    /// Makes sequence `index` be `tokens` without the last one, which is to be fed; what it has in common with them
    /// is not run again.
    pub fn begin(&mut self, engine: &mut Engine, index: usize, tokens: &[u32]) -> Result<()> {
        let sequence = &mut self.sequences[index];
        let rest = sequence.reuse(tokens);
        sequence.feed(engine, &rest[..rest.len().saturating_sub(1)], Wanted::Nothing, |_, _| Ok(()))
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Session] {
        &self.sequences
    }

    /// Feeds one token to each sequence, in one step; `sink` gets its index and logits.
    pub fn feed(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        mut sink: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.feed_for(engine, tokens, Results::Logits, |i, output| sink(i, output.logits()?))
    }

    /// Feeds tokens like [`feed`](Batch::feed), but `sink` gets no more than `results` asks for, where that is quicker.
    pub fn feed_for(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        results: Results,
        mut sink: impl FnMut(usize, Output) -> Result<()>,
    ) -> Result<()> {
        let mut parts = parts(&mut self.sequences, tokens);
        batched_step::feed(engine, &mut parts, results, |i, _, output| sink(i, output))
    }
}

/// One token of each.
fn parts<'a>(sequences: &'a mut [Session], tokens: &'a [u32]) -> Vec<SequenceChunk<'a>> {
    debug_assert!(sequences.len() == tokens.len());
    let part = |(session, token): (&'a mut Session, &'a u32)| SequenceChunk {
        session,
        tokens: std::slice::from_ref(token),
        wanted: Wanted::Last,
    };
    sequences.iter_mut().zip(tokens).map(part).collect()
}
