//! Weights into the order in which kernels read them.
//!
//! In: a checked plan and a source of tensors. Out: the packed image, written front to back exactly
//! once. Invariant: exactly `weights_bytes` bytes are written, the same for the same input.

use std::io::{self, Write};

use qwenc_formats::{Misfit, Operand, Tensor, WeightError};
use qwenc_ir::{Checked, WeightSource};

use crate::dictionaries::Dictionaries;
use crate::panels::{each_panel, load, load_parts};
use crate::plan::Plan;
use crate::segment::{Home, Layout, Segment};

/// Why packing failed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A tensor could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A panel that does not fit its format: the plan is not one for these weights.
    #[error("tensor {name}: {exceptions} of a panel's elements do not fit {format}; plan it as {}", format.source())]
    Misfit {
        /// The tensor, or the first of those that are joined.
        name: String,
        /// Operand format of the segment.
        format: Operand,
        /// Number of elements that cannot be represented.
        exceptions: u64,
    },
    /// The image could not be written.
    #[error("writing the packed weights: {0}")]
    Io(#[from] io::Error),
}

/// Writes the image; `progress` is told bytes written so far. Dictionaries that were not made before are made here.
pub fn pack(
    plan: &Checked<Plan>,
    (source, dictionaries): (&dyn WeightSource, &Dictionaries),
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PackError> {
    let mut image = Image { out, at: 0, progress };
    for s in plan.segments.iter().filter(|s| s.home == Home::Model) {
        image.pad_to(s.offset)?;
        pack_segment(plan, (s, 0), (source, dictionaries), &mut image)?;
    }
    for ((layer, base), group) in (0..).zip(plan.layer_offsets()).zip(plan.layer_groups()) {
        for s in plan.segments.iter().filter(|s| s.home == Home::Layers(group)) {
            image.pad_to(base + s.offset)?;
            pack_segment(plan, (s, layer), (source, dictionaries), &mut image)?;
        }
    }
    image.pad_to(plan.weights_bytes)?;
    Ok(())
}

struct Image<'a> {
    out: &'a mut dyn Write,
    at: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Image<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        (self.progress)(self.at);
        Ok(())
    }

    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        while self.at < offset {
            let n = (offset - self.at).min(ZEROS.len() as u64) as usize;
            self.write(&ZEROS[..n])?;
        }
        Ok(())
    }
}

fn pack_segment(
    plan: &Plan,
    (s, layer): (&Segment, u32),
    (source, dictionaries): (&dyn WeightSource, &Dictionaries),
    image: &mut Image,
) -> Result<(), PackError> {
    let parts = load_parts(plan, s, layer, source)?;
    if s.layout == Layout::Vector {
        let mut values: Vec<f32> = parts.iter().flat_map(Tensor::to_f32).collect();
        values.resize((s.bytes() / 4) as usize, 0.0);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        return Ok(image.write(&bytes)?);
    }
    let gain = s.gain.map(|g| load(plan, source, g, layer)).transpose()?.map(|g| g.to_f32());
    let mut known = dictionaries.of(s, layer).iter();
    let mut bytes = Vec::new();
    each_panel(s, &parts, gain.as_deref(), |span, panel| {
        let made = known.next().map_or_else(|| s.format.dictionary(&panel), |known| Ok(*known));
        let dictionary = made.map_err(|Misfit { exceptions }| {
            let name = plan.weights[s.parts[0].0 as usize].tensor_name(layer);
            PackError::Misfit { name, format: s.format, exceptions }
        })?;
        bytes.resize(span.panel_bytes as usize, 0);
        s.format.pack(&panel, &dictionary, &mut bytes);
        Ok(image.write(&bytes)?)
    })
}
