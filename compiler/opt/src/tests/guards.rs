//! Every condition of every rule, broken.
//!
//! In: for each condition, a left side on which it alone fails. With the rule as it is, nothing
//! happens; without the condition the right side is ill-typed or has other values.

use qwenc_ir::interp::Precision;
use qwenc_target::NoDevice;

use super::ground::{bind, Side, BLOCK};
use super::sides::{DOWN, GAINS, GATE_UP, T160, T192, TURNS, UP, WEIGHTS};
use crate::rules::{rules, Condition, Rule};

/// Damage that the rule would do without the condition.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    IllTyped,
    OtherValues,
}
use Damage::{IllTyped, OtherValues};

const K_UNBIASED: &str = "?bq = $bq, ?bk = absent, ?bv = $bv";
const Y: &str = "?y = (linear input $qkv absent)";
const K_AND_V_SWAPPED: &str = "?q0 = 0, ?qn = 192, ?k0 = 288, ?kn = 96, ?v0 = 192, ?vn = 96";
const Q_AFTER_KV: &str = "?q0 = 192, ?qn = 192, ?k0 = 0, ?kn = 96, ?v0 = 96, ?vn = 96";
const K_TWICE: &str = "?q0 = 0, ?qn = 192, ?k0 = 192, ?kn = 96, ?v0 = 192, ?vn = 96";
const WIDER: &str = "?y = (linear input (concat-rows $qkv $k) absent), ?q0 = 0, ?qn = 192, ?k0 = 192, ?kn = 96, ?v0 = 288, ?vn = 96";
const MLP: &str = "?x = input, ?wg = $gate";

