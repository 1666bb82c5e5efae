//! How fast a plan should run, by what it reads and multiplies.
//!
//! In: a plan and a machine. Out: bytes, operations and tokens per second of decode and of prefill, for
//! `--explain` and for the executable, which shows them beside what it measures. Invariant: kernel by kernel
//! and from the plan alone, so bytes are those of the packed image; nothing is measured here.

use std::fmt;

use qwenc_abi::metadata::Predicted;
use qwenc_formats::Inputs;
use qwenc_opt::{Machine, Processor, Work};
use qwenc_plan::{Kernel, Linear, Plan};

/// Tokens of the prompt; fewer where the model's context ends before.
const PROMPT: u32 = 512;

/// What a token asks, and how fast it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    machine: Machine,
    /// Of one token in an empty context; bytes are those of the weights.
    decode: Work,
    decode_tok_s: f64,
    /// Of one token of the prompt, the mean over it; the head runs once for all.
    prefill: Work,
    prefill_tok_s: f64,
    /// Tokens of the prompt.
    prompt: u32,
}

impl Prediction {
    /// For this plan on this machine.
    pub fn of(plan: &Plan, machine: &Machine) -> Prediction {
        let (mut decode, mut decode_us) = (Work::default(), 0.0);
        for (number, kernel) in plan.kernels() {
            let times = plan.group_of(number).map_or(1, |group| plan.groups[group as usize].layers.count());
            let work = decoded(plan, kernel, machine.processor);
            decode += work * times;
            decode_us += machine.kernel_us(&work) * f64::from(times);
        }
        decode.bytes = plan.bytes_per_token();
        let prompt = PROMPT.min(plan.dims.context);
        let prefill = prefilled(plan, prompt);
        Prediction {
            machine: machine.clone(),
            decode,
            decode_tok_s: 1e6 / decode_us,
            prefill,
            prefill_tok_s: 1e6 / machine.arithmetic_us(&prefill),
            prompt,
        }
    }

    /// Figures for the executable's metadata.
    pub fn stated(&self) -> Predicted {
        Predicted {
            decode_bytes: self.decode.bytes,
            decode_ops: self.decode.ops(),
            prefill_ops_per_token: self.prefill.ops(),
            decode_tok_s: tenths(self.decode_tok_s),
            prefill_tok_s: tenths(self.prefill_tok_s),
            machine: self.machine.to_string(),
        }
    }
}

fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// One token in an empty context, where attention looks at the token itself. On GPUs attention's launch prepares its
/// queries and keys too.
fn decoded(plan: &Plan, kernel: &Kernel, processor: Processor) -> Work {
    match kernel {
        Kernel::PrepareQkv(_) if processor == Processor::Gpu => Work::default(),
        Kernel::Linear(l) => Work { bytes: plan.segment(l.weight).bytes(), launches: 1, ..products(plan, l) },
        Kernel::Attention(_) => Work { f32_ops: attention(plan, 1), launches: 1, ..Work::default() },
        Kernel::Embed(_) | Kernel::PrepareQkv(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => {
            Work { launches: 1, ..Work::default() }
        }
    }
}

/// Mean operations of the prompt's tokens.
fn prefilled(plan: &Plan, prompt: u32) -> Work {
    let linears = |kernels: &[Kernel], times: u32| {
        let all = kernels.iter().filter_map(|k| match k {
            Kernel::Linear(l) => Some(products(plan, l) * times),
            _ => None,
        });
        all.fold(Work::default(), |sum, work| sum + work)
    };
    let tokens = u64::from(prompt);
    // Token t looks at t positions, or at its window.
    let seen = |window: Option<u32>| match window.map(u64::from) {
        Some(w) if w < tokens => w * (w + 1) / 2 + (tokens - w) * w,
        _ => tokens * (tokens + 1) / 2,
    };
    let mut sum = linears(&plan.head, 1);
    for group in &plan.groups {
        let layers = group.layers.count();
        sum += linears(&group.block, layers) * prompt;
        let attends = group.block.iter().filter(|k| matches!(k, Kernel::Attention(_))).count() as u64;
        sum.f32_ops += attends * u64::from(layers) * attention(plan, seen(group.window));
    }
    let prompt = tokens;
    Work {
        f32_ops: sum.f32_ops / prompt,
        bf16_ops: sum.bf16_ops / prompt,
        int8_ops: sum.int8_ops / prompt,
        ..sum
    }
}

/// Multiplications and additions of a linear for one token, by what multiplies them.
fn products(plan: &Plan, linear: &Linear) -> Work {
    let s = plan.segment(linear.weight);
    let ops = 2 * u64::from(s.rows) * u64::from(s.cols);
    match linear.inputs {
        Inputs::F32 => Work { f32_ops: ops, ..Work::default() },
        Inputs::Bf16 => Work { bf16_ops: ops, ..Work::default() },
        Inputs::Int8 | Inputs::Int16 => {
            Work { int8_ops: ops * u64::from(linear.inputs.planes()), ..Work::default() }
        }
    }
}

/// Dot products with keys and sums of values for one layer, over this many positions.
fn attention(plan: &Plan, positions: u64) -> u64 {
    4 * u64::from(plan.dims.heads) * u64::from(plan.dims.head_dim) * positions
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = |w: &Work| {
            let all = [("f32", w.f32_ops), ("bf16", w.bf16_ops), ("int8", w.int8_ops)];
            let some = all.into_iter().filter(|(_, ops)| *ops > 0);
            some.map(|(kind, ops)| format!("{:.3} M {kind} ops", ops as f64 / 1e6))
                .collect::<Vec<_>>()
                .join(", ")
        };
        writeln!(f, "predicted, on {}:", self.machine)?;
        let gigabytes = self.decode.bytes as f64 / 1e9;
        write!(f, "  decode   {gigabytes:.4} GB of weights, {}, ", kinds(&self.decode))?;
        writeln!(f, "{} launches a token: {:.1} tok/s", self.decode.launches, self.decode_tok_s)?;
        write!(f, "  prefill  {} a token of {}: ", kinds(&self.prefill), self.prompt)?;
        writeln!(f, "{:.1} tok/s", self.prefill_tok_s)
    }
}

