//! Many clients: none changes another's answer, none waits for one who is slow or gone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::mock::{free, Executable, ROWS};
use crate::site::Site;

static SITE: LazyLock<Site> =
    LazyLock::new(|| Site::new(Executable::talking(&free(ROWS)), &["--parallel", "5", "--threads", "2"]));

fn body(i: usize) -> Value {
    let mut prompt = vec![7; 40 + 11 * (i % 7)];
    prompt[39] = 20 + i % 3;
    let mut body = json!({"prompt": prompt, "max_tokens": 30 + 7 * (i % 5), "ignore_eos": true});
    match i % 4 {
        0 => body["temperature"] = json!(0),
        1 => body.as_object_mut().unwrap().extend(
            json!({"temperature": 1.5, "seed": i, "frequency_penalty": 0.5}).as_object().unwrap().clone(),
        ),
        2 => body.as_object_mut().unwrap().extend(
            json!({"temperature": 0.9, "seed": -3, "top_k": 50, "repetition_penalty": 1.2, "logprobs": 2})
                .as_object()
                .unwrap()
                .clone(),
        ),
        _ => body["logit_bias"] = json!({"33": 5, "34": -100}),
    }
    body
}

#[test]
fn neighbours_change_nothing() {
    let alone: Vec<Value> =
        (0..24).map(|i| SITE.ok("/v1/completions", &body(i))["choices"].clone()).collect();
    let all: Vec<_> = (0..24)
        .map(|i| std::thread::spawn(move || SITE.ok("/v1/completions", &body(i))["choices"].clone()))
        .collect();
    for (i, (thread, alone)) in all.into_iter().zip(alone).enumerate() {
        assert_eq!(thread.join().unwrap(), alone, "request {i}");
    }
    SITE.until("qwenc_running", 0.0);
}

/// The same tokens as on the command line.
#[test]
fn the_command_line_says_the_same() {
    let executable = Executable::talking(&free(ROWS));
    let prompt: Vec<String> = (0..25).map(|i| (i * 31 % 2000).to_string()).collect();
    let flags =
        ["--temperature", "0.8", "--top-p", "0.9", "--seed", "11", "--max-tokens", "40", "--ignore-eos"];
    let said = executable.run(&[&["generate", "--tokens", &prompt.join(",")], &flags[..]].concat()).ok();
    let ids: Vec<u32> = prompt.iter().map(|p| p.parse().unwrap()).collect();
    let body = json!({"prompt": ids, "temperature": 0.8, "top_p": 0.9, "seed": 11, "max_tokens": 40, "ignore_eos": true});
    let answer = SITE.ok("/v1/completions", &body);
    assert_eq!(answer["choices"][0]["text"].as_str().unwrap().to_owned() + "\n", said);
}

#[test]
fn beginnings_are_not_read_twice() {
    let site = Site::new(Executable::talking(&free(ROWS)), &["--parallel", "3"]);
    let prompt: Vec<u32> = (0..150).map(|i| 100 + i).collect();
    let ask = |n: usize, last: u32| {
        let prompt = [&prompt[..], &[last]].concat();
        site.ok("/v1/completions", &json!({"prompt": prompt, "n": n, "max_tokens": 3, "ignore_eos": true}))
    };
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let first = ask(1, 5);
    assert_eq!(cached(&first), 0);
    let fed = site.metric("qwenc_step_tokens_total");
    assert_eq!(cached(&ask(1, 6)), 150);
    assert!(site.metric("qwenc_step_tokens_total") - fed < 10.0);
    // All three slots begin as the first does.
    let again = ask(3, 5);
    // The prompt counts once, and so does what of it was known.
    assert_eq!((cached(&again), again["usage"]["prompt_tokens"].as_u64()), (150, Some(151)));
    assert_eq!(again["choices"][0]["text"], first["choices"][0]["text"]);
    let text = |i: usize| &again["choices"][i]["text"];
    assert!(text(0) == text(1) && text(1) == text(2));
    // And one that no sequence has read is read once.
    let fed = site.metric("qwenc_step_tokens_total");
    let fresh: Vec<u32> = (0..200).map(|i| 1500 + i).collect();
    site.ok("/v1/completions", &json!({"prompt": fresh, "n": 3, "max_tokens": 1}));
    let fed = site.metric("qwenc_step_tokens_total") - fed;
    assert!((200.0..210.0).contains(&fed), "{fed}");
}

fn long() -> Value {
    json!({"prompt": [1, 2, 3], "max_tokens": 290, "ignore_eos": true})
}

/// A mock so slow that an answer takes seconds.
fn slow(flags: &[&str]) -> Site {
    Site::new(Executable::slow(Duration::from_millis(15)), flags)
}

#[test]
fn who_goes_away_frees_the_slot() {
    let site = slow(&["--parallel", "1"]);
    let mut stream = site.stream("/v1/completions", &long());
    stream.next().unwrap();
    assert_eq!(site.metric("qwenc_running"), 1.0);
    let start = Instant::now();
    drop(stream);
    let quick = json!({"prompt": [5], "max_tokens": 1});
    site.ok("/v1/completions", &quick);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(site.metric("qwenc_abandoned_total"), 1.0);
    // One who waits for a whole answer, and is gone before it comes.
    let mut waiter = TcpStream::connect(&site.address).unwrap();
    let text = long().to_string();
    write!(waiter, "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
    site.until("qwenc_running", 1.0);
    let start = Instant::now();
    drop(waiter);
    site.until("qwenc_running", 0.0);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_full_queue_is_said_at_once() {
    let site = slow(&["--parallel", "1", "--max-queue", "1"]);
    let streams: Vec<_> = (0..2).map(|_| site.stream("/v1/completions", &long())).collect();
    let text = long().to_string();
    let answer = site.raw(format!("POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}", text.len()).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after:"), "{answer}");
    assert!(answer.contains("queue_full"), "{answer}");
    assert_eq!(site.refused("/v1/completions", &json!({"prompt": "a", "n": 3})).0, 400);
    drop(streams);
    site.until("qwenc_running", 0.0);
    site.ok("/v1/completions", &json!({"prompt": [5], "max_tokens": 1}));
}

/// A client that does not read holds up no other, and the slot is free when the answer is complete.
#[test]
fn slow_readers_hold_up_nobody() {
    let site = Site::new(Executable::talking(&free(ROWS)), &["--parallel", "1"]);
    let text = json!({"prompt": [1], "max_tokens": 299, "ignore_eos": true, "stream": true, "n": 16, "logprobs": 20}).to_string();
    let mut still = TcpStream::connect(&site.address).unwrap();
    write!(still, "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
    site.until("qwenc_running", 1.0);
    site.until("qwenc_running", 0.0);
    site.ok("/v1/completions", &json!({"prompt": [5], "max_tokens": 1}));
    // It was kept for the reader meanwhile.
    let mut all = vec![0; 1 << 16];
    let mut read = 0;
    while read < 1_000_000 {
        let n = still.read(&mut all).unwrap();
        assert!(n > 0, "the stream ended after {read} bytes");
        read += n;
    }
}

#[test]
fn thousands_of_connections_come_and_go() {
    let site = Site::new(Executable::talking(&free(ROWS)), &[]);
    for i in 0..10_000 {
        let mut stream = TcpStream::connect(&site.address).unwrap();
        if i % 3 == 0 {
            drop(stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-le"));
        }
    }
    site.ok("/v1/completions", &json!({"prompt": [5], "max_tokens": 1}));
    site.until("qwenc_connections", 1.0);
}
