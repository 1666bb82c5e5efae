//! The commands on a GPU that is a stand-in: the mock's kernels give what the mock's step gives on threads, so each
//! command must say the same on both.

#![allow(clippy::unwrap_used)]

mod host;
#[path = "../mock/mod.rs"]
mod mock;
mod model;
mod refused;

use host::with_gpu;
use mock::{chain, free, END_OF_TEXT, IM_END, KNOWN, ROWS};
use model::{bundle, with_head, Both};
use safetensors::SafeTensors;
use serde_json::Value;

#[test]
fn greedy_answers_are_those_of_threads() {
    with_gpu("greedy_answers_are_those_of_threads", &[], || {
        let both = Both::new(&chain(&[277, 1147, 13, IM_END, 5, 6, END_OF_TEXT]));
        let prompt = "The capital of Brazil is";
        assert_eq!(both.gpu(&["generate", prompt]).ok(), " Brasília.\n");
        let free = Both::new(&free(ROWS));
        for extra in [&[][..], &["--chunk", "2"], &["--context", "64"], &["--kv-type", "int8"]] {
            for decode in [&[][..], &["--decode", "launches"], &["--decode", "graph"]] {
                let args =
                    [&["generate", "--tokens", "5,6,7", "--print-tokens", "--max-tokens", "40"], extra];
                let (cpu, gpu) = (free.cpu(&args.concat()), free.gpu(&[&args.concat(), decode].concat()));
                assert_eq!(gpu.ok(), cpu.ok(), "{extra:?} {decode:?}");
            }
        }
    });
}

#[test]
fn sampling_speculation_and_chat_are_those_of_threads() {
    with_gpu("sampling_speculation_and_chat_are_those_of_threads", &[("QWENC_HOST_SEED", "9")], || {
        let both = Both::new(&free(ROWS));
        let sampled = ["--temperature", "0.9", "--top-p", "0.95", "--seed", "3"];
        let start = ["generate", "--tokens", "1,2,3,1,2,3", "--max-tokens", "12", "--print-tokens"];
        for extra in [&sampled[..], &["--speculate", "5"], &[&sampled[..], &["--speculate", "4"]].concat()] {
            let args = [&start[..], extra].concat();
            assert_eq!(both.gpu(&args).ok(), both.cpu(&args).ok(), "{extra:?}");
        }
        let cycle = Both::new(&chain(&[5, 6, 7, 8, 5]));
        let guessed =
            ["generate", "--tokens", "5,6,7,8,5", "--max-tokens", "30", "--speculate", "6", "--stats"];
        let said = cycle.gpu(&guessed);
        assert!(said.err.contains("device: ") && said.err.contains("speculation: "), "{}", said.err);
        assert_eq!(said.ok(), cycle.cpu(&guessed).ok());
        let chat = ["chat", "--no-think", "--max-tokens", "6", "--ignore-eos"];
        let lines = "What is this?\nAnd now?\n";
        assert_eq!(both.gpu_with(&chat, lines).ok(), both.cpu_with(&chat, lines).ok());
    });
}

#[test]
fn logits_are_those_of_threads() {
    with_gpu("logits_are_those_of_threads", &[], || {
        let both = Both::new(&free(ROWS));
        let read = |name: &str| std::fs::read(both.folder().join(name)).unwrap();
        for (kv, chunk) in [("f32", "512"), ("bf16", "3"), ("int8", "1")] {
            let file = |name| both.folder().join(name).display().to_string();
            let (cpu, gpu) = (file("cpu"), file("gpu"));
            let args = ["logits", "--tokens", "1,2,3,4,5,6,7", "--kv-type", kv, "--chunk", chunk, "--out"];
            both.cpu(&[&args[..], &[&cpu]].concat()).ok();
            both.gpu(&[&args[..], &[&gpu]].concat()).ok();
            assert!(read("cpu") == read("gpu"), "{kv} in steps of {chunk}");
        }
        let file = read("gpu");
        assert_eq!(SafeTensors::deserialize(&file).unwrap().tensor("logits").unwrap().shape(), [7, ROWS]);
    });
}

