//! A checkpoint that is compiled straight away against the model.bin that it exports to: the same graph, the same bytes.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;
use std::path::Path;

use fixtures::gguf::{q4_0, q8_0, Q4_0, Q8_0};
use fixtures::gguf_models::{as_f16, case};
use fixtures::*;
use qwenc_ir::WeightSource;
use qwenc_models::{AdapterSource, Checkpoint, Model, Quant};

const QUANTS: [Option<Quant>; 6] = [
    None,
    Some(Quant::F32),
    Some(Quant::Bf16),
    Some(Quant::I8 { group: 32 }),
    Some(Quant::I4 { group: 32, embeddings: false }),
    Some(Quant::I4 { group: 8, embeddings: true }),
];

/// Both ways to compile what `open` opens give the same graph and weights, for every choice of formats; gives the names of
/// the formats.
fn same(open: &dyn Fn() -> Checkpoint) -> Vec<String> {
    let compared = |quant: Option<Quant>| {
        let straight = Model::of_checkpoint(open(), quant).unwrap();
        let file = Model::of_file(exported_file(&open(), quant));
        let graph = file.graph().unwrap();
        assert_eq!(straight.graph().unwrap().to_string(), graph.to_string());
        assert_eq!(straight.weight_types(), file.weight_types());
        for decl in &graph.weights {
            for layer in 0..if decl.per_layer() { graph.dims.layers } else { 1 } {
                let [a, b] = [&straight, &file].map(|model| model.tensor(decl, layer).unwrap());
                let name = decl.tensor_name(layer);
                assert_eq!((a.dtype(), a.rows(), a.cols()), (b.dtype(), b.rows(), b.cols()), "{name}");
                for row in 0..a.rows() {
                    assert!(a.row_bytes(row) == b.row_bytes(row), "{name}, row {row} in {quant:?}");
                    assert!(a.row_scales(row) == b.row_scales(row), "{name}, scales {row} in {quant:?}");
                }
            }
        }
        file.weight_types().to_string()
    };
    QUANTS.into_iter().map(compared).collect()
}

fn gguf(kind: u32, pack: &dyn Fn(&[f32]) -> Vec<u8>) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, case("llama3-rope", &|_, values| (kind, pack(values))).bytes()).unwrap();
    (folder, path)
}

fn opened(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap()
}

#[test]
fn folders_give_what_their_model_bin_gives() {
    let found = same(&|| opened(&folder("qwen3-tied")));
    assert_eq!(found[..3], ["bf16", "f32", "bf16"]);
    same(&|| opened(&folder("qwen2-bias")));
}

#[test]
fn blocks_and_reordered_rows_give_what_their_model_bin_gives() {
    for (kind, pack) in
        [(Q8_0, &(|values: &[f32]| q8_0(values)) as &dyn Fn(&[f32]) -> Vec<u8>), (Q4_0, &|v| q4_0(v))]
    {
        let (_folder, path) = gguf(kind, pack);
        same(&|| opened(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, case("qwen3-tied", &as_f16).bytes()).unwrap();
    assert_eq!(same(&|| opened(&path))[0], "f16");
}

#[test]
fn merged_adapters_give_what_their_model_bin_gives() {
    let adapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora/patterns");
    same(&|| {
        let mut checkpoint = opened(&folder("qwen3-tied"));
        checkpoint.merge(&AdapterSource { folder: adapter.clone(), scale: 0.5 }).unwrap();
        checkpoint
    });
}

/// Values that exporting refuses are refused when they are read, in the same words.
#[test]
fn values_that_are_not_finite_are_refused() {
    let (config, mut tensors) = parts("qwen3-tied");
    let name = "model.layers.1.mlp.down_proj.weight";
    let raw = tensors.get_mut(name).unwrap();
    // Infinity in bf16, in the second row.
    let at = 2 * raw.shape[1];
    raw.data[at..at + 2].copy_from_slice(&[0x80, 0x7f]);
    let folder = write_checkpoint(&config, &tensors);
    for quant in QUANTS {
        let out = folder.path().join("model.bin");
        let refused = qwenc_models::export(&opened(folder.path()), &out, quant, &mut |_, _| {}).unwrap_err();
        let model = Model::of_checkpoint(opened(folder.path()), quant).unwrap();
        let graph = model.graph().unwrap();
        let decl = graph.weights.iter().find(|w| w.tensor_name(1) == name).unwrap();
        assert_eq!(model.tensor(decl, 1).err().unwrap().to_string(), refused.to_string());
        assert!(refused.to_string().contains("found inf in row 1;"), "{refused}");
        assert!(model.tensor(decl, 0).is_ok());
    }
}
