//! Equality and order of values.
//!
//! In: two values. Out: whether they are equal, or their order. Invariant: as in Python: numbers of all types compare
//! by value, and order is an error between types that have none.

use std::cmp::Ordering;
use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};

use crate::error::{refuse, Outcome};
use crate::meter;
use crate::value::{integer, Dict, Value, View};

/// The order of two numbers; None if one is no number, or NaN.
fn numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return Some(Some(a.cmp(b)));
    }
    match (a, b) {
        (Value::Float(x), Value::Float(y)) => Some(x.partial_cmp(y)),
        (Value::Float(x), _) => Some(float_to_int(*x, &integer::of(b)?)),
        (_, Value::Float(y)) => Some(float_to_int(*y, &integer::of(a)?).map(Ordering::reverse)),
        _ => Some(Some(integer::of(a)?.cmp(&integer::of(b)?))),
    }
}

fn float_to_int(x: f64, i: &BigInt) -> Option<Ordering> {
    if x.is_nan() {
        return None;
    }
    match BigInt::from_f64(x.floor()) {
        Some(whole) => match whole.cmp(i) {
            Ordering::Equal if x.fract() != 0.0 => Some(Ordering::Greater),
            order => Some(order),
        },
        None => Some(if x > 0.0 { Ordering::Greater } else { Ordering::Less }),
    }
}

/// `a == b`.
pub(crate) fn equal(a: &Value, b: &Value) -> Outcome<bool> {
    meter::spend(1)?;
    if let Some(order) = numbers(a, b) {
        return Ok(order == Some(Ordering::Equal));
    }
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => {
            meter::spend_bytes(if a.len() == b.len() { a.len() } else { 0 })?;
            **a == **b
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            Rc::ptr_eq(a, b) || a.len() == b.len() && all_equal(a.iter().zip(b.iter()))?
        }
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b) || dicts(a, b)?,
        (Value::View(a, View::Keys), Value::View(b, View::Keys)) => a.len() == b.len() && keys_in(a, b)?,
        (Value::View(a, View::Items), Value::View(b, View::Items)) => dicts(a, b)?,
        (Value::Range(a), Value::Range(b)) => {
            let first = |r: &super::Range| (r.len(), (r.len() > 0).then_some(r.start));
            first(a) == first(b) && (a.len() < 2 || a.step == b.step)
        }
        (Value::Namespace(a), Value::Namespace(b)) | (Value::Macro(a), Value::Macro(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a == b,
        (Value::Iter(a), Value::Iter(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
        (Value::Joiner(a), Value::Joiner(b)) => Rc::ptr_eq(a, b),
        (Value::Method(a), Value::Method(b)) => a.name == b.name && same(&a.of, &b.of)?,
        _ => false,
    })
}

fn all_equal<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Outcome<bool> {
    meter::stack()?;
    for (a, b) in pairs {
        if !equal(a, b)? && !same(a, b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn keys_in(a: &Dict, b: &Dict) -> Outcome<bool> {
    for (key, _) in a.iter() {
        if b.get(key)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn dicts(a: &Dict, b: &Dict) -> Outcome<bool> {
    meter::stack()?;
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.iter() {
        match b.get(key)? {
            Some(other) if equal(value, other)? || same(value, other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// `a is b`, as far as it does not depend on how Python shares what does not change.
pub(crate) fn same(a: &Value, b: &Value) -> Outcome<bool> {
    Ok(match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Str(a), Value::Str(b)) => {
            if a.len() == b.len() {
                meter::spend_bytes(a.len())?;
            }
            **a == **b
        }
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b) || a.is_empty() && b.is_empty(),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) | (Value::Macro(a), Value::Macro(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a == b,
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
        (Value::Iter(a), Value::Iter(b)) => Rc::ptr_eq(a, b),
        _ => false,
    })
}

/// The order of `a` and `b`; None beside NaN.
pub(crate) fn order(a: &Value, b: &Value, sign: &str) -> Outcome<Option<Ordering>> {
    meter::spend(1)?;
    if let Some(order) = numbers(a, b) {
        return Ok(order);
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter::spend_bytes(a.len().min(b.len()))?;
            Ok(Some((**a).cmp(&**b)))
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            meter::stack()?;
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b)? {
                    return order(a, b, sign);
                }
            }
            Ok(Some(a.len().cmp(&b.len())))
        }
        _ => {
            a.defined()?;
            b.defined()?;
            let (a, b) = (a.kind(), b.kind());
            refuse(format!("'{sign}' not supported between instances of '{a}' and '{b}'"))
        }
    }
}

/// `a < b`.
pub(crate) fn less(a: &Value, b: &Value) -> Outcome<bool> {
    Ok(order(a, b, "<")? == Some(Ordering::Less))
}

/// Sorts as `sorted(…, reverse=reverse)`: stable, and an error where two values have no order.
pub(crate) fn sort(items: Vec<(Value, Value)>, reverse: bool) -> Outcome<Vec<Value>> {
    let mut items = items;
    let mut fault = None;
    if reverse {
        items.reverse();
    }
    items.sort_by(|(a, _), (b, _)| {
        if fault.is_some() {
            return Ordering::Equal;
        }
        match (less(a, b), less(b, a)) {
            (Ok(true), _) => Ordering::Less,
            (_, Ok(true)) => Ordering::Greater,
            (Err(e), _) | (_, Err(e)) => {
                fault = Some(e);
                Ordering::Equal
            }
            _ => Ordering::Equal,
        }
    });
    if reverse {
        items.reverse();
    }
    match fault {
        Some(e) => Err(e),
        None => Ok(items.into_iter().map(|(_, value)| value).collect()),
    }
}

/// `needle in haystack`.
pub(crate) fn contains(haystack: &Value, needle: &Value) -> Outcome<bool> {
    match haystack {
        Value::Str(text) => match needle {
            Value::Str(part) => {
                meter::spend_bytes(text.len() + part.len())?;
                Ok(text.contains(&**part))
            }
            _ => {
                needle.defined()?;
                refuse(format!("'in <string>' requires string as left operand, not {}", needle.kind()))
            }
        },
        Value::Dict(d) | Value::View(d, View::Keys) => Ok(d.get(needle)?.is_some()),
        Value::Range(r) => match integer::of(needle).and_then(|i| i.to_i64()) {
            Some(i) => {
                let (offset, step) = (i128::from(i) - i128::from(r.start), i128::from(r.step));
                let at = offset.div_euclid(step);
                Ok(offset.rem_euclid(step) == 0 && at >= 0 && (at as u128) < r.len() as u128)
            }
            None => found(&super::iterate::items(haystack)?, needle),
        },
        _ => found(&super::iterate::items(haystack)?, needle),
    }
}

fn found(items: &[Value], needle: &Value) -> Outcome<bool> {
    for item in items {
        if same(item, needle)? || equal(item, needle)? {
            return Ok(true);
        }
    }
    Ok(false)
}
