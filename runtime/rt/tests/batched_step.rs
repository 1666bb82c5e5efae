//! Sequences that share steps, and sequences that begin as another: each gets what it would get alone.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{bytes_of, free, model, KNOWN, ROWS};
use qwenc_abi::KvType;
use qwenc_rt::error::Error;
use qwenc_rt::inference::batched_step::{feed, SequenceChunk};
use qwenc_rt::inference::engine::Engine;
use qwenc_rt::inference::session::Session;
use qwenc_rt::inference::step::Wanted;
use qwenc_rt::inference::step::{Output, Results};

fn text(index: usize, n: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 37 + 11 + 5 * index) % KNOWN) as u32).collect()
}

fn alone(engine: &mut Engine, kv: KvType, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut session = Session::new(engine, Some(100), kv).unwrap();
    rest(engine, &mut session, tokens)
}

fn rest(engine: &mut Engine, session: &mut Session, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut found = Vec::new();
    let keep = |_: usize, row: &[f32]| {
        found.push(row.to_vec());
        Ok(())
    };
    session.feed(engine, tokens, Wanted::All, keep).unwrap();
    found
}

/// Every share of a step, from nothing to more than a whole one, with neighbours of every kind.
#[test]
fn any_mixture_of_tokens_changes_nothing() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    for (threads, most, kv) in [(1, 7, KvType::F32), (3, 64, KvType::Bf16), (2, 4, KvType::I8)] {
        // SAFETY: the mock keeps to the contract.
        let mut engine = unsafe { Engine::new(&model, &weights, threads, most) }.unwrap();
        let expected: Vec<_> = (0..5).map(|i| alone(&mut engine, kv, &text(i, 30))).collect();
        let mut sessions: Vec<_> = (0..5).map(|_| Session::new(&engine, Some(100), kv).unwrap()).collect();
        for round in [[3, 0, 1, 10, 1], [1, 1, 1, 1, 1], [0, 9, 2, 1, 0], [5, 1, 1, 0, 13]] {
            let texts: Vec<_> = (0..5).map(|i| text(i, 30)).collect();
            let begins: Vec<_> = sessions.iter().map(|s| s.tokens().len()).collect();
            let mut parts: Vec<_> = sessions
                .iter_mut()
                .enumerate()
                .map(|(i, session)| SequenceChunk {
                    session,
                    tokens: &texts[i][begins[i]..begins[i] + round[i]],
                    wanted: [Wanted::Last, Wanted::All, Wanted::Nothing][i % 3],
                })
                .collect();
            let mut seen = Vec::new();
            feed(&mut engine, &mut parts, Results::Logits, |part, token, output| {
                assert_eq!(output, Output::Logits(&expected[part][begins[part] + token]));
                seen.push((part, token));
                Ok(())
            })
            .unwrap();
            let last = |i: usize| round[i].checked_sub(1).map(|last| (i, last));
            let all = |i: usize| (0..round[i]).map(move |token| (i, token));
            let wanted: Vec<_> = last(0).into_iter().chain(all(1)).chain(last(3)).chain(all(4)).collect();
            assert_eq!(seen, wanted, "{threads} threads, steps of {most}, {kv:?}");
        }
        assert_eq!(sessions.iter().map(|s| s.tokens().len()).collect::<Vec<_>>(), [9, 11, 5, 12, 15]);
    }
}

