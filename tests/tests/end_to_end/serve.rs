//! `serve`, as a client sees it: the sample's answers, the same through every door, alone and in a crowd; the end of the
//! server.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use qwenc_tests::golden::say;
use qwenc_tests::variants::executable;
use serde_json::{json, Value};

use crate::served::{question, with, Served};

/// The text without parts that differ from run to run.
fn redacted(text: &str) -> String {
    let hidden = |text: &str, key: &str, end: &[char]| -> String {
        let mut parts = text.split(key);
        let first = parts.next().unwrap().to_owned();
        parts.fold(first, |all, part| all + key + "…" + &part[part.find(end).unwrap()..])
    };
    let text = hidden(text, "\"id\":\"chatcmpl-", &['"']);
    let text = hidden(&text, "\"id\":\"cmpl-", &['"']);
    let text = hidden(&text, "\"system_fingerprint\":\"", &['"']);
    let text = hidden(&text, "\"created\":", &[',']);
    // The last bits of a logarithm are the processor's.
    hidden(&text, "\"logprob\":", &[',', '}'])
}

#[test]
fn golden_requests_and_responses() {
    let served = Served::new("bf16", &[]);
    let mut all = String::new();
    let capital = question("What is the capital of Japan?");
    for (path, body) in [
        ("/v1/chat/completions", capital.clone()),
        (
            "/v1/chat/completions",
            with(capital.clone(), json!({"stream": true, "stream_options": {"include_usage": true}})),
        ),
        (
            "/v1/chat/completions",
            with(capital.clone(), json!({"max_tokens": 2, "logprobs": true, "top_logprobs": 1})),
        ),
        ("/v1/chat/completions", with(capital.clone(), json!({"stop": [" of"], "n": 2}))),
        ("/v1/chat/completions", with(capital.clone(), json!({"temperature": "warm"}))),
        ("/v1/chat/completions", with(capital.clone(), json!({"temprature": 1}))),
        ("/v1/chat/completions", json!({"messages": []})),
        (
            "/v1/completions",
            json!({"prompt": "The capital of Brazil is", "max_tokens": 30, "temperature": 0}),
        ),
        (
            "/v1/completions",
            json!({"prompt": "The capital of Brazil is", "max_tokens": 2, "temperature": 0, "stream": true}),
        ),
        ("/tokenize", json!({"content": "Hello"})),
    ] {
        let (status, text) = served.post(path, &body);
        let text = redacted(&text);
        let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
        all += &format!("POST {path}\n{body}\n-> {status}\n{}\n\n", lines.join("\n"));
    }
    insta::assert_snapshot!("serve", all);
}

/// The command line, whole answers and streams say the same tokens for the same seed.
#[test]
fn every_door_says_the_same() {
    let (served, program) = (Served::new("int8", &[]), executable("sample", "int8"));
    for (seed, temperature) in [("1", "0"), ("5", "1.3"), ("6", "0.9")] {
        let args = [
            "chat",
            "--no-think",
            "--prompt",
            "What is 7 + 5?",
            "--seed",
            seed,
            "--temperature",
            temperature,
        ];
        let said = say(&program, &args).ok();
        let number: f64 = temperature.parse().unwrap();
        let seed: i64 = seed.parse().unwrap();
        let body = with(
            question("What is 7 + 5?"),
            json!({"seed": seed, "temperature": number, "max_tokens": 4096 / 4}),
        );
        let whole = served.ok("/v1/chat/completions", &body);
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(format!("{text}\n"), said);
        let chunks = served.chunks("/v1/chat/completions", &body);
        let streamed: String =
            chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(streamed, text);
    }
}

