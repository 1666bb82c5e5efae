//! Feeding tokens: the result depends on the tokens alone, and what does not fit is refused.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{bytes_of, free, model, CONTEXT, KNOWN, ROWS};
use qwenc_abi::{KvType, ModelInfo};
use qwenc_rt::error::Error;
use qwenc_rt::inference::engine::Engine;
use qwenc_rt::inference::generate::{generate, Ending, Limits, Sampled};
use qwenc_rt::inference::logits_processor::{Adjust, AdjustedSampler, Penalties};
use qwenc_rt::inference::sampler::{Sampler, Sampling};
use qwenc_rt::inference::session::Session;
use qwenc_rt::inference::step::Wanted;

fn engine<'a>(model: &'a ModelInfo, weights: &'a [u8], threads: usize, chunk: usize) -> Engine<'a> {
    // SAFETY: the mock keeps to the contract.
    unsafe { Engine::new(model, weights, threads, chunk) }.unwrap()
}

fn tokens(n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * 37 + 11) % KNOWN as u32).collect()
}

fn logits(engine: &mut Engine, session: &mut Session, tokens: &[u32], wanted: Wanted) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    let keep = |at, row: &[f32]| {
        out.push((at, row.to_vec()));
        Ok(())
    };
    session.feed(engine, tokens, wanted, keep).unwrap();
    let first = tokens.len() - out.len();
    assert!(out.iter().enumerate().all(|(i, (at, _))| *at == first + i));
    out.into_iter().map(|(_, row)| row).collect()
}

#[test]
fn chunks_and_threads_change_nothing() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    let tokens = tokens(50);
    let mut first = None;
    for (threads, chunk) in [(1, 256), (1, 1), (2, 7), (3, 50), (4, 49), (8, 16)] {
        let mut e = engine(&model, &weights, threads, chunk);
        let mut s = Session::new(&e, None, KvType::F32).unwrap();
        let all = logits(&mut e, &mut s, &tokens, Wanted::All);
        assert_eq!((all.len(), all[0].len(), s.tokens()), (50, ROWS, &tokens[..]));
        s.truncate(0);
        let last = logits(&mut e, &mut s, &tokens, Wanted::Last);
        assert_eq!(last[0], all[49]);
        assert_eq!(*first.get_or_insert(all.clone()), all, "{threads} threads, chunks of {chunk}");
    }
}

#[test]
fn truncation_and_reuse_continue_as_if_never_fed() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    let mut e = engine(&model, &weights, 2, 8);
    let tokens = tokens(40);
    let mut fresh = Session::new(&e, None, KvType::F32).unwrap();
    let expected = logits(&mut e, &mut fresh, &tokens, Wanted::Last);
    let mut s = Session::new(&e, None, KvType::F32).unwrap();
    s.feed(&mut e, &[&tokens[..25], &[1, 2, 3]].concat(), Wanted::Nothing, |_, _| panic!("unwanted"))
        .unwrap();
    let rest = s.reuse(&tokens);
    assert_eq!(rest, &tokens[25..]);
    assert_eq!(s.tokens(), &tokens[..25]);
    assert_eq!(logits(&mut e, &mut s, rest, Wanted::Last), expected);
    // A prompt that is cached whole is fed its last token again.
    assert_eq!(s.reuse(&tokens), &tokens[39..]);
    assert_eq!(logits(&mut e, &mut s, &tokens[39..], Wanted::Last), expected);
}

#[test]
fn out_of_range_and_full_are_refused_before_anything_runs() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    let mut e = engine(&model, &weights, 1, 8);
    let mut s = Session::new(&e, Some(20), KvType::F32).unwrap();
    let none = |_: usize, _: &[f32]| Ok(());
    let error = s.feed(&mut e, &[1, ROWS as u32], Wanted::Last, none).unwrap_err();
    assert!(matches!(error, Error::TokenRange { token: 2048, last: 2047 }));
    let error = s.feed(&mut e, &tokens(21), Wanted::Last, none).unwrap_err();
    assert!(matches!(error, Error::ContextFull { needed: 21, limit: 20, most: 300 }), "{error}");
    assert!(s.tokens().is_empty());
    s.feed(&mut e, &tokens(20), Wanted::Last, none).unwrap();
    assert_eq!(s.room(), 0);
    for context in [0, CONTEXT as usize + 1] {
        assert!(matches!(Session::new(&e, Some(context), KvType::F32), Err(Error::Usage(_))));
    }
}

fn answer(how: Sampling, seed: Option<u64>, max_tokens: usize, context: usize) -> (Vec<Sampled>, Ending) {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    let mut e = engine(&model, &weights, 2, 8);
    let mut s = Session::new(&e, Some(context), KvType::F32).unwrap();
    let mut allowed = vec![true; ROWS];
    allowed[KNOWN..].fill(false);
    let mut sampler = Sampler::new(how, allowed, seed);
    let mut out = Vec::new();
    let limits = Limits { max_tokens, stop_tokens: &[], speculate: 0, interrupted: &|| false };
    let mut keep = |token| {
        out.push(token);
        Ok(())
    };
    let adjust = Adjust::new(Penalties::default(), &[]);
    let mut sampler = AdjustedSampler { sampler: &mut sampler, adjust };
    let report = generate(&mut e, &mut s, &mut sampler, &tokens(10), &limits, &mut keep).unwrap();
    assert!(s.tokens().len() <= context);
    (out, report.ending)
}

#[test]
fn seeds_repeat_and_padding_is_never_sampled() {
    let how = Sampling { temperature: 2.0, ..Sampling::GREEDY };
    let (a, ending) = answer(how, Some(1), 100, 300);
    assert_eq!((a.len(), ending), (100, Ending::MaxTokens));
    assert_eq!(a, answer(how, Some(1), 100, 300).0);
    assert_ne!(a, answer(how, Some(2), 100, 300).0);
    assert_ne!(answer(how, None, 100, 300).0, answer(how, None, 100, 300).0);
    assert!(a.iter().all(|t| matches!(t, Sampled::Token(id) if (*id as usize) < KNOWN)));
    assert_eq!(answer(Sampling::GREEDY, None, 30, 300).0, answer(Sampling::GREEDY, None, 30, 300).0);
}

#[test]
fn a_full_context_ends_the_answer() {
    // 10 of the prompt and 5 fed; the token sampled last needs no room.
    let (out, ending) = answer(Sampling::GREEDY, None, 100, 15);
    assert_eq!((out.len(), ending), (6, Ending::ContextFull));
    assert_eq!(out, answer(Sampling::GREEDY, None, 6, 300).0);
    assert_eq!(answer(Sampling::GREEDY, None, 0, 300), (vec![], Ending::MaxTokens));
}
