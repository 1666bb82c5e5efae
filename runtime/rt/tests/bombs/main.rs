//! Formats that take any amount of time, memory or stack: the server lives, neighbours go on, memory comes back.
//!
//! In: requests to a mock's server. Out: their answers, a neighbour's gaps, memory. Invariant: one test runs at a time, in a
//! process of their own, since memory is measured.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../mock/mod.rs"]
mod mock;
#[path = "../serving/site.rs"]
mod site;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{json, Map, Value};

use crate::mock::{metadata, slow_model, tokenizer, Executable};
use crate::site::Site;

static TURN: Mutex<()> = Mutex::new(());

/// Until this is dropped no other test runs.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn question() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"enable_thinking": false}})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn lark(grammar: impl Into<String>) -> Value {
    json!({"type": "grammar", "grammar": grammar.into()})
}

fn regex(regex: impl Into<String>) -> Value {
    json!({"type": "regex", "regex": regex.into()})
}

fn schema(schema: Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "bomb", "schema": schema}})
}

/// `of(0)`, `of(1)`, …, joined.
fn many(count: usize, between: &str, of: impl Fn(usize) -> String) -> String {
    (0..count).map(of).collect::<Vec<_>>().join(between)
}

/// A list of `of(0)`, `of(1)`, ….
fn list(count: usize, of: impl Fn(usize) -> Value) -> Value {
    (0..count).map(of).collect()
}

/// An object of `count` members.
fn object(count: usize, of: impl Fn(usize) -> (String, Value)) -> Value {
    (0..count).map(of).collect::<Map<_, _>>().into()
}

