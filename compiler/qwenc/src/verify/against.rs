//! A model beside the checkpoint that it was made of, tensor by tensor.
//!
//! In: two models. Out: each tensor's relative error beside what its type costs, and differences of the configs.
//! Invariant: exact types must be equal to the bit of the f32 value; a rounded value lies within its step. The bound of a
//! quantised tensor is computed from its own scales, so it holds for any weights.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use qwenc_formats::{Tensor, NOTHING};
use qwenc_ir::{WeightDecl, WeightSource};
use qwenc_models::{Config, Source};

use crate::args::Verify;
use crate::input;
use crate::progress;

/// Result of a comparison.
pub struct Compared {
    /// Lines of a table.
    pub text: String,
    /// Tensors and settings that are not as they should be.
    pub failed: usize,
}

pub fn compare(args: &Verify, checkpoint: &Path) -> Result<Compared> {
    let model = input::opened(&args.model, args.stated.hints()?)?;
    // Facts given by flags hold for whichever of the two files lacks them.
    let other = input::checkpoint(checkpoint, args.stated.hints()?).context("--against")?;
    let other = Source::Checkpoint(Box::new(other));
    let (config, other_config) = (model.config(), other.config());
    let mut found = Compared { text: String::new(), failed: 0 };
    found.settings(config, other_config);
    let (ours, theirs) = (model.tensors(), other.tensors());
    let theirs: HashMap<&str, &WeightDecl> = theirs.iter().map(|w| (w.name.as_str(), w)).collect();
    let widths = Widths::of(&ours);
    let Widths { names, types } = widths;
    // Writing to a string does not fail.
    let _ =
        writeln!(found.text, "  {:<names$} {:<types$} {:>10} {:>10}", "tensor", "type", "error", "at most");
    let bar = progress::bytes("comparing", ours.iter().map(matrix_bytes).sum());
    for decl in &ours {
        let expected = theirs.get(decl.name.as_str()).copied();
        found.tensor(widths, (model.weights(), decl), (other.weights(), expected), args.tolerance);
        bar.inc(matrix_bytes(decl));
    }
    bar.finish_and_clear();
    Ok(found)
}

/// Widths of the table's first two columns.
#[derive(Clone, Copy)]
struct Widths {
    names: usize,
    types: usize,
}

impl Widths {
    fn of(tensors: &[WeightDecl]) -> Widths {
        let names = tensors.iter().map(|w| w.name.len()).max().unwrap_or(0);
        let types = tensors.iter().map(|w| w.dtype.words().len()).max().unwrap_or(0);
        Widths { names: names.max("tensor".len()), types: types.max("type".len()) }
    }
}

fn matrix_bytes(decl: &WeightDecl) -> u64 {
    let cols = decl.shape.last().copied().unwrap_or(0);
    let rows: u64 = decl.shape[..decl.shape.len().saturating_sub(1)].iter().map(|&n| u64::from(n)).product();
    decl.dtype.matrix_bytes(rows, u64::from(cols))
}

/// Distance of two tensors.
struct Distance {
    /// `|a - b| / |b|`.
    relative: f64,
    /// Bound of the type's rounding, in the same measure.
    bound: f64,
    /// Value that is further off than its type explains: row, column, found, expected.
    outlier: Option<(usize, usize, f32, f32)>,
}

impl Compared {
    /// Compares settings of the configs that change results.
    fn settings(&mut self, ours: &Config, theirs: &Config) {
        let mut differ = |what: &str, same: bool, (found, expected): (String, String)| {
            if !same {
                let _ = writeln!(self.text, "  {what}: WRONG  found {found}, the checkpoint has {expected}");
                self.failed += 1;
            }
        };
        let debug = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| (format!("{a:?}"), format!("{b:?}"));
        differ("family", ours.family == theirs.family, debug(&ours.family, &theirs.family));
        differ("sizes", ours.dims == theirs.dims, debug(&ours.dims, &theirs.dims));
        differ("eps", ours.eps == theirs.eps, debug(&ours.eps.get(), &theirs.eps.get()));
        differ("RoPE", ours.rope == theirs.rope, debug(&ours.rope, &theirs.rope));
        let biases = (&ours.attention_bias, &theirs.attention_bias);
        differ("biases", biases.0 == biases.1, debug(biases.0, biases.1));
        differ("windows", ours.windows == theirs.windows, debug(&ours.windows, &theirs.windows));
        differ("tied head", ours.tied == theirs.tied, debug(&ours.tied, &theirs.tied));
    }

