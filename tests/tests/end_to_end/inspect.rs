//! `qwenc inspect`: what it says of a good file, of a folder with something missing, and as JSON.

use qwenc_tests::data;
use qwenc_tests::forged;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;
use serde_json::Value;

use crate::shown::stable;

fn inspect(args: &[&str]) -> String {
    stable(&run(&mut qwenc(&[&["inspect"], args].concat())).ok())
}

fn sample() -> String {
    let path = folder().join("model.bin").to_str().unwrap().to_string();
    run(&mut qwenc(&["export", "sample", "-o", &path])).ok();
    path
}

#[test]
fn a_model_bin_as_text() {
    let path = sample();
    let text = inspect(&[&path]);
    insta::assert_snapshot!(text);
    assert_eq!(inspect(&["sample"]), text.replace("[folder]/model.bin", "sample"));
    let ranges = inspect(&["--values", &path]);
    insta::assert_snapshot!("a_model_bin_with_the_ranges_of_its_values", ranges);
}

#[test]
fn a_model_bin_as_json() {
    let found: Value = serde_json::from_str(&inspect(&["--json", "--values", &sample()])).unwrap();
    assert_eq!(found["kind"], "model.bin version 3");
    assert_eq!(found["parameters"], 1_246_848);
    assert_eq!(found["file_bytes"], 2_658_112);
    assert_eq!(found["stated_hash"], found["computed_hash"]);
    assert_eq!(found["problems"], serde_json::json!([]));
    let header = |name: &str| {
        let fields = found["header"].as_array().unwrap();
        fields.iter().find(|f| f["name"] == name).unwrap()["value"].as_str().unwrap().to_string()
    };
    assert_eq!(
        (header("head_dim"), header("n_layers"), header("vocab_size")),
        ("64".into(), "4".into(), "2048".into())
    );
    let tensors = found["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 46);
    assert_eq!(tensors[0]["name"], "model.layers.0.self_attn.q_proj.weight");
    assert_eq!(tensors[0]["shape"], serde_json::json!([256, 128]));
}

#[test]
fn a_checkpoint_with_a_tensor_missing() {
    let (checkpoint, tensor) = forged::without_last_tensor(&data::folder("qwen3-tied"));
    let path = checkpoint.to_str().unwrap();
    let with_problems = |args: &[&str]| {
        let done = run(&mut qwenc(&[&["inspect"], args].concat()));
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{}", done.err);
        stable(&done.out)
    };
    insta::assert_snapshot!(with_problems(&[path]));
    let found: Value = serde_json::from_str(&with_problems(&["--json", path])).unwrap();
    let problems = found["problems"].as_array().unwrap();
    assert!(problems.len() == 1 && problems[0].as_str().unwrap().contains(&tensor), "{problems:?}");
}
