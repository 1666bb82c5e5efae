//! The kernels of Qwen3-0.6B one by one, on one core: `cargo bench -p qwenc-llvm`.
//!
//! In: generated code of eight layers and a slice of the head, so that weights come from memory and not from a
//! cache. Out: time, bytes read per second for one token, multiplications and additions per second for more.
//! Invariant: kernels run in the order of a step and on its data; only the one named is timed.

// What the kernels' tests share unwraps: a failure ends the benchmark, as it does a test.
#![allow(clippy::unwrap_used)]

mod stepper;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use divan::counter::{BytesCount, ItemsCount};
use divan::Bencher;
use qwenc_abi::KvType;
use qwenc_formats::{DType, Operand, ScaleType};
use qwenc_ir::{Checked, WeightId};
use qwenc_llvm::Cpu;
use qwenc_plan::{lower, Activations, Kernel, Options, Plan};
use qwenc_testing::shapes::{graph, Random, Shape};
use stepper::loaded::Loaded;
use stepper::Stepper;

fn main() {
    divan::main();
}

/// Qwen3-0.6B, but for its depth and its vocabulary.
const SHAPE: Shape = Shape {
    layers: 8,
    hidden: 1024,
    intermediate: 3072,
    heads: 16,
    kv_heads: 8,
    head_dim: 128,
    vocab: 8192,
    tied: true,
    windows: false,
};

/// Weights, inputs, and whether the weights are compressed.
const KINDS: [(&str, DType, Activations, bool); 11] = [
    ("f32", DType::F32, Activations::Default, false),
    ("f16", DType::F16, Activations::Default, false),
    ("bf16", DType::Bf16, Activations::Default, false),
    ("bf16 compressed", DType::Bf16, Activations::Default, true),
    ("bf16-bf16", DType::Bf16, Activations::Bf16, false),
    ("bf16-bf16 compressed", DType::Bf16, Activations::Bf16, true),
    ("int8", DType::I8 { group: 64, scales: ScaleType::F32 }, Activations::Default, false),
    ("int8-int8", DType::I8 { group: 64, scales: ScaleType::F32 }, Activations::Int8, false),
    ("int4", DType::I4 { group: 32, scales: ScaleType::F16 }, Activations::Default, false),
    ("q4_k", DType::Q4K, Activations::Default, false),
    ("q6_k", DType::Q6K, Activations::Default, false),
];

/// Numbers of those that this machine runs.
fn kinds() -> impl Iterator<Item = usize> {
    let reads_bf12 = Cpu::named("native").expect("there is a CPU").reads(Operand::Bf12);
    (0..KINDS.len()).filter(move |&kind| reads_bf12 || !KINDS[kind].3)
}

/// Kernels of a step, by number, and what they are called in the plan.
const QKV: (usize, &str, &str) = (1, "qkv", "norm_linear");
const ATTENTION: (usize, &str, &str) = (3, "attention", "attention");
const O: (usize, &str, &str) = (4, "o", "linear_add");
const GATE_UP: (usize, &str, &str) = (5, "gate_up", "norm_swiglu");
const DOWN: (usize, &str, &str) = (6, "down", "linear_add");
const LM_HEAD: (usize, &str, &str) = (7, "lm_head of 8192", "norm_linear");

/// A timed kernel.
#[derive(Clone, Copy, Debug)]
struct Case {
    kernel: (usize, &'static str, &'static str),
    kind: usize,
    tokens: usize,
    /// Positions in use when the step is done.
    context: usize,
    kv: KvType,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kernel {
            ATTENTION => write!(f, "{} at {}, {} cache", self.kernel.1, self.context, self.kv.name()),
            _ => write!(f, "{}, {}", self.kernel.1, KINDS[self.kind].0),
        }
    }
}

