//! Rules of the residual stream. In: a linear whose result is added. Out: a linear that adds.
//!
//! A table; what each entry needs beside it is in `README.md`.

use super::Exactness::Exact;
use super::Stage::Fuse;
use super::{rule, Rule};

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("add-after-linear", Fuse, Exact, "(add ?r (linear ?x ?w ?b))", "(linear-add ?x ?w ?b ?r)", &[]),
];
