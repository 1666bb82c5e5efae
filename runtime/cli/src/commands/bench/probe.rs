//! Limits of the machine that the model runs on, measured.
//!
//! In: an engine. Out: its bandwidth, and its peaks of products where they can be measured. Invariant: threads are
//! measured on as many threads as the model runs on and in the same places, a GPU by copies on itself.

use std::time::Duration;

use qwenc_engine::cpu;
use qwenc_engine::error::Result;
use qwenc_engine::inference::cuda::bandwidth::CopyBandwidth;
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::machine::bandwidth::{buffer_bytes, Bandwidth};
use qwenc_engine::machine::dot::{self, Operands};
use qwenc_engine::program::{Code, Program};
use qwenc_engine::threads::cores::Placement;

/// Time for which the products of each type run in a round.
const DOT_TIME: Duration = Duration::from_millis(50);

/// Processor that runs the model.
pub(super) enum Place {
    Cpu {
        threads: usize,
        isa: String,
    },
    Gpu {
        name: String,
        /// Compute capability, 10 times.
        sm: u32,
        /// Bytes of its memory that are taken.
        memory: u64,
    },
}

impl Place {
    pub(super) fn of(program: &Program, engine: &Engine) -> Place {
        if let Some(gpu) = engine.gpu() {
            let device = gpu.context().device();
            return Place::Gpu { name: device.name.clone(), sm: device.sm, memory: gpu.need().total() };
        }
        let isa = match program.code {
            Code::Cpu(model) => cpu::wanted(model).join(", "),
            Code::Cuda(_) => String::new(),
        };
        Place::Cpu { threads: engine.placement().map_or(1, Placement::threads), isa }
    }

    /// Whether products are measured there.
    pub(super) fn is_cpu(&self) -> bool {
        matches!(self, Place::Cpu { .. })
    }
}

/// Limits of the machine, measured in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bandwidth of reading memory, GB/s; on a GPU of copies, read and written bytes together.
    pub(super) read_gb_s: f64,
    /// Peak of products of int8; `None` where the machine has no instruction of its own for them, and on a
    /// GPU.
    pub(super) int8_tops: Option<f64>,
    pub(super) bf16_tops: Option<f64>,
    pub(super) f32_tops: Option<f64>,
}

/// Probe of the machine's limits.
pub(super) enum Probe {
    Cpu(Bandwidth, Placement),
    Gpu(CopyBandwidth),
}

impl Probe {
    pub(super) fn new(engine: &Engine) -> Result<Probe> {
        if let Some(gpu) = engine.gpu() {
            return Ok(Probe::Gpu(CopyBandwidth::new(gpu.context())?));
        }
        let placement = engine.placement().cloned().unwrap_or_else(|| Placement::from(1));
        Ok(Probe::Cpu(Bandwidth::new(buffer_bytes(), &placement)?, placement))
    }

    pub(super) fn measure(&self) -> Result<Limits> {
        match self {
            Probe::Cpu(bandwidth, threads) => Ok(Limits {
                read_gb_s: bandwidth.measure()?,
                int8_tops: dot::measure(Operands::Int8, threads, DOT_TIME)?,
                bf16_tops: dot::measure(Operands::Bf16, threads, DOT_TIME)?,
                f32_tops: dot::measure(Operands::F32, threads, DOT_TIME)?,
            }),
            Probe::Gpu(copies) => {
                Ok(Limits { read_gb_s: copies.measure()?, int8_tops: None, bf16_tops: None, f32_tops: None })
            }
        }
    }
}
