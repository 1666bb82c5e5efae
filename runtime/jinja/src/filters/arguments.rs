//! Arguments of functions, filters and methods, by position or name.
//!
//! In: evaluated arguments. Out: values of the types wanted. Invariant: `done` refuses what was not taken.

use crate::error::{refuse, Outcome};
use crate::interpreter::calls::Given;
use crate::value::{integer, Text, Value};

/// Arguments that are taken one by one.
pub(crate) struct Arguments {
    of: String,
    given: Given,
    taken: usize,
}

impl Arguments {
    pub fn new(of: &str, given: Given) -> Arguments {
        Arguments { of: of.to_string(), given, taken: 0 }
    }

    /// The argument at a position, or of a name.
    pub fn take(&mut self, position: usize, name: &str) -> Option<Value> {
        if let Some(value) = self.given.positional.get(position) {
            self.taken = self.taken.max(position + 1);
            return Some(value.clone());
        }
        let at = self.given.keyword.iter().position(|(n, _)| n == name)?;
        Some(self.given.keyword.remove(at).1)
    }

    pub fn needed(&mut self, position: usize, name: &str) -> Outcome<Value> {
        match self.take(position, name) {
            Some(value) => Ok(value),
            None => refuse(format!("{}: the argument '{name}' is missing", self.of)),
        }
    }

    pub fn or_none(&mut self, position: usize, name: &str) -> Value {
        self.take(position, name).unwrap_or(Value::None)
    }

    pub fn integer(&mut self, position: usize, name: &str, default: i64) -> Outcome<i64> {
        match self.take(position, name) {
            Some(value) => integer::index(&value, name),
            None => Ok(default),
        }
    }

    pub fn flag(&mut self, position: usize, name: &str, default: bool) -> Outcome<bool> {
        Ok(self.take(position, name).map_or(default, |value| value.truth()))
    }

    pub fn text(&mut self, position: usize, name: &str) -> Outcome<Text> {
        match self.needed(position, name)? {
            Value::Str(text) => Ok(text),
            other => {
                other.defined()?;
                refuse(format!("{}: '{name}' must be str, not {}", self.of, other.kind()))
            }
        }
    }

    /// Fails if there are more positional arguments than `most`, or named ones that were not taken.
    pub fn done(&self, most: usize) -> Outcome<()> {
        if self.given.positional.len() > most {
            return refuse(format!("{} takes at most {most} arguments", self.of));
        }
        match self.given.keyword.first() {
            Some((name, _)) => refuse(format!("{} got an unexpected keyword argument '{name}'", self.of)),
            None => Ok(()),
        }
    }

    /// All that is left, from a position on.
    pub fn rest(mut self, from: usize) -> Given {
        let from = from.min(self.given.positional.len());
        self.given.positional.drain(..from);
        self.given
    }
}
