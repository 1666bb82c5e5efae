//! Statements with bodies.
//!
//! In: tokens from behind the tag's word (`for` and `if`: from it on). Out: statements, loops and macros in the arenas.
//! Invariant: the last token read is the word of the end tag.

use super::primary::Around;
use super::{Parser, Special, SPECIAL};
use crate::ast::{Expr, ExprId, Loop, Macro, Name, Stmt};
use crate::error::Outcome;
use crate::lexer::Token;

impl Parser {
    pub(super) fn for_loop(&mut self) -> Outcome<Stmt> {
        self.next();
        self.any_loop += 1;
        let target = self.target(false)?;
        if !self.skip_name("in") {
            return self.unexpected("'in'");
        }
        let items = self.tuple(Around::NoCondition)?;
        let test = match self.skip_name("if") {
            true => Some(self.expression()?),
            false => None,
        };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let soft = std::mem::take(&mut self.soft);
        let body = self.body(&["endfor", "else"])?;
        self.loops -= 1;
        let mut otherwise = Vec::new();
        if !self.skip_name("endfor") {
            self.next();
            let loops = self.loops;
            self.loops = if recursive { 0 } else { loops };
            otherwise = self.whole_body("endfor")?;
            self.loops = loops;
        }
        self.soft = soft;
        self.any_loop -= 1;
        self.ast.loops.push(Loop { target, items, test, recursive, body, otherwise });
        Ok(Stmt::For(self.ast.loops.len() - 1))
    }

    pub(super) fn branches(&mut self) -> Outcome<Stmt> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        self.soft += 1;
        loop {
            // `if` or `elif`.
            self.next();
            let test = self.tuple(Around::NoCondition)?;
            branches.push((test, self.body(&["elif", "else", "endif"])?));
            if self.is_name("elif") {
                continue;
            }
            if self.skip_name("else") {
                otherwise = self.body(&["endif"])?;
            }
            self.next();
            self.soft -= 1;
            return Ok(Stmt::If { branches, otherwise });
        }
    }

    pub(super) fn set(&mut self) -> Outcome<Stmt> {
        let at = (self.at, self.special.clone());
        let target = self.target(true)?;
        if self.skip_op("=") {
            // The value is read before the name is assigned to.
            let after = std::mem::replace(&mut self.special, at.1);
            let value = self.tuple(Around::Free)?;
            for (special, after) in self.special.iter_mut().zip(after) {
                for index in 0..SPECIAL.len() {
                    special.read[index] |= after.read[index];
                    special.assigned[index] |= after.assigned[index];
                }
            }
            return Ok(Stmt::Set(target, value));
        }
        let mut value = self.push(self.line(), Expr::Captured)?;
        while self.skip_op("|") {
            value = self.filter(value)?;
        }
        let body = self.whole_body("endset")?;
        Ok(Stmt::SetBlock(target, value, body))
    }

    pub(super) fn filter_block(&mut self) -> Outcome<Stmt> {
        let captured = self.push(self.line(), Expr::Captured)?;
        let mut value = self.filter(captured)?;
        while self.skip_op("|") {
            value = self.filter(value)?;
        }
        Ok(Stmt::FilterBlock(value, self.whole_body("endfilter")?))
    }

    pub(super) fn with(&mut self) -> Outcome<Stmt> {
        let mut values = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.single_target(false)?;
            self.expect_op("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Stmt::With(values, self.whole_body("endwith")?))
    }

    pub(super) fn macro_definition(&mut self) -> Outcome<Stmt> {
        let name = self.name_target()?;
        let index = self.function(Some(name), "endmacro")?.0;
        Ok(Stmt::Macro(index))
    }

    pub(super) fn call_block(&mut self) -> Outcome<Stmt> {
        let (index, call) = self.function(None, "endcall")?;
        match call {
            Some(call) => Ok(Stmt::CallBlock(index, call)),
            None => self.wrong("expected a call"),
        }
    }

    /// A macro, or with no name the body of a call block and its call.
    fn function(&mut self, name: Option<Name>, end: &str) -> Outcome<(usize, Option<ExprId>)> {
        let params = match name.is_some() || self.is_op("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let call = match name {
            Some(_) => None,
            None => {
                let call = self.expression()?;
                matches!(self.ast.exprs[call.0 as usize], Expr::Call(..)).then_some(call)
            }
        };
        self.special.push(Special::default());
        let body = self.function_body(end)?;
        let special = self.special.pop().unwrap_or_default();
        let has = |name: &str| params.iter().any(|(n, _)| *self.ast.names[n.0 as usize] == *name);
        let takes = |i: usize| special.read[i] && !has(SPECIAL[i]);
        let without_default = |name: &str| {
            params.iter().any(|(n, default)| *self.ast.names[n.0 as usize] == *name && default.is_none())
        };
        if special.read[0] && without_default("caller") {
            return self.wrong("the parameter 'caller' needs a default");
        }
        let (takes_caller, takes_kwargs, takes_varargs) = (takes(0), takes(1), takes(2));
        let takes_caller = takes_caller || special.read[0];
        self.ast.macros.push(Macro { name, params, body, takes_caller, takes_kwargs, takes_varargs });
        Ok((self.ast.macros.len() - 1, call))
    }

    fn parameters(&mut self) -> Outcome<Vec<(Name, Option<ExprId>)>> {
        self.expect_op("(")?;
        let mut params: Vec<(Name, Option<ExprId>)> = Vec::new();
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let special = self.special.clone();
            let name = self.name_target()?;
            self.special = special;
            if params.iter().any(|(n, _)| *n == name) {
                return self.wrong("a parameter stands twice");
            }
            let default = match self.skip_op("=") {
                true => Some(self.expression()?),
                false if params.last().is_some_and(|(_, default)| default.is_some()) => {
                    return self.wrong("a parameter without default follows one with default");
                }
                false => None,
            };
            params.push((name, default));
        }
        self.expect_op(")")?;
        Ok(params)
    }
}