fn grammars() -> Vec<(&'static str, Value)> {
    let chain = |count: usize, link: &dyn Fn(usize) -> String, first: &str, last: String| {
        lark(format!("start: {first}\n{}\n{last}\n", many(count, "\n", link)))
    };
    vec![
        ("chained rules", chain(734, &|i| format!("r{i}: \"a\" r{}", i + 1), "r0", "r734: \"z\"".into())),
        ("chained tokens", chain(1109, &|i| format!("T{i}: \"a\" T{}", i + 1), "T0", "T1109: \"z\"".into())),
        ("far longer chain", chain(20_000, &|i| format!("r{i}:r{}", i + 1), "r0", "r20000: \"z\"".into())),
        (
            "chain of choices",
            chain(9000, &|i| format!("T{i}: \"a\" T{} | \"b\"", i + 1), "T0", "T9000: \"z\"".into()),
        ),
        ("doubling", chain(40, &|i| format!("T{i}: T{n} T{n}", n = i + 1), "T0", "T40: \"z\"".into())),
        ("intersections", lark(format!("start: T\nT: {}", many(300, " & ", |i| format!("/(.*x{i}.*)/"))))),
        ("negations", lark("start: T\nT: ~(/.*a.{20}/) & ~(/.*b.{25}/) & ~(/.*c.{30}/)")),
        ("left recursion", lark("start: e\ne: e e e | e e | \"x\" | \"\"")),
        ("brackets", lark(format!("start: {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000)))),
        ("quantifiers", lark("start: (((\"a\" | \"b\"){1,1000000} \"c\"){1,1000000}){1,1000000}")),
        (
            "schemas within",
            lark(format!(
                "start: {}",
                many(2000, " | ", |i| format!(
                    "%json {{\"type\":\"object\",\"properties\":{{\"p{i}\":{{\"type\":\"integer\"}}}}}}"
                ))
            )),
        ),
        (
            "substrings",
            lark(format!(
                "start: T\nT: %regex {{\"substring_chars\": \"{}\"}}",
                "abcdefghijklmnop".repeat(12_000)
            )),
        ),
    ]
}

fn regexes() -> Vec<(&'static str, Value)> {
    let words = |end: &str| many(8000, "|", |i| format!("w{}{end}", i * 7919 % 100_003));
    vec![
        ("optional letters", regex("\\w?".repeat(9000))),
        ("fewer optional letters", regex("\\w?".repeat(1000))),
        ("nested quantifiers", regex("((((a|b){1,1000}c){1,1000}d){1,1000}){1,1000}")),
        ("a million letters", regex("\\w{1,1000000}")),
        ("the nth from last", regex("(.*a.{300}|.*b.{200}|.*c.{100})")),
        ("words", regex(words("x"))),
        ("words and more", regex(words("x.*"))),
        ("classes", regex("(\\p{Lu}|\\p{Ll}|\\p{Han}|\\p{Greek})?".repeat(1000))),
        ("stars", regex("(.*x)*".repeat(2000))),
        ("parentheses", regex(format!("{}a{}", "(".repeat(50_000), ")*".repeat(50_000)))),
        ("without case", regex(format!("(?i){}", "straße".repeat(5000)))),
    ]
}

fn schemas() -> Vec<(&'static str, Value)> {
    let plain = |count| object(count, |i| (format!("p{i}"), json!({})));
    let chain = |count: usize| {
        let link = |i| {
            (
                format!("d{i}"),
                if i == count { json!(true) } else { json!({"$ref": format!("#/$defs/d{}", i + 1)}) },
            )
        };
        json!({"$defs": object(count + 1, link), "$ref": "#/$defs/d0"})
    };
    let deep = (0..10).fold(json!({"type": "integer"}), |inner, i| {
        json!({"anyOf": [{"properties": {format!("a{i}"): inner}}, {"allOf": [inner, {"required": [format!("b{i}")]}]}]})
    });
    let either = |i| json!({"anyOf": [{"properties": {format!("a{i}"): {"type": "string"}}}, {"properties": {format!("b{i}"): {}}}]});
    vec![
        ("chained references", schema(chain(609))),
        ("more references", schema(chain(7000))),
        ("properties", schema(json!({"type": "object", "properties": plain(6500)}))),
        ("choices of all", schema(json!({"allOf": list(20, either)}))),
        ("nested choices", schema(deep)),
        ("enumeration", schema(json!({"enum": list(12_000, |i| json!(format!("value {i}")))}))),
        (
            "lengths",
            schema(json!({"type": "string", "minLength": 1_000_000_000, "maxLength": 2_000_000_000})),
        ),
        (
            "items",
            schema(json!({"type": "array", "minItems": 1_000_000_000, "maxItems": 2_000_000_000,
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000}})),
        ),
        (
            "patterns",
            schema(json!({"type": "object", "patternProperties":
            object(300, |i| (format!("^a.*{i}.*b$"), json!({"type": "integer"})))})),
        ),
        ("one pattern", schema(json!({"type": "string", "pattern": "^(\\w?){500}(a|b)*a(a|b){200}$"}))),
        ("exclusions", schema(json!({"not": {"anyOf": list(500, |i| json!({"const": i}))}}))),
        (
            "dependencies",
            schema(json!({"type": "object", "dependentSchemas":
            object(500, |i| (format!("d{i}"), json!({"required": [format!("e{i}")]})))})),
        ),
    ]
}

/// Memory in bytes of this process and all that it started, what they share counted once.
fn memory() -> u64 {
    let mut parents = HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parents.insert(process, parent.unwrap_or(0u32));
    }
    let own = std::process::id();
    let is_own = |mut process: u32| loop {
        match process {
            _ if process == own => return true,
            0 => return false,
            _ => process = parents.get(&process).copied().unwrap_or(0),
        }
    };
    let bytes = |process: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:"));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
    };
    parents.keys().filter(|process| is_own(**process)).map(bytes).sum()
}

