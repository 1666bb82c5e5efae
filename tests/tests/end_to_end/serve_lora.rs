//! Adapters in requests: each answer is that of its own adapter, beside answers of others and of none.

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{json, Value};

use crate::served::{question, with, Served};

/// The sample's layers, hidden size, and what its q_proj gives.
const SHAPE: [usize; 3] = [4, 128, 256];
const RANK: usize = 4;

/// An adapter of the sample's queries, as PEFT writes it, in numbers that differ by `seed`.
fn adapter(folder: &Path, seed: u32) {
    std::fs::create_dir(folder).unwrap();
    let config = json!({"peft_type": "LORA", "r": RANK, "lora_alpha": 64, "target_modules": ["q_proj"], "bias": "none"});
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    let [layers, hidden, wide] = SHAPE;
    let mut state = seed;
    let mut numbers = |count: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).flat_map(|_| (next() * 0.2).to_le_bytes()).collect()
    };
    let mut tensors = HashMap::new();
    for layer in 0..layers {
        for (part, shape) in [("A", [RANK, hidden]), ("B", [wide, RANK])] {
            let name = format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight");
            tensors.insert(name, (shape.to_vec(), numbers(shape[0] * shape[1])));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
}

#[test]
fn requests_choose_their_adapter() {
    let dir = folder();
    let program = dir.join("qwen");
    let mut args = vec!["compile".to_owned(), "sample".into(), "-o".into(), program.display().to_string()];
    for (name, seed) in [("red", 1), ("blue", 2)] {
        adapter(&dir.join(name), seed);
        args.extend(["--lora-runtime".into(), format!("{name}={}", dir.join(name).display())]);
    }
    run(&mut qwenc(&args.iter().map(String::as_str).collect::<Vec<_>>())).ok();
    let served = Served::of(&program, &["--parallel", "3", "--threads", "2"]);
    let names = [None, Some("red"), Some("blue")];
    let body = |name: Option<&str>, temperature: f64| {
        json!({"prompt": "The capital of Brazil is", "max_tokens": 30, "ignore_eos": true, "lora": name,
               "temperature": temperature, "seed": 4, "top_k": 0, "top_p": 1, "min_p": 0})
    };
    let text = |answer: &Value| answer["choices"][0]["text"].as_str().unwrap().to_owned();
    let mut alone = Vec::new();
    for temperature in ["0", "0.9"] {
        let mut said = Vec::new();
        for name in names {
            let mut flags =
                vec!["generate", "The capital of Brazil is", "--max-tokens", "30", "--ignore-eos"];
            flags.extend(["--temperature", temperature, "--seed", "4", "--top-k", "0", "--top-p", "1"]);
            flags.extend(name.iter().flat_map(|name| ["--lora", name]));
            let answer = served.ok("/v1/completions", &body(name, temperature.parse().unwrap()));
            assert_eq!(format!("{}\n", text(&answer)), say(&program, &flags).ok(), "{name:?}, {temperature}");
            said.push(text(&answer));
        }
        assert!(said[0] != said[1] && said[1] != said[2] && said[0] != said[2], "{said:?}");
        alone.push(said);
    }
    // All at a time, in one batch and one after the other in the same cache, they say the same.
    let crowd: Vec<String> = thread::scope(|scope| {
        let one = |i: usize| {
            scope.spawn({
                let (served, body) = (&served, &body);
                move || text(&served.ok("/v1/completions", &body(names[i % 3], [0.0, 0.9][i / 3 % 2])))
            })
        };
        let threads: Vec<_> = (0..18).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, said) in crowd.iter().enumerate() {
        assert_eq!(said, &alone[i / 3 % 2][i % 3], "request {i}");
    }
    let (status, refused) =
        served.post("/v1/chat/completions", &with(question("Hello"), json!({"lora": "green"})));
    assert_eq!(status, 400);
    let error: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(
        (&error["error"]["param"], &error["error"]["code"]),
        (&json!("lora"), &json!("adapter_not_found"))
    );
    assert!(error["error"]["message"].as_str().unwrap().contains("red, blue"), "{refused}");
    let document: Value = serde_json::from_str(&served.get("/openapi.json").1).unwrap();
    let known = &document["components"]["schemas"]["ChatRequest"]["properties"]["lora"]["enum"];
    assert_eq!(known, &json!(["red", "blue", null]));
}
