//! A parsed template.
//!
//! In: what the parser pushes. Out: arenas of expressions, loops and macros, and the statements. Invariant: expressions
//! refer only to earlier ones, so that a template of any size is dropped without recursion, and none is deeper than
//! `DEPTH`.

use std::sync::Arc;

use num_bigint::BigInt;

/// The deepest expression.
pub(crate) const DEPTH: u16 = 400;

/// An expression in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExprId(pub u32);

/// A name in the table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub u32);

/// A literal.
#[derive(Clone, Debug)]
pub(crate) enum Const {
    None,
    Bool(bool),
    Int(BigInt),
    Float(f64),
    Str(String),
}

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

/// Comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// The arguments of a call, filter or test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub positional: Vec<ExprId>,
    pub keyword: Vec<(Arc<str>, ExprId)>,
    pub star: Option<ExprId>,
    pub star_star: Option<ExprId>,
}

/// An expression; literals and attribute names are indices of `Ast::consts`.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Const(u32),
    Name(Name),
    Tuple(Vec<ExprId>),
    List(Vec<ExprId>),
    Dict(Vec<(ExprId, ExprId)>),
    Cond {
        test: ExprId,
        yes: ExprId,
        no: Option<ExprId>,
    },
    And(ExprId, ExprId),
    Or(ExprId, ExprId),
    Not(ExprId),
    Compare(ExprId, Vec<(Compare, ExprId)>),
    Binary(Binary, ExprId, ExprId),
    Neg(ExprId),
    Pos(ExprId),
    Concat(Vec<ExprId>),
    Attr(ExprId, u32),
    Item(ExprId, ExprId),
    Slice(ExprId, [Option<ExprId>; 3]),
    Call(ExprId, Args),
    Filter(ExprId, Arc<str>, Args),
    Test(ExprId, Arc<str>, Args),
    /// The text that a filter block or block assignment has captured.
    Captured,
}

impl Expr {
    /// The expressions directly below this one.
    pub fn below(&self) -> Vec<ExprId> {
        use Expr::*;
        match self {
            Const(_) | Name(_) | Captured => Vec::new(),
            Tuple(items) | List(items) | Concat(items) => items.clone(),
            Dict(items) => items.iter().flat_map(|(key, value)| [*key, *value]).collect(),
            Cond { test, yes, no } => [Some(*test), Some(*yes), *no].into_iter().flatten().collect(),
            And(a, b) | Or(a, b) | Binary(_, a, b) | Item(a, b) => vec![*a, *b],
            Not(a) | Neg(a) | Pos(a) | Attr(a, _) => vec![*a],
            Compare(first, rest) => std::iter::once(*first).chain(rest.iter().map(|(_, e)| *e)).collect(),
            Slice(base, bounds) => std::iter::once(*base).chain(bounds.iter().flatten().copied()).collect(),
            Call(base, args) | Filter(base, _, args) | Test(base, _, args) => {
                let keywords = args.keyword.iter().map(|(_, e)| *e);
                let positional = args.positional.iter().copied();
                let rest = positional.chain(keywords).chain(args.star).chain(args.star_star);
                std::iter::once(*base).chain(rest).collect()
            }
        }
    }
}

/// Target of an assignment.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Name(Name),
    /// An attribute of a namespace; the attribute is an index of `Ast::consts`.
    Attr(Name, u32),
    Tuple(Vec<Target>),
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Stmt {
    /// Text between tags: an index of `Ast::consts`.
    Data(u32),
    Print(ExprId),
    For(usize),
    If {
        branches: Vec<(ExprId, Vec<Stmt>)>,
        otherwise: Vec<Stmt>,
    },
    Set(Target, ExprId),
    /// The expression reads `Captured`.
    SetBlock(Target, ExprId, Vec<Stmt>),
    /// The expression reads `Captured`.
    FilterBlock(ExprId, Vec<Stmt>),
    Macro(usize),
    /// A macro that is `caller` in the call.
    CallBlock(usize, ExprId),
    With(Vec<(Target, ExprId)>, Vec<Stmt>),
    Block {
        body: Vec<Stmt>,
        scoped: bool,
    },
    Scope(Vec<Stmt>),
    Break,
    Continue,
    /// A statement that cannot be executed without a loader.
    Refused(&'static str),
}

/// A for loop.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    pub target: Target,
    pub items: ExprId,
    pub test: Option<ExprId>,
    pub recursive: bool,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
}

/// A macro, or the body of a call block.
#[derive(Clone, Debug)]
pub(crate) struct Macro {
    /// Name of the macro; `None` for the body of a call block.
    pub name: Option<Name>,
    pub params: Vec<(Name, Option<ExprId>)>,
    pub body: Vec<Stmt>,
    pub takes_caller: bool,
    pub takes_kwargs: bool,
    pub takes_varargs: bool,
}

/// A parsed template.
#[derive(Debug, Default)]
pub(crate) struct Ast {
    pub exprs: Vec<Expr>,
    /// The line of each expression.
    pub lines: Vec<u32>,
    pub consts: Vec<Const>,
    pub names: Vec<Arc<str>>,
    pub loops: Vec<Loop>,
    pub macros: Vec<Macro>,
    pub body: Vec<Stmt>,
}
