//! Logits do not depend on threads or on how a prompt is cut into steps: not in a single bit.

use qwenc_tests::golden::{golden, logits};
use qwenc_tests::variants::executable;

fn check(model: &str, tokens: &[u32]) {
    for quant in ["f32", "bf16", "int8"] {
        let executable = executable(model, quant);
        let bits = |threads: &str, chunk: &str| -> Vec<u32> {
            let found = logits(&executable, tokens, &["--threads", threads, "--chunk", chunk]);
            found.into_iter().map(f32::to_bits).collect()
        };
        let one_by_one = bits("1", "1");
        for threads in ["1", "2", "3", "5"] {
            for chunk in ["1", "7", "16", "1000"] {
                let found = bits(threads, chunk);
                let differs = one_by_one.iter().zip(&found).position(|(a, b)| a != b);
                assert_eq!(differs, None, "{model} {quant}: --threads {threads} --chunk {chunk}");
            }
        }
    }
}

#[test]
fn of_a_golden_checkpoint() {
    check("qwen3-tied", &golden("qwen3-tied").tokens);
}

/// More tokens than two of the default steps of 16 rows, and no multiple of any chunk.
#[test]
fn of_the_sample() {
    let tokens: Vec<u32> = (0..45).map(|i| (i * 577 + 31) % 2037).collect();
    check("sample", &tokens);
}
