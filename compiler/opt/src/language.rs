//! The terms of the e-graph: the graph's ops in kebab-case, and the numbers they carry.
//!
//! In: an op with its attributes, or pattern text. Out: an e-node. Invariant: an op's attributes
//! (an epsilon; two numbers of a slice or a choice of adapter) are its first children, so patterns bind and move them
//! like any operand; the rest of its children are its operands, in the graph's order.

use std::fmt;
use std::str::FromStr;

use egg::{define_language, Id};
use qwenc_ir::{Eps, Op, WeightId};

define_language! {
    /// One e-node.
    pub(crate) enum Term {
        // A column or a number of columns.
        Number(u32),
        // The epsilon of a norm.
        Epsilon(Epsilon),
        // Numbers computed from types; each is folded to a `Number` as soon as it is made.
        "rows" = Rows([Id; 1]),
        "sum" = Sum([Id; 2]),
        // An op: attributes, then operands.
        Apply(Kind, Vec<Id>),
    }
}

/// `eps=1e-6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Epsilon(pub Eps);

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eps={}", self.0)
    }
}

impl FromStr for Epsilon {
    type Err = ();

    fn from_str(s: &str) -> Result<Epsilon, ()> {
        let value = s.strip_prefix("eps=").and_then(|v| v.parse().ok()).ok_or(())?;
        Ok(Epsilon(Eps::new(value)))
    }
}

/// An op without its attributes; `@3` is a weight, the others print in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kind(Op);

/// Attributes of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// Nothing; also a weight's number, which is part of its [`Kind`].
    None,
    /// Epsilon of a norm.
    Epsilon(Eps),
    /// Two numbers: first column and number of columns, or columns of a block and adapters.
    Numbers(u32, u32),
}

impl Attributes {
    /// Attributes of this op.
    pub fn of(op: Op) -> Attributes {
        match op {
            Op::RmsNorm(eps)
            | Op::HeadNorm(eps)
            | Op::Normalize(eps)
            | Op::NormLinear(eps)
            | Op::NormSwiglu(eps)
            | Op::NormLmHead(eps)
            | Op::HeadNormRope(eps)
            | Op::PrepareQkv(eps) => Attributes::Epsilon(eps),
            Op::Slice { start, len } => Attributes::Numbers(start, len),
            Op::SelectAdapter { rank, adapters } => Attributes::Numbers(rank, adapters),
            _ => Attributes::None,
        }
    }

    /// The op with these attributes in place of its own, where they are of its sort.
    fn set(self, op: Op) -> Option<Op> {
        Some(match (op, self) {
            (Op::RmsNorm(_), Attributes::Epsilon(e)) => Op::RmsNorm(e),
            (Op::HeadNorm(_), Attributes::Epsilon(e)) => Op::HeadNorm(e),
            (Op::Normalize(_), Attributes::Epsilon(e)) => Op::Normalize(e),
            (Op::NormLinear(_), Attributes::Epsilon(e)) => Op::NormLinear(e),
            (Op::NormSwiglu(_), Attributes::Epsilon(e)) => Op::NormSwiglu(e),
            (Op::NormLmHead(_), Attributes::Epsilon(e)) => Op::NormLmHead(e),
            (Op::HeadNormRope(_), Attributes::Epsilon(e)) => Op::HeadNormRope(e),
            (Op::PrepareQkv(_), Attributes::Epsilon(e)) => Op::PrepareQkv(e),
            (Op::Slice { .. }, Attributes::Numbers(start, len)) => Op::Slice { start, len },
            (Op::SelectAdapter { .. }, Attributes::Numbers(rank, adapters)) => {
                Op::SelectAdapter { rank, adapters }
            }
            (op, Attributes::None) if Attributes::of(op) == Attributes::None => op,
            _ => return None,
        })
    }

    /// Children that they take.
    pub fn count(self) -> usize {
        match self {
            Attributes::None => 0,
            Attributes::Epsilon(_) => 1,
            Attributes::Numbers(..) => 2,
        }
    }
}

impl Kind {
    /// The kind of an op.
    pub fn of(op: Op) -> Kind {
        let blank = match Attributes::of(op) {
            Attributes::None => Attributes::None,
            Attributes::Epsilon(_) => Attributes::Epsilon(Eps::new(0.0)),
            Attributes::Numbers(..) => Attributes::Numbers(0, 0),
        };
        // An op's own sort of attributes always fits it.
        Kind(blank.set(op).unwrap_or(op))
    }

    /// The op of this kind with these attributes.
    pub fn with(self, attributes: Attributes) -> Option<Op> {
        attributes.set(self.0)
    }

    /// Number of children that are attributes.
    pub fn attributes(self) -> usize {
        Attributes::of(self.0).count()
    }
}

impl Term {
    /// The children that are values, not attributes.
    pub fn operands(&self) -> &[Id] {
        match self {
            // Too short only in a malformed pattern, whose e-node is typed as broken.
            Term::Apply(kind, ids) => ids.get(kind.attributes()..).unwrap_or(&[]),
            _ => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Weight(id) => write!(f, "{id}"),
            op => f.write_str(&op.name().replace('_', "-")),
        }
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(s: &str) -> Result<Kind, ()> {
        if let Some(n) = s.strip_prefix('@') {
            return n.parse().map(|n| Kind(Op::Weight(WeightId(n)))).map_err(|_| ());
        }
        let spelled = |op: &Op| op.name().len() == s.len() && op.name().replace('_', "-") == s;
        Op::ALL.into_iter().find(|op| !matches!(op, Op::Weight(_)) && spelled(op)).map(Kind::of).ok_or(())
    }
}
