//! `qwenc verify`: a table of checks for a good model; every kind of damage is found by the check that is meant for it;
//! beside the checkpoint, every tensor is as its type allows.

use std::path::{Path, PathBuf};

use qwenc_tests::data::root;
use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::variants::{folder, input};
use qwenc_tests::{data, forged};
use serde_json::json;

use crate::fixtures::gguf_models::{as_bf16, as_f32, case};
use crate::formats::written as written_gguf;
use crate::shown::stable;

fn verify(args: &[&str]) -> Outcome {
    run(&mut qwenc(&[&["verify"], args].concat()))
}

fn exported(model: &str, quant: &str) -> PathBuf {
    let path = folder().join("model.bin");
    let quant: Vec<&str> = quant.split(' ').collect();
    let args = ["export", &input(model), "-o", path.to_str().unwrap(), "--quant"];
    run(&mut qwenc(&[&args[..], &quant[..]].concat())).ok();
    path
}

fn written(bytes: &[u8]) -> PathBuf {
    let path = folder().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_good_model_passes_every_check() {
    let path = exported("sample", "int8");
    let text = stable(&verify(&[path.to_str().unwrap()]).ok());
    insta::assert_snapshot!(text);
    assert!(verify(&["sample"]).ok().ends_with("sample: everything checked is right\n"));
    let stories = root().join("models/tests/data/stories260k/stories260K.bin");
    assert!(verify(&[stories.to_str().unwrap()]).ok().contains("llama, 5 layers of 64"));
}

/// The checks that complain, and what is said: exit code 1.
fn complaints(path: &Path) -> String {
    let found = verify(&[path.to_str().unwrap()]);
    let table = stable(&found.out);
    found.refused(1);
    let lines = table.lines().filter(|l| l.ends_with("WRONG") || l.starts_with("    "));
    lines.map(|l| format!("{l}\n")).collect()
}

/// One line of complaint for each kind of damage, in a folder and in a model.bin.
#[test]
fn every_kind_of_damage_is_found_by_its_check() {
    let tied = data::folder("qwen3-tied");
    let good = std::fs::read(exported("qwen3-tied", "int8")).unwrap();
    let (norm, up) = ("model.norm.weight", "model.layers.1.mlp.up_proj.weight");
    let fill = |value: f32| {
        move |bytes: &mut [u8]| {
            bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&value.to_le_bytes()))
        }
    };
    let ids = forged::copy(&tied);
    let vocabulary = json!({"model": {"type": "BPE", "vocab": {"a": 0, "b": 400}, "merges": []}});
    std::fs::write(ids.join("tokenizer.json"), vocabulary.to_string()).unwrap();
    let damaged = [
        ("a bit flipped", written(&forged::with_bytes(&good, good.len() / 2, &[0x55]))),
        ("cut short", written(&good[..good.len() - 100])),
        (
            "a tensor renamed",
            written(&forged::with_image_header(&good, |h| {
                let entry = h.as_object_mut().unwrap().remove(norm).unwrap();
                h["model.norm.weigth"] = entry;
            })),
        ),
        (
            "axes exchanged",
            written(&forged::with_image_header(&good, |h| {
                h[up]["shape"].as_array_mut().unwrap().reverse();
            })),
        ),
        ("another type", written(&forged::with_image_header(&good, |h| h[up]["dtype"] = json!("U8")))),
        (
            "NaN among the weights",
            forged::with_weights(&tied, up, |b| b[20..22].copy_from_slice(&0x7fc0u16.to_le_bytes())),
        ),
        ("a norm far too large", written(&forged::with_tensor(&good, norm, fill(1e30)))),
        ("a norm of zeros", written(&forged::with_tensor(&good, norm, fill(0.0)))),
        (
            "an infinite scale",
            written(&forged::with_tensor(&good, &format!("{up}.scales"), fill(f32::INFINITY))),
        ),
        ("scales far too large", written(&forged::with_tensor(&good, &format!("{up}.scales"), fill(1e9)))),
        ("a head that is not the embedding", with_another_head(&tied)),
        ("ids past the embedding", ids),
    ];
    let shown = damaged.map(|(name, path)| format!("{name}\n{}", complaints(&path)));
    insta::assert_snapshot!(shown.concat());
}

/// The tied case with a stored head that differs from the embedding in one value.
fn with_another_head(tied: &Path) -> PathBuf {
    let to = forged::copy(tied);
    let weights = to.join("model.safetensors");
    let image = std::fs::read(&weights).unwrap();
    let length = u64::from_le_bytes(image[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&image[8..8 + length]).unwrap();
    let data = &image[8 + length..];
    let embedding = header["model.embed_tokens.weight"].clone();
    let offset = |i: usize| embedding["data_offsets"][i].as_u64().unwrap() as usize;
    let mut head = data[offset(0)..offset(1)].to_vec();
    head[7] ^= 0x01;
    let mut entry = embedding.clone();
    entry["data_offsets"] = json!([data.len(), data.len() + head.len()]);
    header["lm_head.weight"] = entry;
    let text = header.to_string();
    let parts = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data, &head];
    std::fs::write(&weights, parts.concat()).unwrap();
    to
}