#[test]
fn bench_says_what_threads_say_and_which_device() {
    with_gpu("bench_says_what_threads_say_and_which_device", &[], || {
        let both = Both::new(&free(ROWS));
        let short = ["bench", "--prompt", "20", "--new", "6", "--runs", "1", "--batch", "3", "--json"];
        let facts: Value = serde_json::from_str(&both.gpu(&short).ok()).unwrap();
        let figures =
            ["prefill_tok_s", "decode_tok_s", "first_token_ms", "batch_decode_tok_s", "weights_gb_s"];
        for name in figures.iter().chain(&["read_bandwidth_gb_s", "bandwidth_share", "device_memory_mb"]) {
            let value = facts[name].as_f64().unwrap_or(f64::NAN);
            assert!(value.is_finite() && value > 0.0, "{name} is {}", facts[name]);
        }
        assert_eq!(facts["isa"], "sm_90");
        assert!(facts["threads"].is_null() && facts["dot_peak_tops"].is_null(), "{facts:#}");
        let cpu: Value = serde_json::from_str(&both.cpu(&short).ok()).unwrap();
        let missing: Vec<&String> =
            cpu.as_object().unwrap().keys().filter(|key| facts.get(key.as_str()).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let table =
            both.gpu(&["bench", "--prompt", "8", "--new", "20", "--context", "40", "--runs", "1"]).ok();
        assert!(table.contains("decode from position 20 to 40") && table.contains("device "), "{table}");
    });
}

#[test]
fn bench_times_every_kernel_of_a_token() {
    with_gpu("bench_times_every_kernel_of_a_token", &[], || {
        let both = Both::new(&free(ROWS));
        let short = ["bench", "--prompt", "4", "--new", "3", "--runs", "1", "--profile"];
        let facts: Value = serde_json::from_str(&both.gpu(&[&short[..], &["--json"]].concat()).ok()).unwrap();
        let kernels = facts["kernels"].as_array().unwrap();
        let of = |k: &Value| (k["kernel"].as_str().unwrap().to_owned(), k["launches"].as_u64().unwrap());
        let expected = [("begin", 1), ("layer", 2), ("head", 1)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(kernels.iter().map(of).collect::<Vec<_>>(), expected);
        assert!(kernels.iter().all(|k| k["us"].as_f64().unwrap() > 0.0), "{facts:#}");
        assert!(facts["probes"].is_null(), "the mock has no probes");
        let table = both.gpu(&short).ok();
        assert!(table.contains("  layer                       2 launches "), "{table}");
    });
}

#[test]
fn made_up_weights_need_no_image() {
    with_gpu("made_up_weights_need_no_image", &[], || {
        let both = Both::new(&free(ROWS));
        let short = ["bench", "--prompt", "4", "--new", "3", "--runs", "1", "--synthetic-weights"];
        assert!(both.gpu(&short).ok().contains("made up"));
        std::fs::write(&both.executable.path, [0; 4096]).unwrap();
        let facts: Value = serde_json::from_str(&both.gpu(&[&short[..], &["--json"]].concat()).ok()).unwrap();
        assert_eq!(facts["synthetic_weights"], true);
        assert!(both.gpu(&short[..7]).refused(1).contains("no weights"));
    });
}

#[test]
fn weights_arrive_whole_in_several_pieces() {
    with_gpu("weights_arrive_whole_in_several_pieces", &[], || {
        let table = chain(&[5, 900, 17, 1300, 2000, 5]);
        let args = ["generate", "--tokens", "5", "--max-tokens", "9", "--print-tokens"];
        let far = Both::far(&table);
        assert_eq!(far.gpu(&args).ok(), "900,17,1300,2000,5,900,17,1300,2000\n");
        let short = ["bench", "--prompt", "2", "--new", "3", "--runs", "1", "--synthetic-weights"];
        far.gpu(&short).ok();
    });
}

#[test]
fn decode_uploads_nothing() {
    with_gpu("decode_uploads_nothing", &[], || {
        let (even, odd) = (Both::new(&free(ROWS)), Both::of(&free(ROWS), bundle(with_head("odd_head"))));
        for decode in ["graph", "launches"] {
            let args =
                ["generate", "--tokens", "9", "--max-tokens", "6", "--print-tokens", "--decode", decode];
            let (even, odd) = (even.gpu(&args).ok(), odd.gpu(&args).ok());
            // The head of the second moves on to tokens that it does not tell: only the first pick is the same.
            let first = |text: &str| text.split(',').next().unwrap().to_owned();
            assert!(first(&even) == first(&odd) && even != odd, "{decode}: {even} {odd}");
            let sampled = [&args[..], &["--temperature", "1", "--top-k", "2", "--seed", "1"]].concat();
            assert_eq!(self::sampled(&sampled, "head"), self::sampled(&sampled, "odd_head"));
        }
    });
}

/// Log of the stand-in driver, from the first launch on.
fn log_of_steps(log: &std::path::Path, args: &[&str]) -> Vec<String> {
    let _ = std::fs::remove_file(log);
    Both::new(&free(ROWS)).gpu(args).ok();
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().skip_while(|line| !line.starts_with("launch")).map(str::to_owned).collect()
}

/// Every launch of a step but the first is a programmatic dependent launch, on architectures and with drivers that have it,
/// and none with `--decode launches`.
#[test]
fn dependent_launches() {
    for (sm, driver) in [("90", "13000"), ("80", "13000"), ("90", "12020")] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let environment =
            [("QWENC_HOST_LOG", log.to_str().unwrap()), ("QWENC_HOST_SM", sm), ("QWENC_HOST_DRIVER", driver)];
        with_gpu("dependent_launches", &environment, || {
            let of = |name: &str| std::env::var(name).unwrap();
            let can = of("QWENC_HOST_SM") == "90" && of("QWENC_HOST_DRIVER") == "13000";
            let log = std::path::PathBuf::from(of("QWENC_HOST_LOG"));
            let dependent = |args: &[&str]| -> Vec<bool> {
                let lines = log_of_steps(&log, args);
                lines
                    .iter()
                    .filter(|l| l.contains(" of "))
                    .map(|l| l.starts_with("launch dependent "))
                    .collect()
            };
            let args = ["generate", "--tokens", "5", "--max-tokens", "1"];
            // Two layers of one kernel, and the head.
            assert_eq!(dependent(&args), [false, can, can, can]);
            assert_eq!(dependent(&[&args[..], &["--decode", "launches"]].concat()), [false; 4]);
        });
    }
}

#[test]
fn the_next_step_is_launched_before_this_one_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let environment = [("QWENC_HOST_LOG", log.to_str().unwrap())];
    with_gpu("the_next_step_is_launched_before_this_one_is_waited_for", &environment, || {
        let log = std::path::PathBuf::from(std::env::var_os("QWENC_HOST_LOG").unwrap());
        let args = ["generate", "--tokens", "5,6,7", "--print-tokens", "--max-tokens", "12"];
        // For each wait for an event, whether a later step had been launched.
        let waits = |args: &[&str]| -> Vec<bool> {
            let (mut last, mut waits) = (String::new(), Vec::new());
            for line in log_of_steps(&log, args) {
                if let Some(event) = line.strip_prefix("record event ") {
                    last = event.to_owned();
                } else if let Some(event) = line.strip_prefix("wait for event ") {
                    waits.push(event != last);
                }
            }
            waits
        };
        // The prompt, the first step of decode, and then steps that follow what went before.
        assert_eq!(waits(&args), [&[false; 2][..], &[true; 10]].concat());
        assert_eq!(waits(&[&args[..], &["--decode", "launches"]].concat()), [false; 12]);
    });
}

