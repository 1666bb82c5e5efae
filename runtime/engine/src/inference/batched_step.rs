//! Batched steps: any number of sequences, each with a chunk of tokens of any length.
//!
//! In: sequences, the next tokens of each, which of them want results. Out: the results, in order. Invariant: what
//! a sequence gets does not depend on its neighbours, nor on how tokens are cut into steps, not by a bit; the only
//! place that makes rows.

use qwenc_abi::{KvType, Row};

use crate::error::Result;
use crate::inference::engine::Engine;
use crate::inference::session::Session;
use crate::inference::step::{Output, OutputPlace, Results, Step, Wanted};

/// Chunk of tokens that one sequence is fed.
pub struct SequenceChunk<'a> {
    /// The sequence.
    pub session: &'a mut Session,
    /// Its next tokens; may be none.
    pub tokens: &'a [u32],
    /// Tokens whose results are wanted.
    pub wanted: Wanted,
}

/// Feeds every chunk's tokens, in as few steps as `engine.max_rows()` and `engine.max_outputs()` allow: a single one
/// where all fit. `sink` gets a chunk's index, that of the wanted token within the chunk, and no more than `results`
/// asks for, where that is quicker; embeddings come after the step's other results. Nothing is run unless every chunk fits its
/// sequence. On an error of `sink` the tokens of the steps already run remain fed.
pub fn feed(
    engine: &mut Engine,
    parts: &mut [SequenceChunk],
    results: Results,
    mut sink: impl FnMut(usize, usize, Output) -> Result<()>,
) -> Result<()> {
    for part in parts.iter() {
        part.tokens.iter().try_for_each(|&t| engine.check_token(t))?;
        part.session.check_room(part.tokens.len())?;
    }
    let mut begin = (0, 0);
    loop {
        let cut = MicroBatch::from(begin, parts, engine.max_rows(), engine.max_outputs());
        let Some((capacity, kv)) = cut.shape else { return Ok(()) };
        let step = Step { rows: &cut.rows, outputs: &cut.outputs, kv_capacity: capacity, kv, results };
        // SAFETY: every cache has `capacity` positions and is its sequence's own, which is in one part alone;
        // positions are consecutive and below `limit <= capacity`, and tokens exist: both were checked.
        unsafe { engine.step(&step)? };
        for &(part, from, to) in &cut.fed {
            let part = &mut parts[part];
            part.session.fed(&part.tokens[from..to]);
        }
        for (i, &(part, token)) in cut.origins.iter().enumerate() {
            sink(part, token, engine.output(OutputPlace::Output(i))?)?;
        }
        for &(row, (part, token)) in &cut.states {
            sink(part, token, engine.output(OutputPlace::State(row))?)?;
        }
        begin = cut.end;
    }
}

impl Session {
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
        self.feed_for(engine, tokens, (wanted, Results::Logits), |index, output| {
            sink(index, output.logits()?)
        })
    }

    /// Feeds tokens like [`feed`](Session::feed), but `sink` gets no more than `results` asks for, where that is quicker.
    pub fn feed_for(
        &mut self,
        engine: &mut Engine,
        tokens: &[u32],
        (wanted, results): (Wanted, Results),
        mut sink: impl FnMut(usize, Output) -> Result<()>,
    ) -> Result<()> {
        let part = SequenceChunk { session: self, tokens, wanted };
        self::feed(engine, &mut [part], results, |_, index, output| sink(index, output))
    }
}

/// Rows of one step, cut from the chunks.
struct MicroBatch {
    rows: Vec<Row>,
    outputs: Vec<u32>,
    /// (part, token) of each output.
    origins: Vec<(usize, usize)>,
    /// Rows whose hidden state is wanted, and their (part, token).
    states: Vec<(usize, (usize, usize))>,
    /// (part, first token, token after the last).
    fed: Vec<(usize, usize, usize)>,
    /// Capacity and type of the caches, which one step has in common; none where no rows are left.
    shape: Option<(usize, KvType)>,
    /// (part, token) with which the next step begins.
    end: (usize, usize),
}

impl MicroBatch {
    fn from(
        begin: (usize, usize),
        parts: &mut [SequenceChunk],
        max_rows: usize,
        max_outputs: usize,
    ) -> MicroBatch {
        let mut cut = MicroBatch {
            rows: Vec::new(),
            outputs: Vec::new(),
            origins: Vec::new(),
            states: Vec::new(),
            fed: Vec::new(),
            shape: None,
            end: begin,
        };
        while cut.end.0 < parts.len() {
            let (index, from) = cut.end;
            let part = &mut parts[index];
            let left = part.tokens.len() - from;
            let shape = part.session.shape();
            if left > 0 && cut.shape.is_some_and(|other| other != shape) {
                break;
            }
            let take = left.min(max_rows - cut.rows.len());
            let take = part.wanted.fitting(take, left, max_outputs - cut.outputs.len());
            if take > 0 {
                cut.take(index, from, take, part);
                cut.shape = Some(shape);
            }
            if take < left {
                cut.end = (index, from + take);
                break;
            }
            cut.end = (index + 1, 0);
        }
        cut
    }

    fn take(&mut self, index: usize, from: usize, count: usize, part: &mut SequenceChunk) {
        let (position, kv) = part.session.next();
        let adapter = part.session.adapter();
        for (i, &token) in part.tokens[from..from + count].iter().enumerate() {
            let last = from + i + 1 == part.tokens.len();
            match part.wanted {
                Wanted::All | Wanted::Last if last || part.wanted == Wanted::All => {
                    self.outputs.push(self.rows.len() as u32);
                    self.origins.push((index, from + i));
                }
                Wanted::Embedding if last => self.states.push((self.rows.len(), (index, from + i))),
                _ => {}
            }
            let position = (position + i) as u32;
            self.rows.push(Row { token: token as i32, position, kv, adapter, reserved: 0 });
        }
        self.fed.push((index, from, from + count));
    }
}

impl Wanted {
    /// Number of `take` tokens, with `left` to go, that have no more than `outputs` results.
    fn fitting(self, take: usize, left: usize, outputs: usize) -> usize {
        match self {
            Wanted::Nothing | Wanted::Embedding => take,
            Wanted::Last if outputs == 0 && take == left => left.saturating_sub(1),
            Wanted::Last => take,
            Wanted::All => take.min(outputs),
        }
    }
}
