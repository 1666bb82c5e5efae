//! Requests that make no sense are refused, by name, in OpenAI's shape, and the server goes on.

use std::sync::LazyLock;

use serde_json::{json, Value};

use crate::mock::{free, Executable, ROWS};
use crate::site::Site;

static SITE: LazyLock<Site> = LazyLock::new(|| Site::new(Executable::talking(&free(ROWS)), &[]));

fn chat(more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Each of these fields is refused by name.
fn refuse(cases: &[(Value, &str, &str)]) {
    for (more, param, said) in cases {
        let (status, message, found) = SITE.refused("/v1/chat/completions", &chat(more.clone()));
        assert_eq!((status, found), (400, json!(param)), "{more}: {message}");
        assert!(message.contains(said), "{more}: {message}");
    }
}

#[test]
fn messages_are_refused_by_name() {
    refuse(&[
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"type": "odd", "function": {"name": "f"}}]}]}),
            "messages[0].tool_calls[0].type",
            "\"function\"",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"index": "0", "function": {"name": "f"}}]}]}),
            "messages[0].tool_calls[0].index",
            "an integer",
        ),
        (json!({"messages": []}), "messages", "empty"),
        (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role", "assistant or tool"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content", "provide"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content[0].type",
            "texts only",
        ),
        (json!({"messages": [{"role": "user", "content": "x".repeat(3000)}]}), "messages", "context of 300"),
        (
            json!({"messages": vec![json!({"role": "user", "content": "x"}); 5000]}),
            "messages",
            "at most 4096",
        ),
    ]);
}

/// More context is advised only where the model allows more.
#[test]
fn what_is_too_long_is_told_the_way_out() {
    let lower = Site::new(Executable::talking(&free(ROWS)), &["--context", "20"]);
    let raise = "shorten it, or start the server with --context up to 300";
    let limit = "shorten it: this executable was compiled for at most 300 tokens";
    for (site, tokens, advice) in [(&lower, 21, raise), (&*SITE, 301, limit)] {
        let (ids, text) = (vec![5; tokens], "x ".repeat(64 * 300));
        for (path, body) in [
            ("/v1/completions", json!({"prompt": ids})),
            ("/v1/embeddings", json!({"input": ids})),
            ("/v1/completions", json!({"prompt": text})),
        ] {
            let (status, message, _) = site.refused(path, &body);
            assert!(status == 400 && message.ends_with(advice), "{path}: {message}");
        }
    }
}

#[test]
fn fields_are_refused_by_name() {
    let deep = (0..35).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    let cases = [
        (json!({"temprature": 1}), "temprature", "unknown field"),
        (json!({"temperature": "hot"}), "temperature", "must be a number, found a string"),
        (json!({"temperature": 3}), "temperature", "from 0 to 2, found 3"),
        (json!({"top_p": -0.1}), "top_p", "from 0 to 1"),
        (json!({"n": 0}), "n", "from 1 to"),
        (json!({"n": 1.5}), "n", "an integer"),
        (json!({"max_tokens": 0}), "max_tokens", "1 or more"),
        (json!({"stream": "yes"}), "stream", "a boolean"),
        (json!({"stop": [1]}), "stop", "a string"),
        (json!({"stop": vec!["x"; 17]}), "stop", "at most 16"),
        (json!({"logit_bias": {"a": 1}}), "logit_bias", "token ids"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias", "-100 to 100"),
        (json!({"logit_bias": {"2046": 1}}), "logit_bias", "0 to 2045"),
        (json!({"logit_bias": {"2048": 1}}), "logit_bias", "out of range"),
        (json!({"logit_bias": {"+5": 1}}), "logit_bias", "token ids"),
        (json!({"stop": "x".repeat(257)}), "stop", "256 characters"),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": 1}}),
            "stream_options.include_obfuscation",
            "a boolean",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"strict": "yes", "schema": {}}}}),
            "response_format.json_schema.strict",
            "a boolean",
        ),
        (
            json!({"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "odd"}}}]}),
            "tools",
            "cannot be kept",
        ),
        (json!({"top_logprobs": 2}), "top_logprobs", "'logprobs': true"),
        (json!({"stream_options": {}}), "stream_options", "'stream': true"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type", "json_schema"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema", "provide"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": deep}}}),
            "response_format.json_schema.schema",
            "levels deep",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}}),
            "response_format",
            "cannot be kept",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
            "letters",
        ),
        (json!({"tool_choice": "required"}), "tool_choice", "no 'tools'"),
        (json!({"lora": "mine"}), "lora", "no adapter"),
    ];
    refuse(&cases);
    SITE.ok("/v1/chat/completions", &chat(json!({"user": "u", "temperature": null, "logit_bias": {}})));
}

