//! Methods of Python's types.
//!
//! In: a value and the name of a method; arguments. Out: what it returns. Invariant: methods that change a value do not
//! exist, as in the immutable sandbox; a method that exists in Python and not here says so when it is called.

mod cases;
mod containers;
pub(crate) mod digits;
mod fields;
mod find;
mod format_spec;
pub(crate) mod percent;
mod split;
mod strings;

use num_bigint::BigInt;
use num_traits::Signed;

use crate::error::{refuse, Outcome};
use crate::filters::arguments::Arguments;
use crate::interpreter::calls::Given;
use crate::interpreter::Interpreter;
use crate::value::{integer, Method, Value};

pub(crate) use cases::{capitalize, is_lower, is_upper};
pub(crate) use split::lines;
pub(crate) use strings::{center, replaced, strip};

const STR: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const LIST: [&str; 3] = ["copy", "count", "index"];
const DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const LIST_CHANGES: [&str; 8] = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const INT: [&str; 6] = ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"];
const FLOAT: [&str; 5] = ["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];

/// The name of a method, if the value has it.
pub(crate) fn find(value: &Value, name: &str) -> Option<&'static str> {
    let names: &[&'static str] = match value {
        Value::Str(_) => &STR,
        Value::List(_) => &LIST,
        Value::Tuple(_) | Value::Range(_) => &["count", "index"],
        Value::Dict(_) => &DICT,
        Value::View(..) => &["isdisjoint", "mapping"],
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => &INT,
        Value::Float(_) => &FLOAT,
        Value::Loop(_) => &["cycle", "changed"],
        Value::Cycler(_) => &["next", "reset"],
        _ => &[],
    };
    names.iter().find(|n| **n == name).copied()
}

/// True for a method that changes its value.
pub(crate) fn changes(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => LIST_CHANGES.contains(&name),
        Value::Dict(_) => DICT_CHANGES.contains(&name),
        _ => false,
    }
}

/// Calls a method.
pub(crate) fn call(interpreter: &mut Interpreter, method: &Method, given: Given) -> Outcome<Value> {
    match (&method.of, method.name) {
        (Value::Str(text), "format") => fields::format(interpreter, text, given).and_then(Value::text),
        (Value::Str(text), "format_map") => {
            let mut args = Arguments::new("format_map", given);
            let map = args.needed(0, "mapping")?;
            args.done(1)?;
            let Value::Dict(map) = map else { return refuse("format_map needs a mapping") };
            let named = |(key, value): (&Value, &Value)| match key {
                Value::Str(name) => Some((name.to_string(), value.clone())),
                _ => None,
            };
            let given = Given { positional: Vec::new(), keyword: map.iter().filter_map(named).collect() };
            fields::format(interpreter, text, given).and_then(Value::text)
        }
        (Value::Str(text), name) => strings::call(text, name, Arguments::new(name, given)),
        (Value::Loop(state), "cycle") if given.keyword.is_empty() => state.cycle(&given.positional),
        (Value::Loop(state), "changed") if given.keyword.is_empty() => state.is_changed(given.positional),
        (Value::Cycler(cycler), name) if given.positional.is_empty() && given.keyword.is_empty() => {
            let at = cycler.at.get();
            if name == "reset" {
                cycler.at.set(0);
                return Ok(Value::None);
            }
            cycler.at.set((at + 1) % cycler.items.len());
            Ok(cycler.items[at].clone())
        }
        (Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_), name) => {
            Arguments::new(name, given).done(0)?;
            number(&method.of, name)
        }
        (of, name) => containers::call(of, name, Arguments::new(name, given)),
    }
}

fn number(of: &Value, name: &str) -> Outcome<Value> {
    if let Value::Float(x) = of {
        return match name {
            "is_integer" => Ok(Value::Bool(x.is_finite() && x.fract() == 0.0)),
            "conjugate" => Ok(of.clone()),
            _ => refuse(format!("float.{name} is not supported")),
        };
    }
    let value = integer::of(of).unwrap_or_default();
    match name {
        "bit_length" => Ok(Value::Int(value.bits() as i64)),
        "bit_count" => {
            let ones: u32 = value.abs().iter_u64_digits().map(u64::count_ones).sum();
            Ok(Value::Int(i64::from(ones)))
        }
        "conjugate" => integer::value(value),
        "as_integer_ratio" => Value::tuple(vec![integer::value(value)?, integer::value(BigInt::from(1))?]),
        _ => refuse(format!("int.{name} is not supported")),
    }
}
