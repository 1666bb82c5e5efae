//! The model's description and machine code in one piece, as `qwenc_abi` lays it out.
//!
//! In: a [`CudaModel`] and what was compiled for it. Out: a [`Bundle`]. Invariant: every piece of machine code
//! starts at a multiple of [`ALIGNMENT`] bytes of the bundle.

use qwenc_abi::{CudaModel, CudaModule};
use sha2::{Digest, Sha256};

use crate::nvrtc::{Compiled, Form};

/// Alignment of modules, in bytes; more than readers of ELF files expect.
const ALIGNMENT: usize = 64;
/// Bytes of the length before the JSON.
const LENGTH: usize = 8;

/// All that an executable has of the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// `[u64 length of the JSON][JSON of the model][machine code]`.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`.
    pub code_id: [u8; 32],
}

/// Puts `code` behind the description of `model`, whose modules it replaces.
pub fn bundle(model: &CudaModel, code: &[Compiled]) -> Bundle {
    let mut machine_code = Vec::new();
    let mut modules = Vec::new();
    for piece in code {
        machine_code.resize(machine_code.len().next_multiple_of(ALIGNMENT), 0);
        modules.push(CudaModule {
            sm: piece.sm,
            ptx: piece.form == Form::Ptx,
            offset: machine_code.len() as u64,
            bytes: piece.bytes.len() as u64,
        });
        machine_code.extend_from_slice(&piece.bytes);
    }
    let model = CudaModel { modules, ..model.clone() };
    // The struct has no maps and no floats, so nothing in it has no JSON.
    let mut json = serde_json::to_vec(&model).expect("a struct of numbers, names and lists is JSON");
    // Spaces after the JSON are JSON.
    json.resize((LENGTH + json.len()).next_multiple_of(ALIGNMENT) - LENGTH, b' ');
    let bytes = [&(json.len() as u64).to_le_bytes()[..], &json, &machine_code].concat();
    let code_id = Sha256::digest(&bytes).into();
    Bundle { bytes, code_id }
}
