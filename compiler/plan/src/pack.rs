//! Weights into the order in which kernels read them.
//!
//! In: a checked plan and a source of tensors. Out: the packed image, written front to back exactly
//! once. Invariant: exactly `weights_bytes` bytes are written, the same for the same input.

use std::io::{self, Write};

use qwenc_formats::{Misfit, Operand, Panel, PanelRow, Tensor, WeightError};
use qwenc_ir::{Checked, WeightId, WeightSource};

use crate::dictionaries::Dictionaries;
use crate::plan::Plan;
use crate::segment::{Home, Layout, Segment};
use crate::spans::Span;

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

fn load<'a>(
    plan: &Plan,
    source: &'a dyn WeightSource,
    id: WeightId,
    layer: u32,
) -> Result<Tensor<'a>, WeightError> {
    let decl = &plan.weights[id.0 as usize];
    let tensor = source.tensor(decl, layer)?;
    let (rows, cols) = match decl.shape.as_slice() {
        [n] => (1, *n as usize),
        [r, c] => (*r as usize, *c as usize),
        _ => (0, 0),
    };
    if tensor.rows() != rows || tensor.cols() != cols {
        return Err(WeightError::Mismatch {
            name: decl.tensor_name(layer),
            expected: format!("{:?}", decl.shape),
            found: format!("[{}, {}]", tensor.rows(), tensor.cols()),
        });
    }
    Ok(tensor)
}

/// A segment's tensors; those of a matrix have the declared types.
pub(crate) fn load_parts<'a>(
    plan: &Plan,
    s: &Segment,
    layer: u32,
    source: &'a dyn WeightSource,
) -> Result<Vec<Tensor<'a>>, WeightError> {
    let part = |&id: &WeightId| {
        let part = load(plan, source, id, layer)?;
        let decl = &plan.weights[id.0 as usize];
        if s.layout != Layout::Vector && part.dtype() != decl.dtype {
            let (expected, found) = (decl.dtype.words(), part.dtype().words());
            return Err(WeightError::Mismatch { name: decl.tensor_name(layer), expected, found });
        }
        Ok(part)
    };
    s.parts.iter().map(part).collect()
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

/// `body(span, panel)` for all panels in their order in the image, until one fails.
pub(crate) fn each_panel<E>(
    s: &Segment,
    parts: &[Tensor],
    gain: Option<&[f32]>,
    mut body: impl FnMut(&Span, Panel) -> Result<(), E>,
) -> Result<(), E> {
    let cut = |span: &Span| parts.iter().map(|part| part.columns(span.columns.clone())).collect();
    let (spans, strip) = (s.spans(), s.strip());
    let of_spans: Vec<Vec<Tensor>> = if s.spans > 1 { spans.iter().map(cut).collect() } else { Vec::new() };
    for first in (0..s.panels()).step_by(strip as usize) {
        for (i, span) in spans.iter().enumerate() {
            let parts = of_spans.get(i).map_or(parts, |parts| parts);
            for number in first..first + strip {
                body(span, panel(s, number, parts, (span.columns.len() as u32, gain)))?;
            }
        }
    }
    Ok(())
}

/// Panel `number` of a segment or of one of its spans, which has `cols` columns.
fn panel<'a>(
    s: &Segment,
    number: u32,
    parts: &'a [Tensor<'a>],
    (cols, gain): (u32, Option<&'a [f32]>),
) -> Panel<'a> {
    let part_rows: Vec<u32> = parts.iter().map(|p| p.rows() as u32).collect();
    let row = |lane: usize| {
        let (part, row) = s.source_row(number, lane as u32, &part_rows)?;
        let first = match s.layout {
            Layout::Diagonal => parts[..part].iter().map(Tensor::cols).sum(),
            Layout::Vector | Layout::Panels | Layout::PairedPanels => 0,
        };
        Some(PanelRow { tensor: &parts[part], row: row as usize, first })
    };
    Panel { rows: std::array::from_fn(row), cols, gain }
}
