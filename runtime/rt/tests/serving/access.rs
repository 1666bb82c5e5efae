//! Which requests are answered at all: hosts, origins, keys, encodings; clients that send nothing more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{json, Value};

use crate::answers::{question, with};
use crate::mock::{free, Executable, ROWS};
use crate::site::Site;

static SITE: LazyLock<Site> = LazyLock::new(|| Site::new(Executable::talking(&free(ROWS)), &[]));

/// The status of a request with this head.
fn status(site: &Site, line: &str, head: &str) -> u16 {
    let answer = site.raw(format!("{line}\r\n{head}connection: close\r\n\r\n").as_bytes());
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}: {answer}"))
}

const PATHS: [&str; 7] =
    ["/", "/page/main.js", "/health", "/metrics", "/v1/models", "/openapi.json", "/nothing"];

#[test]
fn foreign_hosts_and_origins_are_refused_everywhere() {
    let keyed = Site::new(Executable::talking(&free(ROWS)), &["--api-key", "secret"]);
    for site in [&SITE, &keyed] {
        for path in PATHS {
            let line = format!("GET {path} HTTP/1.1");
            for (head, expected) in [
                ("host: evil.example\r\n", 403),
                ("host: localhost\r\norigin: http://evil.example\r\n", 403),
                ("host: localhost\r\norigin: null\r\n", 403),
                ("host: localhost\r\nhost: localhost\r\n", 400),
                ("host: localhost\r\nhost: evil.example\r\n", 400),
                ("host: local host\r\n", 400),
            ] {
                assert_eq!(status(site, &line, head), expected, "{path}: {head}");
            }
        }
    }
    let here = SITE.address.as_str();
    for head in [
        format!("host: {here}\r\norigin: http://{here}\r\n"),
        "host: localhost\r\norigin: http://localhost:3000\r\n".into(),
        "host: [::1]:8080\r\n".into(),
    ] {
        assert_eq!(status(&SITE, "GET /health HTTP/1.1", &head), 200, "{head}");
    }
    assert_eq!(status(&SITE, "GET /health HTTP/1.0", ""), 200);
    assert_eq!(status(&SITE, "GET http://evil.example/health HTTP/1.1", "host: localhost\r\n"), 403);
    let refused =
        SITE.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert!(
        refused.contains("--allow-host evil.example") && refused.contains("host_not_allowed"),
        "{refused}"
    );
}

#[test]
fn hosts_are_allowed_by_name() {
    let site = Site::new(
        Executable::talking(&free(ROWS)),
        &["--allow-host", "box.example", "--allow-host", "b.example:80"],
    );
    for (host, expected) in
        [("box.example:8080", 200), ("B.example", 200), ("localhost", 200), ("c.example", 403)]
    {
        assert_eq!(status(&site, "GET /health HTTP/1.1", &format!("host: {host}\r\n")), expected, "{host}");
    }
    let open = Site::new(Executable::talking(&free(ROWS)), &["--host", "0.0.0.0"]);
    let open = Site::at(&open.address.replace("0.0.0.0", "127.0.0.1"));
    assert_eq!(status(&open, "GET /health HTTP/1.1", "host: box.example\r\n"), 200);
    assert_eq!(
        status(&open, "GET /health HTTP/1.1", "host: box.example\r\norigin: http://evil.example\r\n"),
        403
    );
    let wrong = Executable::talking(&free(ROWS)).run(&["serve", "--allow-host", "http://box.example/"]).err;
    assert!(wrong.contains("expected a host name"), "{wrong}");
}

#[test]
fn keys_come_from_files_and_their_scheme_has_no_case() {
    let executable = Executable::talking(&free(ROWS));
    let path = executable.folder.path().join("key");
    std::fs::write(&path, "of-file\n").unwrap();
    let file = path.to_str().unwrap().to_owned();
    let both = executable.run(&["serve", "--api-key", "a", "--api-key-file", &file]);
    assert!(both.code == 2 && both.err.contains("--api-key-file"), "{}", both.err);
    std::fs::write(executable.folder.path().join("empty"), "\n").unwrap();
    let empty = executable.run(&[
        "serve",
        "--api-key-file",
        executable.folder.path().join("empty").to_str().unwrap(),
    ]);
    assert!(empty.code == 2 && empty.err.contains("empty"), "{}", empty.err);
    let site = Site::new(executable, &["--api-key-file", &file]);
    for (said, expected) in [
        ("Bearer of-file", 200),
        ("bearer of-file", 200),
        ("BEARER  of-file", 200),
        ("Bearer of-files", 401),
        ("Basic of-file", 401),
        ("of-file", 401),
    ] {
        let head = format!("host: localhost\r\nauthorization: {said}\r\n");
        assert_eq!(status(&site, "GET /v1/models HTTP/1.1", &head), expected, "{said}");
    }
}

