//! Sequences with adapters: each alone against the interpreter, and together bit for bit as alone.

use qwenc_abi::KvType;
use qwenc_formats::DType;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_plan::Activations;

use crate::loaded::{Caches, Loaded, Runner};
use crate::{assert_same, cpus, nmse, planned, tokens, I8};
use qwenc_testing::shapes::{adapted, Random, ODD, ODDER};

const TOKENS: usize = 21;

/// One sequence's logits with this adapter, from 1; 0 for none.
fn logits(loaded: &Loaded, adapter: u32, tokens: &[u32], chunks: &[usize], threads: usize) -> Vec<f32> {
    let mut runner = Runner::new(loaded, *chunks.iter().max().unwrap(), threads);
    let mut caches = Caches::new(loaded, KvType::F32, 1, tokens.len());
    caches.adapters[0] = adapter;
    let (mut out, mut at) = (Vec::new(), 0);
    for &n in chunks {
        let rows: Vec<_> = (at..at + n).map(|i| (tokens[i], i, 0)).collect();
        out.extend(runner.step(&rows, &mut caches).into_iter().flatten());
        at += n;
    }
    out
}

#[test]
fn each_adapter_is_what_the_interpreter_says() {
    for (shape, dtype, ranks, tolerance) in
        [(ODD, DType::F32, (4, 2), 1e-11), (ODDER, DType::Bf16, (1, 3), 1e-11), (ODD, I8, (3, 1), 5e-4)]
    {
        let graph = adapted(shape, dtype, ranks);
        let plan = planned(&graph, Activations::Default, false);
        let tokens = tokens(TOKENS, shape.vocab);
        let expected = |adapter: u32| {
            let interpreter = Interpreter::new(&graph, &Random, Precision::F64);
            let mut interpreter = match adapter {
                0 => interpreter,
                n => interpreter.with_adapter(n - 1),
            };
            interpreter.step(&tokens, &mut |_, _| {}).unwrap().data
        };
        let expected: Vec<Vec<f64>> = (0..=ranks.1).map(expected).collect();
        assert!(expected.windows(2).all(|two| two[0] != two[1]), "an adapter changes nothing");
        for cpu in cpus() {
            let loaded = Loaded::of(&plan, cpu, &Random);
            for (adapter, expected) in (0..).zip(&expected) {
                let found = logits(&loaded, adapter, &tokens, &[1; TOKENS], 1);
                let error = nmse(&found, expected);
                println!("{cpu} {dtype} adapter {adapter} of {ranks:?}: NMSE {error:.2e}");
                assert!(error <= tolerance, "{cpu} {dtype} adapter {adapter}: NMSE {error:.2e}");
                for (chunks, threads) in [(&[TOKENS][..], 3), (&[2, 19], 2)] {
                    let other = logits(&loaded, adapter, &tokens, chunks, threads);
                    assert_same(&format!("{cpu} {dtype} {chunks:?}, {threads} threads"), &found, &other);
                }
            }
        }
    }
}

#[test]
fn every_sequence_keeps_its_own() {
    let plan = planned(&adapted(ODD, I8, (4, 2)), Activations::Default, false);
    let loaded = Loaded::of(&plan, "native", &Random);
    let tokens = tokens(9, ODD.vocab);
    let adapters = [2, 0, 1, 2];
    let mut runner = Runner::new(&loaded, 8, 2);
    let mut caches = Caches::new(&loaded, KvType::F32, adapters.len(), tokens.len());
    caches.adapters = adapters.to_vec();
    let mut found = vec![Vec::new(); adapters.len()];
    for (i, &token) in tokens.iter().enumerate() {
        let rows: Vec<_> = (0..adapters.len()).map(|sequence| (token, i, sequence)).collect();
        for (logits, line) in found.iter_mut().zip(runner.step(&rows, &mut caches)) {
            logits.extend(line);
        }
    }
    for (together, adapter) in found.iter().zip(adapters) {
        let alone = logits(&loaded, adapter, &tokens, &[1; 9], 1);
        assert_same(&format!("adapter {adapter}"), together, &alone);
    }
    assert_ne!(found[0], found[2], "adapters differ");
}