/// A neighbour's longest wait for a token while `work` goes on, and the largest memory meanwhile.
fn beside(site: &Site, work: impl FnOnce()) -> (Duration, u64) {
    let over = Arc::new(AtomicBool::new(false));
    let (site, ended) = (site.clone(), Arc::clone(&over));
    let neighbour = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !ended.load(Ordering::Relaxed) {
            let body = json!({"prompt": [1, 2, 3], "max_tokens": 1000, "ignore_eos": true});
            let mut last: Option<Instant> = None;
            for _ in site.stream("/v1/completions", &body).take(1000) {
                longest = longest.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                last = Some(Instant::now());
            }
        }
        longest
    });
    let ended = Arc::clone(&over);
    let watched = std::thread::spawn(move || {
        let mut most = 0;
        while !ended.load(Ordering::Relaxed) {
            most = most.max(memory());
            std::thread::sleep(Duration::from_millis(100));
        }
        most
    });
    work();
    over.store(true, Ordering::Relaxed);
    (neighbour.join().unwrap(), watched.join().unwrap())
}

fn site() -> Site {
    let (mut model, table) = slow_model(Duration::from_millis(1));
    model.max_context = 4096;
    let executable = Executable::new(model, &table, &tokenizer("nano"), &metadata());
    Site::new(executable, &["--parallel", "8", "--threads", "1"])
}

/// Status and JSON of an answer, over a connection of its own: one of the pool may be too old after a bomb.
fn post(site: &Site, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let answer = site.raw(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    (head[9..12].parse().unwrap(), serde_json::from_str(body).expect(body))
}

fn asked(format: &Value) -> Value {
    with(question(), json!({"response_format": format, "max_tokens": 6, "temperature": 1.0, "seed": 5}))
}

/// Twelve clients that have asked for this format.
fn twelve_asked(site: &Site, format: &Value) -> Vec<TcpStream> {
    let text = asked(format).to_string();
    let ask = |_| {
        let mut client = TcpStream::connect(&site.address).unwrap();
        write!(client, "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
        client
    };
    (0..12).map(ask).collect()
}

#[test]
fn no_format_ends_or_stalls_the_server() {
    let _turn = turn();
    let site = site();
    let usual = asked(&regex("[0-9]{3}-[a-f]{2}"));
    let answer = site.ok("/v1/chat/completions", &usual)["choices"].clone();
    let (quiet, before) = beside(&site, || std::thread::sleep(Duration::from_secs(2)));
    let bombs: Vec<_> = [grammars(), regexes(), schemas()].concat();
    assert!(bombs.len() >= 35);
    let said = Mutex::new(Vec::new());
    let (longest, most) = beside(&site, || {
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (site, bombs, said, usual, answer) = (&site, &bombs, &said, &usual, &answer);
                scope.spawn(move || {
                    for (name, format) in bombs.iter().skip(client).step_by(4) {
                        let begun = Instant::now();
                        let (status, text) = post(site, &asked(format));
                        said.lock().unwrap().push((*name, status, begun.elapsed(), text));
                    }
                    assert_eq!(&post(site, usual).1["choices"], answer);
                });
            }
        });
    });
    for (name, status, time, text) in said.into_inner().unwrap() {
        eprintln!("{name}: {status} in {time:?}: {}", text["error"]["message"]);
        // An answer, a format that is refused, or one that its answer did not get through.
        assert!(
            [200, 400, 429, 500].contains(&status) && time < Duration::from_secs(60),
            "{name}: {status} {text}"
        );
        assert!(status != 500 || text.to_string().contains("format allows nothing"), "{name}: {text}");
    }
    let after = memory();
    eprintln!(
        "gaps {quiet:?} and {longest:?}; memory {} MB, {} MB, {} MB",
        before >> 20,
        most >> 20,
        after >> 20
    );
    assert!(longest < (2 * quiet).max(Duration::from_millis(250)), "{longest:?}, without bombs {quiet:?}");
    assert!(most < before + (256 << 20), "{} MB more", (most - before) >> 20);
    assert!(after < before + (48 << 20), "{} MB stay", (after - before) >> 20);
    site.until("qwenc_running", 0.0);
}

