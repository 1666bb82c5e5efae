//! The mock as an executable for threads and as one for GPUs, with the same weights.

use qwenc_abi::{
    Blocks, CudaArena, CudaLaunch, CudaModel, CudaModule, CudaVariant, Hidden, ModelInfo, Of, ABI_VERSION,
};
use qwenc_rt::inference::cuda::bundle::Bundle;
use qwenc_rt::program::Code;
use sha2::{Digest, Sha256};

use crate::mock::{metadata, model, tokenizer, Executable, Outcome, CONTEXT, KV_BYTES, ROWS};

const PTX: &str = ".version 8.0\n.target sm_90\n.address_size 64\n";

/// Something that looks like machine code for an architecture.
pub fn cubin(sm: u8) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..4].copy_from_slice(b"\x7fELF");
    // EM_CUDA, and flags that name the architecture.
    elf[18] = 190;
    elf[48] = sm;
    elf
}

/// Launches of the kernels of kernels.cu.
pub fn launches() -> CudaModel {
    let blocks = |of, tile| Blocks { times: 1, of, tile };
    let one = blocks(Of::One, 1);
    let launch = |kernel: &str, x| CudaLaunch {
        kernel: kernel.into(),
        grid: [x, one, one],
        threads: 32,
        shared_bytes: 0,
        in_turn: false,
        waits: true,
    };
    let never = Blocks { times: 0, of: Of::Rows, tile: 1 };
    let variant = |max_rows, spread| CudaVariant {
        max_rows,
        prologue: vec![launch("begin", blocks(Of::Rows, 1))],
        blocks: vec![vec![launch("spread", spread), launch("layer", one)]],
        // More than a kernel may have without asking.
        head: vec![CudaLaunch { shared_bytes: 64 << 10, ..launch("head", blocks(Of::Outputs, 1)) }],
    };
    CudaModel {
        abi_version: ABI_VERSION,
        vocab_rows: ROWS as u32,
        logits_stride: ROWS as u32,
        layers: 2,
        layer_groups: vec![0, 0],
        max_context: CONTEXT,
        kv_heads: 1,
        kv_head_dim: 4,
        weights_bytes: 4 * ROWS as u64,
        kv_bytes_per_position: KV_BYTES,
        kv_positions: 64,
        arena: CudaArena { fixed: 16, per_row: 8, row_tile: 8, per_position: 0 },
        hidden: Hidden { offset: 0, row_bytes: 8, width: 2, gain: u64::MAX },
        counters: 1,
        variants: vec![variant(1, never), variant(u32::MAX, blocks(Of::Rows, 8))],
        persistent: None,
        probes: None,
        modules: Vec::new(),
    }
}

/// The same with another kernel as the head.
pub fn with_head(kernel: &str) -> CudaModel {
    let mut model = launches();
    model.variants.iter_mut().for_each(|v| v.head[0].kernel = kernel.into());
    model
}

/// A bundle with code for sm_80, sm_90 and PTX for sm_90.
pub fn bundle(model: CudaModel) -> Vec<u8> {
    bundle_of(model, &[(80, false, cubin(80)), (90, false, cubin(90)), (90, true, PTX.into())])
}

pub fn bundle_of(mut model: CudaModel, modules: &[(u32, bool, Vec<u8>)]) -> Vec<u8> {
    let mut code = Vec::new();
    for (sm, ptx, bytes) in modules {
        let (offset, length) = (code.len() as u64, bytes.len() as u64);
        model.modules.push(CudaModule { sm: *sm, ptx: *ptx, offset, bytes: length });
        code.extend(bytes);
    }
    let json = serde_json::to_vec(&model).unwrap();
    [&(json.len() as u64).to_le_bytes()[..], &json, &code].concat()
}

/// The same model twice.
pub struct Both {
    pub executable: Executable,
    pub bundle: Vec<u8>,
}

impl Both {
    /// `table` says what follows what.
    pub fn new(table: &[u32]) -> Both {
        Both::of(table, bundle(launches()))
    }

    pub fn of(table: &[u32], bundle: Vec<u8>) -> Both {
        let (id, tokenizer) = (Sha256::digest(&bundle).into(), tokenizer("nano"));
        Both { executable: Executable::of_code(id, model(), table, &tokenizer, &metadata()), bundle }
    }

    /// The model of `new` but for `far_head`: three tables 20 MiB from each other, and `table` their sum.
    pub fn far(table: &[u32]) -> Both {
        let far = 5 << 20;
        let filler = |i: u32| i.wrapping_mul(0x9e37_79b9) >> 3;
        let mut words: Vec<u32> = (0..2 * far as u32 + ROWS as u32).map(filler).collect();
        for (i, next) in table.iter().enumerate() {
            words[2 * far + i] = next.wrapping_sub(words[i]).wrapping_sub(words[far + i]);
        }
        let bytes = 4 * words.len() as u64;
        let bundle = bundle(CudaModel { weights_bytes: bytes, ..with_head("far_head") });
        let (id, tokenizer) = (Sha256::digest(&bundle).into(), tokenizer("nano"));
        let model = ModelInfo { weights_bytes: bytes, ..model() };
        Both { executable: Executable::of_code(id, model, &words, &tokenizer, &metadata()), bundle }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.executable.folder.path()
    }

    pub fn cpu(&self, args: &[&str]) -> Outcome {
        self.cpu_with(args, "")
    }

    pub fn cpu_with(&self, args: &[&str], input: &str) -> Outcome {
        self.executable.run_with(args, input)
    }

    pub fn gpu(&self, args: &[&str]) -> Outcome {
        self.gpu_with(args, "")
    }

    pub fn gpu_with(&self, args: &[&str], input: &str) -> Outcome {
        let bundle = Bundle::parse(&self.bundle).unwrap();
        self.executable.run_as(Code::Cuda(&bundle), args, input)
    }
}
