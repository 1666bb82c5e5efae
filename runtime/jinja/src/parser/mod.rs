//! Tokens to a syntax tree.
//!
//! In: tokens. Out: an `Ast`. Invariant: the grammar is that of jinja2's parser, with what Python's compiler refuses
//! afterwards (`break` outside of a loop, unknown filters and tests); nothing nests deeper than `NESTED` or `DEPTH`.

mod calls;
mod expressions;
mod operators;
mod primary;
mod statements;
mod tags;
mod targets;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Ast, Const, Expr, ExprId, Name, DEPTH};
use crate::error::{Fault, Outcome};
use crate::lexer::Token;
use crate::meter;

/// The deepest nesting of statements and brackets.
const NESTED: u32 = 200;

/// The names that a macro gets without parameters.
const SPECIAL: [&str; 3] = ["caller", "kwargs", "varargs"];

/// Uses of `varargs`, `kwargs` and `caller` in the body of a macro.
#[derive(Clone, Copy, Default)]
pub(crate) struct Special {
    /// By index of `SPECIAL`: read before it is assigned to.
    read: [bool; 3],
    assigned: [bool; 3],
}

pub(crate) struct Parser {
    tokens: Vec<(u32, Token)>,
    at: usize,
    ast: Ast,
    /// The depth of each expression.
    depths: Vec<u16>,
    names: HashMap<Arc<str>, Name>,
    /// Statements and brackets around this one.
    nested: u32,
    /// Loops around this statement within its function.
    loops: u32,
    /// Above zero in branches, where unknown filters are an error only when they are called.
    soft: u32,
    /// The macros around this one.
    special: Vec<Special>,
    blocks: Vec<Arc<str>>,
    /// Loops around this statement, beyond functions.
    any_loop: u32,
    /// Unknown filters and tests, by the expression after them.
    unknown: Vec<(usize, Fault)>,
}

/// Parses a template.
pub(crate) fn parse(tokens: Vec<(u32, Token)>) -> Outcome<Ast> {
    let mut parser = Parser {
        tokens,
        at: 0,
        ast: Ast::default(),
        depths: Vec::new(),
        names: HashMap::new(),
        nested: 0,
        loops: 0,
        soft: 0,
        special: Vec::new(),
        blocks: Vec::new(),
        any_loop: 0,
        unknown: Vec::new(),
    };
    parser.ast.body = parser.statements(&[])?;
    if let Some((_, fault)) = parser.unknown.into_iter().next() {
        return Err(fault);
    }
    Ok(parser.ast)
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is End, which `next` never goes beyond.
        &self.tokens[self.at].1
    }

    fn look(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].1
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Outcome<T> {
        Err(Fault::Syntax { line: self.line(), message: message.into() })
    }

    fn unexpected<T>(&self, expected: &str) -> Outcome<T> {
        let found = match self.peek() {
            Token::Data(_) => "text".to_string(),
            Token::BlockBegin => "'{%'".into(),
            Token::BlockEnd => "'%}'".into(),
            Token::VariableBegin => "'{{'".into(),
            Token::VariableEnd => "'}}'".into(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(_) => "a string".into(),
            Token::Int(_) | Token::Float(_) => "a number".into(),
            Token::Op(op) => format!("'{op}'"),
            Token::End => "the end of the template".into(),
        };
        self.wrong(format!("expected {expected}, found {found}"))
    }

    /// Items of a tuple without brackets of its own, and whether a comma came.
    fn listed<T>(&mut self, mut item: impl FnMut(&mut Parser) -> Outcome<T>) -> Outcome<(Vec<T>, bool)> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !matches!(self.peek(), Token::VariableEnd | Token::BlockEnd | Token::Op(")")) {
            items.push(item(self)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        Ok((items, is_tuple))
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if **found == *name)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.next();
        }
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    fn expect_op(&mut self, op: &'static str) -> Outcome<()> {
        match self.skip_op(op) {
            true => Ok(()),
            false => self.unexpected(&format!("'{op}'")),
        }
    }

    fn expect_name(&mut self) -> Outcome<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect_block_end(&mut self) -> Outcome<()> {
        match self.peek() {
            Token::BlockEnd => {
                self.next();
                Ok(())
            }
            _ => self.unexpected("'%}'"),
        }
    }

    /// Parses something that may contain itself.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Outcome<T>) -> Outcome<T> {
        self.nested += 1;
        if self.nested > NESTED {
            return self.wrong(format!("nested deeper than {NESTED} levels"));
        }
        meter::stack()?;
        let result = parse(self);
        self.nested -= 1;
        result
    }

    fn name(&mut self, text: &Arc<str>) -> Name {
        if let Some(name) = self.names.get(text) {
            return *name;
        }
        let name = Name(self.ast.names.len() as u32);
        self.ast.names.push(text.clone());
        self.names.insert(text.clone(), name);
        name
    }

    fn constant(&mut self, value: Const) -> u32 {
        self.ast.consts.push(value);
        self.ast.consts.len() as u32 - 1
    }

    fn push(&mut self, line: u32, expr: Expr) -> Outcome<ExprId> {
        let below = expr.below().iter().map(|e| self.depths[e.0 as usize]).max();
        let depth = below.map_or(0, |d| d + 1);
        if depth > DEPTH {
            return self.wrong(format!("an expression is deeper than {DEPTH} levels"));
        }
        self.ast.exprs.push(expr);
        self.ast.lines.push(line);
        self.depths.push(depth);
        Ok(ExprId(self.ast.exprs.len() as u32 - 1))
    }

    /// Notes a read of a name in the macros around.
    fn note_read(&mut self, name: &str) {
        let Some(index) = SPECIAL.iter().position(|s| *s == name) else { return };
        for special in &mut self.special {
            special.read[index] |= !special.assigned[index];
        }
    }

    /// Notes an assignment to a name in the macros around.
    fn note_assigned(&mut self, name: &str) {
        let Some(index) = SPECIAL.iter().position(|s| *s == name) else { return };
        for special in &mut self.special {
            special.assigned[index] = true;
        }
    }
}
