//! Answers in OpenAI's shapes, whole and streamed.

use std::sync::LazyLock;

use serde_json::{json, Value};

use crate::mock::{self, chain, Executable, IM_END};
use crate::site::Site;
use qwenc_rt::text::tokenizer::{Controls, Tokenizer};

pub fn tokenizer() -> Tokenizer {
    Tokenizer::open(&mock::tokenizer("nano").into()).unwrap()
}

/// A model that says this to everything that ends as a prompt without thinking does, and then ends.
fn saying(text: &str) -> Site {
    let tokenizer = tokenizer();
    let end = tokenizer.encode("</think>\n\n", Controls::Parsed).unwrap();
    let said = tokenizer.encode(text, Controls::Parsed).unwrap();
    let all = [&end[end.len() - 1..], &said, &[IM_END]].concat();
    let mut seen = all.clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all.len(), "every token once: {text}");
    Site::new(Executable::talking(&chain(&all)), &[])
}

static HELLO: LazyLock<Site> = LazyLock::new(|| saying("Hello, world! é"));

pub fn question() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"enable_thinking": false}})
}

pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_whole_answer() {
    let answer = HELLO.ok("/v1/chat/completions", &question());
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "Hello, world! é", "refusal": null})
    );
    assert_eq!(
        (&choice["finish_reason"], &choice["index"], &choice["logprobs"]),
        (&json!("stop"), &json!(0), &Value::Null)
    );
    let usage = &answer["usage"];
    let said = tokenizer().encode("Hello, world! é", Controls::Literal).unwrap().len();
    assert_eq!(usage["completion_tokens"], said);
    let sum = usage["prompt_tokens"].as_u64().unwrap() + said as u64;
    assert_eq!(usage["total_tokens"], sum);
    assert_eq!(answer["model"], "mock");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(choice.get("delta").is_none());
    // Also without /v1.
    assert_eq!(HELLO.ok("/chat/completions", &question())["choices"], answer["choices"]);
}

#[test]
fn a_stream_says_the_same() {
    let body = with(question(), json!({"stream_options": {"include_usage": true}}));
    let chunks = HELLO.chunks("/v1/chat/completions", &body);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"]));
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"]["completion_tokens"],
        HELLO.ok("/v1/chat/completions", &question())["usage"]["completion_tokens"]
    );
    assert!(rest.iter().all(|c| c["usage"].is_null() && c.as_object().unwrap().contains_key("usage")));
    let text: String = rest.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Hello, world! é");
    let ends: Vec<&Value> = rest.iter().map(|c| &c["choices"][0]["finish_reason"]).collect();
    assert_eq!((ends[ends.len() - 1], ends.iter().filter(|e| !e.is_null()).count()), (&json!("stop"), 1));
    assert_eq!(rest[rest.len() - 1]["choices"][0]["delta"], json!({}));
    let plain = HELLO.chunks("/v1/chat/completions", &question());
    assert!(plain.iter().all(|c| c.get("usage").is_none()));
}

