//! What `bench` found, for people and for programs.
//!
//! In: the rounds and what is known of the model. Out: a table or a JSON object with the same facts.
//! Invariant: a figure is the median of the rounds, and a share the median of the shares within a round.

use qwenc_abi::ModelInfo;
use serde_json::{json, Value};

use super::{Lengths, Round};
use crate::image::metadata::Model;
use crate::machine::dot::Instruction;
use crate::machine::system;

/// What a token costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    /// Bytes of weights that decode reads per token.
    weight_bytes: u64,
    /// Whether an embedding of its own was subtracted, or there is none.
    exact: bool,
    /// Multiply-adds of a prefill token: parameters of the layers. `None` if unknown.
    multiply_adds: Option<u64>,
}

impl Traffic {
    pub(super) fn of(info: &ModelInfo, m: &Model) -> Traffic {
        let embedding = u64::from(info.vocab_rows).saturating_mul(m.hidden);
        // One embedding, and a head like it if it is not shared: prefill runs the head once.
        let outside = embedding.saturating_mul(if m.tied { 1 } else { 2 });
        let multiply_adds = m.parameters.checked_sub(outside).filter(|&n| n > 0 && m.hidden > 0);
        // Panels of 32 rows, as the logits' stride.
        let packed = u64::from(info.logits_stride).saturating_mul(m.hidden);
        let groups = packed.checked_div(m.group_size).unwrap_or(0);
        let subtracted = match (m.tied, m.weight_type.as_str()) {
            (true, _) => Some(0),
            (false, "f32") => Some(packed.saturating_mul(4)),
            (false, "bf16") => Some(packed.saturating_mul(2)),
            (false, "int8") => Some(packed.saturating_add(groups.saturating_mul(4))),
            _ => None,
        };
        let rest = subtracted.filter(|_| m.hidden > 0).and_then(|n| info.weights_bytes.checked_sub(n));
        let weight_bytes = rest.unwrap_or(info.weights_bytes);
        Traffic { weight_bytes, exact: rest.is_some(), multiply_adds }
    }
}

/// All that was found.
pub(super) struct Report {
    pub(super) rounds: Vec<Round>,
    pub(super) lengths: Lengths,
    pub(super) threads: usize,
    pub(super) traffic: Traffic,
    pub(super) weight_type: String,
    pub(super) isa: String,
    /// In bytes.
    pub(super) peak_memory: u64,
}

