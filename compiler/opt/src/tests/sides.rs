//! Both sides of every rule, run by the interpreter.
//!
//! An exact rule's sides are the same bits in f32. A reassociating rule's agree to 1e-12 of the
//! largest value in f64 and to 1e-5 in f32.

use qwenc_ir::interp::Precision;
use qwenc_ir::SectionKind::{self, Head};

use super::ground::{bind, Side, BLOCK};
use crate::rules::{rules, Exactness};

/// Patterns that make the result of a section of a side's value, by the value's type.
pub(super) const T96: &str = "_";
pub(super) const T192: &str = "(linear _ $o absent)";
pub(super) const T160: &str = "(linear _ $down absent)";
const BIAS: &str = "(linear input $square _)";
const SCORES: &str = "(linear (weighted-sum _ (cache-append-v (linear input $v absent))) $o absent)";

const Q: &str = "?q = (linear input $q absent)";
const K: &str = "?k = (cache-append-k (linear input $k absent))";
const V: &str = "?v = (cache-append-v (linear input $v absent))";
const P: &str = "?p = (softmax (causal-mask (scores (linear input $q absent) (cache-append-k (linear input $k absent)))))";
const NORM: &str = "?e = eps=1e-6, ?x = input, ?g = $g";
pub(super) const WEIGHTS: &str = "?x = input, ?wq = $q, ?wk = $k, ?wv = $v";
pub(super) const NO_BIASES: &str = "?bq = absent, ?bk = absent, ?bv = absent";
const BIASES: &str = "?bq = $bq, ?bk = $bk, ?bv = $bv";
pub(super) const GAINS: &str = "?eq = eps=1e-6, ?ek = eps=1e-5, ?e = eps=1e-6, ?gq = $gq, ?gk = $gk";
pub(super) const WHOLE: &str =
    "?y = (linear input $qkv absent), ?q0 = 0, ?qn = 192, ?k0 = 192, ?kn = 96, ?v0 = 288, ?vn = 96";

pub(super) const TURNS: &str = "?rank = 3, ?n = 2";
pub(super) const DOWN: &str = "?aq = $aq, ?ak = $ak, ?av = $av";
pub(super) const UP: &str = "?lq = $lq, ?lk = $lk, ?lv = $lv";
pub(super) const GATE_UP: &str = "?x = input, ?rank = 3, ?n = 2, ?wg = $gate, ?ag = $ag, ?lg = $lg";

