//! Generated kernels against transformers on the golden cases, and against the interpreter on the sample: prompt and
//! decode, all types of weights.

use qwenc_costs::Machine;
use qwenc_cuda::Gpu;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{verify, Checked, Graph};
use qwenc_models::{export, Checkpoint, ModelFile, Quant};
use qwenc_opt::{optimise, Limits};
use qwenc_plan::{lower, Activations, Options, Plan};
use qwenc_tests::data::folder;
use qwenc_tests::golden::golden;

use crate::stepper::{Device, Stepper};
use crate::{assert_same, fed, logits, nmse, KvType};

const INT8: Quant = Quant::I8 { group: 64 };
const INT4: Quant = Quant::I4 { group: 32, embeddings: false };

/// Model and plan that `qwenc` would compile.
fn compiled(checkpoint: &Checkpoint, quant: Quant, activations: Activations) -> (ModelFile, Checked<Plan>) {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    export(checkpoint, file.path(), Some(quant), &mut |_, _| ()).unwrap();
    let model = ModelFile::open(file.path()).unwrap();
    let graph: Checked<Graph> = verify(model.graph().unwrap()).unwrap();
    let optimised = optimise(&graph, &Gpu, &Machine::of_gpu(90), &Limits::default()).unwrap();
    let plan = lower(&optimised.graph, &Gpu, &Options { activations, ..Options::default() }).unwrap();
    (model, plan)
}

/// The logits of a prompt in one step and token by token, which must be the same.
fn both_ways(device: &Device, tokens: &[u32]) -> Vec<f32> {
    let whole = logits(device, KvType::F32, tokens, &[tokens.len()], 1);
    let one_by_one = logits(device, KvType::F32, tokens, &vec![1; tokens.len()], 2);
    assert_same("token by token", &whole, &one_by_one);
    let mut stepper = Stepper::new(device, KvType::F32, 1, tokens.len(), 1).seed(3);
    stepper.persistent = Some(4);
    assert_same("persistent", &whole, &fed(stepper, tokens, &vec![1; tokens.len()]));
    whole
}

#[test]
fn as_transformers_says() {
    let cases = [
        (Quant::F32, Activations::Default, 1e-8),
        (Quant::Bf16, Activations::Default, 1e-6),
        (Quant::Bf16, Activations::Bf16, 1e-3),
        (INT8, Activations::Default, 1e-3),
        (INT4, Activations::Default, 2e-1),
    ];
    for (case, cases) in [
        ("qwen3-tied", &cases[..]),
        ("qwen3-untied-mha", &cases[..]),
        ("qwen3-sliding", &cases[1..2]),
        ("qwen3-yarn", &cases[1..2]),
        ("qwen3-attention-bias", &cases[..4]),
        ("qwen2-bias", &cases[1..2]),
        ("llama3-rope", &cases[1..2]),
    ] {
        let checkpoint = Checkpoint::open(&folder(case)).unwrap();
        let golden = golden(case);
        let expected: Vec<f64> = golden.logits.iter().map(|&v| f64::from(v)).collect();
        for &(quant, activations, most) in cases {
            let (model, plan) = compiled(&checkpoint, quant, activations);
            let found = both_ways(&Device::of(&plan, &model), &golden.tokens);
            let error = nmse(&found, &expected);
            println!("{case} {quant:?} {activations:?}: NMSE {error:.2e}");
            assert!(error <= most, "{case} {quant:?} {activations:?}: NMSE {error:.2e} > {most:.0e}");
        }
    }
}

#[test]
fn the_sample_as_the_interpreter_says() {
    let checkpoint = Checkpoint::sample();
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 1900).collect();
    for (quant, most) in [(Quant::F32, 1e-8), (Quant::Bf16, 1e-6), (INT8, 1e-3), (INT4, 1e-2)] {
        let (model, plan) = compiled(&checkpoint, quant, Activations::Default);
        // The same weights: what differs is the kernels' arithmetic.
        let graph = verify(model.graph().unwrap()).unwrap();
        let mut interpreter = Interpreter::new(&graph, &model, Precision::F64);
        let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
        let found = both_ways(&Device::of(&plan, &model), &tokens);
        let error = nmse(&found, &expected);
        println!("sample {quant:?}: NMSE {error:.2e}");
        assert!(error <= most, "sample {quant:?}: NMSE {error:.2e} > {most:.0e}");
    }
}