/// `generate` and `/v1/completions`, whole and streamed, greedy and sampled.
#[test]
fn completions_are_those_of_generate() {
    for quant in ["int8", "bf16"] {
        let (served, program) = (Served::new(quant, &[]), executable("sample", quant));
        let prompts = ["Hello", "The capital of Brazil is", "def add(a, b):", "Olá 你好"];
        for (i, temperature) in ["0", "1", "0.7", "1.5"].iter().enumerate() {
            for (j, prompt) in prompts.iter().enumerate() {
                let seed = (i * 7 + j).to_string();
                let mut args = vec!["generate", prompt, "--seed", &seed, "--temperature", temperature];
                args.extend(["--top-k", "40", "--top-p", "0.95", "--max-tokens", "60"]);
                let said = say(&program, &args).ok();
                let mut body =
                    json!({"prompt": prompt, "top_k": 40, "top_p": 0.95, "min_p": 0, "max_tokens": 60});
                body["seed"] = seed.parse::<i64>().unwrap().into();
                body["temperature"] = temperature.parse::<f64>().unwrap().into();
                let whole = served.ok("/v1/completions", &body);
                let text = whole["choices"][0]["text"].as_str().unwrap();
                assert_eq!(format!("{text}\n"), said, "{quant}, {prompt}, {temperature}");
                let ids = served.ok("/tokenize", &json!({"content": prompt}))["tokens"].clone();
                assert_eq!(
                    served.ok("/v1/completions", &with(body.clone(), json!({"prompt": ids})))["choices"],
                    whole["choices"]
                );
                let chunks = served.chunks("/v1/completions", &body);
                let streamed: String =
                    chunks.iter().filter_map(|c| c["choices"][0]["text"].as_str()).collect();
                assert_eq!(streamed, text);
            }
        }
    }
}

/// Compiled kernels too give a sequence the same bits whoever else is in the step, with every cache.
#[test]
fn a_crowd_changes_nothing() {
    for (quant, kv) in [("int8", "bf16"), ("bf16", "f32"), ("int4", "int8")] {
        let served = Served::new(quant, &["--parallel", "8", "--kv-type", kv, "--threads", "2"]);
        let body = |i: usize| {
            let cities = ["Japan", "Peru", "Brazil", "France", "Kenya"];
            let text = format!("What is the capital of {}? {}", cities[i % 5], "Tell me. ".repeat(i % 4 * 9));
            with(
                question(&text),
                json!({"max_tokens": 40, "ignore_eos": true, "logprobs": true, "top_logprobs": 3}),
            )
        };
        let alone: Vec<Value> =
            (0..16).map(|i| served.ok("/v1/chat/completions", &body(i))["choices"].clone()).collect();
        let crowd: Vec<Value> = thread::scope(|scope| {
            let one = |i| {
                (
                    i,
                    scope.spawn({
                        let served = &served;
                        move || served.ok("/v1/chat/completions", &body(i))["choices"].clone()
                    }),
                )
            };
            let threads: Vec<_> = (0..16).map(one).collect();
            threads.into_iter().map(|(_, t)| t.join().unwrap()).collect()
        });
        for (i, (alone, crowd)) in alone.iter().zip(&crowd).enumerate() {
            assert_eq!(alone, crowd, "{quant} {kv}, request {i}");
        }
    }
}

#[test]
fn formats_are_kept_to() {
    let served = Served::new("bf16", &[]);
    let schema = json!({"type": "object", "properties": {"capital": {"type": "string", "maxLength": 12}},
        "required": ["capital"], "additionalProperties": false});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": true}});
    for seed in 0..5 {
        let body = with(
            question("What is the capital of Japan?"),
            json!({"response_format": format, "seed": seed,
            "temperature": 1.2, "max_tokens": 300}),
        );
        let answer = served.ok("/v1/chat/completions", &body);
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let value: Value = serde_json::from_str(text).expect(text);
        assert!(value["capital"].as_str().unwrap().chars().count() <= 12, "{text}");
    }
}

/// Requests under way are finished, new ones are refused, and all is well.
#[test]
fn a_signal_ends_it_in_an_orderly_way() {
    let mut served = Served::new("bf16", &["--parallel", "2", "--threads", "1"]);
    let long = with(question("hi"), json!({"max_tokens": 1900, "ignore_eos": true, "stream": true}));
    let response = served.agent.post(format!("{}/v1/chat/completions", served.url)).send_json(&long).unwrap();
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("data: {"));
    served.signal(libc::SIGTERM);
    let start = Instant::now();
    let mut answer = served.post("/tokenize", &json!({"content": "x"}));
    while answer.0 == 200 && start.elapsed() < Duration::from_secs(5) {
        answer = served.post("/v1/chat/completions", &question("hi"));
    }
    assert_eq!(answer.0, 503, "{}", answer.1);
    assert_eq!(served.get("/health").0, 503);
    let rest: Vec<String> = lines.map(|l| l.unwrap()).filter(|l| !l.is_empty()).collect();
    assert_eq!(rest.last().unwrap(), "data: [DONE]");
    assert!(rest.len() > 1000, "{} lines", rest.len());
    assert_eq!(served.wait(), Some(0));
    let errors = served.errors();
    assert_eq!(errors.lines().filter(|l| !l.starts_with("ready: ")).count(), 0, "{errors}");
}

