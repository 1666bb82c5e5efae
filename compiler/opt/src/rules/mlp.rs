//! Rules of the MLP. In: gate and up as two linears. Out: one linear with a SwiGLU epilogue.
//!
//! A table; what each entry needs beside it is in `README.md`.

use super::guards::ALL_OR_NONE;
use super::Exactness::Exact;
use super::Stage::Widen;
use super::{rule, Rule};

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("gate-up-as-one-linear", Widen, Exact,
        "(mul (silu (linear ?x ?wg ?bg)) (linear ?x ?wu ?bu))",
        "(swiglu (linear ?x (concat-rows ?wg ?wu) (concat-rows ?bg ?bu)))",
        &[ALL_OR_NONE.on("?bg ?bu")]),
];
