//! A model for unit tests of what needs no device. In: nothing. Out: sizes and launches that are consistent.
//! Invariant: small, and no two sizes are the same by chance.

use qwenc_abi::{Blocks, CudaArena, CudaLaunch, CudaModel, CudaModule, CudaVariant, Hidden, Of, ABI_VERSION};

/// A model of one kernel, `all`, with code for sm_80, sm_90 and PTX.
pub(super) fn model() -> CudaModel {
    let one = Blocks { times: 1, of: Of::One, tile: 1 };
    let rows = Blocks { times: 3, of: Of::Rows, tile: 8 };
    let launch = CudaLaunch {
        kernel: "all".into(),
        grid: [rows, one, one],
        threads: 32,
        shared_bytes: 0,
        in_turn: false,
        waits: true,
    };
    let part = || vec![launch.clone()];
    let variant = |max_rows| CudaVariant { max_rows, prologue: part(), blocks: vec![part()], head: part() };
    let module = |sm, ptx, offset| CudaModule { sm, ptx, offset, bytes: 4 };
    CudaModel {
        abi_version: ABI_VERSION,
        vocab_rows: 20,
        logits_stride: 32,
        layers: 2,
        layer_groups: vec![0, 0],
        max_context: 300,
        kv_heads: 1,
        kv_head_dim: 4,
        weights_bytes: 80,
        kv_bytes_per_position: [64, 32, 24],
        kv_positions: 64,
        arena: CudaArena { fixed: 100, per_row: 10, row_tile: 8, per_position: 3 },
        hidden: Hidden { offset: 2, row_bytes: 8, width: 2, gain: 16 },
        counters: 4,
        variants: vec![variant(8), variant(u32::MAX)],
        persistent: None,
        probes: None,
        modules: vec![module(80, false, 0), module(90, false, 4), module(90, true, 8)],
    }
}
