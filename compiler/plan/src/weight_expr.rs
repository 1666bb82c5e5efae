//! Which tensors a weight operand is made of.
//!
//! In: a node of weights. Out: the tensors, how they are joined, and what multiplies their columns. Invariant: what
//! [`pack`](crate::pack()) could not write is refused.

use qwenc_ir::{NodeId, Op, Section, SectionKind, WeightId};

use crate::lower_error::LowerError;

/// A weight operand taken apart.
pub(crate) struct WeightExpr {
    /// Rows, one part below the other.
    pub parts: Vec<WeightId>,
    /// Vector that multiplies their columns.
    pub gain: Option<WeightId>,
    /// Whether parts stand on a diagonal, not below each other.
    pub diagonal: bool,
}

/// `scale_cols(concat_rows(..), gain)` to parts and gain.
pub(crate) fn take_apart(kind: SectionKind, section: &Section, id: NodeId) -> Result<WeightExpr, LowerError> {
    let node = section.node(id);
    let refuse = LowerError::WeightExpression { section: kind, node: id, op: node.op.name() };
    match node.op {
        Op::Weight(w) => Ok(WeightExpr { parts: vec![w], gain: None, diagonal: false }),
        Op::ConcatRows | Op::Diagonal => {
            let (a, b) = (take_apart(kind, section, node.args[0])?, take_apart(kind, section, node.args[1])?);
            let diagonal = node.op == Op::Diagonal;
            let joins = |e: &WeightExpr| e.parts.len() == 1 || e.diagonal == diagonal;
            match (a.gain, b.gain) {
                (None, None) if joins(&a) && joins(&b) => {
                    Ok(WeightExpr { parts: [a.parts, b.parts].concat(), gain: None, diagonal })
                }
                _ => Err(refuse),
            }
        }
        Op::ScaleCols => {
            let inner = take_apart(kind, section, node.args[0])?;
            match (inner.gain, section.node(node.args[1]).op) {
                (None, Op::Weight(g)) if !inner.diagonal => {
                    Ok(WeightExpr { parts: inner.parts, gain: Some(g), diagonal: false })
                }
                _ => Err(refuse),
            }
        }
        _ => Err(refuse),
    }
}
