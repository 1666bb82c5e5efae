//! Expressions: names, literals, brackets.
//!
//! In: tokens. Out: expressions in the arena. Invariant: tuples need no brackets where jinja2 needs none.

use super::Parser;
use crate::ast::{Const, Expr, ExprId};
use crate::error::Outcome;
use crate::lexer::Token;

/// Context of a tuple without brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// In `{{ }}` or behind `=`.
    Free,
    /// In `if` and `for`, where `if` is a keyword.
    NoCondition,
    /// In round brackets.
    Brackets,
}

impl Parser {
    /// A tuple, or an expression where there is no comma.
    pub(super) fn tuple(&mut self, around: Around) -> Outcome<ExprId> {
        let line = self.line();
        let (items, is_tuple) = self.listed(|p| match around {
            Around::Free | Around::Brackets => p.expression(),
            Around::NoCondition => p.deeper(|p| p.or()),
        })?;
        match (is_tuple, items.first()) {
            (false, Some(only)) => Ok(*only),
            (false, None) if around != Around::Brackets => self.unexpected("an expression"),
            _ => self.push(line, Expr::Tuple(items)),
        }
    }

    pub(super) fn primary(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let constant = match self.peek().clone() {
            Token::Name(name) => {
                self.next();
                match &*name {
                    "true" | "True" => Const::Bool(true),
                    "false" | "False" => Const::Bool(false),
                    "none" | "None" => Const::None,
                    _ => {
                        self.note_read(&name);
                        let name = self.name(&name);
                        return self.push(line, Expr::Name(name));
                    }
                }
            }
            Token::Str(_) => {
                let mut text = String::new();
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                Const::Str(text)
            }
            Token::Int(value) => {
                self.next();
                Const::Int(value)
            }
            Token::Float(value) => {
                self.next();
                Const::Float(value)
            }
            Token::Op("(") => {
                self.next();
                let inner = self.deeper(|p| p.tuple(Around::Brackets))?;
                self.expect_op(")")?;
                return Ok(inner);
            }
            Token::Op("[") => return self.list(),
            Token::Op("{") => return self.dict(),
            _ => return self.unexpected("an expression"),
        };
        let constant = self.constant(constant);
        self.push(line, Expr::Const(constant))
    }

    fn list(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        self.expect_op("[")?;
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("]") {
                break;
            }
            items.push(self.expression()?);
        }
        self.expect_op("]")?;
        self.push(line, Expr::List(items))
    }

    fn dict(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        self.expect_op("{")?;
        let mut items = Vec::new();
        while !self.is_op("}") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("}") {
                break;
            }
            let key = self.expression()?;
            self.expect_op(":")?;
            items.push((key, self.expression()?));
        }
        self.expect_op("}")?;
        self.push(line, Expr::Dict(items))
    }
}
