//! Expressions: arithmetic, signs, and what follows a value (attributes, calls, filters, tests).
//!
//! In: tokens. Out: expressions in the arena. Invariant: precedence is jinja2's: sums, `~`, products, powers, signs; a
//! filter binds tighter than a sign only at the sign's own level.

use super::Parser;
use crate::ast::{Binary, Const, Expr, ExprId};
use crate::error::Outcome;
use crate::lexer::Token;

impl Parser {
    pub(super) fn sum(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut left = self.concat()?;
        loop {
            let binary = match self.peek() {
                Token::Op("+") => Binary::Add,
                Token::Op("-") => Binary::Sub,
                _ => return Ok(left),
            };
            self.next();
            let right = self.concat()?;
            left = self.push(line, Expr::Binary(binary, left, right))?;
        }
    }

    fn concat(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_op("~") {
            items.push(self.product()?);
        }
        self.push(line, Expr::Concat(items))
    }

    fn product(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut left = self.power()?;
        loop {
            let binary = match self.peek() {
                Token::Op("*") => Binary::Mul,
                Token::Op("/") => Binary::Div,
                Token::Op("//") => Binary::FloorDiv,
                Token::Op("%") => Binary::Mod,
                _ => return Ok(left),
            };
            self.next();
            let right = self.power()?;
            left = self.push(line, Expr::Binary(binary, left, right))?;
        }
    }

    fn power(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut left = self.unary(true)?;
        while self.skip_op("**") {
            let right = self.unary(true)?;
            left = self.push(line, Expr::Binary(Binary::Pow, left, right))?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> Outcome<ExprId> {
        let line = self.line();
        let base = match self.peek() {
            Token::Op("-") => {
                self.next();
                let expr = self.deeper(|p| p.unary(false))?;
                self.push(line, Expr::Neg(expr))?
            }
            Token::Op("+") => {
                self.next();
                let expr = self.deeper(|p| p.unary(false))?;
                self.push(line, Expr::Pos(expr))?
            }
            _ => self.primary()?,
        };
        let base = self.postfix(base)?;
        match with_filter {
            true => self.filtered(base),
            false => Ok(base),
        }
    }

    /// Attributes, items and calls.
    pub(super) fn postfix(&mut self, mut base: ExprId) -> Outcome<ExprId> {
        loop {
            let line = self.line();
            base = match self.peek() {
                Token::Op(".") => {
                    self.next();
                    match self.next() {
                        Token::Name(name) => {
                            let name = self.constant(Const::Str(name.to_string()));
                            self.push(line, Expr::Attr(base, name))?
                        }
                        Token::Int(index) => {
                            let index = self.constant(Const::Int(index));
                            let index = self.push(line, Expr::Const(index))?;
                            self.push(line, Expr::Item(base, index))?
                        }
                        _ => return self.wrong("expected a name or number after '.'"),
                    }
                }
                Token::Op("[") => self.subscript(base)?,
                Token::Op("(") => self.call(base)?,
                _ => return Ok(base),
            };
        }
    }

    /// Filters, tests and calls.
    fn filtered(&mut self, mut base: ExprId) -> Outcome<ExprId> {
        loop {
            base = match self.peek() {
                Token::Op("|") => {
                    self.next();
                    self.filter(base)?
                }
                Token::Name(name) if **name == *"is" => self.test(base)?,
                Token::Op("(") => self.call(base)?,
                _ => return Ok(base),
            };
        }
    }

    fn subscript(&mut self, base: ExprId) -> Outcome<ExprId> {
        let line = self.line();
        self.expect_op("[")?;
        let mut items = Vec::new();
        let mut slice = None;
        while !self.is_op("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_op(",")?;
            }
            let first = match self.is_op(":") {
                true => None,
                false => Some(self.expression()?),
            };
            match (self.skip_op(":"), first) {
                (false, Some(item)) => items.push(item),
                (_, start) => slice = Some(self.bounds(start)?),
            }
        }
        self.expect_op("]")?;
        match (slice, items.len()) {
            (Some(bounds), 0) => self.push(line, Expr::Slice(base, bounds)),
            (None, 1) => self.push(line, Expr::Item(base, items[0])),
            (None, _) => {
                let key = self.push(line, Expr::Tuple(items))?;
                self.push(line, Expr::Item(base, key))
            }
            (Some(_), _) => self.wrong("a slice stands alone in its brackets"),
        }
    }

    /// The bounds of a slice after its first colon.
    fn bounds(&mut self, start: Option<ExprId>) -> Outcome<[Option<ExprId>; 3]> {
        let bound = |p: &mut Parser| match p.is_op(":") || p.is_op("]") || p.is_op(",") {
            true => Ok(None),
            false => p.expression().map(Some),
        };
        let stop = bound(self)?;
        let step = match self.skip_op(":") {
            true if self.is_op(":") => return self.unexpected("']'"),
            true => bound(self)?,
            false => None,
        };
        Ok([start, stop, step])
    }
}
