//! Decoders of operand formats: one file each.
//!
//! In: a format. Out: how kernels read its panels. Invariant: this list alone says what kernels read; everything else asks
//! a decoder, so that a format is a file and a line here.

mod bf12;
mod bf16;
mod f16;
mod f32;
mod floats;
mod int4;
mod int8;
mod integers;
mod q4_k;
mod q6_k;
mod rows;

use qwenc_formats::{InputLayout, Operand};

use crate::builder::{Code, Int, Ptr};
use crate::cpu::Cpu;

pub(crate) use bf12::Exceptions;
pub(crate) use floats::{Compressed, FloatDecoder};
pub(crate) use integers::{GroupPlace, IntDecoder};
pub(crate) use rows::PanelRows;

/// Decoder of an operand format.
pub(crate) enum Decoder {
    /// Weights as f32, multiplied in f32 or bf16.
    Float(Box<dyn FloatDecoder>),
    /// Weights as unsigned bytes with scales, multiplied with signed bytes.
    Int(Box<dyn IntDecoder>),
}

impl Decoder {
    /// The decoder of a format.
    pub fn of(format: Operand) -> Decoder {
        match format {
            Operand::F32 => Decoder::Float(Box::new(f32::F32)),
            Operand::F16 => Decoder::Float(Box::new(f16::F16)),
            Operand::Bf16 => Decoder::Float(Box::new(bf16::Bf16)),
            Operand::Bf12 => Decoder::Float(Box::new(bf12::Compressed16)),
            Operand::I8 { group, scales } => Decoder::Int(Box::new(int8::Int8 { format, group, scales })),
            Operand::I4 { group, scales } => Decoder::Int(Box::new(int4::Int4 { format, group, scales })),
            Operand::Q4K => Decoder::Int(Box::new(q4_k::Q4k)),
            Operand::Q6K => Decoder::Int(Box::new(q6_k::Q6k)),
        }
    }

    /// Whether kernels for this CPU can use it.
    pub fn runs_on(&self, cpu: &Cpu) -> bool {
        match self {
            Decoder::Float(float) => float.runs_on(cpu),
            Decoder::Int(_) => true,
        }
    }

    /// Writes row `lane` of a panel to `out`: `cols` floats.
    pub fn gather<'c>(&self, c: &Code<'c, '_>, cols: u32, (panel, lane): (Ptr<'c>, Int<'c>), out: Ptr<'c>) {
        match self {
            Decoder::Float(float) => float.gather(c, cols, (panel, lane), out),
            Decoder::Int(int) => integers::gather(c, &**int, cols, (panel, lane), out),
        }
    }
}

/// Layout of the prepared inputs of a format of integers.
fn layout_of(format: Operand) -> InputLayout {
    // The registry gives one to every format of integers.
    format.input_layout().expect("a format of integers has a layout of inputs")
}
