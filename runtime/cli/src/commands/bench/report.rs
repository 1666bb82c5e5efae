//! Report of `bench`, for people and for programs.
//!
//! In: the rounds and what is known of the model. Out: a table or a JSON object with the same facts.
//! Invariant: a figure is the median of the rounds, and a share the median of the shares within a round.

use qwenc_abi::metadata::{InputForm, Metadata, Predicted};
use qwenc_abi::KvType;
use serde_json::{json, Value};

use super::model::Profiled;
use super::probe::Place;
use super::{Lengths, Round};
use qwenc_engine::inference::cuda::profile::KernelTime;
use qwenc_engine::machine::dot::{Instruction, Operands};
use qwenc_engine::machine::system;
use qwenc_engine::program::Sizes;

/// Bytes and operations of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    /// Bytes of weights that decode reads per token; all where the metadata does not say.
    weight_bytes: u64,
    /// Whether the metadata says how many those are.
    exact: bool,
    /// Multiply-adds of a prefill token with the layers' matrices. `None` if unknown.
    multiply_adds: Option<u64>,
}

impl Traffic {
    pub(super) fn of(info: &Sizes, about: &Metadata) -> Traffic {
        let known = about.per_token;
        let read = known.map(|p| p.matrix_bytes).filter(|bytes| (1..=info.weights_bytes).contains(bytes));
        let multiply_adds = known.map(|p| p.layer_multiply_adds).filter(|&n| n > 0);
        Traffic { weight_bytes: read.unwrap_or(info.weights_bytes), exact: read.is_some(), multiply_adds }
    }
}

/// All that was found.
pub(super) struct Report {
    pub(super) rounds: Vec<Round>,
    pub(super) lengths: Lengths,
    pub(super) place: Place,
    /// Sequences decoded together.
    pub(super) batch: Option<usize>,
    pub(super) traffic: Traffic,
    pub(super) weight_type: String,
    /// Whether the weights were made up.
    pub(super) synthetic: bool,
    /// Forms in which a layer's inputs meet its weights; empty when unknown.
    pub(super) inputs: Vec<InputForm>,
    pub(super) kv_type: KvType,
    pub(super) predicted: Option<Predicted>,
    /// Profile and limits of the device, with `--profile`.
    pub(super) profiled: Option<Profiled>,
    /// In bytes.
    pub(super) peak_memory: u64,
}