    /// A line of the table.
    fn tensor(
        &mut self,
        widths: Widths,
        (model, decl): (&dyn WeightSource, &WeightDecl),
        (other, theirs): (&dyn WeightSource, Option<&WeightDecl>),
        tolerance: Option<f64>,
    ) {
        let Widths { names, types } = widths;
        let line = format!("  {:<names$} {:<types$}", decl.name, decl.dtype.words());
        let pair = model.tensor(decl, 0).map_err(|e| e.to_string()).and_then(|ours| match theirs {
            None => Err("the checkpoint has none".to_string()),
            Some(w) if w.shape != decl.shape => Err(format!("{:?}, there {:?}", decl.shape, w.shape)),
            Some(w) => other.tensor(w, 0).map(|t| (ours, t)).map_err(|e| e.to_string()),
        });
        let (ours, expected) = match pair {
            Ok(pair) => pair,
            Err(why) => {
                let _ = writeln!(self.text, "{line} WRONG  {why}");
                self.failed += 1;
                return;
            }
        };
        let d = distance(&ours, &expected);
        let bound = tolerance.unwrap_or(d.bound);
        let outlier = d.outlier.filter(|_| tolerance.is_none());
        // Where either is no number, neither is the error.
        let right = d.relative <= bound && outlier.is_none();
        let _ = write!(self.text, "{line} {:>10.3e} {bound:>10.3e}", d.relative);
        let _ = match (right, outlier) {
            (true, _) => writeln!(self.text, "  right"),
            (false, None) => writeln!(self.text, "  WRONG"),
            (false, Some((row, col, found, expected))) => {
                writeln!(
                    self.text,
                    "  WRONG  row {row}, column {col}: {found}, the checkpoint has {expected}"
                )
            }
        };
        self.failed += usize::from(!right);
    }
}

fn distance(ours: &Tensor, expected: &Tensor) -> Distance {
    let dtype = ours.dtype();
    let exact = dtype.quantised().is_none() && dtype.holds(expected.dtype());
    let group = dtype.group().map_or(usize::MAX, |g| g as usize);
    let (mut a, mut b) = (vec![0.0; ours.cols()], vec![0.0; ours.cols()]);
    let (mut error, mut size, mut rounding, mut outlier) = (0.0, 0.0, 0.0, None);
    for r in 0..ours.rows() {
        ours.read_row(r, &mut a);
        expected.read_row(r, &mut b);
        for (c, (&found, &wanted)) in a.iter().zip(&b).enumerate() {
            let scale = if dtype.group().is_some() { f64::from(ours.scale(r, c / group)).abs() } else { 0.0 };
            let (x, y) = (f64::from(found), f64::from(wanted));
            let off = (x - y).abs();
            let most = if exact { 0.0 } else { dtype.rounding(y, scale) };
            // Also where either is no number.
            if outlier.is_none() && (off > most || off.is_nan()) {
                outlier = Some((r, c, found, wanted));
            }
            // Of a quantised tensor half a step each: what lies further is rare enough.
            let step = if dtype.group().is_some() { (0.5 * scale).max(most.min(NOTHING)) } else { most };
            error += off * off;
            size += y * y;
            rounding += step * step;
        }
    }
    let ratio = |part: f64| if part == 0.0 { 0.0 } else { (part / size).sqrt() };
    Distance { relative: ratio(error), bound: ratio(rounding), outlier }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor<'static> {
        Tensor::from_f32("t", (1, values.len()), values).unwrap()
    }

    #[test]
    fn equal_floats_are_right_and_any_other_bit_is_not() {
        let d = distance(&floats(&[1.0, -2.0]), &floats(&[1.0, -2.0]));
        assert_eq!((d.relative, d.bound, d.outlier), (0.0, 0.0, None));
        let d = distance(&floats(&[1.0, -2.5]), &floats(&[1.0, -2.0]));
        assert_eq!(d.outlier, Some((0, 1, -2.5, -2.0)));
        assert!((d.relative - 0.5 / 5f64.sqrt()).abs() < 1e-12);
        assert!(distance(&floats(&[f32::NAN]), &floats(&[1.0])).outlier.is_some());
    }

    #[test]
    fn a_step_of_int8_is_allowed_and_two_are_not() {
        let dtype = qwenc_formats::DType::I8 { group: 2, scales: qwenc_formats::ScaleType::F32 };
        let scales = qwenc_formats::Scales::F32(0.1f32.to_le_bytes().to_vec().into());
        let bytes: Vec<u8> = vec![10, 246];
        let ours = Tensor::new("t", dtype, (1, 2), bytes.into(), Some(scales)).unwrap();
        let near = distance(&ours, &floats(&[1.04, -1.04]));
        assert!(near.outlier.is_none() && near.relative <= near.bound, "{} {}", near.relative, near.bound);
        assert!(distance(&ours, &floats(&[1.2, -1.0])).outlier.is_some());
    }
}