#[test]
fn caches_of_different_kinds_take_different_steps() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    // SAFETY: the mock keeps to the contract.
    let mut engine = unsafe { Engine::new(&model, &weights, 2, 64) }.unwrap();
    let kinds = [(20, KvType::F32), (200, KvType::F32), (200, KvType::I8)];
    let expected: Vec<_> = kinds.iter().map(|k| alone(&mut engine, k.1, &text(1, 9))).collect();
    let mut sessions: Vec<_> =
        kinds.iter().map(|&(n, kv)| Session::new(&engine, Some(n), kv).unwrap()).collect();
    let tokens = text(1, 9);
    let part = |session| SequenceChunk { session, tokens: &tokens, wanted: Wanted::Last };
    let mut seen = 0;
    feed(
        &mut engine,
        &mut sessions.iter_mut().map(part).collect::<Vec<_>>(),
        Results::Logits,
        |i, _, output| {
            seen += 1;
            assert_eq!(output, Output::Logits(&expected[i][8]));
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn one_part_that_does_not_fit_stops_all() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    // SAFETY: the mock keeps to the contract.
    let mut engine = unsafe { Engine::new(&model, &weights, 1, 64) }.unwrap();
    let mut sessions: Vec<_> =
        (0..2).map(|_| Session::new(&engine, Some(10), KvType::F32).unwrap()).collect();
    let none = |_: usize, _: usize, _: Output| panic!("nothing runs");
    let (short, long) = (text(0, 3), text(0, 11));
    for tokens in [[&short, &long], [&short, &vec![1, ROWS as u32]]] {
        let parts = sessions.iter_mut().zip(tokens);
        let mut parts: Vec<_> =
            parts.map(|(session, tokens)| SequenceChunk { session, tokens, wanted: Wanted::Last }).collect();
        let refused = feed(&mut engine, &mut parts, Results::Logits, none).unwrap_err();
        assert!(matches!(refused, Error::ContextFull { needed: 11, .. } | Error::TokenRange { .. }));
    }
    assert!(sessions.iter().all(|s| s.tokens().is_empty()));
    feed(&mut engine, &mut [], Results::Logits, none).unwrap();
}

#[test]
fn a_fork_goes_on_by_itself() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    // SAFETY: the mock keeps to the contract.
    let mut engine = unsafe { Engine::new(&model, &weights, 2, 16) }.unwrap();
    for kv in KvType::ALL {
        let tokens = text(2, 60);
        let expected = alone(&mut engine, kv, &tokens);
        let mut first = Session::new(&engine, Some(100), kv).unwrap();
        rest(&mut engine, &mut first, &tokens[..50]);
        for len in [0, 1, 15, 16, 17, 32, 49, 50, 99] {
            let mut copy = first.fork(&engine, len).unwrap();
            let len = len.min(50);
            assert_eq!(copy.tokens(), &tokens[..len]);
            assert!(rest(&mut engine, &mut copy, &tokens[len..]) == expected[len..], "{kv:?} {len}");
            // The same into one that was something else, and the first stays what it is.
            rest(&mut engine, &mut copy, &text(9, 20));
            copy.begin_as(&first, len).unwrap();
            assert!(rest(&mut engine, &mut copy, &tokens[len..]) == expected[len..], "{kv:?} {len}");
            // Memory that is given back is only what no sequence needs.
            copy.truncate(len);
            copy.give_back();
            assert!(rest(&mut engine, &mut copy, &tokens[len..]) == expected[len..], "{kv:?} {len}");
        }
        assert!(rest(&mut engine, &mut first, &tokens[50..]) == expected[50..]);
        let mut other = Session::new(&engine, Some(99), kv).unwrap();
        let said = other.begin_as(&first, 3).unwrap_err().to_string();
        assert!(said.contains("--context"), "{said}");
    }
}

/// An embedding is of the last token of the part, whatever else is in the step; logits do not change by it.
#[test]
fn embeddings_among_others() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    for most in [3, 64] {
        // SAFETY: the mock keeps to the contract.
        let mut engine = unsafe { Engine::new(&model, &weights, 2, most) }.unwrap();
        let expected = alone(&mut engine, KvType::F32, &text(1, 5));
        let mut sessions: Vec<_> =
            (0..3).map(|_| Session::new(&engine, Some(100), KvType::F32).unwrap()).collect();
        let texts: Vec<_> = (0..3).map(|i| text(i, 5 + 2 * i)).collect();
        let wanted = [Wanted::Embedding, Wanted::Last, Wanted::Embedding];
        let parts = sessions.iter_mut().zip(&texts).zip(wanted);
        let text = |i: usize| text(i, if i == 1 { 5 } else { 5 + 2 * i });
        let mut parts: Vec<_> = parts
            .enumerate()
            .map(|(i, ((session, tokens), wanted))| SequenceChunk {
                session,
                tokens: if i == 1 { &tokens[..5] } else { tokens },
                wanted,
            })
            .collect();
        let mut seen = Vec::new();
        feed(&mut engine, &mut parts, Results::Logits, |part, token, output| {
            seen.push((part, token));
            match output {
                Output::Logits(logits) => assert_eq!((part, logits), (1, &expected[4][..])),
                Output::Embedding(values) => {
                    let last = (text(part)[token] as f32 + 1.0, token as f32 + 1.0);
                    let length = last.0.hypot(last.1);
                    let errors = [values[0] - last.0 / length, values[1] - last.1 / length];
                    assert!(errors.iter().all(|e| e.abs() < 1e-6), "{part} {token}: {values:?} {last:?}");
                }
                Output::Pick(_) => panic!("nobody asked for a pick"),
            }
            Ok(())
        })
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [(0, 4), (1, 4), (2, 8)], "steps of {most}");
    }
}
