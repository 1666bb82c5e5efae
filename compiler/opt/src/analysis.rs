//! egg's analysis of the e-graph: what is known of each e-class, its type or the number it stands for.
//!
//! In: an e-node and the facts of its children. Out: the fact of its class. Invariant: types come
//! from `qwenc_ir::infer` alone; a class whose members disagree, or break a law, is `Broken` for
//! good, and saturation then fails rather than choose from it. Guards read these facts; a guard that
//! needs to know more adds it to [`Fact`].

use egg::{Analysis, DidMerge, Id};
use qwenc_ir::{infer, Dims, Eps, Op, Type, WeightDecl};

use crate::language::{Attributes, Kind, Term};

/// The e-graph of one section.
pub(crate) type EGraph = egg::EGraph<Term, TypeAnalysis>;

/// Facts that shape laws refer to: sizes and declared weights.
#[derive(Clone, Debug)]
pub(crate) struct TypeAnalysis {
    pub dims: Dims,
    pub weights: Vec<WeightDecl>,
}

/// The fact of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A value of this type; the type says whether it is constant or absent.
    Value(Type),
    /// A column or a number of columns.
    Number(u32),
    /// The epsilon of a norm.
    Epsilon(Eps),
    /// No such value: the law that its term breaks.
    Broken(String),
}

impl Fact {
    /// The type of a value.
    pub fn ty(&self) -> Option<&Type> {
        match self {
            Fact::Value(ty) => Some(ty),
            _ => None,
        }
    }

    /// The number.
    pub fn number(&self) -> Option<u32> {
        match self {
            Fact::Number(n) => Some(*n),
            _ => None,
        }
    }
}

impl TypeAnalysis {
    fn of<'a>(&self, term: &Term, fact: impl Fn(Id) -> &'a Fact) -> Fact {
        match term {
            Term::Number(n) => Fact::Number(*n),
            Term::Epsilon(eps) => Fact::Epsilon(eps.0),
            Term::Rows([w]) => rows(fact(*w)),
            Term::Sum([a, b]) => match (fact(*a), fact(*b)) {
                (Fact::Number(a), Fact::Number(b)) => {
                    a.checked_add(*b).map_or(Fact::Broken("sum: overflow".to_string()), Fact::Number)
                }
                _ => Fact::Broken("sum: expected two numbers".to_string()),
            },
            Term::Apply(kind, children) => match op(*kind, children, &fact) {
                Some(op) => self.typed(op, term.operands(), fact),
                None => Fact::Broken(format!("{kind}: attributes that it does not take")),
            },
        }
    }

    fn typed<'a>(&self, op: Op, operands: &[Id], fact: impl Fn(Id) -> &'a Fact) -> Fact {
        let mut types = Vec::with_capacity(operands.len());
        for &id in operands {
            match fact(id) {
                Fact::Value(ty) => types.push(ty),
                Fact::Broken(what) => return Fact::Broken(what.clone()),
                _ => return Fact::Broken(format!("{}: a number in place of a value", op.name())),
            }
        }
        match infer(op, &types, &self.dims, &self.weights) {
            Ok(ty) => Fact::Value(ty),
            Err(e) => Fact::Broken(e.to_string()),
        }
    }
}

/// The op of a term, its attributes read from the facts of its first children.
pub(crate) fn op<'a>(kind: Kind, children: &[Id], fact: impl Fn(Id) -> &'a Fact) -> Option<Op> {
    let attributes: Vec<&Fact> = children.get(..kind.attributes())?.iter().map(|&id| fact(id)).collect();
    kind.with(match attributes.as_slice() {
        [] => Attributes::None,
        [Fact::Epsilon(eps)] => Attributes::Epsilon(*eps),
        [Fact::Number(a), Fact::Number(b)] => Attributes::Numbers(*a, *b),
        _ => return None,
    })
}

fn rows(w: &Fact) -> Fact {
    match w.ty().and_then(Type::matrix) {
        Some((rows, _)) => Fact::Number(rows),
        None => Fact::Broken("rows: expected w[n, k]".to_string()),
    }
}

impl Analysis<Term> for TypeAnalysis {
    type Data = Fact;

    fn make(egraph: &mut EGraph, term: &Term, _id: Id) -> Fact {
        egraph.analysis.of(term, |id| &egraph[id].data)
    }

    fn merge(&mut self, to: &mut Fact, from: Fact) -> DidMerge {
        match (&*to, &from) {
            (a, b) if a == b => DidMerge(false, false),
            (Fact::Broken(_), _) => DidMerge(false, true),
            (_, Fact::Broken(_)) => {
                *to = from;
                DidMerge(true, false)
            }
            (a, b) => {
                *to = Fact::Broken(format!("made equal: {a:?} and {b:?}"));
                DidMerge(true, true)
            }
        }
    }

    /// Folds numbers, so that a slice has one spelling.
    fn modify(egraph: &mut EGraph, id: Id) {
        if let Fact::Number(n) = egraph[id].data {
            let number = egraph.add(Term::Number(n));
            egraph.union(id, number);
        }
    }
}