/// Spread of the rounds.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    fn spread(&self, value: impl Fn(&Round) -> f64) -> Spread {
        let mut all: Vec<f64> = self.rounds.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        let at = |i: usize| all.get(i).copied().unwrap_or_default();
        let middle = all.len() / 2;
        let median =
            if all.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 };
        Spread { median, min: at(0), max: at(all.len().saturating_sub(1)) }
    }

    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        self.spread(value).median
    }

    /// GB/s of weights that a round's decode read.
    fn weights_gb_s(&self, round: &Round) -> f64 {
        self.traffic.weight_bytes as f64 * round.decode_tok_s / 1e9
    }

    fn bandwidth_share(&self) -> f64 {
        self.median(|r| self.weights_gb_s(r) / r.limits.read_gb_s)
    }

    /// Positions in use at the end of decode.
    fn context(&self) -> usize {
        self.lengths.start + self.lengths.new
    }

    /// Instruction with which products of these operands are measured.
    fn instruction(&self, operands: Operands) -> Option<Instruction> {
        Instruction::best(operands).filter(|_| self.place.is_cpu())
    }

    /// Type in which weights are multiplied, where the processor has an instruction for it.
    fn operands(&self) -> Operands {
        let integers = |form: &InputForm| matches!(form, InputForm::Int8 | InputForm::Int16);
        let bf16 = self.inputs[..] == [InputForm::Bf16] && self.instruction(Operands::Bf16).is_some();
        match () {
            () if self.inputs.iter().any(integers) => Operands::Int8,
            () if bf16 => Operands::Bf16,
            () => Operands::F32,
        }
    }

    /// Share of the machine's peak that prefill uses.
    fn peak_share(&self) -> Option<f64> {
        self.instruction(self.operands())?;
        let operations = 2.0 * self.traffic.multiply_adds? as f64;
        Some(
            self.median(|r| {
                operations * r.prefill_tok_s / 1e12 / r.tops(self.operands()).unwrap_or(f64::NAN)
            }),
        )
    }

    /// Decode speed of the batch over that of one sequence.
    fn batch_ratio(&self) -> Option<f64> {
        self.batch.map(|_| self.median(|r| r.batch_tok_s.unwrap_or(f64::NAN) / r.decode_tok_s))
    }

    /// The median of a peak, where the machine has it.
    fn peak(&self, operands: Operands) -> Option<f64> {
        self.instruction(operands).map(|_| self.median(|r| r.tops(operands).unwrap_or(f64::NAN)))
    }

    /// The report as JSON, for programs.
    pub(super) fn json(&self) -> Value {
        let (prefill, decode) = (self.spread(|r| r.prefill_tok_s), self.spread(|r| r.decode_tok_s));
        let batch = self.batch.map(|_| self.spread(|r| r.batch_tok_s.unwrap_or(f64::NAN)));
        let mut facts = json!({
            "prefill_tok_s": prefill.median,
            "prefill_tok_s_spread": prefill.ends(),
            "decode_tok_s": decode.median,
            "decode_tok_s_spread": decode.ends(),
            "first_token_ms": self.median(|r| r.first_token_ms),
            "batch": self.batch,
            "batch_decode_tok_s": batch.as_ref().map(|s| s.median),
            "batch_decode_tok_s_spread": batch.as_ref().map(Spread::ends),
            "batch_ratio": self.batch_ratio(),
            "predicted_prefill_tok_s": self.predicted.as_ref().map(|p| p.prefill_tok_s),
            "predicted_decode_tok_s": self.predicted.as_ref().map(|p| p.decode_tok_s),
            "weights_gb_s": self.median(|r| self.weights_gb_s(r)),
            "read_bandwidth_gb_s": self.median(|r| r.limits.read_gb_s),
            "bandwidth_share": self.bandwidth_share(),
            "dot_peak_tops": self.peak(Operands::Int8),
            "bf16_peak_tflops": self.peak(Operands::Bf16),
            "f32_peak_tflops": self.peak(Operands::F32),
            "peak_share": self.peak_share(),
            "peak_memory_mb": megabytes(self.peak_memory),
            "isa": null,
            "weight_type": self.weight_type,
            "inputs": self.inputs,
            "kv_type": self.kv_type.name(),
            "runs": self.rounds.len(),
            "prompt": self.lengths.prompt,
            "new": self.lengths.new,
            "threads": null,
            "context": self.context(),
        });
        match &self.place {
            Place::Cpu { threads, isa } => {
                facts["threads"] = json!(threads);
                facts["isa"] = json!(isa);
            }
            Place::Gpu { name, sm, memory } => {
                facts["device"] = json!(name);
                facts["isa"] = json!(format!("sm_{sm}"));
                facts["device_memory_mb"] = json!(megabytes(*memory));
                facts["synthetic_weights"] = json!(self.synthetic);
            }
        }
        if let Some(profiled) = &self.profiled {
            let kernel = |k: &KernelTime| json!({ "kernel": k.kernel, "launches": k.launches, "us": k.us });
            facts["kernels"] = profiled.kernels.iter().map(kernel).collect();
            facts["probes"] = profiled.probed.map_or(Value::Null, |p| {
                json!({ "reading_gb_s": p.reading_gb_s, "launch_us": p.launch_us, "barrier_us": p.barrier_us })
            });
        }
        facts
    }

    /// The report as a table, for people.
    pub(super) fn table(&self) -> String {
        let l = self.lengths;
        let weights = match self.weight_type.as_str() {
            "" => "of unknown type".to_owned(),
            name => {
                let inputs: Vec<&str> = self.inputs.iter().map(|form| form.name()).collect();
                format!("{name}, inputs {}", inputs.join("+"))
            }
        };
        let made_up = if self.synthetic { " (made up: --synthetic-weights)" } else { "" };
        let mut rows = self.speeds();
        rows.extend(self.limits());
        rows.extend([
            ("weights", format!("{weights}{made_up}")),
            ("KV cache", self.kv_type.name().to_owned()),
        ]);
        rows.extend(self.place.lines());
        rows.extend([
            ("context", format!("decode from position {} to {}", l.start, self.context())),
            (
                "peak memory",
                format!("{:.1} MB resident, without batch and probes", megabytes(self.peak_memory)),
            ),
            (
                "rounds",
                format!(
                    "{} after one to warm up; figures are medians (minimum to maximum)",
                    self.rounds.len()
                ),
            ),
        ]);
        let mut text: String = rows.iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect();
        text.extend(self.profiled.as_ref().map(Profiled::table));
        text
    }

    /// Lines about the model.
    fn speeds(&self) -> Vec<(&'static str, String)> {
        let l = self.lengths;
        let rate = |s: Spread| format!("{:.1} tok/s ({:.1} to {:.1})", s.median, s.min, s.max);
        let mut rows = vec![
            ("prefill", format!("{}, {} tokens", rate(self.spread(|r| r.prefill_tok_s)), l.prompt)),
            ("decode", format!("{}, {} tokens", rate(self.spread(|r| r.decode_tok_s)), l.new)),
        ];
        if let (Some(count), Some(ratio)) = (self.batch, self.batch_ratio()) {
            let together = rate(self.spread(|r| r.batch_tok_s.unwrap_or(f64::NAN)));
            let value = format!("{together}, {count} sequences together: {ratio:.2} times one");
            rows.push(("decode, batch", value));
        }
        if let Some(p) = &self.predicted {
            let (prefill, decode) = (p.prefill_tok_s, p.decode_tok_s);
            let value = format!(
                "prefill {prefill:.1} tok/s, decode {decode:.1} tok/s at position 0, on {}",
                p.machine
            );
            rows.push(("predicted", value));
        }
        let first = self.median(|r| r.first_token_ms);
        rows.push(("first token", format!("{first:.2} ms, prompt of {} tokens", l.first)));
        rows
    }

    /// Lines about the machine, and how much of it the model uses.
    fn limits(&self) -> Vec<(&'static str, String)> {
        let weights = if self.traffic.exact { "weights of blocks and head" } else { "all weights" };
        let gb = self.traffic.weight_bytes as f64 / 1e9;
        let cache = system::cache_bytes().filter(|_| self.place.is_cpu());
        let in_cache = cache.is_some_and(|bytes| self.traffic.weight_bytes < bytes);
        let cached = if in_cache { " (but these weights fit in the cache)" } else { "" };
        let copied = if self.place.is_cpu() { "" } else { " in copies, read and written" };
        let read = self.median(|r| self.weights_gb_s(r));
        let used = percent(self.bandwidth_share());
        let mut rows = vec![
            (
                "weights read",
                format!("{read:.2} GB/s in decode: {gb:.4} GB a token ({weights}; KV cache not counted)"),
            ),
            (
                "read bandwidth",
                format!(
                    "{:.2} GB/s{copied}, of which decode uses {used}{cached}",
                    self.median(|r| r.limits.read_gb_s)
                ),
            ),
        ];
        for operands in [Operands::Int8, Operands::Bf16, Operands::F32] {
            rows.extend(self.peak_line(operands).map(|line| ("product peak", line)));
        }
        rows
    }

    fn peak_line(&self, operands: Operands) -> Option<String> {
        let (peak, name) = (self.peak(operands)?, self.instruction(operands)?.name());
        let used = if operands == self.operands() {
            self.traffic.multiply_adds.zip(self.peak_share())
        } else {
            None
        };
        let used = used.map(|(n, share)| {
            let (share, millions) = (percent(share), n as f64 / 1e6);
            format!(
                "; prefill does {share}: 2 · {millions:.2} M multiply-adds with the layers' matrices · tok/s"
            )
        });
        Some(format!("{peak:.3} TOPS ({name}){}", used.unwrap_or_default()))
    }
}

