//! Rules of low-rank adapters. In: a linear and, beside it, the difference that a token's adapter makes. Out: the same
//! of joined linears, so that what is done with linears is done with adapted ones.
//!
//! `qkv` comes twice, with q and k norms and without, as in `attention.rs`.

use super::guards::ALL_OR_NONE;
use super::Exactness::{Exact, Reassociating};
use super::Stage::{Fuse, Widen};
use super::{rule, Condition, Rule};

const JOINABLE: &[Condition] = &[ALL_OR_NONE.on("?bq ?bk ?bv")];

/// `x · wᵀ + b`, and the difference: down to some ranks by a, those of the adapter, up again by l.
macro_rules! adapted {
    ($w:literal, $b:literal, $a:literal, $l:literal) => {
        concat!(
            "(add (linear ?x ",
            $w,
            " ",
            $b,
            ") (linear (select-adapter ?rank ?n (linear ?x ",
            $a,
            " absent)) ",
            $l,
            " absent))"
        )
    };
}

/// All three, joined.
macro_rules! adapted_qkv {
    () => {
        adapted!(
            "(concat-rows ?wq (concat-rows ?wk ?wv))",
            "(concat-rows ?bq (concat-rows ?bk ?bv))",
            "(concat-rows ?aq (concat-rows ?ak ?av))",
            "(diagonal ?lq (diagonal ?lk ?lv))"
        )
    };
}

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("adapted-qkv-as-one", Widen, Exact,
        concat!("(attention         (rope ", adapted!("?wq", "?bq", "?aq", "?lq"), ")
                    (cache-append-k (rope ", adapted!("?wk", "?bk", "?ak", "?lk"), "))
                    (cache-append-v       ", adapted!("?wv", "?bv", "?av", "?lv"), "))"),
        concat!("(attention         (rope (slice 0                         (rows ?wq) ", adapted_qkv!(), "))
                    (cache-append-k (rope (slice (rows ?wq)                (rows ?wk) ", adapted_qkv!(), ")))
                    (cache-append-v       (slice (sum (rows ?wq) (rows ?wk)) (rows ?wv) ", adapted_qkv!(), ")))"),
        JOINABLE),
    rule("adapted-qkv-as-one-normed", Widen, Exact,
        concat!("(attention         (head-norm-rope ?eq ", adapted!("?wq", "?bq", "?aq", "?lq"), " ?gq)
                    (cache-append-k (head-norm-rope ?ek ", adapted!("?wk", "?bk", "?ak", "?lk"), " ?gk))
                    (cache-append-v                     ", adapted!("?wv", "?bv", "?av", "?lv"), "))"),
        concat!("(attention         (head-norm-rope ?eq (slice 0                         (rows ?wq) ", adapted_qkv!(), ") ?gq)
                    (cache-append-k (head-norm-rope ?ek (slice (rows ?wq)                (rows ?wk) ", adapted_qkv!(), ") ?gk))
                    (cache-append-v                     (slice (sum (rows ?wq) (rows ?wk)) (rows ?wv) ", adapted_qkv!(), ")))"),
        JOINABLE),
    rule("adapted-gate-up-as-one", Widen, Exact,
        concat!("(mul (silu ", adapted!("?wg", "?bg", "?ag", "?lg"), ") ", adapted!("?wu", "?bu", "?au", "?lu"), ")"),
        concat!("(swiglu ", adapted!("(concat-rows ?wg ?wu)", "(concat-rows ?bg ?bu)", "(concat-rows ?ag ?au)", "(diagonal ?lg ?lu)"), ")"),
        &[ALL_OR_NONE.on("?bg ?bu")]),
    rule("add-before-difference", Fuse, Reassociating,
        "(add ?r (add (linear ?x ?w ?b) (linear ?u ?l absent)))",
        "(linear-add ?u ?l absent (linear-add ?x ?w ?b ?r))",
        &[]),
];
