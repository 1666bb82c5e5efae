//! Reasons why a graph has no plan. In: facts of the graph. Out: messages that say what to do.

use qwenc_formats::DType;
use qwenc_ir::{NodeId, SectionKind};
use qwenc_target::Limit;

use crate::verify::PlanError;

/// Why a graph has no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// No kernel computes this op here.
    #[error("{section:?} {node}: no kernel for {op}; optimise the graph first")]
    NoKernel {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// The op's name.
        op: &'static str,
    },
    /// A weight operand that is more than joined rows with one gain.
    #[error(
        "{section:?} {node}: a {op} cannot be packed; expected weights, joined below each other or on a diagonal, and \
         one gain"
    )]
    WeightExpression {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// The op's name.
        op: &'static str,
    },
    /// A weight type without kernels.
    #[error("weight {name}: no kernel reads {}; export it as f32, bf16, int8 or int4", dtype.words())]
    WeightType {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A model beyond the target's kernels.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// A residual that is needed after being overwritten, or a block that does not end where it began.
    #[error("{section:?} {node}: {what}")]
    InPlace {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// Obstacle.
        what: &'static str,
    },
    /// The plan breaks a law of its own: a bug here.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