/// Every linear with every kind of weights, and attention over every type of cache.
fn cases(tokens: usize) -> Vec<Case> {
    let case = |kernel, kind| Case { kernel, kind, tokens, context: 512, kv: KvType::F32 };
    // The head runs for the last token of a prompt, or for one of each sequence.
    let linears = [QKV, O, GATE_UP, DOWN, LM_HEAD].into_iter().filter(|&k| k != LM_HEAD || tokens <= 8);
    let mut all: Vec<Case> = linears.flat_map(|kernel| kinds().map(move |kind| case(kernel, kind))).collect();
    for context in [512, 8192] {
        all.extend(KvType::ALL.map(|kv| Case { context, kv, ..case(ATTENTION, 2) }));
    }
    all
}

/// A kind's plan and code, made once.
fn made(kind: usize) -> &'static (Checked<Plan>, Loaded) {
    static MADE: [OnceLock<(Checked<Plan>, Loaded)>; KINDS.len()] = [const { OnceLock::new() }; KINDS.len()];
    MADE[kind].get_or_init(|| {
        let (_, dtype, activations, compressed) = KINDS[kind];
        let graph = graph(SHAPE, dtype);
        let all = || (0..graph.weights.len() as u32).map(WeightId).collect();
        let plain = if compressed { BTreeSet::new() } else { all() };
        let options = Options { activations, plain, ..Options::default() };
        let native = Cpu::named("native").expect("every CPU is known");
        let plan = lower(&graph, &native, &options).expect("the model can be planned");
        let loaded = Loaded::of(&plan, "native", &Random);
        (plan, loaded)
    })
}

impl Case {
    fn kernel(&self) -> &'static Kernel {
        let (plan, _) = made(self.kind);
        let (_, kernel) = plan.kernels().nth(self.kernel.0).expect("a step has eight kernels");
        assert_eq!(kernel.name(), self.kernel.2, "the plan has another order now; set the numbers right");
        kernel
    }

    /// Weights, or cached keys and values, that the kernel reads.
    fn bytes(&self) -> u64 {
        let (plan, _) = made(self.kind);
        match self.kernel() {
            Kernel::Linear(l) => plan.segment(l.weight).bytes(),
            _ => {
                let all = plan.kv_bytes_per_position()[self.kv as usize] * self.context as u64;
                all / u64::from(SHAPE.layers)
            }
        }
    }

    /// Multiplications and additions of the model's own sums, however many the kernel takes.
    fn operations(&self) -> u64 {
        let (plan, _) = made(self.kind);
        let tokens = self.tokens as u64;
        match self.kernel() {
            Kernel::Linear(l) => {
                let s = plan.segment(l.weight);
                2 * tokens * u64::from(s.rows) * u64::from(s.cols)
            }
            _ => {
                let (first, end) = (self.context as u64 - tokens + 1, self.context as u64 + 1);
                4 * u64::from(SHAPE.heads * SHAPE.head_dim) * (first..end).sum::<u64>()
            }
        }
    }

    fn bench(&self, bencher: Bencher) {
        let (plan, loaded) = made(self.kind);
        self.kernel();
        let stepper = Stepper::new(plan, loaded, self.tokens, self.context, self.kv);
        let bencher = bencher.counter(ItemsCount::new(self.operations()));
        // Several tokens multiply more than they read.
        let bencher = match self.tokens {
            1 => bencher.counter(BytesCount::new(self.bytes())),
            _ => bencher,
        };
        bencher
            .with_inputs(|| stepper.advance_to(self.kernel.0))
            .bench_local_values(|()| stepper.run(self.kernel.0));
    }
}

#[divan::bench(args = cases(1), sample_size = 1, sample_count = 48)]
fn t1(bencher: Bencher, case: &Case) {
    case.bench(bencher);
}

#[divan::bench(args = cases(8), sample_size = 1, sample_count = 24)]
fn t8(bencher: Bencher, case: &Case) {
    case.bench(bencher);
}

#[divan::bench(args = cases(64), sample_size = 1, sample_count = 16)]
fn t64(bencher: Bencher, case: &Case) {
    case.bench(bencher);
}

#[divan::bench(args = cases(512), sample_size = 1, sample_count = 8)]
fn t512(bencher: Bencher, case: &Case) {
    case.bench(bencher);
}
