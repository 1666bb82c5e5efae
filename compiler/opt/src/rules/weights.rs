//! Rules of stored weights. In: weights as a checkpoint has them. Out: weights as kernels read them.
//!
//! A table; what each entry needs beside it is in `README.md`.

use super::Exactness::Exact;
use super::Stage::{Lower, Widen};
use super::{rule, Rule};

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("concat-of-absent",   Widen, Exact, "(concat-rows absent absent)",   "absent",            &[]),
    rule("dequant-in-linear",  Lower, Exact, "(linear ?x (dequant ?w) ?b)",   "(linear ?x ?w ?b)", &[]),
    rule("dequant-in-lm-head", Lower, Exact, "(lm-head ?x (dequant ?w))",     "(lm-head ?x ?w)",   &[]),
];
