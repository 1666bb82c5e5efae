//! Guessing ahead gives the tokens, the ending and the cache that sampling one by one gives.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{bytes_of, chain, free, model, tiny, Executable};
use qwenc_abi::{KvType, ModelInfo};
use qwenc_rt::inference::engine::Engine;
use qwenc_rt::inference::generate::{generate, Ending, Limits, Report, Sampled};
use qwenc_rt::inference::logits_processor::{Adjust, AdjustedSampler, Penalties};
use qwenc_rt::inference::sampler::{Sampler, Sampling};
use qwenc_rt::inference::session::Session;

struct Case<'a> {
    model: &'a ModelInfo,
    table: &'a [u32],
    prompt: &'a [u32],
    temperature: f32,
    repetition: f32,
    max_tokens: usize,
    context: usize,
    stop_tokens: &'a [u32],
}

impl Case<'_> {
    fn run(&self, speculate: usize, chunk: usize) -> (Vec<Sampled>, Ending, Vec<u32>, Report) {
        let weights = bytes_of(self.table);
        // SAFETY: the mock keeps to the contract.
        let mut engine = unsafe { Engine::new(self.model, &weights, 2, chunk) }.unwrap();
        let mut session = Session::new(&engine, Some(self.context), KvType::F32).unwrap();
        let how = Sampling { temperature: self.temperature, ..Sampling::GREEDY };
        let rows = self.model.vocab_rows as usize;
        let allowed: Vec<bool> = (0..rows).map(|t| t < rows.min(mock::KNOWN)).collect();
        let mut sampler = Sampler::new(how, allowed, Some(3));
        let mut said = Vec::new();
        let (max_tokens, stop_tokens) = (self.max_tokens, self.stop_tokens);
        let limits = Limits { max_tokens, stop_tokens, speculate, interrupted: &|| false };
        let mut keep = |token| {
            said.push(token);
            Ok(())
        };
        let penalties = Penalties { repetition: self.repetition, ..Penalties::default() };
        let adjust = Adjust::new(penalties, self.prompt);
        let mut sampler = AdjustedSampler { sampler: &mut sampler, adjust };
        let report =
            generate(&mut engine, &mut session, &mut sampler, self.prompt, &limits, &mut keep).unwrap();
        (said, report.ending, session.tokens().to_vec(), report)
    }

    /// Returns how many were guessed, and how many of them right, with 8 at a time.
    fn check(&self) -> (usize, usize) {
        let plain = self.run(0, 256);
        assert_eq!((plain.3.guessed, plain.3.right), (0, 0));
        let mut found = (0, 0);
        for (speculate, chunk) in [(1, 256), (3, 2), (64, 256), (8, 256)] {
            let ahead = self.run(speculate, chunk);
            assert!(
                ahead.0 == plain.0 && ahead.1 == plain.1,
                "{speculate} ahead: {:?}, not {:?}",
                ahead.0,
                plain.0
            );
            assert!(ahead.2 == plain.2, "{speculate} ahead: the sequence is {:?}", ahead.2);
            assert_eq!(ahead.3.decode_tokens, plain.3.decode_tokens);
            found = (ahead.3.guessed, ahead.3.right);
        }
        found
    }
}

#[test]
fn texts_that_repeat_are_guessed_right() {
    let model = model();
    let table = chain(&[1, 2, 3, 4, 5, 1]);
    for (max_tokens, context) in [(0, 300), (1, 300), (2, 300), (3, 300), (40, 300), (500, 300), (500, 21)] {
        for stop_tokens in [&[][..], &[99]] {
            let prompt = &[1, 2, 3, 4, 5, 1, 2];
            let case = Case {
                model: &model,
                table: &table,
                prompt,
                temperature: 0.0,
                repetition: 1.0,
                max_tokens,
                context,
                stop_tokens,
            };
            let (guessed, right) = case.check();
            assert_eq!(guessed, right);
            assert!(max_tokens < 40 || right > 5, "{right} of {guessed}");
        }
    }
}

#[test]
fn a_stop_token_that_was_guessed_still_ends_the_answer() {
    let model = model();
    let table = chain(&[1, 2, 3, 4, 5, 6]);
    let prompt = &[1, 2, 3, 4, 5, 6, 9, 1, 2];
    let case = Case {
        model: &model,
        table: &table,
        prompt,
        temperature: 0.0,
        repetition: 1.0,
        max_tokens: 100,
        context: 300,
        stop_tokens: &[5],
    };
    let (_, right) = case.check();
    assert!(right >= 2);
    assert_eq!(case.run(8, 256).1, Ending::StopToken);
}

#[test]
fn wrong_guesses_leave_no_trace() {
    let (model, mut wrong) = (tiny(), 0);
    for (temperature, repetition, max_tokens, context) in [
        (0.0, 1.0, 200, 300),
        (0.0, 1.3, 200, 300),
        (0.7, 1.0, 200, 300),
        (0.7, 1.05, 200, 300),
        (5.0, 1.0, 250, 300),
        (1.0, 1.0, 250, 100),
    ] {
        let table = free(20);
        let case = Case {
            model: &model,
            table: &table,
            prompt: &[4, 5, 6, 4, 5],
            temperature,
            repetition,
            max_tokens,
            context,
            stop_tokens: &[],
        };
        let (guessed, right) = case.check();
        wrong += guessed - right;
    }
    assert!(wrong > 50, "only {wrong} guesses were wrong");
}

#[test]
fn the_flag_changes_no_word_and_shows_in_the_statistics() {
    let e = Executable::talking(&chain(&[277, 1147, 13, 5, 277]));
    let fixed = ["generate", "The capital of Brazil is", "--max-tokens", "60", "--print-tokens", "--stats"];
    let plain = e.run(&fixed);
    let ahead = e.run(&[&fixed[..], &["--speculate", "6"]].concat());
    assert!(
        ahead.err.contains("guessed tokens were right") && !plain.err.contains("guessed"),
        "{}",
        ahead.err
    );
    assert_eq!(ahead.ok(), plain.ok());
    e.run(&[&fixed[..], &["--speculate", "0"]].concat()).refused(2);
}
