//! The interpreter: statements, and what lives as long as a rendering.
//!
//! In: a syntax tree and variables. Out: text. Invariant: a scope sees those around it where it was written, late bound;
//! assignments stay in their own scope, which loops, macros, blocks and `with` open, but not `if`.

pub(crate) mod calls;
mod evaluate;
pub(crate) mod loops;
mod scope;
mod statements;

use std::rc::Rc;

use crate::ast::{Ast, Const, Name};
use crate::error::{Fault, Outcome};
use crate::meter::{self, Charge, Writer};
use crate::value::{integer, Text, Value};

use scope::Scope;

/// The deepest chain of macros and recursive loops.
const CALLS: u32 = 250;

/// A macro as it was defined: where its names are looked up.
struct MacroValue {
    index: usize,
    scope: Rc<Scope>,
    _charge: Charge,
}

/// A rendering.
pub(crate) struct Interpreter<'t> {
    ast: &'t Ast,
    consts: Vec<Value>,
    namespaces: Vec<Vec<(Value, Value)>>,
    macros: Vec<MacroValue>,
    root: Rc<Scope>,
    scope: Rc<Scope>,
    out: Writer,
    /// The texts that blocks around have captured.
    captured: Vec<Value>,
    line: u32,
    calls: u32,
}

/// Control flow after a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

/// Renders a template with variables.
pub(crate) fn render(ast: &Ast, variables: Vec<(&str, Value)>) -> Outcome<String> {
    let root = Rc::new(Scope::root());
    for (at, name) in ast.names.iter().enumerate() {
        let given = variables.iter().rev().find(|(n, _)| *n == &**name).map(|(_, value)| value.clone());
        if let Some(value) = given.or_else(|| crate::globals::Function::named(name).map(Value::Function)) {
            root.set(Name(at as u32), value);
        }
    }
    let consts = ast.consts.iter().map(constant).collect::<Outcome<_>>()?;
    let mut interpreter = Interpreter {
        ast,
        consts,
        namespaces: Vec::new(),
        macros: Vec::new(),
        scope: root.clone(),
        root,
        out: Writer::default(),
        captured: Vec::new(),
        line: 0,
        calls: 0,
    };
    let done = interpreter.statements(&ast.body);
    let line = interpreter.line;
    // Macros hold scopes, and scopes only the indices of macros: no circle remains.
    interpreter.macros.clear();
    done.map_err(|e| e.at(line))?;
    Ok(interpreter.out.into_string())
}

fn constant(constant: &Const) -> Outcome<Value> {
    Ok(match constant {
        Const::None => Value::None,
        Const::Bool(b) => Value::Bool(*b),
        Const::Int(i) => integer::value(i.clone())?,
        Const::Float(x) => Value::Float(*x),
        Const::Str(s) => Value::Str(Text::new(s.as_str())?),
    })
}

impl<'t> Interpreter<'t> {
    /// Makes a namespace.
    pub fn new_namespace(&mut self, attributes: Vec<(Value, Value)>) -> Outcome<Value> {
        meter::room(self.namespaces.len() * 64)?;
        meter::spend(8)?;
        self.namespaces.push(attributes);
        Ok(Value::Namespace(self.namespaces.len() - 1))
    }

    /// The attributes of a namespace.
    pub fn namespace(&self, index: usize) -> &[(Value, Value)] {
        &self.namespaces[index]
    }

    /// An attribute of a namespace.
    pub fn namespace_get(&self, index: usize, name: &str) -> Option<Value> {
        let is_name = |key: &Value| matches!(key, Value::Str(s) if **s == *name);
        self.namespaces[index].iter().find(|(key, _)| is_name(key)).map(|(_, value)| value.clone())
    }

    fn namespace_set(&mut self, index: usize, name: Value, value: Value) -> Outcome<()> {
        let Value::Str(text) = &name else { return Ok(()) };
        meter::spend(self.namespaces[index].len() / 8)?;
        let is_name = |key: &Value| matches!(key, Value::Str(s) if **s == **text);
        match self.namespaces[index].iter_mut().find(|(key, _)| is_name(key)) {
            Some((_, old)) => *old = value,
            None => self.namespaces[index].push((name, value)),
        }
        Ok(())
    }

    /// The name of a macro; none of the body of a call block.
    pub fn macro_name(&self, index: usize) -> Option<String> {
        let name = self.ast.macros[self.macros[index].index].name?;
        Some(self.ast.names[name.0 as usize].to_string())
    }

    /// An attribute of a macro.
    pub fn macro_attribute(&self, index: usize, name: &str) -> Outcome<Option<Value>> {
        let definition = &self.ast.macros[self.macros[index].index];
        Ok(Some(match name {
            "name" => match self.macro_name(index) {
                Some(name) => Value::text(name)?,
                None => Value::None,
            },
            "arguments" => {
                let name = |(n, _): &(Name, _)| Value::text(&*self.ast.names[n.0 as usize]);
                Value::tuple(definition.params.iter().map(name).collect::<Outcome<_>>()?)?
            }
            "catch_kwargs" => Value::Bool(definition.takes_kwargs),
            "catch_varargs" => Value::Bool(definition.takes_varargs),
            "caller" => Value::Bool(definition.takes_caller),
            _ => return Ok(None),
        }))
    }

    /// Runs a body in a scope of its own, below `parent`.
    fn scoped<T>(&mut self, parent: Rc<Scope>, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let scope = Rc::new(Scope::below(parent));
        let outer = std::mem::replace(&mut self.scope, scope);
        let result = run(self);
        self.scope = outer;
        result
    }

    /// Runs a body and gives its text instead of printing it.
    fn captured<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<(T, Value)> {
        let outer = std::mem::take(&mut self.out);
        let result = run(self);
        let inner = std::mem::replace(&mut self.out, outer);
        Ok((result?, Value::text(inner.into_string())?))
    }

    /// Counts a call of a macro or recursive loop while it runs.
    fn called<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.calls == CALLS {
            return Err(Fault::Limit(format!("macros call each other more than {CALLS} levels deep")));
        }
        meter::stack()?;
        self.calls += 1;
        let result = run(self);
        self.calls -= 1;
        result
    }
}