#[test]
fn clients_that_leave_take_their_formats_along() {
    let _turn = turn();
    let site = site();
    site.ok("/v1/chat/completions", &asked(&regex("[0-9]+")));
    let begun = Instant::now();
    drop(twelve_asked(&site, &regex("\\w?".repeat(1000))));
    // Others are answered meanwhile, with a format and without.
    site.ok("/v1/completions", &json!({"prompt": [5], "max_tokens": 1}));
    site.ok("/v1/chat/completions", &asked(&regex("[0-9]{3}")));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    site.until("qwenc_connections", 1.0);
}

#[test]
fn a_format_that_is_soon_prepared_does_not_wait_for_long_ones() {
    let _turn = turn();
    let site = site();
    let usual = asked(&regex("[0-9]{3}-[a-f]{2}"));
    let answer = site.ok("/v1/chat/completions", &usual)["choices"].clone();
    // Its preparation takes all the time that there is, 4 seconds.
    let long =
        schema(json!({"type": "object", "properties": object(6500, |i| (format!("p{i}"), json!({})))}));
    let clients = twelve_asked(&site, &long);
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    assert_eq!(post(&site, &usual).1["choices"], answer);
    let took = begun.elapsed();
    eprintln!("answered in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(clients);
    site.until("qwenc_connections", 1.0);
}

#[test]
fn bounds_beyond_floats_are_refused() {
    let _turn = turn();
    let site = site();
    for bound in
        [json!({"minimum": 9007199254740993u64}), json!({"maximum": -1e17}), json!({"multipleOf": 1e18})]
    {
        let inner = with(json!({"type": "integer"}), bound);
        let nested = json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, inner]}}});
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": nested}});
        for (more, param) in [
            (json!({"response_format": schema(inner.clone())}), "response_format"),
            (json!({"response_format": schema(nested.clone())}), "response_format"),
            (json!({"response_format": lark(format!("start: %json {nested}"))}), "response_format"),
            (json!({"tools": [tool], "tool_choice": "required"}), "tools"),
        ] {
            let (status, said, field) = site.refused("/v1/chat/completions", &with(question(), more.clone()));
            assert_eq!((status, field), (400, json!(param)), "{more}: {said}");
            assert!(said.contains("not kept exactly") && said.contains(" at /"), "{said}");
        }
    }
}

/// Texts of a request itself that are as deep or as many as can be.
#[test]
fn requests_are_bombs_too() {
    let _turn = turn();
    let site = site();
    let nested =
        |open: &str, close: &str, count: usize| format!("{}{}{}", open.repeat(count), 1, close.repeat(count));
    for body in [
        nested("[", "]", 100_000),
        nested("{\"a\":", "}", 100_000),
        format!("{{\"messages\":{}}}", nested("[", "]", 120)),
        json!({"messages": [], "stop": vec!["x"; 100_000]}).to_string(),
        json!({"prompt": "a", "logit_bias": object(200_000, |i| (i.to_string(), json!(1)))}).to_string(),
        json!({"prompt": "a", "n": 1_000_000_000, "best_of": 1_000_000_000}).to_string(),
        json!({"prompt": "a", "logprobs": 1_000_000}).to_string(),
        json!({"prompt": "a".repeat(7 << 20)}).to_string(),
        json!({"messages": vec![json!({"role": "user", "content": "x"}); 100_000]}).to_string(),
        json!({"messages": [{"role": "user", "content": "x"}], "tools": list(128, |i| json!({"type": "function",
            "function": {"name": format!("f{i}"), "parameters": (0..63).fold(json!({}), |inner, _| json!({"not": inner}))}})),
            "tool_choice": "required"}).to_string(),
    ] {
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"] {
            let answer = site.raw(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
            assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 200"), "{path}: {}", &answer[..answer.len().min(300)]);
        }
    }
    site.ok("/v1/completions", &json!({"prompt": [5], "max_tokens": 1}));
}