#[cfg(test)]
#[path = "../../plan/tests/model/mod.rs"]
pub(crate) mod model;

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 GB/s, 1e9 operations a second, 1 µs: times in ns are bytes or operations.
    fn slow() -> Machine {
        Machine {
            read_gb_s: 1.0,
            f32_gflops: 1.0,
            int8_gops: 1.0,
            barrier_us: 1.0,
            ..Machine::of_cpu("x86-64", &[], 1)
        }
    }

    /// Weights in panels of 32 rows, inputs rounded up to pairs:
    /// qkv [16, 7], o [7, 8] and each of gate_up's two panels [16 + 16, 7]: 32 · 8 · 2 = 512 bytes a panel;
    /// down [7, 19]: 32 · 20 · 2 = 1280; head [37, 7]: two panels.
    #[test]
    fn a_tiny_model_by_hand() {
        let layer_bytes = 512 + 512 + 2 * 512 + 1280;
        let layer_ops = 2 * (16 * 7 + 7 * 8 + 38 * 7 + 7 * 19);
        let (head_bytes, head_ops) = (2 * 512, 2 * 37 * 7);
        // Two heads of 4, keys and values.
        let one_position = 4 * 2 * 4;
        let plan = model::plan("bf16", &[]);
        let found = Prediction::of(&plan, &slow());
        let ops = 2 * (layer_ops + one_position) + head_ops;
        let launches = 1 + 2 * 6 + 1;
        let decode = Work { bytes: 2 * layer_bytes + head_bytes, f32_ops: ops, launches, ..Work::default() };
        assert_eq!(found.decode, decode);

        // Every kernel but attention waits for memory.
        let ns = 2 * (layer_bytes + one_position) + head_bytes + 1000 * launches;
        assert!((found.decode_tok_s * ns as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");
        // And with arithmetic ten times slower every one for its products, of which o has the fewest to a byte.
        let found = Prediction::of(&plan, &Machine { f32_gflops: 0.1, ..slow() });
        let ns = 10 * ops + 1000 * launches;
        assert!((found.decode_tok_s * ns as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");

        // The context is 32 tokens: token t looks at t positions.
        let positions = 32 * 33 / 2;
        let all = 32 * 2 * layer_ops + 2 * one_position * positions + head_ops;
        let found = Prediction::of(&plan, &slow());
        assert_eq!((found.prompt, found.prefill.f32_ops), (32, all / 32));
        assert!((found.prefill_tok_s * (all / 32) as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");
    }

    #[test]
    fn gpus_prepare_queries_with_attention() {
        let plan = model::plan("bf16", &[]);
        let launches = |machine: &Machine| Prediction::of(&plan, machine).decode.launches;
        let gpu = Machine { processor: Processor::Gpu, ..slow() };
        assert_eq!(launches(&slow()) - launches(&gpu), u64::from(plan.dims.layers));
    }

    #[test]
    fn int8_counts_every_plane() {
        let plan = model::plan(model::I8, &[]);
        let found = Prediction::of(&plan, &slow());
        let linears = 2 * 2 * (16 * 7 + 7 * 8 + 38 * 7 + 7 * 19) + 2 * 37 * 7;
        // Inputs of gate, up and down are one plane, all others two.
        let mlp = 2 * 2 * (38 * 7 + 7 * 19);
        assert_eq!(found.decode.int8_ops, 2 * linears - mlp);
        assert_eq!(found.decode.f32_ops, 2 * 4 * 2 * 4);
    }

    #[test]
    fn more_bytes_are_never_faster() {
        let rate = |dtype: &str, machine: &Machine| Prediction::of(&model::plan(dtype, &[]), machine);
        for machine in [slow(), Machine { f32_gflops: 0.05, ..slow() }, Machine::cpu_default()] {
            let (wide, narrow) = (rate("f32", &machine), rate("bf16", &machine));
            assert!(wide.decode.bytes > narrow.decode.bytes);
            assert!(wide.decode_tok_s <= narrow.decode_tok_s, "{wide}{narrow}");
        }
        assert!(rate("f32", &slow()).decode_tok_s < rate("bf16", &slow()).decode_tok_s);
    }

    #[test]
    fn a_window_saves_attention() {
        let whole = model::plan("f32", &[]);
        let mut plan = Plan::clone(&whole);
        plan.groups[0].window = Some(4);
        let saved = prefilled(&whole, 32).f32_ops - prefilled(&plan, 32).f32_ops;
        // Tokens 5 to 32 of both layers look at 4 positions instead of t.
        assert_eq!(saved, (2 * 4 * 2 * 4 * (5..=32).map(|t| t - 4).sum::<u64>()) / 32);
    }

    #[test]
    fn the_same_plan_is_predicted_the_same() {
        let once = || Prediction::of(&model::plan(model::I8, &[]), &Machine::cpu_default());
        assert_eq!(once().stated(), once().stated());
        assert_eq!(once().to_string(), once().to_string());
    }
}
