//! Large texts: refused before they cost anything, or made tokens while everybody else is served.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::answers::{question, with};
use crate::mock::{free, metadata, model, tokenizer, Executable, ROWS};
use crate::site::Site;

fn said(text: &str) -> Value {
    with(question(), json!({"messages": [{"role": "user", "content": text}]}))
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let site = Site::new(Executable::talking(&free(ROWS)), &[]);
    for text in ["a ".repeat(2_000_000), "x".repeat(4_000_000), "\u{fdd0}<|im_end|>".repeat(250_000)] {
        for (path, body, param) in [
            ("/v1/completions", json!({"prompt": text}), "prompt"),
            ("/v1/completions", json!({"prompt": ["hi", text]}), "prompt"),
            ("/v1/chat/completions", said(&text), "messages"),
            ("/tokenize", json!({"content": text}), "content"),
            ("/tokenize", json!({"prompt": text}), "prompt"),
            ("/tokenize", json!({"messages": said(&text)["messages"]}), "messages"),
        ] {
            let start = Instant::now();
            let (status, answer) = site.post(path, &body);
            assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{path}: {answer}");
            assert_eq!(answer["error"]["code"], "context_length_exceeded", "{path}");
            assert!(start.elapsed() < Duration::from_secs(5), "{path}: {:?}", start.elapsed());
        }
    }
    // Longer than the context, and no longer than is counted.
    assert!(site.ok("/tokenize", &json!({"content": "a ".repeat(5000)}))["count"].as_u64().unwrap() > 300);
}

/// A text that may just fit has to be made tokens before that is known.
#[test]
fn others_are_served_meanwhile() {
    let mut model = model();
    model.max_context = 1 << 17;
    let executable = Executable::new(model, &free(ROWS), &tokenizer("nano"), &metadata());
    let site = Site::new(executable, &["--parallel", "2"]);
    // A word of many letters takes longest; the last has a few too many.
    let mut words = vec!["x".repeat((1 << 17) - 9); 15];
    words.push("x".repeat((1 << 17) + 9));
    let letters = json!({"prompt": words, "max_tokens": 1}).to_string();
    std::thread::scope(|scope| {
        let large: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
                    let length = letters.len();
                    site.raw(format!("{head}content-length: {length}\r\n\r\n{letters}").as_bytes())
                })
            })
            .collect();
        let mut asked = 0;
        while !large.iter().all(|thread| thread.is_finished()) {
            let start = Instant::now();
            assert_eq!(site.get("/health").0, 200);
            site.ok("/v1/chat/completions", &with(question(), json!({"max_tokens": 2})));
            site.ok("/tokenize", &json!({"content": "a few words"}));
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
            asked += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(asked > 3, "{asked}");
        for thread in large {
            let answer = thread.join().unwrap();
            assert!(answer.contains("context_length_exceeded"), "{answer}");
        }
    });
}