/// Rule, section, context, bindings.
type Case = (&'static str, SectionKind, &'static str, Vec<&'static str>);

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        ("concat-of-absent",         BLOCK, BIAS,   vec![]),
        ("dequant-in-linear",        BLOCK, T192,   vec!["?x = input, ?w = $q, ?b = absent"]),
        ("dequant-in-linear",        BLOCK, T192,   vec!["?x = input, ?w = $q_bf16, ?b = $bq"]),
        ("dequant-in-linear",        BLOCK, T192,   vec!["?x = input, ?w = $q_i8, ?b = $bq"]),
        ("dequant-in-lm-head",       Head,  T96,    vec!["?x = input, ?w = $head_i8"]),
        ("repeat-kv-in-scores",      BLOCK, SCORES, vec![Q, K]),
        ("repeat-kv-in-sum",         BLOCK, T192,   vec![P, V]),
        ("streaming-attention",      BLOCK, T192,   vec![Q, K, V]),
        ("rope-after-norm",          BLOCK, T192,   vec!["?e = eps=1e-6, ?g = $gq, ?x = (linear input $q absent)"]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec![WEIGHTS, NO_BIASES]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec![WEIGHTS, BIASES]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec!["?x = input, ?wq = $q_i8, ?wk = $k_i8, ?wv = $v_i8", BIASES]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec!["?x = input, ?wq = $q, ?wk = $k, ?wv = $v_bf16", NO_BIASES]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec!["?x = input, ?wq = $q_bf16, ?wk = $k_i8, ?wv = $v_bf16", BIASES]),
        ("qkv-as-one-linear",        BLOCK, T192,   vec![WEIGHTS, "?bq = $bq, ?bk = $bk_bf16, ?bv = $bv"]),
        ("qkv-as-one-linear-normed", BLOCK, T192,   vec![WEIGHTS, NO_BIASES, GAINS]),
        ("qkv-as-one-linear-normed", BLOCK, T192,   vec!["?x = input, ?wq = $q, ?wk = $k, ?wv = $v_bf16", NO_BIASES, GAINS]),
        ("qkv-as-one-linear-normed", BLOCK, T192,   vec!["?x = input, ?wq = $q_bf16, ?wk = $k_bf16, ?wv = $v_bf16", BIASES, GAINS]),
        ("qkv-prepared",             BLOCK, T192,   vec![WHOLE]),
        ("qkv-prepared-normed",      BLOCK, T192,   vec![WHOLE, GAINS]),
        ("gate-up-as-one-linear",    BLOCK, T160,   vec!["?x = input, ?wg = $gate, ?wu = $up, ?bg = absent, ?bu = absent"]),
        ("gate-up-as-one-linear",    BLOCK, T160,   vec!["?x = input, ?wg = $gate, ?wu = $up, ?bg = $bf, ?bu = $bf"]),
        ("gate-up-as-one-linear",    BLOCK, T160,   vec!["?x = input, ?wg = $gate, ?wu = $up_bf16, ?bg = $bf, ?bu = $bf_bf16"]),
        ("gain-into-linear",         BLOCK, T192,   vec![NORM, "?w = $q, ?b = absent"]),
        ("gain-into-linear",         BLOCK, T192,   vec![NORM, "?w = $q_i8, ?b = $bq"]),
        ("gain-into-lm-head",        Head,  T96,    vec!["?e = eps=1e-6, ?x = input, ?g = $final, ?w = $head"]),
        ("norm-before-linear",       BLOCK, T192,   vec![NORM, "?w = $q, ?b = $bq"]),
        ("norm-before-lm-head",      Head,  T96,    vec!["?e = eps=1e-6, ?x = input, ?w = $head"]),
        ("norm-before-swiglu",       BLOCK, T160,   vec![NORM, "?w = $gu, ?b = $bgu"]),
        ("adapted-qkv-as-one",       BLOCK, T192,   vec![WEIGHTS, BIASES, TURNS, DOWN, UP]),
        ("adapted-qkv-as-one",       BLOCK, T192,   vec!["?x = input, ?wq = $q_i8, ?wk = $k_i8, ?wv = $v_i8", NO_BIASES, TURNS, DOWN, UP]),
        ("adapted-qkv-as-one-normed", BLOCK, T192,  vec![WEIGHTS, NO_BIASES, GAINS, TURNS, DOWN, UP]),
        ("adapted-qkv-as-one",       BLOCK, T192,   vec![WEIGHTS, NO_BIASES, TURNS, "?aq = $aq, ?ak = $ak_bf16, ?av = $av", "?lq = $lq, ?lk = $lk_bf16, ?lv = $lv"]),
        ("adapted-gate-up-as-one",   BLOCK, T160,   vec![GATE_UP, "?wu = $up_bf16, ?bg = absent, ?bu = absent, ?au = $au_bf16, ?lu = $lu_bf16"]),
        ("adapted-gate-up-as-one",   BLOCK, T160,   vec![GATE_UP, "?wu = $up, ?bg = absent, ?bu = absent, ?au = $au, ?lu = $lu"]),
        ("add-before-difference",    BLOCK, T96,    vec!["?r = input, ?x = (linear input $q absent), ?w = $o, ?b = $bias, ?u = (linear input $ag absent), ?l = $lk"]),
        ("add-after-linear",         BLOCK, T96,    vec!["?r = input, ?x = (linear input $q absent), ?w = $o, ?b = $bias"]),
    ]
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let difference = a.iter().zip(b).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
    assert!(largest > 0.0 && largest.is_finite(), "values prove nothing: largest {largest}");
    difference / largest
}

#[test]
fn both_sides_of_every_rule_agree() {
    let cases = cases();
    for rule in rules() {
        assert!(
            cases.iter().any(|case| case.0 == rule.name),
            "{}: add a case with its bindings here",
            rule.name
        );
    }
    for (name, kind, context, bindings) in cases {
        let bindings = bindings.join(", ");
        let rule = rules().into_iter().find(|r| r.name == name).expect("a case names a rule");
        let side = |text| Side { kind, term: bind(text, &bindings), context };
        let (left, right) = (side(rule.left), side(rule.right));
        assert_eq!(left.rewrites_to(&rule, &right), Ok(true), "{name} does not fire with {bindings}");
        let f32 = (left.values(Precision::F32), right.values(Precision::F32));
        match rule.exactness {
            Exactness::Exact => assert!(f32.0 == f32.1, "{name} is not exact with {bindings}"),
            Exactness::Reassociating => {
                let in_f64 = largest_difference(&left.values(Precision::F64), &right.values(Precision::F64));
                assert!(in_f64 < 1e-12, "{name}: {in_f64:e} in f64 with {bindings}");
                let in_f32 = largest_difference(&f32.0, &f32.1);
                assert!(in_f32 < 1e-5, "{name}: {in_f32:e} in f32 with {bindings}");
                assert!(f32.0 != f32.1, "{name} could be called exact");
            }
        }
    }
}

#[test]
fn rules_have_unique_kebab_case_names_and_parse() {
    let all = rules();
    for (i, rule) in all.iter().enumerate() {
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", rule.name);
        assert!(all[..i].iter().all(|other| other.name != rule.name), "{} twice", rule.name);
        rule.rewrite().expect("both sides are patterns");
    }
}

#[test]
fn the_laws_page_names_every_rule_and_guard() {
    let page = include_str!("../rules/README.md");
    for rule in rules() {
        assert!(page.contains(&format!("`{}`", rule.name)), "rules/README.md lacks {}", rule.name);
        for condition in rule.when {
            assert!(
                page.contains(&format!("`{}`", condition.guard.name)),
                "rules/README.md lacks {}",
                condition.guard.name
            );
        }
    }
}