#[test]
fn memory_does_not_grow() {
    let served = Served::new("int8", &["--parallel", "4"]);
    let round = |n: usize| {
        for i in 0..n {
            let more = json!({"max_tokens": 20, "seed": i, "temperature": 1, "stream": i % 2 == 0});
            let (status, text) =
                served.post("/v1/chat/completions", &with(question(&"word ".repeat(i % 90)), more));
            assert_eq!(status, 200, "{text}");
        }
    };
    round(200);
    let before = served.resident_kb();
    round(600);
    let after = served.resident_kb();
    println!("{before} kB, then {after} kB");
    assert!(after < before + 6_000, "{before} kB, then {after} kB");
}

#[test]
fn what_cannot_start_says_so() {
    let served = Served::new("bf16", &[]);
    let port = served.url.rsplit(':').next().unwrap();
    let program = executable("sample", "bf16");
    let said = say(&program, &["serve", "--port", port]).refused(1);
    assert!(said.contains("cannot listen on 127.0.0.1") && said.contains("--port"), "{said}");
    let said = say(&program, &["serve", "--port", "0", "--parallel", "9", "--chunk", "8"]).refused(2);
    assert!(said.contains("--parallel 9") && said.contains("--chunk"), "{said}");
    for flags in [["--parallel", "0"], ["--port", "70000"], ["--host", "here"], ["--api-key", ""]] {
        say(&program, &[&["serve"][..], &flags].concat()).refused(2);
    }
}

/// Standard streams that are closed are no place for the server's own files.
#[test]
fn closed_streams_do_no_harm_and_few_files_are_said() {
    let program = executable("sample", "bf16");
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).arg(&program);
        command
    };
    let few = shell("ulimit -n 8; exec \"$0\" serve --port 0").output().unwrap();
    let said = String::from_utf8_lossy(&few.stderr);
    assert!(few.status.code() == Some(2) && said.contains("8 files") && said.contains("ulimit -n"), "{said}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut closed = shell("exec \"$0\" serve --port \"$1\" <&- >&- 2>&-");
    let mut child = closed.arg(&port).env("QWEN_API_KEY", "secret").spawn().unwrap();
    let ask = |key: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.get(format!("http://127.0.0.1:{port}/v1/models"));
        request
            .header("authorization", format!("bearer {key}"))
            .call()
            .map_or(0, |answer| answer.status().as_u16())
    };
    let begun = Instant::now();
    while ask("secret") != 200 {
        assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ask("other"), 401, "the key of the environment is asked for");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_request_log_has_a_line_for_each_request_and_no_text_of_clients() {
    let mut served = Served::new("bf16", &["--log-requests"]);
    served.ok("/v1/chat/completions", &question("What is the capital of Japan?"));
    assert_eq!(served.get("/nothing-secret?key=secret").0, 404);
    // Seconds of work for a client that waits a quarter of one.
    let long = with(question("Name."), json!({"ignore_eos": true, "max_tokens": 1900, "n": 8}));
    let asked = served.agent.post(format!("{}/v1/chat/completions", served.url));
    let patience = Some(Duration::from_millis(250));
    asked.config().timeout_global(patience).build().send_json(&long).unwrap_err();
    let given_up = "qwenc_requests_total{path=\"/v1/chat/completions\",status=\"499\"} 1";
    let begun = Instant::now();
    while !served.get("/metrics").1.contains(given_up) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", served.get("/metrics").1);
        thread::sleep(Duration::from_millis(20));
    }
    served.signal(libc::SIGTERM);
    served.wait();
    let errors = served.errors();
    let lines: Vec<&str> = errors.lines().filter(|line| line.contains(" bytes ")).collect();
    let with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!((with("POST /v1/chat/completions 200"), with("GET other 404")), (1, 1), "{errors}");
    assert!(!errors.contains("Japan") && !errors.contains("secret"), "{errors}");
    let (given_up, sent): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|line| line.contains(" 499 0 bytes "));
    assert!(given_up.len() == 1 && given_up[0].ends_with(" s (given up by the client)"), "{errors}");
    assert!(sent.iter().all(|line| line.ends_with(" s")), "{errors}");
}
