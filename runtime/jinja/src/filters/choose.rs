//! Filters that apply other filters and tests: `map`, `select`, `reject` and theirs by attribute.
//!
//! In: a value and arguments. Out: a generator. Invariant: of an empty value nothing is looked at, arguments included.

use crate::error::{refuse, Outcome};
use crate::interpreter::calls::Given;
use crate::interpreter::Interpreter;
use crate::tests;
use crate::value::{iterate, Items, Value};

use super::arguments::Arguments;
use super::Getter;

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    args: Arguments,
) -> Outcome<Value> {
    if !value.truth() {
        return Value::iter(Vec::new(), "generator");
    }
    let given = args.rest(0);
    match name {
        "map" => map(interpreter, &value, given),
        _ => choose(interpreter, name, &value, given),
    }
}

fn map(interpreter: &mut Interpreter, value: &Value, mut given: Given) -> Outcome<Value> {
    let mut out = Items::default();
    let by_attribute = given.positional.is_empty() && given.keyword.iter().any(|(n, _)| n == "attribute");
    if by_attribute {
        let mut args = Arguments::new("map", given);
        let attribute = args.or_none(0, "attribute");
        let default = args.take(1, "default").filter(|d| !matches!(d, Value::None));
        args.done(0)?;
        let getter = Getter::new(&attribute, default, false)?;
        for item in iterate::items(value)? {
            out.push(getter.get(interpreter, &item)?)?;
        }
        return Value::iter(out.into_vec(), "generator");
    }
    if given.positional.is_empty() {
        return refuse("map requires a filter argument");
    }
    let Value::Str(filter) = given.positional.remove(0) else {
        return refuse("map: a filter's name is a string");
    };
    for item in iterate::items(value)? {
        let given = Given { positional: given.positional.clone(), keyword: given.keyword.clone() };
        out.push(super::call(interpreter, &filter, item, given)?)?;
    }
    Value::iter(out.into_vec(), "generator")
}

fn choose(interpreter: &Interpreter, name: &str, value: &Value, mut given: Given) -> Outcome<Value> {
    let mut getter = None;
    if name.ends_with("attr") {
        if given.positional.is_empty() {
            return refuse("missing parameter for attribute name");
        }
        getter = Some(Getter::new(&given.positional.remove(0), None, false)?);
    }
    let test = match given.positional.is_empty() {
        true => None,
        false => match given.positional.remove(0) {
            Value::Str(test) => Some(test),
            _ => return refuse(format!("{name}: a test's name is a string")),
        },
    };
    let mut out = Items::default();
    for item in iterate::items(value)? {
        let looked_at = match &getter {
            Some(getter) => getter.get(interpreter, &item)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => {
                let given = Given { positional: given.positional.clone(), keyword: given.keyword.clone() };
                tests::call(test, &looked_at, given)?
            }
            None => looked_at.truth(),
        };
        if passes != name.starts_with("reject") {
            out.push(item)?;
        }
    }
    Value::iter(out.into_vec(), "generator")
}
