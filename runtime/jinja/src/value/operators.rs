//! Arithmetic.
//!
//! In: two values and an operator. Out: a value. Invariant: as in Python: bool counts as int, `/` gives a float, `//`
//! and `%` round down, integers grow, texts and lists repeat within the limits.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::ast::Binary;
use crate::error::{refuse, Outcome};
use crate::filters;
use crate::interpreter::Interpreter;
use crate::meter::{self, Writer};
use crate::methods::percent;
use crate::value::{integer, Items, Text, Value};

/// `a operator b`.
pub(crate) fn binary(interpreter: &Interpreter, operator: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    if let (Value::Str(format), Binary::Mod) = (a, operator) {
        return Value::text(percent::format(interpreter, format, b)?);
    }
    arithmetic(operator, a, b)
}

/// `a operator b`, but for the formatting of texts.
pub(crate) fn arithmetic(operator: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    a.defined()?;
    b.defined()?;
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => {
            if let Some(value) = small(operator, *x, *y) {
                return Ok(value);
            }
        }
        (Value::Float(_), _) | (_, Value::Float(_)) => {
            if let (Some(x), Some(y)) = (number(a)?, number(b)?) {
                return floats(operator, x, y);
            }
        }
        _ => {}
    }
    if let (Some(x), Some(y)) = (integer::of(a), integer::of(b)) {
        return integers(operator, x, y);
    }
    match (operator, a, b) {
        (Binary::Add, Value::Str(x), Value::Str(y)) => joined(x, y),
        (Binary::Add, Value::List(x), Value::List(y)) => {
            meter::room((x.len() + y.len()) * 24)?;
            Value::list(x.iter().chain(y.iter()).cloned().collect())
        }
        (Binary::Add, Value::Tuple(x), Value::Tuple(y)) => {
            meter::room((x.len() + y.len()) * 24)?;
            Value::tuple(x.iter().chain(y.iter()).cloned().collect())
        }
        (Binary::Mul, _, Value::Bool(_) | Value::Int(_) | Value::Big(_)) if is_sequence(a) => repeat(a, b),
        (Binary::Mul, Value::Bool(_) | Value::Int(_) | Value::Big(_), _) if is_sequence(b) => repeat(b, a),
        _ => {
            let (a, b) = (a.kind(), b.kind());
            refuse(format!("unsupported operand types for {}: '{a}' and '{b}'", sign(operator)))
        }
    }
}

/// `x + y`: if one is escaped for HTML, so is the other then.
fn joined(x: &Text, y: &Text) -> Outcome<Value> {
    let safe = x.is_safe() || y.is_safe();
    let mut out = Writer::default();
    for part in [x, y] {
        match safe && !part.is_safe() {
            true => out.push(&filters::escaped(part)?)?,
            false => out.push(part)?,
        }
    }
    match safe {
        true => Ok(Value::Str(Text::safe(out.into_string())?)),
        false => Value::text(out.into_string()),
    }
}

fn sign(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "**",
    }
}

fn is_sequence(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_))
}

fn repeat(value: &Value, times: &Value) -> Outcome<Value> {
    let times = usize::try_from(integer::index(times, "repeat")?.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) => {
            let mut out = Writer::default();
            out.repeat(text, if text.is_empty() { 0 } else { times })?;
            Value::text(out.into_string())
        }
        Value::List(items) | Value::Tuple(items) => {
            meter::room(items.len().saturating_mul(times).saturating_mul(24))?;
            let mut out = Items::default();
            for _ in 0..if items.is_empty() { 0 } else { times } {
                items.iter().try_for_each(|item| out.push(item.clone()))?;
            }
            match value {
                Value::Tuple(_) => Value::tuple(out.into_vec()),
                _ => out.list(),
            }
        }
        _ => refuse("only texts and lists can be repeated"),
    }
}

/// A number as a float; an integer beyond the floats is an error.
pub(crate) fn number(value: &Value) -> Outcome<Option<f64>> {
    match value {
        Value::Float(x) => Ok(Some(*x)),
        _ => match integer::of(value).map(|i| i.to_f64()) {
            Some(Some(x)) if x.is_finite() => Ok(Some(x)),
            Some(_) => refuse("int too large to convert to float"),
            None => Ok(None),
        },
    }
}

fn small(operator: Binary, x: i64, y: i64) -> Option<Value> {
    match operator {
        Binary::Add => x.checked_add(y).map(Value::Int),
        Binary::Sub => x.checked_sub(y).map(Value::Int),
        Binary::Mul => x.checked_mul(y).map(Value::Int),
        _ => None,
    }
}

