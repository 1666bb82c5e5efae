//! `perplexity`, of the executable and through `qwenc`: the same as from its logits, in one part or in several.

use qwenc_tests::data::root;
use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run, run_with};
use qwenc_tests::tensors::Tensors;
use qwenc_tests::variants::{executable, folder};
use serde_json::Value;

fn text() -> String {
    root().join("tests/data/held-out.txt").to_str().unwrap().to_string()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&say(&executable("sample", "f32"), args).ok()).unwrap()
}

/// Nats of each predicted token of parts of `context` tokens, from the logits that the executable writes.
fn from_logits(context: usize) -> Vec<f64> {
    let program = executable("sample", "f32");
    let logits = |args: &[&str]| {
        let file = folder().join("logits.safetensors");
        let out = ["logits", "--out", file.to_str().unwrap()];
        say(&program, &[&out, args].concat()).ok();
        Tensors::read(&file)
    };
    let all = logits(&["--prompt", &std::fs::read_to_string(text()).unwrap()]).ids("tokens");
    let mut nats = Vec::new();
    for part in all.chunks(context).filter(|part| part.len() > 1) {
        let ids: Vec<String> = part.iter().map(u32::to_string).collect();
        let values = logits(&["--tokens", &ids.join(",")]).floats("logits");
        for (row, &next) in values.chunks(values.len() / part.len()).zip(&part[1..]) {
            let total: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            nats.push(total.ln() - f64::from(row[next as usize]));
        }
    }
    nats
}

#[test]
fn it_is_what_the_logits_say() {
    for context in [2048, 100] {
        let nats = from_logits(context);
        let mean = nats.iter().sum::<f64>() / nats.len() as f64;
        let found = json(&["perplexity", &text(), "--json", "--context", &context.to_string()]);
        assert_eq!(found["tokens"], nats.len(), "{context}");
        let close = |key: &str, expected: f64| {
            let value = found[key].as_f64().unwrap();
            assert!((value / expected - 1.0).abs() < 1e-4, "{context} {key}: {value}, expected {expected}");
        };
        close("nats_per_token", mean);
        close("perplexity", mean.exp());
    }
}

/// Through qwenc: an executable, and a model that is compiled for it; a text from standard input.
#[test]
fn qwenc_measures_models_and_executables() {
    let program = executable("sample", "f32");
    let direct = say(&program, &["perplexity", &text()]).ok();
    let through = run(&mut qwenc(&["perplexity", program.to_str().unwrap(), &text()])).ok();
    assert_eq!(direct, through);
    assert!(direct.contains("perplexity      2.06"), "{direct}");
    let compiled = run(&mut qwenc(&["perplexity", "sample", &text(), "--quant", "f32"])).ok();
    assert_eq!(compiled, direct);
    let typed = std::fs::read_to_string(text()).unwrap();
    let piped = run_with(&mut qwenc(&["perplexity", program.to_str().unwrap(), "-"]), &typed).ok();
    assert_eq!(piped, direct);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let program = executable("sample", "f32");
    let program = program.to_str().unwrap();
    let refused = |args: &[&str], code| run(&mut qwenc(&[&["perplexity"], args].concat())).refused(code);
    assert!(refused(&[program, "nowhere.txt"], 1).contains("cannot read nowhere.txt"));
    assert!(refused(&["sample", "nowhere.txt"], 1).contains("nowhere.txt: opening the text: No such file"));
    let short = folder().join("short.txt");
    std::fs::write(&short, "a").unwrap();
    let said = refused(&[program, short.to_str().unwrap()], 1);
    assert!(said.contains("nothing to predict: 1 tokens"), "{said}");
    assert!(refused(&[program, &text(), "--quant", "int8"], 2).contains("is compiled already"));
    std::fs::write(&short, [0xff, 0xfe]).unwrap();
    assert!(refused(&[program, short.to_str().unwrap()], 1).contains("valid UTF-8"));
    let mute = executable("qwen3-tied", "f32");
    assert!(refused(&[mute.to_str().unwrap(), &text()], 1).contains("tokenizer"));
}
