//! Guessing ahead changes no token of the real model, greedy or sampled, whatever the text.

use std::process::Command;

use qwenc_tests::program::{run, Outcome};
use qwenc_tests::variants::executable;

fn generate(quant: &str, prompt: &[&str], more: &[&str]) -> Outcome {
    let fixed =
        ["generate", "--print-tokens", "--ignore-eos", "--max-tokens", "120", "--seed", "4", "--stats"];
    run(Command::new(executable("sample", quant)).args(fixed).args(prompt).args(more))
}

#[test]
fn the_sample_says_the_same() {
    let repeats =
        "The capital of Brazil is Brasília. The capital of Japan is Tokyo. The capital of Brazil is";
    let ids: Vec<String> = (0..45).map(|i| ((i * 577 + 31) % 2037).to_string()).collect();
    let ids = ids.join(",");
    for quant in ["f32", "bf16", "int8"] {
        for prompt in [&[repeats][..], &["--tokens", &ids]] {
            for how in ["0", "0.8"] {
                let plain = generate(quant, prompt, &["--temperature", how]).ok();
                for ahead in ["1", "5", "40"] {
                    let found = generate(quant, prompt, &["--temperature", how, "--speculate", ahead]);
                    assert!(found.err.contains("guessed tokens were right"), "{}", found.err);
                    assert_eq!(found.ok(), plain, "{quant}, {prompt:?} at {how}: {ahead} ahead");
                }
            }
        }
    }
}