/// A sampled answer with this head, which then must not move rows on.
fn sampled(args: &[&str], head: &str) -> String {
    Both::of(&free(ROWS), bundle(with_head(head))).gpu(args).ok()
}

#[test]
fn info_counts_what_is_taken() {
    with_gpu("info_counts_what_is_taken", &[("QWENC_HOST_DEVICES", "2")], || {
        let both = Both::new(&free(ROWS));
        let facts: Value =
            serde_json::from_str(&both.gpu(&["info", "--json", "--context", "64"]).ok()).unwrap();
        let memory = &facts["memory_bytes"];
        let bytes = |name: &str| memory[name].as_u64().unwrap();
        assert_eq!(bytes("kv_at_context"), 64 * 64);
        // Steps of 64 rows: a word for each and two more, logits of one row twice, rows, one output, allowed
        // tokens, counters.
        assert_eq!(bytes("scratch"), (16 + 64 * 8) + 2 * 4 * 2048 + 64 * 24 + 4 + 2048 / 8 + 4);
        assert_eq!(bytes("gpu"), 4 * 2048 + 4096 + 64 * 64 + bytes("scratch"));
        let devices = facts["cuda"]["devices"].as_array().unwrap();
        assert!(devices.len() == 2 && devices.iter().all(|d| d["supported"] == true), "{facts:#}");
        let table = both.gpu(&["info"]).ok();
        assert!(
            table.contains("sm_80, sm_90, PTX for sm_90 and newer") && table.contains("device "),
            "{table}"
        );
        assert!(facts["cpu"].is_null() && KNOWN < ROWS);
    });
}
