//! Rules of attention. In: its parts as a model writes them down. Out: one linear for q, k and v, one
//! kernel that prepares them, one that attends.
//!
//! Each of the last four comes twice: with q and k norms (Qwen3) and without (Qwen2, Llama): a change to
//! one is a change to its twin.

use super::guards::{ALL_OR_NONE, KV_WIDE, WHOLE_QKV};
use super::Exactness::{Exact, Reassociating};
use super::Stage::{Fuse, Lower, Widen};
use super::{rule, Condition, Rule};

const JOINABLE: &[Condition] = &[ALL_OR_NONE.on("?bq ?bk ?bv")];
const ONE_VALUE: &[Condition] = &[WHOLE_QKV.on("?y ?q0 ?qn ?k0 ?kn ?v0 ?vn")];

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule("repeat-kv-in-scores", Lower, Exact,         "(scores ?q (repeat-kv ?k))",                                "(scores ?q ?k)",           &[]),
    rule("repeat-kv-in-sum",    Lower, Exact,         "(weighted-sum ?p (repeat-kv ?v))",                          "(weighted-sum ?p ?v)",     &[]),
    rule("streaming-attention", Lower, Reassociating, "(weighted-sum (softmax (causal-mask (scores ?q ?k))) ?v)",  "(attention ?q ?k ?v)",     &[KV_WIDE.on("?k ?v")]),
    rule("rope-after-norm",     Lower, Exact,         "(rope (head-norm ?e ?x ?g))",                               "(head-norm-rope ?e ?x ?g)", &[]),

    rule("qkv-as-one-linear", Widen, Exact,
        "(attention                  (rope (linear ?x ?wq ?bq))
                     (cache-append-k (rope (linear ?x ?wk ?bk)))
                     (cache-append-v       (linear ?x ?wv ?bv)))",
        "(attention                  (rope (slice 0                         (rows ?wq) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv)))))
                     (cache-append-k (rope (slice (rows ?wq)                (rows ?wk) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv))))))
                     (cache-append-v       (slice (sum (rows ?wq) (rows ?wk)) (rows ?wv) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv))))))",
        JOINABLE),
    rule("qkv-as-one-linear-normed", Widen, Exact,
        "(attention                  (head-norm-rope ?eq (linear ?x ?wq ?bq) ?gq)
                     (cache-append-k (head-norm-rope ?ek (linear ?x ?wk ?bk) ?gk))
                     (cache-append-v                     (linear ?x ?wv ?bv)))",
        "(attention                  (head-norm-rope ?eq (slice 0                         (rows ?wq) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv)))) ?gq)
                     (cache-append-k (head-norm-rope ?ek (slice (rows ?wq)                (rows ?wk) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv)))) ?gk))
                     (cache-append-v                     (slice (sum (rows ?wq) (rows ?wk)) (rows ?wv) (linear ?x (concat-rows ?wq (concat-rows ?wk ?wv)) (concat-rows ?bq (concat-rows ?bk ?bv))))))",
        JOINABLE),

    // Without gains the epsilon means nothing; 0 stands for it.
    rule("qkv-prepared", Fuse, Exact,
        "(attention                  (rope (slice ?q0 ?qn ?y))
                     (cache-append-k (rope (slice ?k0 ?kn ?y)))
                     (cache-append-v       (slice ?v0 ?vn ?y)))",
        "(prepared-attention (prepare-qkv eps=0 ?y absent absent))",
        ONE_VALUE),
    rule("qkv-prepared-normed", Fuse, Exact,
        "(attention                  (head-norm-rope ?e (slice ?q0 ?qn ?y) ?gq)
                     (cache-append-k (head-norm-rope ?e (slice ?k0 ?kn ?y) ?gk))
                     (cache-append-v                    (slice ?v0 ?vn ?y)))",
        "(prepared-attention (prepare-qkv ?e ?y ?gq ?gk))",
        ONE_VALUE),
];
