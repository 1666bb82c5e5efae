//! A server whose model is still being loaded; and the page, which does not wait for it.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::sync::Arc;

use serde_json::json;

use crate::answers::{question, tokenizer};
use crate::site::Site;
use qwenc_rt::serve::constrain::Constraints;
use qwenc_rt::serve::hosts::Hosts;
use qwenc_rt::serve::key::ApiKey;
use qwenc_rt::serve::metrics::Metrics;
use qwenc_rt::serve::state::{Access, Model, Server};
use qwenc_rt::serve::Web;

fn model() -> Model {
    let tokenizer = Arc::new(tokenizer());
    Model {
        name: "lab/late".into(),
        tokenizer: Arc::clone(&tokenizer),
        template: None,
        metadata: qwenc_abi::metadata::Metadata::default(),
        allowed: vec![true; 2046].into(),
        context: 100,
        max_context: 100,
        fingerprint: "fp".into(),
        created: 1,
        constraints: Constraints::new(&Constraints::sandbox().unwrap(), &tokenizer, 2046, &[2039]),
    }
}

/// Paths of the page's scripts.
fn page_scripts() -> Vec<String> {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/src/page")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let scripts: Vec<String> =
        names.filter(|name| name.ends_with(".js")).map(|name| format!("/page/{name}")).collect();
    assert!(scripts.contains(&"/page/main.js".into()), "{scripts:?}");
    scripts
}

/// The model is found by its whole name, encoded or not, and by no other.
fn names_have_slashes(ask: impl Fn(&str) -> String) {
    for path in ["/v1/models/lab/late", "/v1/models/lab%2Flate"] {
        assert!(ask(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    for path in ["/v1/models/late", "/v1/models/lab", "/v1/models/lab/late/"] {
        assert!(ask(path).starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[test]
fn nothing_but_the_page_is_there_before_the_model() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (orders, _inbox) = channel();
    let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &[]);
    let access = Access { hosts, key: Some(ApiKey::new("secret", "the test").unwrap()), log: false };
    let server = Arc::new(Server::new(Metrics::new().unwrap(), access, 1, 1, orders));
    let web = Web::start(socket, Arc::clone(&server), 100).unwrap();
    let site = Site::at(&address);
    let ask = |line: &str, key: &str| {
        site.raw(format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}\r\n").as_bytes())
    };
    let key = "authorization: Bearer secret\r\n";
    assert_eq!(site.get("/health"), (503, json!({"status": "loading"})));
    let health = ask("GET /health", "").to_lowercase();
    assert!(health.starts_with("http/1.1 503") && health.contains("retry-after: 2"), "{health}");
    for path in ["/v1/models", "/models", "/v1/models/lab/late"] {
        let answer = ask(&format!("GET {path}"), key).to_lowercase();
        assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 2"), "{answer}");
        assert!(answer.contains("still being loaded"), "{answer}");
    }
    let body = question().to_string();
    for path in ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"] {
        let rest = format!("{key}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        let answer = site.raw(
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{rest}\r\n{body}")
                .as_bytes(),
        );
        let refused = answer.starts_with("HTTP/1.1 503") || answer.starts_with("HTTP/1.1 400");
        assert!(refused, "{path}: {answer}");
    }
    let scripts = page_scripts();
    let scripts = scripts.iter().map(|path| (path.as_str(), "text/javascript"));
    for (path, kind) in [("/", "text/html"), ("/page/page.css", "text/css")].into_iter().chain(scripts) {
        let answer = ask(&format!("GET {path}"), "");
        let (head, file) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && file.len() > 1000, "{path}: {head}");
        for line in [
            &format!("content-type: {kind}; charset=utf-8"),
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
        ] {
            assert_eq!(head.lines().filter(|l| l == &line).count(), 1, "{path}: {line} in {head}");
        }
    }
    assert!(ask("GET /page", "").starts_with("HTTP/1.1 401"), "other paths want the key");
    assert!(ask("GET /page/none.js", "").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /", "").starts_with("HTTP/1.1 405"));
    server.loaded(model());
    assert_eq!(site.get("/health"), (200, json!({"status": "ok"})));
    names_have_slashes(|path| ask(&format!("GET {path}"), key));
    // The label of the metric is the path of openapi.json, not the router's pattern.
    assert!(ask("GET /metrics", key).contains(r#"path="/v1/models/{name}""#));
    web.end();
}
