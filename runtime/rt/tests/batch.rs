//! Sequences that take their steps together get the logits that each would get alone.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{bytes_of, free, model, KNOWN, ROWS};
use qwenc_abi::KvType;
use qwenc_rt::error::Error;
use qwenc_rt::inference::batch::Batch;
use qwenc_rt::inference::engine::Engine;
use qwenc_rt::inference::session::Session;
use qwenc_rt::inference::step::Wanted;

fn beginning(index: usize) -> Vec<u32> {
    (0..=3 * index).map(|i| ((i * 37 + 11 + index) % KNOWN) as u32).collect()
}

/// Logits of the sequence's last token and of two more.
fn alone(engine: &mut Engine, index: usize, kv: KvType) -> Vec<Vec<f32>> {
    let mut session = Session::new(engine, Some(40), kv).unwrap();
    let mut found = Vec::new();
    for tokens in [beginning(index), vec![7 + index as u32], vec![9]] {
        let keep = |_: usize, row: &[f32]| {
            found.push(row.to_vec());
            Ok(())
        };
        session.feed(engine, &tokens, Wanted::Last, keep).unwrap();
    }
    found
}

#[test]
fn each_gets_what_it_would_get_alone() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    for (threads, kv) in [(1, KvType::F32), (3, KvType::Bf16), (2, KvType::I8)] {
        // SAFETY: the mock keeps to the contract.
        let mut engine = unsafe { Engine::new(&model, &weights, threads, 8) }.unwrap();
        let expected: Vec<_> = (0..6).map(|i| alone(&mut engine, i, kv)).collect();
        let mut batch = Batch::new(&engine, 6, Some(40), kv).unwrap();
        // The second time finds its beginning in the cache.
        for _ in 0..2 {
            let mut found = vec![Vec::new(); 6];
            let last = |i: usize| *beginning(i).last().unwrap();
            (0..6).for_each(|i| batch.begin(&mut engine, i, &beginning(i)).unwrap());
            for tokens in [(0..6).map(last).collect(), (7..13).collect(), vec![9; 6]] {
                let keep = |i: usize, row: &[f32]| {
                    found[i].push(row.to_vec());
                    Ok(())
                };
                batch.feed(&mut engine, &tokens, keep).unwrap();
            }
            assert!(found == expected, "{threads} threads, {kv:?}");
            assert!(batch.sequences().iter().enumerate().all(|(i, s)| s.tokens().len() == 3 * i + 3));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let (model, weights) = (model(), bytes_of(&free(ROWS)));
    // SAFETY: the mock keeps to the contract.
    let mut engine = unsafe { Engine::new(&model, &weights, 1, 4) }.unwrap();
    let said = Batch::new(&engine, 5, None, KvType::F32).err().unwrap();
    assert!(matches!(&said, Error::Usage(s) if s.contains("5 sequences") && s.contains("found 4")), "{said}");
    let mut batch = Batch::new(&engine, 2, Some(3), KvType::F32).unwrap();
    let none = |_: usize, _: &[f32]| Ok(());
    batch.begin(&mut engine, 1, &[1, 2, 3, 4]).unwrap();
    let full = batch.feed(&mut engine, &[5, 5], none).unwrap_err();
    assert!(matches!(full, Error::ContextFull { needed: 4, limit: 3, .. }), "{full}");
    let range = batch.feed(&mut engine, &[5, ROWS as u32], none).unwrap_err();
    assert!(matches!(range, Error::TokenRange { .. }), "{range}");
    assert!(batch.sequences()[0].tokens().is_empty());
}
