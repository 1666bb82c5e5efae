//! Predicted speed of a plan, by the bytes that it reads and the products that it makes.
//!
//! In: a plan and a machine. Out: bytes, operations and tokens per second of decode and of prefill, for
//! `--explain` and for the executable, which shows them beside what it measures. Invariant: kernel by kernel
//! and from the plan alone, so bytes are those of the packed image; nothing is measured here, and what a kernel costs
//! is said in `qwenc-costs`.

use std::fmt;

use qwenc_abi::metadata::Predicted;
use qwenc_costs::{elementwise, Elementwise, Heads, Load, Machine, Processor, Work};
use qwenc_ir::Dims;
use qwenc_plan::{Kernel, LayerGroup, Linear, Plan};

/// Work of a token, and the speed that follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    machine: Machine,
    /// Work of one token with an empty cache; bytes are those of matrices.
    decode: Work,
    decode_tok_s: f64,
    /// Work of one token of the prompt, the mean over it.
    prefill: Work,
    prefill_tok_s: f64,
    /// Tokens of the prompt.
    prompt: u64,
}

impl Prediction {
    /// For this plan on this machine.
    pub fn of(plan: &Plan, machine: &Machine) -> Prediction {
        let (mut decode, mut decode_us) = (Work::default(), 0.0);
        for (number, kernel) in plan.kernels() {
            let group = plan.group_of(number).map(|group| &plan.groups[group as usize]);
            let times = group.map_or(1, |group| group.layers.count());
            let work = asked(plan, group, kernel, &Load::EMPTY_CACHE, machine.processor);
            decode += work * times;
            decode_us += machine.kernel_us(&work) * f64::from(times);
        }
        let prompt = Load::prompt(plan.dims.context);
        let prefill = prefilled(plan, &prompt, machine.processor);
        Prediction {
            machine: machine.clone(),
            decode,
            decode_tok_s: 1e6 / decode_us,
            prefill,
            prefill_tok_s: 1e6 / machine.arithmetic_us(&prefill),
            prompt: prompt.tokens,
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

/// Work of a kernel, of a layer of the group if there is one.
fn asked(
    plan: &Plan,
    group: Option<&LayerGroup>,
    kernel: &Kernel,
    load: &Load,
    processor: Processor,
) -> Work {
    let Dims { heads, kv_heads, head_dim, hidden, .. } = plan.dims;
    let heads = Heads { heads, kv_heads, head_dim, window: group.and_then(|group| group.window) };
    let values = |width: u32| load.tokens * u64::from(width);
    match kernel {
        Kernel::Embed(_) => elementwise(2 * values(hidden), 0),
        Kernel::Linear(l) => linear(plan, l).work(load),
        Kernel::PrepareQkv(_) => heads.prepare(load, processor),
        Kernel::Attention(_) => heads.attend(load),
        Kernel::SelectAdapter(s) => elementwise(2 * values(plan.buffer(s.columns).width), 0),
        Kernel::Swiglu(s) => {
            let out = values(plan.buffer(s.out).width);
            elementwise(3 * out, Elementwise::Swiglu.ops(out))
        }
    }
}

fn linear(plan: &Plan, l: &Linear) -> qwenc_costs::Linear {
    let s = plan.segment(l.weight);
    qwenc_costs::Linear {
        rows: s.rows,
        cols: s.cols,
        operand: s.format,
        inputs: l.inputs,
        norm: l.norm.is_some(),
        bias: l.bias.is_some(),
        residual: l.residual.is_some(),
        swiglu: l.swiglu,
    }
}

/// Mean work of the prompt's tokens; the head runs once for all.
fn prefilled(plan: &Plan, prompt: &Load, processor: Processor) -> Work {
    let last = Load { tokens: 1, ..*prompt };
    let of_head = plan.head.iter().map(|kernel| asked(plan, None, kernel, &last, processor));
    let of_groups = plan.groups.iter().flat_map(|group| {
        let layers = group.layers.count();
        group.block.iter().map(move |kernel| asked(plan, Some(group), kernel, prompt, processor) * layers)
    });
    of_head.chain(of_groups).fold(Work::default(), |sum, work| sum + work).per_token(prompt.tokens)
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
mod tests {
    use super::*;
    use qwenc_opt::{optimise, Limits};
    use qwenc_target::NoDevice;
    use qwenc_testing::qwen3;

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

    /// Products of a token with qkv, o, gate and up, and down.
    const LAYER_PRODUCTS: u64 = 2 * (16 * 7 + 7 * 8 + 38 * 7 + 7 * 19);
    /// Operations in the same kernels: two norms, two residuals, SwiGLU.
    const LAYER_BESIDE: u64 = 2 * 4 * 7 + 2 * 7 + 9 * 19;
    /// Norm and rotation of q, k and v.
    const PREPARED: u64 = (4 + 6) * 16;
    /// Dot products and softmax of two heads of 4 with one position.
    const ATTENDED: u64 = 2 * (4 * 4 + 8);

    /// Weights in panels of 32 rows, inputs rounded up to pairs:
    /// qkv [16, 7], o [7, 8] and each of gate_up's two panels [16 + 16, 7]: 32 · 8 · 2 = 512 bytes a panel;
    /// down [7, 19]: 32 · 20 · 2 = 1280; head [37, 7]: two panels.
    #[test]
    fn a_tiny_model_by_hand() {
        let layer_bytes = 512 + 512 + 2 * 512 + 1280;
        let (head_bytes, head_ops) = (2 * 512, 2 * 37 * 7 + 4 * 7);
        let ops = 2 * (LAYER_PRODUCTS + LAYER_BESIDE + PREPARED + ATTENDED) + head_ops;
        let plan = qwen3::plan("bf16", &[]);
        let found = Prediction::of(&plan, &slow());
        let Work { bytes, f32_ops, bf16_ops, int8_ops, launches, .. } = found.decode;
        assert_eq!((bytes, bytes), (2 * layer_bytes + head_bytes, plan.bytes_per_token()));
        assert_eq!((f32_ops, bf16_ops, int8_ops, launches), (ops, 0, 0, 1 + 2 * 6 + 1));

        // Every kernel but those around attention waits for memory.
        let ns = 2 * (layer_bytes + PREPARED + ATTENDED) + head_bytes + 1000 * launches;
        assert!((found.decode_tok_s * ns as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");
        // And with arithmetic ten times slower every one for its products, of which o has the fewest to a byte.
        let found = Prediction::of(&plan, &Machine { f32_gflops: 0.1, ..slow() });
        let ns = 10 * ops + 1000 * launches;
        assert!((found.decode_tok_s * ns as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");

        // The context is 32 tokens: token t looks at t positions.
        let positions = 32 * 33 / 2;
        let all = 32 * 2 * (LAYER_PRODUCTS + LAYER_BESIDE + PREPARED) + 2 * ATTENDED * positions + head_ops;
        let found = Prediction::of(&plan, &slow());
        assert_eq!((found.prompt, found.prefill.f32_ops), (32, all / 32));
        assert!((found.prefill_tok_s * (all / 32) as f64 / 1e9 - 1.0).abs() < 1e-9, "{found}");
    }

    /// The optimiser's report is of a conversation, whose cached positions are read and looked at besides.
    #[test]
    fn the_optimiser_counts_what_is_predicted() {
        let chosen = |text: &str, machine: &Machine| {
            let graph = qwen3::graph(text, &[]);
            optimise(&graph, &NoDevice, machine, &Limits::default()).unwrap().report.chosen_per_token()
        };
        for (text, machine) in [("bf16", slow()), ("f32", slow()), ("bf16", Machine::of_gpu(90))] {
            let (chosen, decode) =
                (chosen(text, &machine), Prediction::of(&qwen3::plan(text, &[]), &machine).decode);
            let positions = Load::CONVERSATION.cached;
            let cached = Work {
                bytes: 2 * 2 * 4 * 4 * positions,
                f32_ops: 2 * ATTENDED * positions,
                ..Work::default()
            };
            assert_eq!(chosen, decode + cached);
        }
    }

    #[test]
    fn gpus_prepare_queries_with_attention() {
        let plan = qwen3::plan("bf16", &[]);
        let launches = |machine: &Machine| Prediction::of(&plan, machine).decode.launches;
        let gpu = Machine { processor: Processor::Gpu, ..slow() };
        assert_eq!(launches(&slow()) - launches(&gpu), u64::from(plan.dims.layers));
    }

    #[test]
    fn int8_counts_every_plane() {
        let plan = qwen3::plan(qwen3::I8, &[]);
        let found = Prediction::of(&plan, &slow());
        let linears = 2 * LAYER_PRODUCTS + 2 * 37 * 7;
        // Inputs of gate, up and down are one plane, all others two.
        let mlp = 2 * 2 * (38 * 7 + 7 * 19);
        assert_eq!(found.decode.int8_ops, 2 * linears - mlp);
        assert_eq!(found.decode.f32_ops, 2 * (LAYER_BESIDE + PREPARED + ATTENDED) + 4 * 7);
    }

    #[test]
    fn more_bytes_are_never_faster() {
        let rate = |dtype: &str, machine: &Machine| Prediction::of(&qwen3::plan(dtype, &[]), machine);
        for machine in [slow(), Machine { f32_gflops: 0.05, ..slow() }, Machine::cpu_default()] {
            let (wide, narrow) = (rate("f32", &machine), rate("bf16", &machine));
            assert!(wide.decode.bytes > narrow.decode.bytes);
            assert!(wide.decode_tok_s <= narrow.decode_tok_s, "{wide}{narrow}");
        }
        assert!(rate("f32", &slow()).decode_tok_s < rate("bf16", &slow()).decode_tok_s);
    }

    #[test]
    fn a_window_saves_attention() {
        let whole = qwen3::plan("f32", &[]);
        let mut plan = Plan::clone(&whole);
        plan.groups[0].window = Some(4);
        let ops = |plan| prefilled(plan, &Load::prompt(32), Processor::Cpu).f32_ops;
        // Tokens 5 to 32 of both layers look at 4 positions instead of t.
        let fewer: u64 = (5..=32).map(|t| t - 4).sum();
        assert_eq!(ops(&whole) - ops(&plan), 2 * ATTENDED * fewer / 32);
    }

    #[test]
    fn the_same_plan_is_predicted_the_same() {
        let once = || Prediction::of(&qwen3::plan(qwen3::I8, &[]), &Machine::cpu_default());
        assert_eq!(once().stated(), once().stated());
        assert_eq!(once().to_string(), once().to_string());
    }
}