#[test]
fn stop_strings_and_lengths() {
    for (stop, said) in
        [(json!("world"), "Hello, "), (json!(["!", "zz"]), "Hello, world"), (json!("é"), "Hello, world! ")]
    {
        let body = with(question(), json!({ "stop": stop }));
        let answer = HELLO.ok("/v1/chat/completions", &body);
        assert_eq!(answer["choices"][0]["message"]["content"], said);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let text: String = HELLO
            .chunks("/v1/chat/completions", &body)
            .iter()
            .filter_map(|c| c["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, said);
    }
    let two = HELLO.ok("/v1/chat/completions", &with(question(), json!({"max_tokens": 2})));
    assert_eq!(
        (&two["choices"][0]["finish_reason"], &two["usage"]["completion_tokens"]),
        (&json!("length"), &json!(2))
    );
    let newer = with(question(), json!({"max_tokens": 9, "max_completion_tokens": 2}));
    assert_eq!(HELLO.ok("/v1/chat/completions", &newer)["choices"], two["choices"]);
}

/// Nothing of a stop string is told, by no field; who stops was not abandoned.
#[test]
fn stop_strings_do_not_leak_by_probabilities() {
    let abandoned = HELLO.metric("qwenc_abandoned_total");
    let tokens = |value: &Value| -> String {
        let told = value["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
        told.iter().map(|t| t["token"].as_str().unwrap().to_owned()).collect()
    };
    for stop in ["world", "o, w", "llo", "rld! é", "!"] {
        let body = with(question(), json!({"stop": stop, "logprobs": true}));
        let whole = HELLO.ok("/v1/chat/completions", &body);
        let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(said.starts_with(&tokens(&whole)), "{stop}: {} of {said}", tokens(&whole));
        let streamed: String = HELLO.chunks("/v1/chat/completions", &body).iter().map(tokens).collect();
        assert_eq!(streamed, tokens(&whole), "{stop}");
    }
    HELLO.until("qwenc_running", 0.0);
    assert_eq!(HELLO.metric("qwenc_abandoned_total"), abandoned);
}

#[test]
fn several_answers_and_probabilities() {
    let body = with(question(), json!({"n": 3, "logprobs": true, "top_logprobs": 2}));
    let answer = HELLO.ok("/v1/chat/completions", &body);
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|c| c["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    let said = tokenizer().encode("Hello, world! é", Controls::Literal).unwrap().len();
    for choice in choices {
        assert_eq!(choice["message"]["content"], "Hello, world! é");
        let told = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!(told.len(), said);
        for token in told {
            assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
            assert_eq!(token["top_logprobs"][0]["token"], token["token"]);
            assert!(token["logprob"].as_f64().unwrap() <= 0.0 && token["bytes"].is_array());
        }
    }
    assert_eq!(answer["usage"]["completion_tokens"], 3 * said);
    let chunks = HELLO.chunks("/v1/chat/completions", &body);
    let told = |i: u64| -> usize {
        let of = chunks.iter().filter(|c| c["choices"][0]["index"] == i);
        of.filter_map(|c| c["choices"][0]["logprobs"]["content"].as_array()).map(Vec::len).sum()
    };
    assert_eq!((0..3).map(told).collect::<Vec<_>>(), [said; 3]);
}

#[test]
fn thinking_comes_apart() {
    let site = saying("<think>\nhm</think>answer");
    let answer = site.ok("/v1/chat/completions", &question());
    assert_eq!(answer["choices"][0]["message"]["reasoning_content"], "hm");
    assert_eq!(answer["choices"][0]["message"]["content"], "answer");
    let text: String = site
        .chunks("/v1/chat/completions", &question())
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["reasoning_content"].as_str())
        .collect();
    assert_eq!(text, "hm");
}

#[test]
fn completions_go_on_with_texts_and_ids() {
    let tokenizer = tokenizer();
    let prompt = tokenizer.encode("</think>\n\n", Controls::Parsed).unwrap();
    let body = json!({"prompt": prompt, "max_tokens": 100, "logprobs": 1});
    let answer = HELLO.ok("/v1/completions", &body);
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["text"]),
        (&json!("text_completion"), &json!("Hello, world! é"))
    );
    let told = &answer["choices"][0]["logprobs"];
    assert_eq!(told["tokens"].as_array().unwrap().len(), told["text_offset"].as_array().unwrap().len());
    let streamed = HELLO.chunks("/v1/completions", &body);
    let all = |key: &str| -> Vec<Value> {
        streamed
            .iter()
            .filter_map(|c| c["choices"][0]["logprobs"][key].as_array())
            .flatten()
            .cloned()
            .collect()
    };
    for key in ["tokens", "text_offset", "token_logprobs"] {
        assert_eq!(json!(all(key)), told[key], "{key}");
    }
    let two = json!({"prompt": ["</think>\n\n", "</think>\n\n"], "max_tokens": 2, "echo": true, "n": 2});
    let answer = HELLO.ok("/v1/completions", &two);
    let texts: Vec<&str> =
        answer["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 4);
    assert!(texts.iter().all(|t| t.starts_with("</think>\n\nHello")), "{texts:?}");
    let text: String = HELLO
        .chunks("/v1/completions", &body)
        .iter()
        .map(|c| c["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, "Hello, world! é");
}

#[test]
fn tokens_both_ways() {
    let text = "Hello <|im_end|>";
    let tokens = HELLO.ok("/tokenize", &json!({ "content": text }));
    assert_eq!(tokens["tokens"], json!(tokenizer().encode_prompt(text).unwrap()));
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    let literal = HELLO.ok("/tokenize", &json!({"content": text, "parse_special": false}));
    assert_eq!(HELLO.ok("/detokenize", &json!({"tokens": literal["tokens"]}))["content"], text);
    let chat = HELLO.ok("/tokenize", &json!({"messages": [{"role": "user", "content": "hi"}]}));
    assert!(chat["count"].as_u64().unwrap() > 5);
}

#[test]
fn the_server_says_what_it_is() {
    let (status, models) = HELLO.get("/v1/models");
    assert_eq!((status, &models["data"][0]["id"]), (200, &json!("mock")));
    assert_eq!(HELLO.get("/v1/models/mock").0, 200);
    assert_eq!(HELLO.get("/v1/models/other").0, 404);
    assert_eq!(HELLO.get("/health"), (200, json!({"status": "ok"})));
    HELLO.ok("/v1/chat/completions", &question());
    assert!(HELLO.metric("qwenc_generated_tokens_total") >= 6.0);
    assert_eq!(HELLO.metric("qwenc_slots"), 4.0);
    let (status, openapi) = HELLO.get("/openapi.json");
    assert_eq!((status, &openapi["openapi"]), (200, &json!("3.1.0")));
    let schemas = &openapi["components"]["schemas"];
    assert_eq!(schemas["Token"]["maximum"], 2045, "the last that is a token");
    assert_eq!(schemas["ChatRequest"]["properties"]["lora"]["enum"], json!([null]));
    for request in ["ChatRequest", "CompletionRequest"] {
        for field in ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop", "max_tokens"] {
            let said = schemas[request]["properties"][field]["description"].as_str().unwrap();
            let default = "Default: serve's flag, else the checkpoint's generation_config, else ";
            assert!(said.contains(default), "{request} {field}: {said}");
        }
    }
}

/// The description of the paths is that of the paths.
#[test]
fn the_description_holds() {
    let (_, openapi) = HELLO.get("/openapi.json");
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "mock");
        for method in methods.as_object().unwrap().keys() {
            let status =
                if method == "get" { HELLO.get_text(&path).0 } else { HELLO.post(&path, &json!({})).0 };
            assert!(status == 200 || (status == 400 && method == "post"), "{method} {path}: {status}");
        }
    }
    for (path, schema, body) in [
        ("/v1/chat/completions", "ChatRequest", json!({"messages": question()["messages"], "odd": 1})),
        ("/v1/completions", "CompletionRequest", json!({"prompt": "x", "odd": 1})),
        ("/v1/embeddings", "EmbeddingRequest", json!({"input": "x", "odd": 1})),
    ] {
        let (_, said, _) = HELLO.refused(path, &body);
        let mut known: Vec<&str> = said.split("known here: ").nth(1).unwrap().split(", ").collect();
        let properties = openapi["components"]["schemas"][schema]["properties"].as_object().unwrap();
        let mut described: Vec<&str> = properties.keys().map(String::as_str).collect();
        known.sort();
        described.sort();
        assert_eq!(known, described, "{path}");
    }
}