#[test]
fn encoded_bodies_are_refused() {
    let body = question().to_string();
    for (coding, expected) in
        [("gzip", 415), ("br", 415), ("identity, zstd", 415), ("deflate", 415), ("Identity", 200)]
    {
        let answer = SITE.raw(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{coding}: {answer}");
        assert!(expected == 200 || answer.contains("Content-Encoding"), "{answer}");
    }
}

/// All of OpenAI's optional fields as programs send them that know nothing better.
#[test]
fn null_is_as_if_absent() {
    let names = [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ];
    let nulls: Value =
        names.iter().map(|name| (name.to_string(), Value::Null)).collect::<serde_json::Map<_, _>>().into();
    let plain = with(question(), json!({"max_completion_tokens": 3}));
    let answer = SITE.ok("/v1/chat/completions", &with(nulls, plain.clone()));
    assert_eq!(answer["choices"], SITE.ok("/v1/chat/completions", &plain)["choices"]);
    let message = json!({"role": "assistant", "content": "a", "refusal": null, "annotations": null, "audio": null,
        "function_call": null, "tool_calls": null, "name": null, "reasoning_content": null});
    let talk = json!({"messages": [{"role": "user", "content": "q", "name": null}, message, {"role": "user", "content": "q"}], "max_tokens": 1});
    SITE.ok("/v1/chat/completions", &talk);
    let nulls = json!({"best_of": null, "echo": null, "frequency_penalty": null, "logit_bias": null, "logprobs": null,
        "max_tokens": null, "n": null, "presence_penalty": null, "seed": null, "stop": null, "stream": null,
        "stream_options": null, "suffix": null, "temperature": null, "top_p": null, "user": null, "model": null});
    SITE.ok("/v1/completions", &with(json!({"prompt": [5]}), nulls));
    let nulls = json!({"dimensions": null, "encoding_format": null, "user": null, "model": null});
    SITE.ok("/v1/embeddings", &with(json!({"input": [5]}), nulls));
    for name in ["functions", "prediction", "audio", "verbosity", "web_search_options", "function_call"] {
        let (status, said, field) =
            SITE.refused("/v1/chat/completions", &with(question(), json!({name: {"a": 1}})));
        assert_eq!((status, field), (400, json!(name)), "{said}");
    }
    SITE.ok("/v1/chat/completions", &with(plain.clone(), json!({"modalities": ["text"]})));
    assert_eq!(SITE.refused("/v1/chat/completions", &with(plain, json!({"modalities": ["audio"]}))).0, 400);
}

/// Effort is the template's switch for thinking.
#[test]
fn effort_switches_thinking() {
    let ask = |more: Value| {
        let body = with(json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}), more);
        SITE.ok("/v1/chat/completions", &body)["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let thinking = |on: bool| ask(json!({"chat_template_kwargs": {"enable_thinking": on}}));
    assert_ne!(thinking(true), thinking(false));
    for (effort, on) in [("none", false), ("minimal", false), ("low", true), ("medium", true), ("high", true)]
    {
        assert_eq!(ask(json!({"reasoning_effort": effort})), thinking(on), "{effort}");
    }
    let both = json!({"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": false}});
    assert_eq!(ask(both), thinking(false));
    let (status, said, field) =
        SITE.refused("/v1/chat/completions", &with(question(), json!({"reasoning_effort": "much"})));
    assert_eq!((status, field), (400, json!("reasoning_effort")), "{said}");
}

/// A client that has sent its last byte may still read.
#[test]
fn half_closed_clients_are_answered() {
    let site = Site::new(Executable::slow(Duration::from_millis(10)), &[]);
    for (stream, expected) in [(false, "\"completion_tokens\":20"), (true, "[DONE]")] {
        let tokens = if stream { 150 } else { 20 };
        let body =
            json!({"prompt": [1], "max_tokens": tokens, "ignore_eos": true, "stream": stream}).to_string();
        let mut client = TcpStream::connect(&site.address).unwrap();
        write!(client, "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(expected), "{answer}");
    }
}
