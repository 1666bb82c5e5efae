//! Rules of RMSNorm. In: a norm with its gain before a linear. Out: one kernel, the gain in its
//! weights.
//!
//! A table; what each entry needs beside it is in `README.md`.

use super::Exactness::{Exact, Reassociating};
use super::Stage::{Fold, Fuse};
use super::{rule, Rule};

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("gain-into-linear",    Fold, Reassociating, "(linear (rms-norm ?e ?x ?g) ?w ?b)", "(linear (normalize ?e ?x) (scale-cols ?w ?g) ?b)", &[]),
    rule("gain-into-lm-head",   Fold, Reassociating, "(lm-head (rms-norm ?e ?x ?g) ?w)",   "(lm-head (normalize ?e ?x) (scale-cols ?w ?g))",   &[]),
    rule("norm-before-linear",  Fuse, Exact,         "(linear (normalize ?e ?x) ?w ?b)",   "(norm-linear ?e ?x ?w ?b)",                        &[]),
    rule("norm-before-lm-head", Fuse, Exact,         "(lm-head (normalize ?e ?x) ?w)",     "(norm-lm-head ?e ?x ?w)",                          &[]),
    rule("norm-before-swiglu",  Fuse, Exact,         "(swiglu (norm-linear ?e ?x ?w ?b))", "(norm-swiglu ?e ?x ?w ?b)",                        &[]),
];