/// Of the rounds.
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
        self.median(|r| self.weights_gb_s(r) / r.read_gb_s)
    }

    /// Positions in use at the end of decode.
    fn context(&self) -> usize {
        self.lengths.start + self.lengths.new
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let (prefill, decode) = (self.spread(|r| r.prefill_tok_s), self.spread(|r| r.decode_tok_s));
        json!({
            "prefill_tok_s": prefill.median,
            "prefill_tok_s_min": prefill.min,
            "prefill_tok_s_max": prefill.max,
            "decode_tok_s": decode.median,
            "decode_tok_s_min": decode.min,
            "decode_tok_s_max": decode.max,
            "first_token_ms": self.median(|r| r.first_token_ms),
            "weights_gb_s": self.median(|r| self.weights_gb_s(r)),
            "read_bandwidth_gb_s": self.median(|r| r.read_gb_s),
            "bandwidth_share": self.bandwidth_share(),
            "dot_peak_tops": self.median(|r| r.dot_tops),
            "peak_memory_mb": megabytes(self.peak_memory),
            "isa": self.isa,
            "weight_type": self.weight_type,
            "runs": self.rounds.len(),
            "prompt": self.lengths.prompt,
            "new": self.lengths.new,
            "threads": self.threads,
            "context": self.context(),
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let l = self.lengths;
        let rate = |s: Spread| format!("{:.1} tok/s ({:.1} to {:.1})", s.median, s.min, s.max);
        let weights = if self.traffic.exact { "weights without an untied embedding" } else { "all weights" };
        let gb = self.traffic.weight_bytes as f64 / 1e9;
        let in_cache = system::cache_bytes().is_some_and(|bytes| self.traffic.weight_bytes < bytes);
        let cached = if in_cache { " (but these weights fit in the cache)" } else { "" };
        let (end, runs) = (self.context(), self.rounds.len());
        let isa = if self.isa.is_empty() { "those of any x86-64" } else { &self.isa };
        let rows = [
            ("prefill", format!("{}, {} tokens", rate(self.spread(|r| r.prefill_tok_s)), l.prompt)),
            ("decode", format!("{}, {} tokens", rate(self.spread(|r| r.decode_tok_s)), l.new)),
            (
                "first token",
                format!("{:.2} ms, prompt of {} tokens", self.median(|r| r.first_token_ms), l.first),
            ),
            (
                "weights read",
                format!(
                    "{:.2} GB/s in decode: {gb:.4} GB a token ({weights}; KV cache not counted)",
                    self.median(|r| self.weights_gb_s(r))
                ),
            ),
            (
                "read bandwidth",
                format!(
                    "{:.2} GB/s, of which decode uses {}{cached}",
                    self.median(|r| r.read_gb_s),
                    percent(self.bandwidth_share())
                ),
            ),
            ("dot product peak", self.dot_line()),
            ("weights", self.weight_type.clone()),
            ("instructions", isa.to_owned()),
            ("threads", self.threads.to_string()),
            ("context", format!("decode from position {} to {end}", l.start)),
            ("peak memory", format!("{:.1} MB resident, without the probes", megabytes(self.peak_memory))),
            ("rounds", format!("{runs} after one to warm up; figures are medians (minimum to maximum)")),
        ];
        rows.iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect()
    }

    fn dot_line(&self) -> String {
        let peak = self.median(|r| r.dot_tops);
        let name = Instruction::best().name();
        let share = self.traffic.multiply_adds.map(|n| {
            let share = self.median(|r| 2.0 * n as f64 * r.prefill_tok_s / 1e12 / r.dot_tops);
            format!(
                "; prefill does {}: 2 · {:.2} M parameters outside embedding and head · tok/s",
                percent(share),
                n as f64 / 1e6
            )
        });
        format!("{peak:.3} TOPS ({name}){}", share.unwrap_or_default())
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

    extern "C" fn step(_: *const qwenc_abi::StepArgs, _: u64) {}

    fn info() -> ModelInfo {
        ModelInfo {
            abi_version: qwenc_abi::ABI_VERSION,
            vocab_rows: 20,
            logits_stride: 32,
            layers: 1,
            max_context: 8,
            reserved: 0,
            step,
            weights_bytes: 100_000,
            kv_bytes_per_position: 64,
            arena_counters: 0,
            arena_per_row: 0,
            arena_per_thread: 0,
            features: std::ptr::null(),
            features_len: 0,
        }
    }

    #[test]
    fn only_an_embedding_of_its_own_is_not_read() {
        let of = |tied, weight_type: &str, hidden| {
            let m =
                Model { hidden, tied, weight_type: weight_type.into(), group_size: 64, ..Model::default() };
            let t = Traffic::of(&info(), &m);
            (t.weight_bytes, t.exact)
        };
        assert_eq!(of(true, "bf16", 64), (100_000, true));
        assert_eq!(of(false, "bf16", 64), (100_000 - 32 * 64 * 2, true));
        assert_eq!(of(false, "int8", 64), (100_000 - 32 * 64 - 32 * 4, true));
        assert_eq!(of(false, "bf16", 0), (100_000, false));
        assert_eq!(of(false, "odd", 64), (100_000, false));
    }

    #[test]
    fn prefill_counts_what_runs_for_every_token() {
        let of = |tied, parameters| {
            let m = Model { hidden: 64, tied, parameters, ..Model::default() };
            Traffic::of(&info(), &m).multiply_adds
        };
        assert_eq!(of(true, 20 * 64 + 9), Some(9));
        assert_eq!(of(false, 2 * 20 * 64 + 9), Some(9));
        assert_eq!(of(true, 0), None);
    }
}
