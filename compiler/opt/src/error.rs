//! Why a graph could not be optimised. In: a failing phase. Out: the thing, and what was found.
//!
//! A user never meets one of these with rules and a checked graph that are right: they are faults, and
//! say whose.

use qwenc_ir::{SectionKind, VerifyError};

/// Errors of this crate: faults of a rule or of the source graph, never of limits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptError {
    /// A rule that is not written in the language of patterns.
    #[error("rule {rule}: its {side} is no pattern: {what}; correct the table in opt/src/rules")]
    Rule {
        /// The rule's name.
        rule: &'static str,
        /// `left` or `right`.
        side: &'static str,
        /// From the parser.
        what: String,
    },
    /// A rule made something that breaks a shape law, or made values of two types equal.
    #[error("{section:?}: a rewrite broke a law: {what}; a rule lacks a guard")]
    Unsound {
        /// The section.
        section: SectionKind,
        /// The law.
        what: String,
    },
    /// No finite expression for the section's result.
    #[error("{section:?}: the e-graph holds no well-founded expression of the result")]
    NoExtraction {
        /// The section.
        section: SectionKind,
    },
    /// The source graph has a section without result; a checked graph has none.
    #[error("{section:?}: no result; call qwenc_ir::verify first")]
    NoRoot {
        /// The section.
        section: SectionKind,
    },
    /// The optimised graph is no graph.
    #[error("the optimised graph does not verify: {0}")]
    Verify(Box<VerifyError>),
}
