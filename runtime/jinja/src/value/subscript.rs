//! Attributes and items.
//!
//! In: a value and a name or key. Out: what the sandbox gives. Invariant: what is not there is undefined, and so are
//! methods that change a value and names with underscores; the two orders of looking (attribute or item first) are
//! those of `SandboxedEnvironment`.

use std::rc::Rc;

use crate::error::{shown, Fault, Outcome};
use crate::interpreter::Interpreter;
use crate::meter;
use crate::methods;
use crate::value::{integer, Method, Value};

/// `value.name`.
pub(crate) fn attribute(interpreter: &Interpreter, value: &Value, name: &Value) -> Outcome<Value> {
    let Value::Str(text) = name else { return item(interpreter, value, name) };
    if let Some(found) = own_attribute(interpreter, value, text)? {
        return Ok(found);
    }
    Ok(own_item(value, name)?.unwrap_or_else(|| missing(value, text)))
}

/// `value[key]`.
pub(crate) fn item(interpreter: &Interpreter, value: &Value, key: &Value) -> Outcome<Value> {
    value.defined()?;
    if let Some(found) = own_item(value, key)? {
        return Ok(found);
    }
    match key {
        Value::Str(text) => {
            Ok(own_attribute(interpreter, value, text)?.unwrap_or_else(|| missing(value, text)))
        }
        _ => Ok(Value::undefined(format!("{} object has no such element", value.kind()))),
    }
}

fn missing(value: &Value, name: &str) -> Value {
    let name = shown(name);
    Value::undefined(format!("'{} object' has no attribute '{name}'", value.kind()))
}

fn unsafe_attribute(value: &Value, name: &str) -> Value {
    let name = shown(name);
    Value::undefined(format!("access to attribute '{name}' of '{}' object is unsafe", value.kind()))
}

/// Attributes that all of Python's objects have, and that the sandbox hides.
const HIDDEN: [&str; 13] = [
    "__class__",
    "__doc__",
    "__init__",
    "__new__",
    "__eq__",
    "__ne__",
    "__str__",
    "__repr__",
    "__hash__",
    "__dir__",
    "__reduce__",
    "__getattribute__",
    "__init_subclass__",
];

/// Result of Python's `getattr`; undefined if the sandbox hides the attribute.
fn own_attribute(interpreter: &Interpreter, value: &Value, name: &str) -> Outcome<Option<Value>> {
    if let Value::Undefined(message) = value {
        return match HIDDEN.contains(&name) {
            true => Ok(Some(unsafe_attribute(value, name))),
            false => Err(Fault::Runtime { line: 0, message: message.to_string() }),
        };
    }
    let found = match value {
        Value::Namespace(index) => interpreter.namespace_get(*index, name),
        Value::Macro(index) => interpreter.macro_attribute(*index, name)?,
        Value::Loop(state) => state.attribute(name)?,
        Value::Cycler(c) => match name {
            "current" => Some(c.items[c.at.get()].clone()),
            "items" => Some(Value::tuple(c.items.to_vec())?),
            "pos" => Some(Value::Int(c.at.get() as i64)),
            _ => None,
        },
        Value::Joiner(j) => match name {
            "sep" => Some(j.separator.clone()),
            "used" => Some(Value::Bool(j.used.get())),
            _ => None,
        },
        Value::Tuple(items) => match items.names {
            Some([first, _]) if name == first => Some(items[0].clone()),
            Some([_, second]) if name == second => Some(items[1].clone()),
            _ => None,
        },
        _ => data(value, name)?,
    };
    if found.is_some() {
        return Ok(Some(if name.starts_with('_') {
            unsafe_attribute(value, name)
        } else {
            found.unwrap_or(Value::None)
        }));
    }
    if HIDDEN.contains(&name) {
        return Ok(Some(unsafe_attribute(value, name)));
    }
    if methods::changes(value, name) {
        return Ok(Some(unsafe_attribute(value, name)));
    }
    Ok(methods::find(value, name).map(|name| Value::Method(Rc::new(Method { of: value.clone(), name }))))
}

/// The attributes of ranges and numbers.
fn data(value: &Value, name: &str) -> Outcome<Option<Value>> {
    Ok(match value {
        Value::Range(r) => match name {
            "start" => Some(Value::Int(r.start)),
            "stop" => Some(Value::Int(r.stop)),
            "step" => Some(Value::Int(r.step)),
            _ => None,
        },
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => match name {
            "real" | "numerator" => integer::of(value).map(integer::value).transpose()?,
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => None,
        },
        Value::Float(x) => match name {
            "real" => Some(Value::Float(*x)),
            "imag" => Some(Value::Float(0.0)),
            _ => None,
        },
        _ => None,
    })
}

/// Result of Python's `value[key]`.
fn own_item(value: &Value, key: &Value) -> Outcome<Option<Value>> {
    let at = |length: usize| {
        let index = match key {
            Value::Bool(b) => i64::from(*b),
            Value::Int(i) => *i,
            _ => return None,
        };
        let index = if index < 0 { index.checked_add(length as i64)? } else { index };
        usize::try_from(index).ok().filter(|i| *i < length)
    };
    Ok(match value {
        Value::Dict(d) => match key {
            // An unhashable key is a TypeError, which getitem takes for absent.
            Value::List(_) | Value::Dict(_) => None,
            _ => match d.get(key) {
                Ok(found) => found.cloned(),
                Err(limit @ Fault::Limit(_)) => return Err(limit),
                Err(_) => None,
            },
        },
        Value::List(items) | Value::Tuple(items) => at(items.len()).map(|i| items[i].clone()),
        Value::Range(r) => at(r.len()).map(|i| r.get(i)),
        Value::Str(text) => {
            meter::spend_bytes(text.len())?;
            let length = if text.is_ascii() { text.len() } else { text.chars().count() };
            match at(length) {
                Some(i) if text.is_ascii() => Some(Value::text(&text[i..=i])?),
                Some(i) => {
                    let c = text.chars().nth(i).unwrap_or_default();
                    Some(Value::text(&*c.encode_utf8(&mut [0; 4]))?)
                }
                None => None,
            }
        }
        _ => None,
    })
}
