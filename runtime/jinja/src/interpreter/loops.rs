//! For loops, and `loop` within them.
//!
//! In: a loop of the syntax tree. Out: its text. Invariant: what `loop` holds is let go of at the loop's end, so that
//! no circle of references outlives it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::scope::Scope;
use super::{Flow, Interpreter};
use crate::ast::Name;
use crate::error::{refuse, Outcome};
use crate::meter;
use crate::value::{compare, iterate, repr, Value};

/// The variable `loop`.
#[derive(Debug)]
pub(crate) struct LoopState {
    items: RefCell<Vec<Value>>,
    length: usize,
    index0: Cell<usize>,
    depth0: u32,
    changed: RefCell<Option<Value>>,
    /// The loop and the scope around it, of a recursive one.
    recurse: Option<(usize, RefCell<Option<Rc<Scope>>>)>,
}

impl LoopState {
    pub fn length(&self) -> usize {
        self.length
    }

    pub fn index(&self) -> usize {
        self.index0.get() + 1
    }

    /// An attribute; methods are found elsewhere.
    pub fn attribute(&self, name: &str) -> Outcome<Option<Value>> {
        let (length, index0) = (self.length as i64, self.index0.get() as i64);
        let item = |at: Option<usize>, message: &str| {
            let found = at.and_then(|at| self.items.borrow().get(at).cloned());
            found.unwrap_or_else(|| Value::undefined(message))
        };
        Ok(Some(match name {
            "index" => Value::Int(index0 + 1),
            "index0" => Value::Int(index0),
            "revindex" => Value::Int(length - index0),
            "revindex0" => Value::Int(length - index0 - 1),
            "first" => Value::Bool(index0 == 0),
            "last" => Value::Bool(index0 + 1 >= length),
            "length" => Value::Int(length),
            "depth" => Value::Int(i64::from(self.depth0) + 1),
            "depth0" => Value::Int(i64::from(self.depth0)),
            "previtem" => item(self.index0.get().checked_sub(1), "there is no previous item"),
            "nextitem" => item(Some(self.index0.get() + 1), "there is no next item"),
            _ => return Ok(None),
        }))
    }

    /// `loop.cycle(…)`.
    pub fn cycle(&self, items: &[Value]) -> Outcome<Value> {
        match items.is_empty() {
            true => refuse("no items for cycling given"),
            false => Ok(items[self.index0.get() % items.len()].clone()),
        }
    }

    /// `loop.changed(…)`.
    pub fn is_changed(&self, values: Vec<Value>) -> Outcome<Value> {
        let values = Value::tuple(values)?;
        let same = match &*self.changed.borrow() {
            Some(last) => compare::equal(last, &values)?,
            None => false,
        };
        // A loop that is over keeps nothing: values that hold loops could chain without end.
        if !same && !self.items.borrow().is_empty() {
            *self.changed.borrow_mut() = Some(values);
        }
        Ok(Value::Bool(!same))
    }

    /// Releases items, the last `changed` value and the scope.
    fn end(&self) {
        self.items.take();
        self.changed.take();
        if let Some((_, scope)) = &self.recurse {
            scope.take();
        }
    }
}

impl<'t> Interpreter<'t> {
    pub(super) fn for_loop(&mut self, index: usize) -> Outcome<Flow> {
        let definition = &self.ast.loops[index];
        let items = self.evaluate(definition.items)?;
        if !definition.recursive {
            return self.run_loop(index, &items, self.here(), 0);
        }
        let scope = self.here();
        let (_, text) = self.called(|i| i.captured(|i| i.run_loop(index, &items, scope, 0)))?;
        let text = repr::text(self, &text)?;
        self.out.push(&text)?;
        Ok(Flow::Next)
    }

    /// `loop(items)`.
    pub(super) fn recurse(&mut self, state: &LoopState, items: &Value) -> Outcome<Value> {
        let Some((index, scope)) = &state.recurse else {
            return refuse("the loop must have the 'recursive' marker to be called recursively");
        };
        let scope = scope.borrow().clone();
        let Some(scope) = scope else { return refuse("the loop has ended") };
        let depth = state.depth0 + 1;
        let (_, text) = self.called(|i| i.captured(|i| i.run_loop(*index, items, scope, depth)))?;
        Ok(text)
    }

    fn run_loop(&mut self, index: usize, items: &Value, scope: Rc<Scope>, depth0: u32) -> Outcome<Flow> {
        let definition = &self.ast.loops[index];
        let items = self.wanted(index, iterate::items(items)?, &scope)?;
        let length = items.len();
        let _charge = meter::charge(length * 24)?;
        let state = Rc::new(LoopState {
            items: RefCell::new(items),
            length,
            index0: Cell::new(0),
            depth0,
            changed: RefCell::new(None),
            recurse: definition.recursive.then(|| (index, RefCell::new(Some(scope.clone())))),
        });
        let outer = self.here();
        let result = self.iterations(index, &state, &scope);
        self.scope = outer;
        state.end();
        // As in jinja2, `else` asks whether any iteration came to its end.
        if !result? {
            return self.scoped(scope, |i| i.statements(&definition.otherwise));
        }
        Ok(Flow::Next)
    }

    /// The items that pass the loop's test.
    fn wanted(&mut self, index: usize, items: Vec<Value>, scope: &Rc<Scope>) -> Outcome<Vec<Value>> {
        let definition = &self.ast.loops[index];
        let Some(test) = definition.test else { return Ok(items) };
        let mut wanted = Vec::new();
        for item in items {
            let kept = self.scoped(scope.clone(), |i| {
                i.assign(&definition.target, item.clone())?;
                i.evaluate(test)
            })?;
            if kept.truth() {
                wanted.push(item);
            }
        }
        Ok(wanted)
    }

    /// Runs the body for each item; true if it came to its end once.
    fn iterations(&mut self, index: usize, state: &Rc<LoopState>, scope: &Rc<Scope>) -> Outcome<bool> {
        let mut completed = false;
        let definition = &self.ast.loops[index];
        let loop_name = self.ast.names.iter().position(|n| **n == *"loop").map(|at| Name(at as u32));
        for at in 0..state.length {
            meter::spend(1)?;
            state.index0.set(at);
            self.scope = Rc::new(Scope::below(scope.clone()));
            if let Some(name) = loop_name {
                self.scope.set(name, Value::Loop(state.clone()));
            }
            let item = state.items.borrow()[at].clone();
            self.assign(&definition.target, item)?;
            match self.statements(&definition.body)? {
                Flow::Next => completed = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        Ok(completed)
    }
}
