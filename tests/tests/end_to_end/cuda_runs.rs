//! An executable for GPUs, run as a whole: its runtime, its launches, its kernels, against a stand-in for driver and
//! device. Its answers are those of transformers, and of an executable for the CPU.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use qwenc_tests::golden::{answers, greedy, logits, nmse, say};
use qwenc_tests::host_cuda::{driver, Host};
use qwenc_tests::program::run;
use qwenc_tests::variants::{executable, folder};

use crate::cuda::compile;

type Made = Mutex<HashMap<String, Arc<OnceLock<PathBuf>>>>;

/// A program that runs the sample for GPUs on the stand-in, every run in another order; made once for each weight type.
/// The executable itself is `qwen` beside it.
pub fn on_host(quant: &str) -> PathBuf {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(Made::default).lock().unwrap().entry(quant.to_string()).or_default().clone();
    made.get_or_init(|| make(quant)).clone()
}

fn make(quant: &str) -> PathBuf {
    let place = folder();
    let path = place.join("qwen");
    run(&mut compile(&["--quant", quant, "--sm", "90", "-o", path.to_str().unwrap()])).ok();
    let source = run(&mut compile(&["--quant", quant, "--emit", "cuda"])).ok();
    let kernels = Host::new(&source);
    let script = place.join("run");
    let text = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH='{}' QWENC_HOST_KERNELS='{}' QWENC_HOST_SEED=$$\nexec '{}' \"$@\"\n",
        driver().display(),
        kernels.path.display(),
        path.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn check_answers(device: &Path, flags: &[&str], most_tokens: usize) {
    let short = |n: usize| answers().into_iter().filter(move |a| a.ids.len() <= n && a.margin >= 0.3);
    let wanted: Vec<_> = short(most_tokens).collect();
    assert!(wanted.len() > 2, "{} answers", wanted.len());
    for answer in wanted {
        assert_eq!(greedy(device, &answer.prompt_ids, flags), answer.ids, "{flags:?} {:?}", answer.text);
    }
}

#[test]
fn answers_as_transformers_does() {
    let device = on_host("bf16");
    for decode in ["graph", "launches", "persistent"] {
        check_answers(&device, &["--decode", decode], 12);
    }
    let said = say(&device, &["chat", "--no-think", "--temperature", "0", "--prompt", "What is 7 + 5?"]).ok();
    let cpu = executable("sample", "bf16");
    assert_eq!(
        said,
        say(&cpu, &["chat", "--no-think", "--temperature", "0", "--prompt", "What is 7 + 5?"]).ok()
    );
    // Sampling draws from the same logits but for their last bits.
    let drawn = ["generate", "The capital of", "--temperature", "0.7", "--seed", "5", "--max-tokens", "8"];
    assert_eq!(say(&device, &drawn).ok(), say(&cpu, &drawn).ok());
}

/// Every kernel of a token and every probe has a time.
#[test]
fn kernels_and_the_device_are_measured() {
    let args = ["bench", "--prompt", "2", "--new", "1", "--runs", "1", "--profile", "--json"];
    let facts: serde_json::Value = serde_json::from_str(&say(&on_host("bf16"), &args).ok()).unwrap();
    let launches: Vec<(&str, u64)> = facts["kernels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| (k["kernel"].as_str().unwrap(), k["launches"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("k0_embed", 1),
        ("k1_norm_linear_one", 4),
        ("k3_attention_one", 4),
        ("k4_linear_add_one", 4),
        ("k5_norm_swiglu_one", 4),
        ("k6_linear_add_one", 4),
        ("k7_norm_linear_one", 1),
        ("pick_parts", 1),
        ("pick", 1),
    ];
    assert_eq!(launches, expected);
    for probe in ["reading_gb_s", "launch_us", "barrier_us"] {
        let found = facts["probes"][probe].as_f64().unwrap();
        assert!(found.is_finite() && found > 0.0, "{probe}: {found}");
    }
}

#[test]
fn logits_are_those_of_the_cpu() {
    let tokens: Vec<u32> = (0..70).map(|i| (i * 37 + 11) % 1900).collect();
    for quant in ["int8", "int4"] {
        let device = on_host(quant);
        let cpu = executable("sample", quant);
        // Sums in another order move an input of the integers to its neighbour now and then.
        let expected = logits(&cpu, &tokens, &[]);
        for flags in [&["--chunk", "64"][..], &["--chunk", "7", "--decode", "launches"]] {
            let error = nmse(&logits(&device, &tokens, flags), &expected);
            assert!(error <= 2e-4, "{quant} {flags:?}: NMSE {error:.2e}");
        }
        if quant == "int8" {
            check_answers(&device, &[], 10);
        }
    }
}
