//! Expressions: conditions, logic and comparison.
//!
//! In: tokens. Out: expressions in the arena. Invariant: precedence is jinja2's: `if`, `or`, `and`, `not`, comparisons,
//! then `operators`.

use super::Parser;
use crate::ast::{Compare, Expr, ExprId};
use crate::error::Outcome;
use crate::lexer::Token;

impl Parser {
    /// An expression.
    pub(super) fn expression(&mut self) -> Outcome<ExprId> {
        self.deeper(|p| p.condition())
    }

    fn condition(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let outer = self.ast.exprs.len();
        let mut expr = self.or()?;
        while self.skip_name("if") {
            self.soften(outer);
            self.soft += 1;
            let test = self.or();
            let no = match self.skip_name("else") {
                true => self.deeper(|p| p.condition()).map(Some),
                false => Ok(None),
            };
            self.soft -= 1;
            expr = self.push(line, Expr::Cond { test: test?, yes: expr, no: no? })?;
        }
        Ok(expr)
    }

    /// `a or b`.
    pub(super) fn or(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            left = self.push(line, Expr::Or(left, right))?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            left = self.push(line, Expr::And(left, right))?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let mut nots = 0;
        while self.skip_name("not") {
            nots += 1;
        }
        let mut expr = self.comparison()?;
        for _ in 0..nots {
            expr = self.push(line, Expr::Not(expr))?;
        }
        Ok(expr)
    }

    fn comparison(&mut self) -> Outcome<ExprId> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(compare) = self.compare() {
            rest.push((compare, self.sum()?));
        }
        match rest.is_empty() {
            true => Ok(first),
            false => self.push(line, Expr::Compare(first, rest)),
        }
    }

    fn compare(&mut self) -> Option<Compare> {
        let compare = match self.peek() {
            Token::Op("==") => Compare::Eq,
            Token::Op("!=") => Compare::Ne,
            Token::Op("<") => Compare::Lt,
            Token::Op("<=") => Compare::Le,
            Token::Op(">") => Compare::Gt,
            Token::Op(">=") => Compare::Ge,
            Token::Name(name) if **name == *"in" => Compare::In,
            Token::Name(name) if **name == *"not" => match self.look() {
                Token::Name(name) if **name == *"in" => {
                    self.next();
                    Compare::NotIn
                }
                _ => return None,
            },
            _ => return None,
        };
        self.next();
        Some(compare)
    }
}
