//! Embeddings: the last hidden state that transformers computed, from the executable's command, over HTTP, and from an
//! executable for GPUs.

use std::path::Path;

use qwenc_tests::data::folder;
use qwenc_tests::golden::{comma, golden, nmse, say};
use qwenc_tests::tensors::Tensors;
use qwenc_tests::variants::executable;
use serde_json::json;

use crate::cuda_runs::on_host;
use crate::served::Served;

fn embed(executable: &Path, args: &[&str]) -> Vec<f32> {
    let said = say(executable, &[&["embed"], args].concat()).ok();
    serde_json::from_str(&said).unwrap()
}

/// `final_norm` of the last token, of length 1.
fn expected(case: &str) -> Vec<f32> {
    let all = Tensors::read(&folder(case).join("golden.safetensors")).floats("final_norm");
    let width = all.len() / golden(case).tokens.len();
    let last = &all[all.len() - width..];
    let length = last.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    last.iter().map(|&v| (f64::from(v) / length) as f32).collect()
}

/// Tied and untied: where the head has taken in the gain of the norm, and where not.
#[test]
fn as_transformers_says() {
    for (case, quant, most) in [
        ("qwen3-tied", "f32", 1e-10),
        ("qwen3-tied", "bf16", 1e-10),
        ("qwen3-tied", "int8", 1e-3),
        ("qwen3-untied-mha", "f32", 1e-10),
        ("qwen3-untied-mha", "int8", 1e-3),
        ("qwen3-sliding", "f32", 1e-10),
        ("qwen2-bias", "bf16", 1e-10),
        ("llama3-rope", "f32", 1e-10),
    ] {
        let (executable, tokens) = (executable(case, quant), comma(&golden(case).tokens));
        let found = embed(&executable, &["--tokens", &tokens, "--kv-type", "f32"]);
        let error = nmse(&found, &expected(case));
        println!("{case} {quant}: NMSE {error:.2e}");
        assert!(error <= most, "{case} {quant}: NMSE {error:.2e} > {most:.0e}");
        for flags in [&["--chunk", "1", "--threads", "1"], &["--chunk", "5", "--threads", "3"]] {
            let other =
                embed(&executable, &[&["--tokens", &tokens, "--kv-type", "f32"], &flags[..]].concat());
            assert_eq!(found, other, "{case} {quant} {flags:?}");
        }
    }
}

#[test]
fn texts_get_a_line_each() {
    let executable = executable("sample", "bf16");
    let texts = ["The capital of Japan is Tokyo.", "Tokyo is the capital of Japan.", "3 + 4 = 7"];
    let said = say(&executable, &[&["embed"], &texts[..]].concat()).ok();
    let found: Vec<Vec<f32>> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 3);
    for (text, together) in texts.iter().zip(&found) {
        assert_eq!(&embed(&executable, &[text]), together);
        let length = together.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
    let cosine = |a: usize, b: usize| found[a].iter().zip(&found[b]).map(|(a, b)| a * b).sum::<f32>();
    assert!(cosine(0, 1) > cosine(0, 2), "{} {}", cosine(0, 1), cosine(0, 2));
    assert!(say(&executable, &["embed", ""]).refused(2).contains("no token to embed"));
}

#[test]
fn the_server_has_the_same_numbers() {
    let served = Served::new("int8", &["--parallel", "2"]);
    let texts = ["One apple", "two pears", "and three plums, which are many more"];
    let expected: Vec<_> = texts.iter().map(|t| embed(&executable("sample", "int8"), &[t])).collect();
    let reply = served.ok("/v1/embeddings", &json!({"input": texts, "model": "sample"}));
    assert_eq!((reply["object"].as_str(), reply["data"].as_array().unwrap().len()), (Some("list"), 3));
    for (index, expected) in expected.iter().enumerate() {
        let one = &reply["data"][index];
        assert_eq!((one["object"].as_str(), one["index"].as_u64()), (Some("embedding"), Some(index as u64)));
        let found: Vec<f32> = serde_json::from_value(one["embedding"].clone()).unwrap();
        assert_eq!(&found, expected);
    }
    assert!(reply["usage"]["prompt_tokens"].as_u64() > Some(8), "{reply}");
    // The openai client asks for this unless told otherwise.
    let body = json!({"input": texts[0], "encoding_format": "base64"});
    let packed = served.ok("/v1/embeddings", &body)["data"][0]["embedding"].as_str().unwrap().to_owned();
    assert_eq!(packed.len(), (4 * expected[0].len()).div_ceil(3) * 4);
    let short: Vec<f32> = serde_json::from_value(
        served.ok("/v1/embeddings", &json!({"input": texts[0], "dimensions": 8}))["data"][0]["embedding"]
            .clone(),
    )
    .unwrap();
    let length = expected[0][..8].iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let cut: Vec<f32> = expected[0][..8].iter().map(|&v| (f64::from(v) / length) as f32).collect();
    assert_eq!(short, cut);
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": [1, 99_999]}), "input"),
        (json!({"input": "x", "encoding_format": "int8"}), "encoding_format"),
        (json!({"input": "x", "dimensions": 0}), "dimensions"),
        (json!({"input": "x", "temperature": 1}), "temperature"),
        (json!({"input": "x", "lora": "none"}), "lora"),
    ] {
        let (status, text) = served.post("/v1/embeddings", &body);
        let error: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error["error"]["param"].as_str()), (400, Some(param)), "{text}");
    }
}

#[test]
fn a_gpu_has_nearly_the_same() {
    let device = on_host("bf16");
    let (found, expected) =
        (embed(&device, &["The sun"]), embed(&executable("sample", "bf16"), &["The sun"]));
    let error = nmse(&found, &expected);
    assert!(error <= 1e-9, "NMSE {error:.2e}");
    let chunks = embed(&device, &["The sun", "--chunk", "1"]);
    assert!(nmse(&chunks, &expected) <= 1e-9);
}
