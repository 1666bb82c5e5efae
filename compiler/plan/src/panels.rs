//! Panels of a segment in the order of the image, cut from the tensors that they are packed from.
//!
//! In: a plan, a segment, a source of tensors. Out: its tensors, and its panels one after the other. Invariant: this is the only
//! place that knows the order in which panels lie.

use qwenc_formats::{Panel, PanelRow, Tensor, WeightError};
use qwenc_ir::{WeightId, WeightSource};

use crate::plan::Plan;
use crate::segment::{Layout, Segment};
use crate::spans::Span;

/// A weight's tensor, which has the declared shape.
pub(crate) fn load<'a>(
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
