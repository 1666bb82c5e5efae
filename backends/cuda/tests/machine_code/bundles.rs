//! Bundles as the runtime reads them.

use qwenc_abi::{CudaArena, CudaModel, CudaModule, Hidden, ABI_VERSION};
use qwenc_cuda::{bundle, Compiled, Form};

fn model() -> CudaModel {
    CudaModel {
        abi_version: ABI_VERSION,
        vocab_rows: 61,
        logits_stride: 64,
        layers: 3,
        layer_groups: vec![0; 3],
        max_context: 128,
        kv_heads: 1,
        kv_head_dim: 8,
        weights_bytes: 4096,
        kv_bytes_per_position: [64, 32, 24],
        kv_positions: 64,
        arena: CudaArena { fixed: 256, per_row: 512, row_tile: 16, per_position: 4 },
        hidden: Hidden { offset: 128, row_bytes: 256, width: 64, gain: u64::MAX },
        counters: 8,
        variants: Vec::new(),
        persistent: None,
        probes: None,
        modules: vec![CudaModule { sm: 1, ptx: false, offset: 7, bytes: 9 }],
    }
}

#[test]
fn a_bundle_reads_back() {
    let code = [
        Compiled { sm: 90, form: Form::Cubin, bytes: vec![1; 100] },
        Compiled { sm: 100, form: Form::Cubin, bytes: vec![2; 64] },
        Compiled { sm: 100, form: Form::Ptx, bytes: b"// PTX\0".to_vec() },
    ];
    let made = bundle(&model(), &code);
    assert_eq!(made, bundle(&model(), &code));
    assert_ne!(made.code_id, bundle(&model(), &code[..2]).code_id);
    let (length, rest) = made.bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (json, machine_code) = rest.split_at(length);
    let read: CudaModel = serde_json::from_slice(json).unwrap();
    let modules = read.modules.clone();
    assert_eq!(read, CudaModel { modules: modules.clone(), ..model() });
    let places: Vec<_> = modules.iter().map(|m| (m.sm, m.ptx, m.offset, m.bytes)).collect();
    assert_eq!(places, [(90, false, 0, 100), (100, false, 128, 64), (100, true, 192, 7)]);
    assert_eq!((8 + length) % 64, 0, "machine code is aligned in the bundle");
    for (module, piece) in modules.iter().zip(&code) {
        let (from, bytes) = (module.offset as usize, module.bytes as usize);
        assert_eq!(machine_code[from..from + bytes], piece.bytes);
    }
    assert_eq!(machine_code.len(), 199);
}
