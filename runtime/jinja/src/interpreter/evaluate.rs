//! Expressions.
//!
//! In: an expression. Out: its value. Invariant: evaluated from left to right, each once, and only what is needed.

use super::Interpreter;
use crate::ast::{Compare, Expr, ExprId};
use crate::error::{shown, Outcome};
use crate::meter::{self, Writer};
use crate::value::{compare, operators, repr, slices, subscript, Dict, Value};
use crate::{filters, tests};

impl<'t> Interpreter<'t> {
    /// The value of an expression.
    pub(super) fn evaluate(&mut self, id: ExprId) -> Outcome<Value> {
        meter::spend(1)?;
        meter::stack()?;
        let ast = self.ast;
        let line = ast.lines[id.0 as usize];
        self.line = line;
        self.expression(&ast.exprs[id.0 as usize]).map_err(|e| e.at(line))
    }

    fn expression(&mut self, expr: &'t Expr) -> Outcome<Value> {
        match expr {
            Expr::Const(at) => Ok(self.consts[*at as usize].clone()),
            Expr::Name(name) => Ok(self.scope.get(*name).unwrap_or_else(|| {
                Value::undefined(format!("'{}' is undefined", shown(&self.ast.names[name.0 as usize])))
            })),
            Expr::Tuple(items) => Value::tuple(self.all(items)?),
            Expr::List(items) => Value::list(self.all(items)?),
            Expr::Dict(pairs) => self.dict(pairs),
            Expr::Cond { test, yes, no } => match (self.evaluate(*test)?.truth(), no) {
                (true, _) => self.evaluate(*yes),
                (false, Some(no)) => self.evaluate(*no),
                (false, None) => Ok(Value::undefined(
                    "the inline if-expression evaluated to false and no else section was defined",
                )),
            },
            Expr::And(a, b) => {
                let a = self.evaluate(*a)?;
                if a.truth() {
                    self.evaluate(*b)
                } else {
                    Ok(a)
                }
            }
            Expr::Or(a, b) => {
                let a = self.evaluate(*a)?;
                if a.truth() {
                    Ok(a)
                } else {
                    self.evaluate(*b)
                }
            }
            Expr::Not(a) => Ok(Value::Bool(!self.evaluate(*a)?.truth())),
            Expr::Compare(first, rest) => self.comparison(*first, rest),
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.evaluate(*a)?, self.evaluate(*b)?);
                operators::binary(self, *operator, &a, &b)
            }
            Expr::Neg(a) => operators::signed(&self.evaluate(*a)?, true),
            Expr::Pos(a) => operators::signed(&self.evaluate(*a)?, false),
            Expr::Concat(items) => self.concat(items),
            Expr::Attr(base, name) => {
                let base = self.evaluate(*base)?;
                let name = self.consts[*name as usize].clone();
                subscript::attribute(self, &base, &name)
            }
            Expr::Item(base, key) => {
                let (base, key) = (self.evaluate(*base)?, self.evaluate(*key)?);
                subscript::item(self, &base, &key)
            }
            Expr::Slice(base, bounds) => self.slice(*base, bounds),
            Expr::Call(..) | Expr::Filter(..) | Expr::Test(..) => self.applied(expr),
            Expr::Captured => Ok(self.captured.last().cloned().unwrap_or(Value::None)),
        }
    }

    /// Calls, filters and tests: the base first, then the arguments.
    fn applied(&mut self, expr: &'t Expr) -> Outcome<Value> {
        match expr {
            Expr::Call(base, args) => {
                let base = self.evaluate(*base)?;
                let args = self.arguments(args)?;
                self.call(&base, args)
            }
            Expr::Filter(base, name, args) => {
                let base = self.evaluate(*base)?;
                let args = self.arguments(args)?;
                filters::call(self, name, base, args)
            }
            Expr::Test(base, name, args) => {
                let base = self.evaluate(*base)?;
                let args = self.arguments(args)?;
                tests::call(name, &base, args).map(Value::Bool)
            }
            _ => Ok(Value::None),
        }
    }

    fn all(&mut self, items: &[ExprId]) -> Outcome<Vec<Value>> {
        items.iter().map(|item| self.evaluate(*item)).collect()
    }

    fn dict(&mut self, pairs: &[(ExprId, ExprId)]) -> Outcome<Value> {
        let mut given = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            given.push(Ok((self.evaluate(*key)?, self.evaluate(*value)?)));
        }
        Ok(Value::Dict(Dict::new(given)?.into()))
    }

    fn concat(&mut self, items: &[ExprId]) -> Outcome<Value> {
        let items = self.all(items)?;
        let mut out = Writer::default();
        for item in items {
            repr::write(self, &mut out, &item)?;
        }
        Value::text(out.into_string())
    }

    fn slice(&mut self, base: ExprId, bounds: &[Option<ExprId>; 3]) -> Outcome<Value> {
        let base = self.evaluate(base)?;
        let mut given = [Value::None, Value::None, Value::None];
        for (value, bound) in given.iter_mut().zip(bounds) {
            if let Some(bound) = bound {
                *value = self.evaluate(*bound)?;
            }
        }
        slices::slice(&base, [&given[0], &given[1], &given[2]])
    }

    fn comparison(&mut self, first: ExprId, rest: &[(Compare, ExprId)]) -> Outcome<Value> {
        let mut left = self.evaluate(first)?;
        for (operator, right) in rest {
            let right = self.evaluate(*right)?;
            if !compared(*operator, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }
}

fn compared(operator: Compare, a: &Value, b: &Value) -> Outcome<bool> {
    Ok(match operator {
        Compare::Eq => compare::equal(a, b)?,
        Compare::Ne => !compare::equal(a, b)?,
        Compare::Lt => compare::order(a, b, "<")?.is_some_and(|o| o.is_lt()),
        Compare::Le => compare::order(a, b, "<=")?.is_some_and(|o| o.is_le()),
        Compare::Gt => compare::order(a, b, ">")?.is_some_and(|o| o.is_gt()),
        Compare::Ge => compare::order(a, b, ">=")?.is_some_and(|o| o.is_ge()),
        Compare::In => compare::contains(b, a)?,
        Compare::NotIn => !compare::contains(b, a)?,
    })
}
