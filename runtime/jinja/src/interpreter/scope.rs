//! Scopes.
//!
//! In: names and values. Out: the value of a name in the nearest scope that has it. Invariant: the chain of scopes is as
//! long as the template nests, so that dropping it is bounded.

use std::cell::RefCell;
use std::rc::Rc;

use crate::ast::Name;
use crate::value::Value;

/// The variables of one scope.
#[derive(Debug)]
pub(crate) struct Scope {
    variables: RefCell<Vec<(Name, Value)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub fn root() -> Scope {
        Scope { variables: RefCell::default(), parent: None }
    }

    pub fn below(parent: Rc<Scope>) -> Scope {
        Scope { variables: RefCell::default(), parent: Some(parent) }
    }

    pub fn set(&self, name: Name, value: Value) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }

    pub fn get(&self, name: Name) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(this) = scope {
            if let Some((_, value)) = this.variables.borrow().iter().find(|(n, _)| *n == name) {
                return Some(value.clone());
            }
            scope = this.parent.as_deref();
        }
        None
    }
}