/// Rule, guard, its variables, context, bindings, damage.
type Breaker = (&'static str, &'static str, &'static str, &'static str, Vec<&'static str>, Damage);

#[rustfmt::skip]
fn breakers() -> Vec<Breaker> {
    vec![
        ("streaming-attention", "kv-wide", "?k ?v", T192, vec![
            "?q = (linear input $q absent), ?k = (repeat-kv (cache-append-k (linear input $k absent)))",
            "?v = (cache-append-v (linear input $v absent))"], IllTyped),
        ("streaming-attention", "kv-wide", "?k ?v", T192, vec![
            "?q = (linear input $q absent), ?k = (cache-append-k (linear input $k absent))",
            "?v = (repeat-kv (cache-append-v (linear input $v absent)))"], IllTyped),
        ("qkv-as-one-linear",        "all-or-none", "?bq ?bk ?bv", T192, vec![WEIGHTS, K_UNBIASED],         IllTyped),
        ("qkv-as-one-linear-normed", "all-or-none", "?bq ?bk ?bv", T192, vec![WEIGHTS, K_UNBIASED, GAINS],  IllTyped),
        ("gate-up-as-one-linear",    "all-or-none", "?bg ?bu",     T160, vec![MLP, "?wu = $up, ?bg = absent, ?bu = $bf"],         IllTyped),
        ("adapted-qkv-as-one",        "all-or-none", "?bq ?bk ?bv", T192, vec![WEIGHTS, K_UNBIASED, TURNS, DOWN, UP],         IllTyped),
        ("adapted-qkv-as-one-normed", "all-or-none", "?bq ?bk ?bv", T192, vec![WEIGHTS, K_UNBIASED, GAINS, TURNS, DOWN, UP],  IllTyped),
        ("adapted-gate-up-as-one",    "all-or-none", "?bg ?bu",     T160, vec![GATE_UP, "?wu = $up, ?bg = absent, ?bu = $bf, ?au = $au, ?lu = $lu"], IllTyped),
        ("qkv-prepared",        "whole-qkv", "?y ?q0 ?qn ?k0 ?kn ?v0 ?vn", T192, vec![Y, K_AND_V_SWAPPED],        OtherValues),
        ("qkv-prepared",        "whole-qkv", "?y ?q0 ?qn ?k0 ?kn ?v0 ?vn", T192, vec![Y, Q_AFTER_KV],             OtherValues),
        ("qkv-prepared",        "whole-qkv", "?y ?q0 ?qn ?k0 ?kn ?v0 ?vn", T192, vec![WIDER],                     IllTyped),
        ("qkv-prepared-normed", "whole-qkv", "?y ?q0 ?qn ?k0 ?kn ?v0 ?vn", T192, vec![Y, K_AND_V_SWAPPED, GAINS], OtherValues),
        ("qkv-prepared-normed", "whole-qkv", "?y ?q0 ?qn ?k0 ?kn ?v0 ?vn", T192, vec![Y, K_TWICE, GAINS],         OtherValues),
    ]
}

fn is(condition: &Condition, guard: &str, vars: &str) -> bool {
    condition.guard.name == guard && condition.vars == vars
}

/// The rule without one of its conditions.
fn without(rule: &Rule, guard: &str, vars: &str) -> Rule {
    let rest: Vec<Condition> = rule.when.iter().filter(|c| !is(c, guard, vars)).copied().collect();
    assert_eq!(rest.len() + 1, rule.when.len(), "{} has no condition {guard} {vars}", rule.name);
    Rule { when: Vec::leak(rest), ..*rule }
}

#[test]
fn every_condition_is_needed() {
    let breakers = breakers();
    for rule in rules() {
        for c in rule.when {
            let broken = breakers.iter().any(|b| b.0 == rule.name && is(c, b.1, b.2));
            assert!(broken, "{}: add a case here that breaks {} {}", rule.name, c.guard.name, c.vars);
        }
    }
    for (name, guard, vars, context, bindings, damage) in breakers {
        let bindings = bindings.join(", ");
        let rule = rules().into_iter().find(|r| r.name == name).expect("a breaker names a rule");
        let side = |text| Side { kind: BLOCK, term: bind(text, &bindings), context };
        let (left, right) = (side(rule.left), side(rule.right));
        let values = left.values(Precision::F64);
        assert_eq!(left.rewrites_to(&rule, &right), Ok(false), "{name} fires with {bindings}");
        let found = match left.rewrites_to(&without(&rule, guard, vars), &right) {
            Err(_) => IllTyped,
            Ok(true) if values != right.values(Precision::F64) => OtherValues,
            Ok(fired) => panic!("{name} without {guard} does no damage (fired: {fired}) with {bindings}"),
        };
        assert_eq!(found, damage, "{name} without {guard}, with {bindings}");
    }
}

/// Terms that look like a rule's left side, and must not be taken for it.
#[rustfmt::skip]
const LOOKALIKES: [(&str, &str); 8] = [
    ("no mask",             "(weighted-sum (softmax (scores Q K)) V)"),
    ("mask after softmax",  "(weighted-sum (causal-mask (softmax (scores Q K))) V)"),
    ("no softmax",          "(weighted-sum (causal-mask (scores Q K)) V)"),
    ("slots swapped",       "(attention (rope (slice 0 192 Y)) (cache-append-v (rope (slice 192 96 Y))) (cache-append-k (slice 288 96 Y)))"),
    ("k not rotated",       "(attention (rope (slice 0 192 Y)) (cache-append-k (slice 192 96 Y)) (cache-append-v (slice 288 96 Y)))"),
    ("two epsilons",        "(attention (head-norm-rope eps=1e-6 (slice 0 192 Y) $gq) (cache-append-k (head-norm-rope eps=1e-5 (slice 192 96 Y) $gk)) (cache-append-v (slice 288 96 Y)))"),
    ("only q normed",       "(attention (head-norm-rope eps=1e-6 (slice 0 192 Y) $gq) (cache-append-k (rope (slice 192 96 Y))) (cache-append-v (slice 288 96 Y)))"),
    ("slices of two",       "(attention (rope (slice 0 192 Y)) (cache-append-k (rope (slice 192 96 Y))) (cache-append-v (slice 288 96 (linear input $qkv $bqkv))))"),
];

#[test]
fn lookalikes_are_left_alone() {
    for (what, text) in LOOKALIKES {
        let text = text
            .replace('Q', "(linear input $q absent)")
            .replace('K', "(cache-append-k (linear input $k absent))")
            .replace('V', "(cache-append-v (linear input $v absent))")
            .replace('Y', "(linear input $qkv absent)");
        let side = Side { kind: BLOCK, term: text, context: T192 };
        let graph = side.model().expect("a lookalike is well typed");
        let machine = crate::Machine::cpu_default();
        let out = crate::optimise(&graph, &NoDevice, &machine, &crate::Limits::default())
            .expect("it can be optimised");
        let had = graph.to_string().contains("= attention");
        let text = out.graph.to_string();
        assert!(!text.contains("prepared_attention"), "{what}: {text}");
        assert_eq!(text.contains("= attention"), had, "{what}: {text}");
    }
}
