//! Models changed on the way into an executable: adapters merged, RoPE scaled, contexts made longer; and files of older
//! programs brought there and back.

use std::path::{Path, PathBuf};

use qwenc_tests::data::{folder, root};
use qwenc_tests::golden::{golden, greedy, logits, nmse, say};
use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::tensors::Tensors;
use qwenc_tests::variants;
use serde_json::{json, Value};

fn call(args: &[&str]) -> Outcome {
    run(&mut qwenc(args))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of a golden case without RoPE scaling, for 32 positions.
fn short_yarn(dir: &Path) -> PathBuf {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(folder("qwen3-yarn").join("config.json")).unwrap()).unwrap();
    config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 10000.0});
    config["max_position_embeddings"] = json!(32);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::copy(folder("qwen3-yarn").join("model.safetensors"), dir.join("model.safetensors")).unwrap();
    dir.to_path_buf()
}

#[test]
fn rope_scaling_and_context_are_the_executables() {
    let dir = variants::folder();
    let checkpoint = short_yarn(&dir);
    let golden = golden("qwen3-yarn");
    let chosen = ["--rope-scaling", "yarn:4", "--context", "128"];
    let (direct, model, twice) = (dir.join("direct"), dir.join("model.bin"), dir.join("twice"));
    call(&[&["compile", text(&checkpoint), "-o", text(&direct), "--quant", "f32"], &chosen[..]].concat())
        .ok();
    // Of a model.bin that knows nothing of it.
    call(&["export", text(&checkpoint), "-o", text(&model), "--quant", "f32"]).ok();
    call(&[&["compile", text(&model), "-o", text(&twice)], &chosen[..]].concat()).ok();
    for executable in [&direct, &twice] {
        assert!(nmse(&logits(executable, &golden.tokens, &[]), &golden.logits) <= 1e-10);
        let said = greedy(executable, &golden.tokens, &["--max-tokens", "24", "--ignore-eos"]);
        assert_eq!(said, golden.generated);
        let info: Value = serde_json::from_str(&say(executable, &["info", "--json"]).ok()).unwrap();
        assert_eq!(info["model"]["context"], 128, "{info}");
        // The last position of the new context is one, and the next is none.
        let ids = |n: usize| vec!["7"; n].join(",");
        let generate = |n| {
            say(executable, &["generate", "--tokens", &ids(n), "--max-tokens", "1", "--temperature", "0"])
        };
        assert_eq!(generate(127).code, Some(0));
        assert_ne!(generate(129).code, Some(0));
    }
    let refused = call(&[
        "compile",
        text(&model),
        "-o",
        text(&twice),
        "--rope-scaling",
        "dynamic:4",
        "--context",
        "64",
    ]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("dynamic RoPE scaling at 64 positions"), "{}", refused.err);
    let misuse = call(&["compile", text(&model), "--rope-scaling", "longrope:4"]);
    assert_eq!(misuse.code, Some(2));
}

#[test]
fn adapters_are_merged_and_counted() {
    let dir = variants::folder();
    let lora = |name: &str| root().join("models/tests/data/lora").join(name);
    let expected = Tensors::read(&lora("golden.safetensors"));
    let case = folder("qwen3-tied");
    let executable = dir.join("adapted");
    let [plain, patterns, swapped] = [("plain", ":0.5"), ("patterns", ":-1"), ("swapped", ":2")]
        .map(|(name, scale)| text(&lora(name)).to_string() + scale);
    let out = call(&[
        "compile",
        text(&case),
        "-o",
        text(&executable),
        "--quant",
        "f32",
        "--lora",
        &plain,
        "--lora",
        &patterns,
        "--lora",
        &swapped,
    ]);
    let said = out.err.clone();
    out.ok();
    assert!(said.contains("plain: 4 deltas merged, times 0.5: q_proj 2, v_proj 2"), "{said}");
    let error = nmse(&logits(&executable, &expected.ids("tokens"), &[]), &expected.floats("all"));
    assert!(error <= 1e-10, "{error:e}");
    let model = dir.join("adapted.bin");
    call(&["export", text(&case), "-o", text(&model), "--lora", &plain]).ok();
    let again = call(&["compile", text(&model), "-o", text(&executable), "--lora", &plain]);
    assert_eq!(again.code, Some(2), "{}", again.err);
    let absent =
        call(&["export", text(&folder("qwen3-untied-mha")), "-o", text(&model), "--lora", &patterns]);
    assert_eq!(absent.code, Some(1));
}

#[test]
fn adapters_are_chosen_for_each_request() {
    let dir = variants::folder();
    let lora = |name: &str| root().join("models/tests/data/lora").join(name);
    let expected = Tensors::read(&lora("golden.safetensors"));
    let (tokens, executable) = (expected.ids("tokens"), dir.join("chosen"));
    let names = ["plain", "patterns", "swapped"];
    let kept = names.map(|name| format!("{name}={}", text(&lora(name))));
    let case = folder("qwen3-tied");
    let mut args = vec!["compile", text(&case), "-o", text(&executable), "--quant", "f32"];
    args.extend(kept.iter().flat_map(|word| ["--lora-runtime", word]));
    let said = call(&args);
    assert!(said.err.contains("adapter plain: 4 deltas of "), "{}", said.err);
    said.ok();
    for name in names {
        let error = nmse(&logits(&executable, &tokens, &["--lora", name]), &expected.floats(name));
        println!("{name}: {error:.1e}");
        assert!(error <= 1e-10, "{name}: {error:e}");
    }
    let golden = golden("qwen3-tied");
    assert!(nmse(&logits(&executable, &golden.tokens, &[]), &golden.logits) <= 1e-10, "no adapter is none");
    let unknown = say(&executable, &["generate", "--tokens", "1", "--lora", "plane"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("plain, patterns, swapped"), "{}", unknown.err);
    let info: Value = serde_json::from_str(&say(&executable, &["info", "--json"]).ok()).unwrap();
    assert_eq!(info["adapters"], json!(names), "{info}");
    let misuse = call(&["compile", text(&case), "--lora-runtime", text(&lora("plain"))]);
    assert_eq!(misuse.code, Some(2), "{}", misuse.err);
}

/// A Llama of llama2.c through a model.bin says what it said; back into another program's format it cannot go.
#[test]
fn migrated_stories_are_told_the_same() {
    let dir = variants::folder();
    let data = root().join("models/tests/data/stories260k");
    let (model, executable) = (dir.join("stories.bin"), dir.join("stories"));
    let tokenizer = format!("tokenizer={}", data.join("tok512.bin").display());
    let old = data.join("stories260K.bin");
    call(&["migrate", text(&old), "-o", text(&model), "--state", &tokenizer]).ok();
    call(&["compile", text(&model), "-o", text(&executable)]).ok();
    let expected = std::fs::read_to_string(data.join("greedy200.txt")).unwrap();
    let said =
        say(&executable, &["generate", "", "--temperature", "0", "--max-tokens", "199", "--ignore-eos"]).ok();
    println!("{said}");
    assert!(said.trim().starts_with(&expected.trim()[..300]), "{said}");
    let back = dir.join("back.bin");
    let refused = call(&["migrate", "--to", "ajc1", text(&model), "-o", text(&back)]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("LlamaForCausalLM in ajc1 is not supported"), "{}", refused.err);
    assert!(!back.exists());
    assert_eq!(call(&["migrate", "--to", "ajc1", text(&model)]).code, Some(2));
}
