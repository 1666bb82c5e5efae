//! Weight expressions to packed tensors.
//!
//! In: a node of weights. Out: one packed tensor for each run of rows in one operand format. Invariant: a tensor that several
//! nodes read in the same way is packed once.

use qwenc_formats::Operand;
use qwenc_ir::{NodeId, Op, SectionKind, WeightId};

use super::{Lowering, Scope};
use crate::lower_error::LowerError;
use crate::segment::{Home, Layout, Segment, SegmentId};
use crate::spans;
use crate::weight_expr::{self, WeightExpr};

/// Needs of a kernel that reads a matrix.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Order of elements, where the weights allow it.
    pub layout: Layout,
    /// Whether it is cut between columns: a norm needs whole rows of inputs, and an embedding is read row by row.
    pub cut: bool,
}

/// A packed tensor among those of a linear.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    pub segment: SegmentId,
    /// Gain of the columns that is not packed into it.
    pub gain: Option<SegmentId>,
    /// Column of the result that its first row makes.
    pub first: u32,
}

impl Lowering<'_> {
    /// The packed tensors of a weight expression: one for each run of parts in one operand format.
    pub(super) fn weights(
        &mut self,
        scope: &Scope,
        id: NodeId,
        Reading { layout, cut }: Reading,
    ) -> Result<Vec<Weight>, LowerError> {
        let expr = weight_expr::take_apart(scope.kind, scope.section, id)?;
        let of_part = |&part: &WeightId| Ok((part, self.format(part)?));
        let of_parts =
            expr.parts.iter().map(of_part).collect::<Result<Vec<(WeightId, Operand)>, LowerError>>()?;
        let runs: Vec<&[(WeightId, Operand)]> = of_parts.chunk_by(|(_, a), (_, b)| a == b).collect();
        if expr.diagonal && runs.len() > 1 {
            let op = scope.section.node(id).op.name();
            return Err(LowerError::WeightExpression { section: scope.kind, node: id, op });
        }
        let layout = match layout {
            _ if expr.diagonal => Layout::Diagonal,
            Layout::PairedPanels if runs.len() > 1 => Layout::Panels,
            layout => layout,
        };
        let mut first = 0;
        let mut weights = Vec::new();
        for run in runs {
            let (parts, format) = (run.iter().map(|&(part, _)| part).collect(), run[0].1);
            let run = WeightExpr { parts, ..expr };
            let (segment, gain) = self.weight(scope, run, format, Reading { layout, cut });
            weights.push(Weight { segment, gain, first });
            first += self.plan.segment(segment).rows;
        }
        Ok(weights)
    }

    /// Operand format of a stored matrix.
    fn format(&self, part: WeightId) -> Result<Operand, LowerError> {
        let decl = self.graph.weight(part);
        let readable = |format: &Operand| self.target.reads(*format);
        // f32 holds every f16.
        let format = match decl.dtype.operand() {
            Some(Operand::F16) if !readable(&Operand::F16) => Some(Operand::F32),
            format => format,
        };
        let format = format.filter(readable);
        format.ok_or_else(|| LowerError::WeightType { name: decl.name.clone(), dtype: decl.dtype })
    }

    /// The segment of parts in one format, and the gain that could not be packed into it.
    fn weight(
        &mut self,
        scope: &Scope,
        expr: WeightExpr,
        format: Operand,
        Reading { layout, cut }: Reading,
    ) -> (SegmentId, Option<SegmentId>) {
        let first = self.graph.weight(expr.parts[0]);
        // A shared tensor (a tied embedding) is also read without the gain, so it stays as it is.
        let embedded = |w: &WeightId| self.graph.prologue.nodes.iter().any(|n| n.op == Op::Weight(*w));
        let shared = scope.kind == SectionKind::Head && expr.parts.iter().any(embedded);
        let packed_gain = expr.gain.filter(|_| format == Operand::F32 && !shared);
        let loose_gain = expr.gain.filter(|_| packed_gain.is_none());
        let rows = expr.parts.iter().map(|&p| self.graph.weight(p).shape[0]).sum();
        let cols = match expr.diagonal {
            true => expr.parts.iter().map(|&p| self.graph.weight(p).shape[1]).sum(),
            false => first.shape[1],
        };
        let plain = expr.parts.iter().any(|part| self.options.plain.contains(part));
        let compressed = self.target.reads(Operand::Bf12) && layout != Layout::Diagonal && !plain;
        let format = if compressed && format == Operand::Bf16 { Operand::Bf12 } else { format };
        let spans = match cut && layout == Layout::Panels && packed_gain.is_none() {
            true => spans::count(format, cols),
            false => 1,
        };
        let segment = Segment {
            home: self.home(scope.kind, expr.parts[0]),
            parts: expr.parts,
            gain: packed_gain,
            format,
            rows,
            cols,
            layout,
            spans,
            offset: 0,
        };
        let loose_gain = loose_gain.map(|g| self.vector_segment(scope.kind, vec![g]));
        (self.add(segment), loose_gain)
    }

    /// The segment of a vector operand; none if it is absent.
    pub(super) fn vector(&mut self, scope: &Scope, id: NodeId) -> Result<Option<SegmentId>, LowerError> {
        if scope.section.node(id).ty.is_absent() {
            return Ok(None);
        }
        let expr = weight_expr::take_apart(scope.kind, scope.section, id)?;
        Ok(Some(self.vector_segment(scope.kind, expr.parts)))
    }

    /// Part of the image for a weight that this section reads.
    fn home(&self, kind: SectionKind, weight: WeightId) -> Home {
        match kind {
            SectionKind::Block(group) if self.graph.weight(weight).per_layer() => Home::Layers(group),
            SectionKind::Prologue | SectionKind::Block(_) | SectionKind::Head => Home::Model,
        }
    }

    pub(super) fn vector_segment(&mut self, kind: SectionKind, parts: Vec<WeightId>) -> SegmentId {
        let cols = parts.iter().map(|&p| self.graph.weight(p).shape[0]).sum();
        let (home, layout) = (self.home(kind, parts[0]), Layout::Vector);
        let format = Operand::F32;
        self.add(Segment { parts, gain: None, format, rows: 1, cols, layout, spans: 1, home, offset: 0 })
    }

    fn add(&mut self, segment: Segment) -> SegmentId {
        let same = self.plan.segments.iter().position(|s| *s == segment);
        let index = same.unwrap_or_else(|| {
            self.plan.segments.push(segment);
            self.plan.segments.len() - 1
        });
        SegmentId(index as u32)
    }
}
