//! Tests: what follows `is`.
//!
//! In: a value, the name of a test, arguments. Out: yes or no. Invariant: the tests are jinja2's.

use crate::ast::Binary;
use crate::error::{refuse, Outcome};
use crate::filters;
use crate::filters::arguments::Arguments;
use crate::interpreter::calls::Given;
use crate::methods;
use crate::value::{compare, iterate, operators, Value};

const NAMES: [&str; 39] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

/// True if there is such a test.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Applies a test.
pub(crate) fn call(name: &str, value: &Value, given: Given) -> Outcome<bool> {
    let mut args = Arguments::new(name, given);
    if let Some(other) = two(name) {
        let right = args.needed(0, "other")?;
        args.done(1)?;
        return other(value, &right);
    }
    args.done(0)?;
    use Value::*;
    Ok(match name {
        "odd" => remainder(value, &Int(2))? == Some(1.0),
        "even" => remainder(value, &Int(2))? == Some(0.0),
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, None),
        "boolean" => matches!(value, Bool(_)),
        "false" => matches!(value, Bool(false)),
        "true" => matches!(value, Bool(true)),
        "integer" => matches!(value, Int(_) | Big(_)),
        "float" => matches!(value, Float(_)),
        "number" => matches!(value, Bool(_) | Int(_) | Big(_) | Float(_)),
        "string" => matches!(value, Str(_)),
        "mapping" => matches!(value, Dict(_)),
        "sequence" => matches!(value, Undefined(_) | Str(_) | List(_) | Tuple(_) | Dict(_) | Range(_)),
        "iterable" => iterate::is_iterable(value),
        "callable" => {
            matches!(value, Undefined(_) | Macro(_) | Function(_) | Method(_) | Loop(_) | Joiner(_))
        }
        "escaped" => matches!(value, Str(text) if text.is_safe()),
        "filter" | "test" => named(name, value)?,
        "lower" | "upper" => cased(name, value)?,
        _ => return refuse(format!("no test named '{name}'")),
    })
}

/// A test with one argument.
fn two(name: &str) -> Option<fn(&Value, &Value) -> Outcome<bool>> {
    Some(match name {
        "divisibleby" => |a, b| Ok(remainder(a, b)? == Some(0.0)),
        "sameas" => compare::same,
        "in" => |a, b| compare::contains(b, a),
        "==" | "eq" | "equalto" => compare::equal,
        "!=" | "ne" => |a, b| compare::equal(a, b).map(|equal| !equal),
        ">" | "gt" | "greaterthan" => |a, b| Ok(compare::order(a, b, ">")?.is_some_and(|o| o.is_gt())),
        ">=" | "ge" => |a, b| Ok(compare::order(a, b, ">=")?.is_some_and(|o| o.is_ge())),
        "<" | "lt" | "lessthan" => |a, b| Ok(compare::order(a, b, "<")?.is_some_and(|o| o.is_lt())),
        "<=" | "le" => |a, b| Ok(compare::order(a, b, "<=")?.is_some_and(|o| o.is_le())),
        _ => return None,
    })
}

/// `value % by`, as a float if it is small; a text is formatted and equals no number.
fn remainder(value: &Value, by: &Value) -> Outcome<Option<f64>> {
    if matches!(value, Value::Str(_)) {
        return refuse("not all arguments converted during string formatting");
    }
    operators::number(&operators::arithmetic(Binary::Mod, value, by)?)
}

fn named(name: &str, value: &Value) -> Outcome<bool> {
    match value {
        Value::Str(of) if name == "filter" => Ok(filters::exists(of)),
        Value::Str(of) => Ok(exists(of)),
        Value::List(_) | Value::Dict(_) => refuse(format!("unhashable type: '{}'", value.kind())),
        _ => Ok(false),
    }
}

/// `str(value).islower()`; of what is no text, only the words True, False and None and keys in quotes have letters.
fn cased(name: &str, value: &Value) -> Outcome<bool> {
    let Value::Str(text) = value else {
        return match value {
            Value::Undefined(_) | Value::Bool(_) | Value::None | Value::Int(_) | Value::Big(_) => Ok(false),
            Value::Float(x) => {
                Ok(name == "lower" && crate::value::float::repr(*x).contains(char::is_alphabetic))
            }
            _ => refuse(format!("{name}: expected a string, found {}", value.kind())),
        };
    };
    Ok(if name == "lower" { methods::is_lower(text) } else { methods::is_upper(text) })
}
