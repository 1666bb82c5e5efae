//! Sequences with adapters: each alone against the interpreter, in every way of running, and together bit for bit as
//! alone.

use qwenc_abi::KvType;
use qwenc_cuda::Gpu;
use qwenc_formats::DType;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_plan::{lower, Options};

use crate::stepper::{Device, Stepper};
use crate::{assert_same, fed, nmse, tokens, I8};
use qwenc_testing::shapes::{adapted, Random, ODD, ODDER};

const TOKENS: usize = 19;

fn stepper(device: &Device, adapter: u32, most: usize, seed: u64) -> Stepper<'_> {
    let mut stepper = Stepper::new(device, KvType::F32, 1, TOKENS, most).seed(seed);
    stepper.adapters[0] = adapter;
    stepper
}

#[test]
fn each_adapter_is_what_the_interpreter_says() {
    for (shape, dtype, ranks, tolerance) in
        [(ODD, DType::F32, (4, 2), 1e-7), (ODDER, DType::Bf16, (1, 3), 1e-7), (ODD, I8, (3, 1), 5e-4)]
    {
        let graph = adapted(shape, dtype, ranks);
        let plan = lower(&graph, &Gpu, &Options::default()).unwrap();
        let tokens = tokens(TOKENS, shape.vocab);
        let device = Device::of(&plan, &Random);
        for adapter in 0..=ranks.1 {
            let interpreter = Interpreter::new(&graph, &Random, Precision::F64);
            let mut interpreter = match adapter {
                0 => interpreter,
                n => interpreter.with_adapter(n - 1),
            };
            let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
            let found = fed(stepper(&device, adapter, 1, 1), &tokens, &[1; TOKENS]);
            let error = nmse(&found, &expected);
            println!("{dtype} adapter {adapter} of {ranks:?}: NMSE {error:.2e}");
            assert!(error <= tolerance, "{dtype} adapter {adapter}: NMSE {error:.2e}");
            let whole = fed(stepper(&device, adapter, TOKENS, 2), &tokens, &[TOKENS]);
            assert_same(&format!("{dtype} {adapter}: at once"), &found, &whole);
            let mut persistent = stepper(&device, adapter, 1, 3);
            persistent.persistent = Some(3);
            assert_same(
                &format!("{dtype} {adapter}: persistent"),
                &found,
                &fed(persistent, &tokens, &[1; TOKENS]),
            );
        }
    }
}

#[test]
fn every_sequence_keeps_its_own() {
    let plan = lower(&adapted(ODD, I8, (4, 2)), &Gpu, &Options::default()).unwrap();
    let device = Device::of(&plan, &Random);
    let tokens = tokens(5, ODD.vocab);
    let adapters = [2, 0, 1];
    let mut together = Stepper::new(&device, KvType::F32, adapters.len(), TOKENS, 8);
    together.adapters = adapters.to_vec();
    let mut found = vec![Vec::new(); adapters.len()];
    for (i, &token) in tokens.iter().enumerate() {
        let rows: Vec<_> = (0..adapters.len()).map(|sequence| (token, i, sequence)).collect();
        for (logits, line) in found.iter_mut().zip(together.step(&rows).0) {
            logits.extend(line);
        }
    }
    for (together, adapter) in found.iter().zip(adapters) {
        let alone = fed(stepper(&device, adapter, 1, 5), &tokens, &[1; 5]);
        assert_same(&format!("adapter {adapter}"), together, &alone);
    }
    assert_ne!(found[0], found[2], "adapters differ");
}
