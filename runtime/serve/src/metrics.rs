//! Metrics of the server, for Prometheus.
//!
//! In: events. Out: text. Invariant: names begin with `qwenc_` and do not change; every number was counted or measured.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Seconds, from a millisecond to two minutes.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Counters, gauges and histograms.
#[allow(missing_docs)] // each is described where it is made
pub struct Metrics {
    registry: Registry,
    pub requests: IntCounterVec,
    pub prompt: IntCounter,
    pub cached: IntCounter,
    pub generated: IntCounter,
    pub fed: IntCounter,
    pub abandoned: IntCounter,
    pub refused: IntCounter,
    pub running: IntGauge,
    pub queued: IntGauge,
    pub slots: IntGauge,
    pub kv_tokens: IntGauge,
    pub kv_capacity: IntGauge,
    pub connections: IntGauge,
    pub step_seconds: Histogram,
    pub first_token_seconds: Histogram,
    pub request_seconds: Histogram,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let by_answer = ["path", "status"];
        Ok(Metrics {
            requests: vector(r, "requests_total", "Requests by path and status of the answer", &by_answer)?,
            prompt: counter(r, "prompt_tokens_total", "Tokens of prompts")?,
            cached: counter(r, "cached_prompt_tokens_total", "Tokens of prompts that were not read again")?,
            generated: counter(r, "generated_tokens_total", "Tokens chosen")?,
            fed: counter(r, "step_tokens_total", "Tokens run through the model")?,
            abandoned: counter(r, "abandoned_total", "Answers that ended because the client went away")?,
            refused: counter(r, "overload_total", "Requests refused with 429")?,
            running: gauge(r, "running", "Answers under way")?,
            queued: gauge(r, "queued", "Answers waiting for a slot")?,
            slots: gauge(r, "slots", "Answers that can be under way at a time (--parallel)")?,
            kv_tokens: gauge(r, "kv_tokens", "Tokens in KV caches, those kept for later among them")?,
            kv_capacity: gauge(r, "kv_capacity_tokens", "Tokens that fit in all KV caches")?,
            connections: gauge(r, "connections", "Connections open")?,
            step_seconds: histogram(r, "step_seconds", "Time of a step of the model")?,
            first_token_seconds: histogram(r, "time_to_first_token_seconds", "From request to first token")?,
            request_seconds: histogram(r, "request_seconds", "From request to end of the answer")?,
            registry,
        })
    }

    /// A step has fed `tokens`.
    pub fn step(&self, tokens: usize, time: Duration) {
        self.fed.inc_by(tokens as u64);
        self.step_seconds.observe(time.as_secs_f64());
    }

    /// In the text format.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn name(short: &str) -> String {
    format!("qwenc_{short}")
}

fn counter(registry: &Registry, short: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let made = IntCounter::new(name(short), help)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(registry: &Registry, short: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let made = IntGauge::new(name(short), help)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn vector(
    registry: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let made = IntCounterVec::new(Opts::new(name(short), help), labels)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn histogram(registry: &Registry, short: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let options = HistogramOpts::new(name(short), help).buckets(SECONDS.to_vec());
    let made = Histogram::with_opts(options)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}
