//! `serve` of an executable for GPUs, on the stand-in for one: the answers of an executable for the CPU, alone and together.

use std::thread;

use qwenc_tests::golden::answers;
use serde_json::json;

use crate::cuda_runs::on_host;
use crate::served::{question, with, Served};

#[test]
fn a_gpu_serves_as_a_cpu_does() {
    let (device, cpu) = (Served::of(&on_host("bf16"), &["--parallel", "3"]), Served::new("bf16", &[]));
    // Those that no rounding changes.
    let safe: Vec<String> = answers()
        .into_iter()
        .filter(|a| a.ids.len() <= 12 && a.margin >= 0.3)
        .filter_map(|a| a.question)
        .collect();
    assert!(safe.len() > 2, "{} questions", safe.len());
    let path = "/v1/chat/completions";
    let told = |served: &Served, text: &str| {
        let said = served.ok(path, &with(question(text), json!({"max_tokens": 12})));
        (said["choices"][0]["message"]["content"].clone(), said["choices"][0]["finish_reason"].clone())
    };
    let expected: Vec<_> = safe.iter().map(|text| told(&cpu, text)).collect();
    for (text, expected) in safe.iter().zip(&expected) {
        assert_eq!(&told(&device, text), expected, "{text}");
    }
    let together: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = safe.iter().map(|text| scope.spawn(|| told(&device, text))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, expected);
    // Streams, and what is sampled from logits on the host.
    let body =
        with(question(&safe[0]), json!({"temperature": 0.7, "seed": 3, "max_tokens": 8, "logprobs": true}));
    let chunks = device.chunks(path, &body);
    let said: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, cpu.ok(path, &body)["choices"][0]["message"]["content"].as_str().unwrap());
}