/// The type of linears, as the table shows it.
fn words(quant: &str) -> &str {
    match quant {
        "int8" => " int8 in groups of 64 ",
        "int8 --group-size 7" => " int8 in groups of 7 ",
        "int4 --group-size 64" => " int4 in groups of 64 ",
        int4 if int4.starts_with("int4") => " int4 in groups of 32 ",
        float => float,
    }
}

#[test]
fn every_weight_type_is_as_far_from_the_checkpoint_as_it_may_be() {
    for (case, quants) in [
        (
            "qwen3-tied",
            &["f32", "bf16", "int8", "int4", "int4 --quant-embeddings", "int8 --group-size 7"][..],
        ),
        ("qwen2-bias", &["f32", "int8", "int4"]),
        ("llama3-rope", &["bf16", "int4 --group-size 64"]),
        ("sample", &["int8", "int4"]),
    ] {
        for quant in quants {
            let path = exported(case, quant);
            let said = verify(&[path.to_str().unwrap(), "--against", &input(case)]).ok();
            let down = said.lines().find(|l| l.contains("model.layers.1.mlp.down_proj.weight"));
            assert!(down.is_some_and(|line| line.contains(words(quant))), "{said}");
            assert!(said.ends_with("everything checked is right\n"), "{case} {quant}: {said}");
        }
    }
}

/// Layers of different types, each beside its own tensor of the checkpoint.
#[test]
fn layers_that_differ_in_their_types_are_compared() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let mixed = written_gguf(&case("qwen3-tied", &|tensor, values| match tensor == name {
        true => as_f32(tensor, values),
        false => as_bf16(tensor, values),
    }));
    let path = folder().join("model.bin");
    let paths = [&mixed, &path].map(|path| path.to_str().unwrap());
    run(&mut qwenc(&["export", paths[0], "-o", paths[1]])).ok();
    let said = verify(&[paths[1], "--against", paths[0]]).ok();
    let typed = |name: &str, dtype: &str| {
        let line = said.lines().find(|l| l.trim_start().starts_with(name));
        assert!(line.is_some_and(|line| line.contains(&format!(" {dtype} "))), "{said}");
    };
    typed(name, "f32");
    typed("model.layers.0.mlp.up_proj.weight", "bf16");
    assert!(said.ends_with("everything checked is right\n"), "{said}");
}

/// A single value that is off is found, and its tensor named; so is another model's checkpoint.
#[test]
fn a_changed_tensor_is_named() {
    let name = "model.layers.1.self_attn.o_proj.weight";
    for quant in ["f32", "int8"] {
        let good = std::fs::read(exported("qwen3-tied", quant)).unwrap();
        // The top of an exponent, or 64 steps.
        let path = written(&forged::with_tensor(&good, name, |b| b[43] ^= 0x40));
        let found = verify(&[path.to_str().unwrap(), "--against", &input("qwen3-tied")]);
        let wrong: Vec<&str> = found.out.lines().filter(|l| l.contains("WRONG")).collect();
        assert!(wrong.len() == 1 && wrong[0].trim_start().starts_with(name), "{quant}: {wrong:?}");
        assert!(found.refused(1).contains("expected no problems, found 1"));
    }
    let other = exported("qwen3-untied-mha", "bf16");
    let found = verify(&[other.to_str().unwrap(), "--against", &input("qwen3-tied")]);
    assert!(found.out.contains("tied head: WRONG  found false, the checkpoint has true"), "{}", found.out);
    found.refused(1);
    let (merged, lora) = (folder().join("model.bin"), root().join("models/tests/data/lora/plain"));
    let (merged, lora) = (merged.to_str().unwrap(), lora.to_str().unwrap());
    run(&mut qwenc(&["export", &input("qwen3-tied"), "-o", merged, "--lora", lora])).ok();
    let found = verify(&[merged, "--against", &input("qwen3-tied")]);
    assert!(found.out.contains("adapters were merged into this model"), "{}", found.out);
    found.refused(1);
    let nowhere = verify(&[other.to_str().unwrap(), "--against", "nowhere"]);
    assert!(nowhere.out.contains("not compared with nowhere"), "{}", nowhere.out);
    nowhere.refused(1);
    assert!(verify(&["nowhere"]).refused(1).contains("nowhere"));
}