impl Profiled {
    /// Table of the kernels, and a line of the device's limits.
    fn table(&self) -> String {
        let all: f64 = self.kernels.iter().map(|k| k.us).sum();
        let mut text = format!("\none token, kernel by kernel: {all:.1} us, launches included\n");
        for k in &self.kernels {
            let share = percent(k.us / all.max(1e-9));
            text += &format!("  {:<24}{:>5} launches {:>10.2} us {share:>8}\n", k.kernel, k.launches, k.us);
        }
        if let Some(p) = &self.probed {
            text += &format!(
                "the device by itself: reads {:.1} GB/s; an empty kernel in a recorded step takes {:.2} us, a barrier of \
                 all blocks {:.2} us\n",
                p.reading_gb_s, p.launch_us, p.barrier_us
            );
        }
        text
    }
}

impl Place {
    fn lines(&self) -> Vec<(&'static str, String)> {
        match self {
            Place::Cpu { threads, isa } => {
                let isa = if isa.is_empty() { "those of any x86-64" } else { isa };
                vec![("instructions", isa.to_owned()), ("threads", threads.to_string())]
            }
            Place::Gpu { name, sm, memory } => vec![
                ("device", format!("{name}, sm_{sm}")),
                ("GPU memory", format!("{:.1} MB for model and caches", megabytes(*memory))),
            ],
        }
    }
}

impl Spread {
    fn ends(&self) -> [f64; 2] {
        [self.min, self.max]
    }
}

impl Round {
    fn tops(&self, operands: Operands) -> Option<f64> {
        match operands {
            Operands::Int8 => self.limits.int8_tops,
            Operands::Bf16 => self.limits.bf16_tops,
            Operands::F32 => self.limits.f32_tops,
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_abi::metadata::PerToken;

    fn sizes() -> Sizes {
        Sizes {
            layers: 2,
            vocab_rows: 20,
            max_context: 8,
            kv_heads: 1,
            kv_head_dim: 4,
            weights_bytes: 100_000,
            kv_bytes_per_position: [64, 32, 24],
            kv_positions: 32,
        }
    }

    #[test]
    fn the_metadata_says_what_a_token_costs() {
        let of = |per_token| Traffic::of(&sizes(), &Metadata { per_token, ..Metadata::default() });
        let said = |matrix_bytes, layer_multiply_adds| {
            let traffic = of(Some(PerToken { matrix_bytes, layer_multiply_adds, ..PerToken::default() }));
            (traffic.weight_bytes, traffic.exact, traffic.multiply_adds)
        };
        assert_eq!(said(90_000, 9), (90_000, true, Some(9)));
        assert_eq!(said(100_001, 9), (100_000, false, Some(9)));
        assert_eq!(said(0, 0), (100_000, false, None));
        assert_eq!(of(None), Traffic { weight_bytes: 100_000, exact: false, multiply_adds: None });
    }
}
