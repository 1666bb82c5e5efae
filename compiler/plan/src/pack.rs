//! Weights into the order in which kernels read them.
//!
//! In: a checked plan and a source of tensors. Out: the packed image, written front to back exactly
//! once. Invariant: exactly `weights_bytes` bytes are written, the same for the same input.

use std::collections::BTreeSet;
use std::io::{self, Write};

use qwenc_ir::{Checked, DType, Tensor, WeightError, WeightId, WeightSource};

use crate::coded::Dictionary;
use crate::plan::Plan;
use crate::segment::{Layout, Segment, PANEL_ROWS};

/// Why packing failed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A tensor could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A panel that is to be coded is not fit for it: the plan is not one for these weights.
    #[error(
        "tensor {name}: {exceptions} of a panel's elements need more than 12 bits; plan it as plain bf16"
    )]
    Misfit {
        /// The tensor, or the first of those that are joined.
        name: String,
        /// Elements whose upper byte the panel's dictionary has not.
        exceptions: u64,
    },
    /// The image could not be written.
    #[error("writing the packed weights: {0}")]
    Io(#[from] io::Error),
}

const LANES: usize = PANEL_ROWS as usize;

/// Writes the image; `progress` is told bytes written so far.
pub fn pack(
    plan: &Checked<Plan>,
    source: &dyn WeightSource,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PackError> {
    let mut image = Image { out, at: 0, progress };
    for s in plan.segments.iter().filter(|s| !s.per_layer) {
        image.pad_to(s.offset)?;
        pack_segment(plan, s, 0, source, &mut image)?;
    }
    for layer in 0..plan.dims.layers {
        let base = plan.layers_offset + u64::from(layer) * plan.layer_bytes;
        for s in plan.segments.iter().filter(|s| s.per_layer) {
            image.pad_to(base + s.offset)?;
            pack_segment(plan, s, layer, source, &mut image)?;
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

/// A segment's tensors; those of a matrix have its type.
fn load_parts<'a>(
    plan: &Plan,
    s: &Segment,
    layer: u32,
    source: &'a dyn WeightSource,
) -> Result<Vec<Tensor<'a>>, WeightError> {
    let part = |&id: &WeightId| {
        let part = load(plan, source, id, layer)?;
        if s.layout != Layout::Vector && part.dtype() != s.dtype {
            let name = plan.weights[id.0 as usize].tensor_name(layer);
            let (expected, found) = (s.dtype.words(), part.dtype().words());
            return Err(WeightError::Mismatch { name, expected, found });
        }
        Ok(part)
    };
    s.parts.iter().map(part).collect()
}

fn pack_segment(
    plan: &Plan,
    s: &Segment,
    layer: u32,
    source: &dyn WeightSource,
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
    let mut panel_bytes = vec![0u8; s.panel_bytes() as usize];
    for panel in 0..s.panels() {
        let sources = panel_sources(s, panel, &parts);
        let rows: PanelRows = sources.map(|source| source.map(|(p, r)| (&parts[p], r)));
        match s.dtype {
            DType::F32 if s.layout == Layout::Diagonal => {
                let before = |p: usize| parts[..p].iter().map(Tensor::cols).sum();
                let first = sources.map(|source| source.map_or(0, |(p, _)| before(p)));
                panel_f32(&rows, &first, None, &mut panel_bytes);
            }
            DType::F32 => panel_f32(&rows, &[0; LANES], gain.as_deref(), &mut panel_bytes),
            DType::Bf16 if s.coded => panel_coded(plan, s, &rows, layer, &mut panel_bytes)?,
            DType::Bf16 | DType::F16 => panel_bf16(&rows, &mut panel_bytes),
            DType::I8 { group, .. } | DType::I4 { group, .. } => {
                panel_of_groups(s, &rows, group as usize, &mut panel_bytes);
            }
        }
        image.write(&panel_bytes)?;
    }
    Ok(())
}

/// Part and row within it of every lane of a panel.
fn panel_sources(s: &Segment, panel: u32, parts: &[Tensor]) -> [Option<(usize, usize)>; LANES] {
    let part_rows: Vec<u32> = parts.iter().map(|p| p.rows() as u32).collect();
    std::array::from_fn(|lane| s.source_row(panel, lane as u32, &part_rows).map(|(p, r)| (p, r as usize)))
}

/// Weights of coded segments some panel of which has more exceptions than it has room for, in any layer.
pub fn misfits(plan: &Checked<Plan>, source: &dyn WeightSource) -> Result<BTreeSet<WeightId>, PackError> {
    let mut found = BTreeSet::new();
    for s in plan.segments.iter().filter(|s| s.coded) {
        for layer in 0..if s.per_layer { plan.dims.layers } else { 1 } {
            let parts = load_parts(plan, s, layer, source)?;
            let fits = |panel| {
                let sources = panel_sources(s, panel, &parts);
                let rows = sources.iter().flatten().map(|&(p, r)| parts[p].row_bytes(r));
                Dictionary::of(rows).exceptions() <= s.coded_exceptions()
            };
            if !(0..s.panels()).all(fits) {
                found.extend(&s.parts);
                break;
            }
        }
    }
    Ok(found)
}

type PanelRows<'a> = [Option<(&'a Tensor<'a>, usize)>; LANES];

/// A row's columns begin with column `first` of the panel.
fn panel_f32(rows: &PanelRows, first: &[usize], gain: Option<&[f32]>, out: &mut [u8]) {
    out.fill(0);
    let mut values = Vec::new();
    for (lane, row) in rows.iter().enumerate() {
        let Some((tensor, r)) = row else { continue };
        values.resize(tensor.cols(), 0.0f32);
        tensor.read_row(*r, &mut values);
        for (k, v) in values.iter().enumerate() {
            let v = v * gain.map_or(1.0, |g| g[k]);
            let at = 4 * ((first[lane] + k) * LANES + lane);
            out[at..at + 4].copy_from_slice(&v.to_le_bytes());
        }
    }
}

fn panel_bf16(rows: &PanelRows, out: &mut [u8]) {
    out.fill(0);
    for (lane, row) in rows.iter().enumerate() {
        let Some((tensor, r)) = row else { continue };
        for (pair, b) in tensor.row_bytes(*r).chunks(4).enumerate() {
            let at = 4 * (pair * LANES + lane);
            out[at..at + b.len()].copy_from_slice(b);
        }
    }
}

fn panel_coded(
    plan: &Plan,
    s: &Segment,
    rows: &PanelRows,
    layer: u32,
    out: &mut [u8],
) -> Result<(), PackError> {
    let rows = rows.map(|row| row.map(|(tensor, r)| tensor.row_bytes(r)));
    let dictionary = Dictionary::of(rows.iter().flatten().copied());
    if dictionary.exceptions() > s.coded_exceptions() {
        let name = plan.weights[s.parts[0].0 as usize].tensor_name(layer);
        return Err(PackError::Misfit { name, exceptions: dictionary.exceptions() });
    }
    dictionary.write(&rows, out);
    Ok(())
}

/// Scales and integers, group by group.
fn panel_of_groups(s: &Segment, rows: &PanelRows, group: usize, out: &mut [u8]) {
    out.fill(0);
    let (cols, mut rest) = (s.cols as usize, out);
    for first in (0..cols).step_by(group) {
        let width = group.min(cols - first);
        let (bytes, after) = rest.split_at_mut(s.group_bytes(width as u64) as usize);
        let scale_bytes = LANES * s.dtype.scale_bytes(1) as usize;
        let (scales, inputs) = bytes.split_at_mut(scale_bytes);
        for (lane, row) in rows.iter().enumerate() {
            let Some((tensor, r)) = row else { continue };
            let scale = tensor.scale_bytes(*r, first / group);
            scales[lane * scale.len()..][..scale.len()].copy_from_slice(scale);
        }
        match s.dtype {
            DType::I4 { .. } => octets(rows, (first, width), inputs),
            _ => quads(rows, (first, width), inputs),
        }
        rest = after;
    }
}

/// int8: `width` inputs of each row from `first` on.
fn quads(rows: &PanelRows, (first, width): (usize, usize), out: &mut [u8]) {
    out.fill(128);
    for (lane, row) in rows.iter().enumerate() {
        let Some((tensor, r)) = row else { continue };
        let inputs = &tensor.row_bytes(*r)[first..first + width];
        for (quad, q) in inputs.chunks(4).enumerate() {
            for (i, b) in q.iter().enumerate() {
                out[4 * (quad * LANES + lane) + i] = b.wrapping_add(128);
            }
        }
    }
}

/// int4: `width` inputs of each row from `first` on.
fn octets(rows: &PanelRows, (first, width): (usize, usize), out: &mut [u8]) {
    out.fill(0x88);
    for (lane, row) in rows.iter().enumerate() {
        let Some((tensor, r)) = row else { continue };
        let bytes = tensor.row_bytes(*r);
        for (octet, at) in (0..width).step_by(8).enumerate() {
            let eight = stored_octet(bytes, first + at, (width - at).min(8));
            let to = &mut out[4 * (octet * LANES + lane)..][..4];
            for (i, b) in to.iter_mut().enumerate() {
                let (low, high) = (eight >> (4 * i) & 15, eight >> (4 * i + 16) & 15);
                *b = (low | high << 4) as u8;
            }
        }
    }
}

/// Up to 8 elements of a stored row of int4, the first in the lowest bits; what is missing is 0.
fn stored_octet(row: &[u8], first: usize, width: usize) -> u32 {
    match row.get(first / 2..first / 2 + 4) {
        Some(b) if width == 8 && first.is_multiple_of(2) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        _ => (0..width).fold(0x8888_8888, |all, i| {
            let stored = row[(first + i) / 2] >> (4 * ((first + i) % 2)) & 15;
            all & !(15 << (4 * i)) | u32::from(stored) << (4 * i)
        }),
    }
}