/// JSON knows one kind of numbers.
#[test]
fn whole_numbers_may_have_a_point() {
    SITE.ok("/v1/chat/completions", &chat(json!({"max_tokens": 2.0, "seed": -1.0, "n": 1.0, "top_k": 4e0})));
}

#[test]
fn tokens_are_refused_by_name() {
    for (path, body, param, said) in [
        ("/detokenize", json!({"tokens": [5, 2046]}), "tokens", "out of range"),
        ("/detokenize", json!({"tokens": [2048]}), "tokens", "out of range"),
        ("/detokenize", json!({"tokens": [1.5]}), "tokens", "whole number"),
        ("/detokenize", json!({}), "tokens", "provide"),
        ("/tokenize", json!({}), "content", "provide 'content' or 'messages'"),
        ("/tokenize", json!({"content": "a", "prompt": "b"}), "prompt", "one of"),
        (
            "/tokenize",
            json!({"content": "a", "messages": [{"role": "user", "content": "b"}]}),
            "messages",
            "one of",
        ),
        ("/tokenize", json!({"content": 5}), "content", "a string"),
    ] {
        let (status, message, found) = SITE.refused(path, &body);
        assert_eq!((status, found), (400, json!(param)), "{body}: {message}");
        assert!(message.contains(said), "{body}: {message}");
    }
    assert_eq!(SITE.ok("/tokenize", &json!({"content": "", "messages": null, "prompt": null}))["count"], 0);
    let null = json!({"content": null, "messages": [{"role": "user", "content": "b"}]});
    assert!(SITE.ok("/tokenize", &null)["count"].as_u64().unwrap() > 1);
    assert_eq!(
        SITE.ok("/detokenize", &json!({"tokens": [5.0]})),
        SITE.ok("/detokenize", &json!({"tokens": [5]}))
    );
}

#[test]
fn completions_too() {
    for (body, said) in [
        (json!({}), "provide 'prompt'"),
        (json!({"prompt": ""}), "empty"),
        (json!({"prompt": []}), "empty list"),
        (json!({"prompt": [1, -2]}), "whole number"),
        (json!({"prompt": [99999]}), "0 to 2045"),
        (json!({"prompt": {"a": 1}}), "found an object"),
        (json!({"prompt": "x", "suffix": "y"}), "suffix"),
        (json!({"prompt": "x", "best_of": 3}), "best_of"),
        (json!({"prompt": "x", "echo": true, "logprobs": 1}), "'echo' with 'logprobs'"),
        (json!({"prompt": "x", "messages": []}), "unknown field 'messages'"),
    ] {
        let (status, message, _) = SITE.refused("/v1/completions", &body);
        assert_eq!(status, 400);
        assert!(message.contains(said), "{body}: {message}");
    }
}

#[test]
fn what_is_no_request() {
    assert_eq!(SITE.get("/v1/nothing").0, 404);
    assert_eq!(SITE.get("/v1/chat/completions").0, 405);
    let post = |kind: &str, body: &str| {
        SITE.raw(
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    for (kind, body, status, said) in [
        ("text/plain", "{}", "415", "application/json"),
        ("application/json", "{", "400", "not valid JSON"),
        ("application/json", "[]", "400", "must be an object"),
        ("application/json", "\u{0}", "400", "not valid JSON"),
        ("application/json; charset=utf-8", "{}", "400", "messages"),
    ] {
        let answer = post(kind, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(said), "{answer}");
    }
    let nested = "[".repeat(100_000);
    assert!(post("application/json", &nested).contains("not valid JSON"));
    let long = SITE.raw(
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
          content-length: 99999999\r\n\r\n",
    );
    assert!(long.starts_with("HTTP/1.1 413") && long.contains("longer than"), "{long}");
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\0\0"]
    {
        let answer = SITE.raw(&[bytes, b"\r\n\r\n"].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(SITE.get("/health").0, 200);
}

#[test]
fn keys_are_asked_for() {
    let site = Site::new(Executable::talking(&free(ROWS)), &["--api-key", "secret"]);
    let with = |key: &str| {
        site.raw(
            format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}\r\n")
                .as_bytes(),
        )
    };
    for wrong in [
        "",
        "authorization: Bearer secre\r\n",
        "authorization: Bearer secret2\r\n",
        "authorization: secret\r\n",
    ] {
        let answer = with(wrong);
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("invalid_api_key"), "{answer}");
    }
    assert!(with("authorization: Bearer secret\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(site.get("/health").0, 200);
}
