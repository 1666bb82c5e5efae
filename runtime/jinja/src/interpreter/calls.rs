//! Calls of macros, functions, methods and loops.
//!
//! In: what is called and its arguments. Out: a value. Invariant: arguments bind as in `jinja2.runtime.Macro`.

use super::Interpreter;
use crate::ast::{Args, Macro};
use crate::error::{refuse, Outcome};
use crate::globals;
use crate::meter;
use crate::methods;
use crate::value::{iterate, repr, Dict, Value};

/// Evaluated arguments.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub positional: Vec<Value>,
    pub keyword: Vec<(String, Value)>,
}

impl<'t> Interpreter<'t> {
    /// Evaluates arguments.
    pub(super) fn arguments(&mut self, args: &Args) -> Outcome<Given> {
        let mut given = Given::default();
        for value in &args.positional {
            given.positional.push(self.evaluate(*value)?);
        }
        for (name, value) in &args.keyword {
            given.keyword.push((name.to_string(), self.evaluate(*value)?));
        }
        if let Some(more) = args.star {
            let more = self.evaluate(more)?;
            given.positional.extend(iterate::items(&more)?);
        }
        if let Some(more) = args.star_star {
            let more = self.evaluate(more)?;
            more.defined()?;
            let Value::Dict(more) = &more else { return refuse("the argument after ** must be a mapping") };
            // The keys of a dict differ from each other.
            let explicit = given.keyword.len();
            for (key, value) in more.iter() {
                let Value::Str(key) = key else { return refuse("keywords must be strings") };
                meter::spend(explicit / 8 + 1)?;
                if given.keyword[..explicit].iter().any(|(k, _)| **k == **key) {
                    return refuse(format!("got multiple values for keyword argument '{}'", &**key));
                }
                given.keyword.push((key.to_string(), value.clone()));
            }
        }
        Ok(given)
    }

    /// Calls a value.
    pub(crate) fn call(&mut self, callee: &Value, mut given: Given) -> Outcome<Value> {
        callee.defined()?;
        match callee {
            Value::Macro(index) => self.call_macro(*index, given),
            Value::Function(function) => globals::call(self, *function, given),
            Value::Method(method) => methods::call(self, method, given),
            Value::Loop(state) => match (given.positional.len(), given.keyword.len()) {
                (1, 0) => self.recurse(state, &given.positional.remove(0)),
                _ => refuse("a loop is called with one argument"),
            },
            Value::Joiner(joiner) => match joiner.used.replace(true) {
                true => Ok(joiner.separator.clone()),
                false => Value::text(""),
            },
            _ => refuse(format!("'{}' object is not callable", callee.kind())),
        }
    }

    fn call_macro(&mut self, index: usize, given: Given) -> Outcome<Value> {
        let (definition, scope) = (self.macros[index].index, self.macros[index].scope.clone());
        let definition = &self.ast.macros[definition];
        let (_, text) = self.called(|i| {
            i.captured(|i| {
                i.scoped(scope, |i| {
                    i.bind(definition, given)?;
                    i.statements(&definition.body)
                })
            })
        })?;
        Ok(text)
    }

    /// Sets the parameters of a macro in the current scope.
    fn bind(&mut self, definition: &'t Macro, mut given: Given) -> Outcome<()> {
        let called = definition.name.map_or("caller", |n| &*self.ast.names[n.0 as usize]);
        let count = definition.params.len();
        let rest = match given.positional.len() > count {
            true => given.positional.split_off(count),
            false => Vec::new(),
        };
        let mut values: Vec<Option<Value>> = given.positional.into_iter().map(Some).collect();
        let by_position = values.len();
        let take = |name: &str, keyword: &mut Vec<(String, Value)>| {
            let at = keyword.iter().position(|(k, _)| k == name)?;
            Some(keyword.remove(at).1)
        };
        let mut found_caller = false;
        for (name, _) in &definition.params[by_position..] {
            let name = &*self.ast.names[name.0 as usize];
            found_caller |= name == "caller";
            values.push(take(name, &mut given.keyword));
        }
        let is_caller = |n: &crate::ast::Name| *self.ast.names[n.0 as usize] == *"caller";
        let explicit = definition.params.iter().any(|(n, _)| is_caller(n));
        found_caller |= by_position == count && explicit;
        if definition.takes_caller && !found_caller {
            let caller = take("caller", &mut given.keyword);
            let caller = caller.unwrap_or_else(|| Value::undefined("No caller defined"));
            self.bind_special("caller", caller);
        }
        if definition.takes_kwargs {
            let pairs = given.keyword.into_iter().map(|(name, value)| Ok((Value::text(name)?, value)));
            let kwargs = Value::Dict(Dict::new(pairs.collect::<Vec<_>>())?.into());
            self.bind_special("kwargs", kwargs);
        } else if let Some((name, _)) = given.keyword.first() {
            return refuse(format!("macro '{called}' takes no keyword argument '{name}'"));
        }
        if definition.takes_varargs {
            let rest = Value::tuple(rest)?;
            self.bind_special("varargs", rest);
        } else if !rest.is_empty() {
            return refuse(format!("macro '{called}' takes not more than {count} argument(s)"));
        }
        // A parameter that was not given is read as undefined by the defaults before it.
        for ((name, _), value) in definition.params.iter().zip(&values) {
            let text = &self.ast.names[name.0 as usize];
            let missing = || Value::undefined(format!("parameter '{text}' was not provided"));
            self.scope.set(*name, value.clone().unwrap_or_else(missing));
        }
        for ((name, default), value) in definition.params.iter().zip(&values) {
            if let (None, Some(default)) = (value, default) {
                let default = self.evaluate(*default)?;
                self.scope.set(*name, default);
            }
        }
        Ok(())
    }

    fn bind_special(&mut self, name: &str, value: Value) {
        if let Some(at) = self.ast.names.iter().position(|n| **n == *name) {
            self.scope.set(crate::ast::Name(at as u32), value);
        }
    }

    /// `str(value)`.
    pub(crate) fn text_of(&self, value: &Value) -> Outcome<String> {
        repr::text(self, value)
    }
}
