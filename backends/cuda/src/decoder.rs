//! Decoders of operand formats in the device code.
//!
//! In: a format. Out: its device code, and the numbers by which `device/linear.cuh` steps through its panels. Invariant: a format that is not
//! listed here is refused before code is generated.

use qwenc_formats::{Inputs, Operand, PANEL_ROWS, Q4K, Q6K};

/// Decoder of an operand format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// Name of its struct in the device code.
    pub name: &'static str,
    /// Device code that it needs besides `words.cuh`, in order.
    pub sources: &'static [&'static str],
    /// Whether products are f32, without tensor cores.
    pub exact: bool,
    /// Columns of a step.
    pub step_cols: u32,
    /// Bytes of a step of one panel.
    pub step_bytes: u32,
    /// Bytes of one token's group beside its prepared integers; 0 for floats.
    pub group_bytes: u32,
    /// Bytes of a panel's scales before the integers of a unit.
    pub scale_bytes: u64,
    /// Units that share a head; none where each stands by itself.
    pub block: Option<Block>,
    /// Tiles of 8 tokens per warp in prefill; integers need registers for two planes.
    pub token_tiles: u32,
}

/// Units of a panel that share a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Number of units.
    pub units: u64,
    /// Bytes of the block.
    pub bytes: u64,
    /// Bytes before the first unit.
    pub head: u64,
}

/// Device code that all decoders share.
pub(crate) const WORDS: &str = include_str!("../device/decoders/words.cuh");
const SCALED: &str = include_str!("../device/decoders/scaled.cuh");

impl Decoder {
    /// The decoder of a format; none where the device code does not read it.
    pub fn of(format: Operand) -> Option<Decoder> {
        let ints = |name, step_bytes, sources| Decoder {
            name,
            sources,
            exact: false,
            step_cols: 32,
            step_bytes,
            group_bytes: 8,
            scale_bytes: u64::from(PANEL_ROWS) * format.scale_bytes(),
            block: None,
            token_tiles: 4,
        };
        let floats = |name, step_cols, sources| Decoder {
            step_cols,
            group_bytes: 0,
            token_tiles: 8,
            ..ints(name, 1024, sources)
        };
        match format {
            Operand::F32 => Some(Decoder {
                exact: true,
                step_bytes: 4 * PANEL_ROWS,
                ..floats("F32", 1, &[include_str!("../device/decoders/f32.cuh")])
            }),
            Operand::Bf16 => Some(floats("Bf16", 16, &[include_str!("../device/decoders/bf16.cuh")])),
            Operand::F16 | Operand::Bf12 => None,
            Operand::I8 { .. } => {
                Some(ints("Int8", 1024, &[SCALED, include_str!("../device/decoders/int8.cuh")]))
            }
            Operand::I4 { .. } => {
                Some(ints("Int4", 512, &[SCALED, include_str!("../device/decoders/int4.cuh")]))
            }
            Operand::Q4K => Some(Decoder {
                group_bytes: 12,
                scale_bytes: Q4K::OCTETS,
                block: Some(Block { units: Q4K::GROUPS, bytes: Q4K::BLOCK_BYTES, head: Q4K::GROUPS_AT }),
                ..ints("Q4K", 512, &[include_str!("../device/decoders/q4_k.cuh")])
            }),
            Operand::Q6K => Some(Decoder {
                group_bytes: 12,
                scale_bytes: Q6K::PARTS,
                block: Some(Block { units: Q6K::GROUPS, bytes: Q6K::BLOCK_BYTES, head: Q6K::GROUPS_AT }),
                ..ints("Q6K", 768, &[include_str!("../device/decoders/q6_k.cuh")])
            }),
        }
    }

    /// Planes of a linear's inputs: bf16 weights meet f32 as the sum of two bf16.
    pub fn planes(&self, inputs: Inputs) -> u32 {
        match inputs {
            Inputs::F32 if !self.exact => 2,
            Inputs::F32 | Inputs::Bf16 => 1,
            Inputs::Int8 | Inputs::Int16 => inputs.planes(),
        }
    }
}
