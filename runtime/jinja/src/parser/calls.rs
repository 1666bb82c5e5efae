//! Expressions: calls, filters, tests.
//!
//! In: tokens. Out: expressions in the arena. Invariant: an unknown filter or test is an error at once, but in a branch
//! only when it is called, as in jinja2.

use std::sync::Arc;

use super::Parser;
use crate::ast::{Args, Expr, ExprId};
use crate::error::{Fault, Outcome};
use crate::lexer::Token;
use crate::{filters, tests};

impl Parser {
    pub(super) fn call(&mut self, base: ExprId) -> Outcome<ExprId> {
        let line = self.line();
        let args = self.arguments()?;
        self.push(line, Expr::Call(base, args))
    }

    /// A filter, from its name on.
    pub(super) fn filter(&mut self, base: ExprId) -> Outcome<ExprId> {
        let line = self.line();
        let name = self.dotted()?;
        let args = match self.is_op("(") {
            true => self.arguments()?,
            false => Args::default(),
        };
        if !filters::exists(&name) {
            self.unknown("filter", &name, line)?;
        }
        self.push(line, Expr::Filter(base, name, args))
    }

    /// A test, from `is` on.
    pub(super) fn test(&mut self, base: ExprId) -> Outcome<ExprId> {
        let line = self.line();
        self.next();
        let negated = self.skip_name("not");
        let name = self.dotted()?;
        let mut args = Args::default();
        match self.peek() {
            Token::Op("(") => args = self.arguments()?,
            Token::Name(next) if ["else", "or", "and"].contains(&&**next) => {}
            Token::Name(next) if **next == *"is" => return self.wrong("tests cannot be chained with 'is'"),
            Token::Name(_) | Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => {
                let argument = self.deeper(|p| {
                    let base = p.primary()?;
                    p.postfix(base)
                })?;
                args.positional.push(argument);
            }
            _ => {}
        }
        if !tests::exists(&name) {
            self.unknown("test", &name, line)?;
        }
        let test = self.push(line, Expr::Test(base, name, args))?;
        match negated {
            true => self.push(line, Expr::Not(test)),
            false => Ok(test),
        }
    }

    fn dotted(&mut self) -> Outcome<Arc<str>> {
        let mut name = self.expect_name()?;
        while self.skip_op(".") {
            let more = self.expect_name()?;
            name = format!("{name}.{more}").into();
        }
        Ok(name)
    }

    fn unknown(&mut self, what: &str, name: &str, line: u32) -> Outcome<()> {
        if self.soft == 0 {
            let fault = Fault::Syntax { line, message: format!("no {what} named '{name}'") };
            self.unknown.push((self.ast.exprs.len(), fault));
        }
        Ok(())
    }

    /// Forgets unknown filters and tests of expressions from `from` on: they turned out to be in a branch.
    pub(super) fn soften(&mut self, from: usize) {
        self.unknown.retain(|(at, _)| *at < from);
    }

    /// The arguments of a call, from the bracket on.
    fn arguments(&mut self) -> Outcome<Args> {
        self.expect_op("(")?;
        let mut args = Args::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            self.argument(&mut args)?;
        }
        self.expect_op(")")?;
        Ok(args)
    }

    fn argument(&mut self, args: &mut Args) -> Outcome<()> {
        let wrong = "the arguments of a call are in a wrong order";
        if self.skip_op("*") {
            if args.star.is_some() || args.star_star.is_some() {
                return self.wrong(wrong);
            }
            args.star = Some(self.expression()?);
            return Ok(());
        }
        if self.skip_op("**") {
            if args.star_star.is_some() {
                return self.wrong(wrong);
            }
            args.star_star = Some(self.expression()?);
            return Ok(());
        }
        let keyword = match (self.peek(), self.look()) {
            (Token::Name(name), Token::Op("=")) => Some(name.clone()),
            _ => None,
        };
        match keyword {
            Some(name) => {
                if args.star_star.is_some() || args.keyword.iter().any(|(n, _)| *n == name) {
                    return self.wrong(wrong);
                }
                self.next();
                self.next();
                let value = self.expression()?;
                args.keyword.push((name, value));
            }
            None => {
                if args.star.is_some() || args.star_star.is_some() || !args.keyword.is_empty() {
                    return self.wrong(wrong);
                }
                let value = self.expression()?;
                args.positional.push(value);
            }
        }
        Ok(())
    }
}
