//! Guards: conditions that a rule needs and its pattern cannot say.
//!
//! In: the facts of a match's variables. Out: whether the rule may fire. Invariant: each guard is
//! broken by a test in which the rule without it would be ill-typed or wrong. Guards say what is equal,
//! never what pays: that is the cost's to say.

use std::fmt;

use qwenc_ir::{Dims, Type};

use crate::analysis::Fact;

type Law = fn(&[&Fact], &Dims) -> bool;

/// A named predicate.
#[derive(Clone, Copy)]
pub struct Guard {
    /// Kebab-case.
    pub name: &'static str,
    law: Law,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A guard on variables of the left side.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// The predicate.
    pub guard: Guard,
    /// Such as `?wq ?wk`.
    pub vars: &'static str,
}

impl Guard {
    const fn new(name: &'static str, law: Law) -> Guard {
        Guard { name, law }
    }

    /// On these variables.
    pub(super) const fn on(self, vars: &'static str) -> Condition {
        Condition { guard: self, vars }
    }

    pub(super) fn holds(&self, facts: &[&Fact], dims: &Dims) -> bool {
        (self.law)(facts, dims)
    }
}

/// All absent, or none: a bias for some of the rows is no bias of the whole.
pub(super) const ALL_OR_NONE: Guard = Guard::new("all-or-none", |facts, _| {
    let absent: Option<Vec<bool>> = facts.iter().map(|f| f.ty().map(Type::is_absent)).collect();
    absent.is_some_and(|a| a.windows(2).all(|pair| pair[0] == pair[1]))
});

/// `[S, K·h]`: attention reads the cache as it is stored, not repeated for each query head.
pub(super) const KV_WIDE: Guard = Guard::new("kv-wide", |facts, dims| {
    facts.iter().all(|f| f.ty().and_then(Type::cache_width) == Some(dims.kv_width()))
});

/// Value, then start and length of three slices: exactly q | k | v, with nothing before, between or
/// after.
pub(super) const WHOLE_QKV: Guard = Guard::new("whole-qkv", |facts, dims| {
    let (q, kv) = (dims.q_width(), dims.kv_width());
    let Some((whole, slices)) = facts.split_first() else { return false };
    let numbers: Option<Vec<u32>> = slices.iter().map(|f| f.number()).collect();
    whole.ty().and_then(Type::token_width) == Some(q + 2 * kv)
        && numbers.is_some_and(|n| n == [0, q, q, kv, q + kv, kv])
});