fn integers(operator: Binary, x: BigInt, y: BigInt) -> Outcome<Value> {
    if matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod) && y.is_zero() {
        return refuse("division by zero");
    }
    meter::spend(((x.bits() / 64 + 1) * (y.bits() / 64 + 1) / 4) as usize)?;
    integer::value(match operator {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => {
            integer::check_bits(x.bits() + y.bits())?;
            x * y
        }
        Binary::FloorDiv => x.div_floor(&y),
        Binary::Mod => x.mod_floor(&y),
        Binary::Div => return quotient(&x, &y),
        Binary::Pow if y.is_negative() => {
            let (x, y) = (Value::Float(x.to_f64().unwrap_or(f64::INFINITY)), y.to_f64().unwrap_or(0.0));
            return floats(Binary::Pow, number(&x)?.unwrap_or(0.0), y);
        }
        Binary::Pow => {
            let one = x.bits() <= 1;
            let bits = x.bits().saturating_mul(y.to_u64().unwrap_or(u64::MAX));
            integer::check_bits(if one { 1 } else { bits })?;
            let even = (&y % 2u8).is_zero();
            match x.to_i64() {
                Some(0) => BigInt::from(u8::from(y.is_zero())),
                Some(1) => x,
                Some(-1) => {
                    if even {
                        -x
                    } else {
                        x
                    }
                }
                _ => {
                    let power = y.to_u32().unwrap_or(u32::MAX);
                    meter::spend((bits / 64 * bits / 64 / 8) as usize)?;
                    x.pow(power)
                }
            }
        }
    })
}

/// `x / y`, rounded once.
fn quotient(x: &BigInt, y: &BigInt) -> Outcome<Value> {
    if x.bits() <= 53 && y.bits() <= 53 {
        return Ok(Value::Float(x.to_f64().unwrap_or(0.0) / y.to_f64().unwrap_or(1.0)));
    }
    // 66 bits of the quotient, the last of which is set if anything remains, round as all of it would.
    let shift = 66 + y.bits() as i64 - x.bits() as i64;
    let (top, bottom) = (x.abs(), y.abs());
    let (top, bottom) = if shift >= 0 { (top << shift, bottom) } else { (top, bottom << -shift) };
    let (whole, rest) = top.div_rem(&bottom);
    let whole = whole | BigInt::from(u8::from(!rest.is_zero()));
    let magnitude = scaled(whole.to_f64().unwrap_or(0.0), -shift);
    if magnitude.is_infinite() {
        return refuse("integer division result too large for a float");
    }
    Ok(Value::Float(if x.is_negative() == y.is_negative() { magnitude } else { -magnitude }))
}

/// `x · 2^power`, in steps that do not overflow before the end.
fn scaled(mut x: f64, mut power: i64) -> f64 {
    while power != 0 && x != 0.0 && x.is_finite() {
        let step = power.clamp(-500, 500);
        x *= 2f64.powi(step as i32);
        power -= step;
    }
    x
}

fn floats(operator: Binary, x: f64, y: f64) -> Outcome<Value> {
    if y == 0.0 && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod) {
        return refuse("float division by zero");
    }
    Ok(Value::Float(match operator {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::FloorDiv => floor_mod(x, y).0,
        Binary::Mod => floor_mod(x, y).1,
        Binary::Pow => return power(x, y),
    }))
}

/// Python's `divmod` of floats.
fn floor_mod(x: f64, y: f64) -> (f64, f64) {
    let mut rest = x % y;
    let mut whole = (x - rest) / y;
    if rest != 0.0 {
        if (y < 0.0) != (rest < 0.0) {
            rest += y;
            whole -= 1.0;
        }
    } else {
        rest = 0f64.copysign(y);
    }
    let floored = match whole != 0.0 {
        true => {
            let floor = whole.floor();
            if whole - floor > 0.5 {
                floor + 1.0
            } else {
                floor
            }
        }
        false => 0f64.copysign(x / y),
    };
    (floored, rest)
}

fn power(x: f64, y: f64) -> Outcome<Value> {
    if x == 0.0 && y < 0.0 {
        return refuse("0.0 cannot be raised to a negative power");
    }
    if x < 0.0 && x.is_finite() && y.is_finite() && y.fract() != 0.0 {
        return refuse("a power is a complex number");
    }
    let result = x.powf(y);
    if result.is_infinite() && x.is_finite() && y.is_finite() {
        return refuse("a power is too large for a float");
    }
    Ok(Value::Float(result))
}

/// `-value` or `+value`.
pub(crate) fn signed(value: &Value, negative: bool) -> Outcome<Value> {
    value.defined()?;
    match value {
        Value::Float(x) => Ok(Value::Float(if negative { -x } else { *x })),
        _ => match integer::of(value) {
            Some(i) => integer::value(if negative { -i } else { i }),
            None => refuse(format!("bad operand type for a sign: '{}'", value.kind())),
        },
    }
}
