//! Statements.
//!
//! In: statements. Out: text in `out`, variables in scopes. Invariant: one step of fuel for each.

use std::rc::Rc;

use super::{Flow, Interpreter, MacroValue};
use crate::ast::{Expr, ExprId, Stmt, Target};
use crate::error::{refuse, Outcome};
use crate::meter;
use crate::value::{iterate, repr, Value};

impl<'t> Interpreter<'t> {
    /// Executes statements until one leaves the loop.
    pub(super) fn statements(&mut self, body: &'t [Stmt]) -> Outcome<Flow> {
        for statement in body {
            let flow = self.statement(statement)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &'t Stmt) -> Outcome<Flow> {
        meter::spend(1)?;
        meter::stack()?;
        match statement {
            Stmt::Data(at) => {
                if let Value::Str(text) = &self.consts[*at as usize] {
                    self.out.push(text)?;
                }
            }
            Stmt::Print(value) => {
                let value = self.evaluate(*value)?;
                let mut out = std::mem::take(&mut self.out);
                let written = repr::write(self, &mut out, &value);
                self.out = out;
                written?;
            }
            Stmt::For(index) => return self.for_loop(*index),
            Stmt::If { branches, otherwise } => return self.branch(branches, otherwise),
            Stmt::Set(target, value) => {
                self.check_namespaces(target)?;
                let value = self.evaluate(*value)?;
                self.assign(target, value)?;
            }
            Stmt::SetBlock(target, value, body) => {
                let (flow, value) = self.block_value(*value, body)?;
                self.assign(target, value)?;
                return Ok(flow);
            }
            Stmt::FilterBlock(value, body) => {
                let (flow, value) = self.block_value(*value, body)?;
                let text = repr::text(self, &value)?;
                self.out.push(&text)?;
                return Ok(flow);
            }
            Stmt::Macro(index) => {
                let value = self.define(*index)?;
                if let Some(name) = self.ast.macros[*index].name {
                    self.scope.set(name, value);
                }
            }
            Stmt::CallBlock(index, call) => self.call_block(*index, *call)?,
            Stmt::With(values, body) => return self.with(values, body),
            Stmt::Block { body, scoped } => {
                let parent = if *scoped { self.scope.clone() } else { self.root.clone() };
                return self.scoped(parent, |i| i.statements(body));
            }
            Stmt::Scope(body) => return self.scoped(self.scope.clone(), |i| i.statements(body)),
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
            Stmt::Refused(message) => return refuse(*message),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, branches: &'t [(ExprId, Vec<Stmt>)], otherwise: &'t [Stmt]) -> Outcome<Flow> {
        for (test, body) in branches {
            if self.evaluate(*test)?.truth() {
                return self.statements(body);
            }
        }
        self.statements(otherwise)
    }

    /// The value of a block assignment or filter block. Text that `break` cut off is lost, as in jinja2.
    fn block_value(&mut self, value: ExprId, body: &'t [Stmt]) -> Outcome<(Flow, Value)> {
        let scope = self.scope.clone();
        let (flow, text) = self.captured(|i| i.scoped(scope, |i| i.statements(body)))?;
        if flow != Flow::Next {
            return Ok((flow, Value::text("")?));
        }
        self.captured.push(text);
        let value = self.evaluate(value);
        self.captured.pop();
        Ok((flow, value?))
    }

    fn with(&mut self, values: &'t [(Target, ExprId)], body: &'t [Stmt]) -> Outcome<Flow> {
        let mut given = Vec::new();
        for (target, value) in values {
            given.push((target, self.evaluate(*value)?));
        }
        self.scoped(self.scope.clone(), |i| {
            for (target, value) in given {
                i.assign(target, value)?;
            }
            i.statements(body)
        })
    }

    fn call_block(&mut self, index: usize, call: ExprId) -> Outcome<()> {
        let caller = self.define(index)?;
        let Expr::Call(base, args) = &self.ast.exprs[call.0 as usize] else { return Ok(()) };
        let base = self.evaluate(*base)?;
        let mut given = self.arguments(args)?;
        given.keyword.push(("caller".into(), caller));
        let value = self.call(&base, given)?;
        let text = repr::text(self, &value)?;
        self.out.push(&text)
    }

    /// A macro with the scope in which it is defined.
    fn define(&mut self, index: usize) -> Outcome<Value> {
        let charge = meter::charge(64)?;
        self.macros.push(MacroValue { index, scope: self.scope.clone(), _charge: charge });
        Ok(Value::Macro(self.macros.len() - 1))
    }

    fn check_namespaces(&self, target: &Target) -> Outcome<()> {
        match target {
            Target::Name(_) => Ok(()),
            Target::Tuple(items) => items.iter().try_for_each(|t| self.check_namespaces(t)),
            Target::Attr(name, _) => match self.scope.get(*name) {
                Some(Value::Namespace(_)) => Ok(()),
                _ => refuse("cannot assign attribute on non-namespace object"),
            },
        }
    }

    /// Assigns to names, attributes of namespaces and tuples of them.
    pub(super) fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => {
                self.scope.set(*name, value);
                Ok(())
            }
            Target::Attr(name, attribute) => match self.scope.get(*name) {
                Some(Value::Namespace(index)) => {
                    let attribute = self.consts[*attribute as usize].clone();
                    self.namespace_set(index, attribute, value)
                }
                _ => refuse("cannot assign attribute on non-namespace object"),
            },
            Target::Tuple(targets) => {
                let items = iterate::items(&value)?;
                if items.len() != targets.len() {
                    let (expected, found) = (targets.len(), items.len());
                    return refuse(format!("cannot unpack: expected {expected} values, found {found}"));
                }
                targets.iter().zip(items).try_for_each(|(target, item)| self.assign(target, item))
            }
        }
    }

    /// Shares the current scope.
    pub(super) fn here(&self) -> Rc<super::Scope> {
        self.scope.clone()
    }
}
