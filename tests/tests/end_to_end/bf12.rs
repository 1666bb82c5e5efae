//! Weights of bf16 compressed to 12 bits: where they are so, where not, and that answers do not differ.

use std::path::Path;

use qwenc_tests::data::folder as case_folder;
use qwenc_tests::golden::{logits, nmse};
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;
use qwenc_tests::{forged, golden};

fn plan(checkpoint: &Path, flags: &[&str]) -> String {
    let model = checkpoint.to_str().unwrap();
    run(&mut qwenc(&[&["compile", model, "--quant", "bf16", "--emit", "plan"], flags].concat())).ok()
}

/// Segments of bf16, compressed or not, and how many of them are compressed.
fn counts(plan: &str) -> (usize, usize) {
    let [bf16, bf12] = ["bf16", "bf12"].map(|format| segments(plan, format).count());
    (bf16 + bf12, bf12)
}

fn segments<'p>(plan: &'p str, format: &'static str) -> impl Iterator<Item = &'p str> {
    let of = move |line: &&str| line.starts_with("segment ") && line.contains(&format!(" {format} "));
    plan.lines().filter(of)
}

#[test]
fn cpus_without_a_table_lookup_and_gpus_get_16_bits() {
    let checkpoint = case_folder("qwen3-tied");
    for (flags, compressed) in [
        (&["--cpu", "x86-64-v3"][..], true),
        (&["--cpu", "znver5"], true),
        (&["--cpu", "x86-64-v2"], false),
        (&["--target", "cuda"], false),
    ] {
        let (all, found) = counts(&plan(&checkpoint, flags));
        assert_eq!(found, if compressed { all } else { 0 }, "{flags:?}: of {all}");
        assert!(all >= 5, "{flags:?}: {all}");
    }
}

/// A matrix whose elements have too many sizes stays as it is, with what it is joined with; all others do not.
#[test]
fn what_does_not_fit_stays_in_16_bits() {
    let case = case_folder("qwen3-tied");
    let scatter = |bytes: &mut [u8]| {
        for (i, value) in bytes.chunks_mut(2).enumerate() {
            let size = 2f32.powi(-((i * 7 % 90) as i32)) / 8.0;
            value.copy_from_slice(&(if i % 3 == 0 { size } else { -size }).to_le_bytes()[2..]);
        }
    };
    let checkpoint = forged::with_weights(&case, "model.layers.1.self_attn.v_proj.weight", scatter);
    let text = plan(&checkpoint, &["--cpu", "x86-64-v3"]);
    let (all, found) = counts(&text);
    assert_eq!(found, all - 1, "{text}");
    assert_eq!(segments(&text, "bf16").next().unwrap().matches(',').count(), 2, "{text}");

    let tokens = golden::golden("qwen3-tied").tokens;
    let answer = |cpu: &str| {
        let output = folder().join("qwen");
        let (from, to) = (checkpoint.to_str().unwrap(), output.to_str().unwrap());
        run(&mut qwenc(&["compile", from, "--quant", "bf16", "--cpu", cpu, "-o", to])).ok();
        logits(&output, &tokens, &[])
    };
    let (native, baseline) = (answer("native"), answer("x86-64"));
    let error = nmse(&native, &baseline);
    assert!(error < 1e-10, "NMSE {error:.1e}");
}
