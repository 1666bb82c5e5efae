//! Adapters kept beside the weights against goldens made with numpy, and names that must be refused.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::Path;

use fixtures::*;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::verify;
use qwenc_models::{AdapterSource, Checkpoint, Model, Quant};
use safetensors::SafeTensors;

const NAMES: [&str; 3] = ["plain", "patterns", "swapped"];

fn source(name: &str) -> AdapterSource {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora").join(name);
    AdapterSource { folder, scale: 1.0 }
}

fn base() -> Model {
    Model::of_file(exported_file(&Checkpoint::open(&folder("qwen3-tied")).unwrap(), Some(Quant::F32)))
}

fn words(name: &str) -> Vec<[u8; 4]> {
    let bytes = std::fs::read(source("golden.safetensors").folder).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(name).unwrap().data().chunks_exact(4).map(|b| b.try_into().unwrap()).collect()
}

#[test]
fn each_adapter_of_several_says_what_numpy_says() {
    let tokens: Vec<u32> = words("tokens").into_iter().map(u32::from_le_bytes).collect();
    let named: Vec<(String, AdapterSource)> = NAMES.iter().map(|n| (n.to_string(), source(n))).collect();
    let (file, reports) = base().with_adapters(&named).unwrap();
    assert_eq!((file.adapters(), reports.len()), (NAMES.to_vec(), 3));
    let graph = verify(file.graph().unwrap()).unwrap();
    let logits = |adapter: Option<u32>| {
        let interpreter = Interpreter::new(&graph, &file, Precision::F32);
        let mut interpreter = match adapter {
            Some(n) => interpreter.with_adapter(n),
            None => interpreter,
        };
        interpreter.step(&tokens, &mut |_, _| {}).unwrap().data
    };
    let plain = base();
    let unadapted = run(plain.graph().unwrap(), &plain, Precision::F32, &tokens)["logits"].data.clone();
    assert!(logits(None) == unadapted, "no adapter is the model itself");
    for (number, name) in (0..).zip(NAMES) {
        let expected: Vec<f32> = words(name).into_iter().map(f32::from_le_bytes).collect();
        let error = relative(&logits(Some(number)), &expected).powi(2);
        println!("{name}: {error:.1e}");
        assert!(error <= 1e-11, "{name}: {error:e}");
    }
}

#[test]
fn names_are_of_one_adapter_each() {
    for names in [&["a", "a"][..], &[""]] {
        let named: Vec<_> = names.iter().map(|n| (n.to_string(), source("plain"))).collect();
        let said = base().with_adapters(&named).err().unwrap().to_string();
        let expected = format!("adapter {:?}: expected a name that no other adapter has", names[0]);
        assert!(said.starts_with(&expected), "{said}");
    }
    let many: Vec<_> = (0..65).map(|i| (i.to_string(), source("plain"))).collect();
    let said = base().with_adapters(&many).err().unwrap().to_string();
    assert!(said.contains("expected at most 64 adapters, found 65"), "{said}");
    assert!(base().with_adapters(&[]).unwrap().0.adapters().is_empty());
}
