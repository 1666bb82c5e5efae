//! Filters of numbers.
//!
//! In: a value and arguments. Out: a number, or a text of one. Invariant: rounding and conversion are Python's.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{FromPrimitive, Signed, Zero};

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::meter;
use crate::value::{float, integer, operators, Value};

use super::arguments::Arguments;

pub(super) fn call(_: &mut Interpreter, name: &str, value: Value, args: Arguments) -> Outcome<Value> {
    match name {
        "int" => to_int(&value, args),
        "float" => to_float(&value, args),
        "round" => round(&value, args),
        "filesizeformat" => file_size(&value, args),
        _ => {
            args.done(0)?;
            match (&value, integer::of(&value)) {
                (Value::Float(x), _) => Ok(Value::Float(x.abs())),
                (_, Some(i)) => integer::value(i.abs()),
                _ => refuse(format!("bad operand type for abs(): '{}'", value.kind())),
            }
        }
    }
}

/// `int(x)` of a float; none for NaN.
fn truncated(x: f64) -> Outcome<Option<BigInt>> {
    if x.is_infinite() {
        return refuse("cannot convert float infinity to integer");
    }
    Ok(BigInt::from_f64(x.trunc()))
}

fn to_int(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let default = args.take(0, "default").unwrap_or(Value::Int(0));
    let base = args.integer(1, "base", 10)?;
    args.done(2)?;
    value.defined()?;
    let found = match value {
        Value::Float(x) => truncated(*x)?,
        Value::Str(text) => {
            let base = u32::try_from(base).ok().filter(|b| *b == 0 || (2..=36).contains(b));
            let whole = base.and_then(|base| integer::parse(text, base));
            whole.or_else(|| float::parse(text).and_then(|x| BigInt::from_f64(x.trunc())))
        }
        other => integer::of(other),
    };
    found.map_or(Ok(default), integer::value)
}

fn to_float(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let default = args.take(0, "default").unwrap_or(Value::Float(0.0));
    args.done(1)?;
    value.defined()?;
    let found = match value {
        Value::Str(text) => float::parse(text),
        other => operators::number(other)?,
    };
    Ok(found.map_or(default, Value::Float))
}

fn round(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let precision = args.take(0, "precision").unwrap_or(Value::Int(0));
    let method = args.take(1, "method");
    args.done(2)?;
    let method = match &method {
        None => "common",
        Some(Value::Str(method)) if ["common", "ceil", "floor"].contains(&&**method) => method,
        Some(_) => return refuse("method must be common, ceil or floor"),
    };
    value.defined()?;
    if method != "common" {
        let digits = integer::index(&precision, "precision")?.clamp(-400, 400) as i32;
        let Some(x) = operators::number(value)? else { return refuse("round: must be real number") };
        let scale = 10f64.powi(digits);
        let scaled = x * scale;
        if !scaled.is_finite() {
            return refuse("round: cannot convert to an integer");
        }
        let whole = if method == "ceil" { scaled.ceil() } else { scaled.floor() };
        return Ok(Value::Float(whole / scale + 0.0));
    }
    if let Value::None = precision {
        return match value {
            Value::Float(x) => match truncated(x.round_ties_even())? {
                Some(i) => integer::value(i),
                None => refuse("cannot convert float NaN to integer"),
            },
            other => integer::value(integer::of(other).map_or_else(|| refuse("round: not a number"), Ok)?),
        };
    }
    let digits = integer::index(&precision, "precision")?;
    match (value, integer::of(value)) {
        (Value::Float(x), _) => Ok(Value::Float(rounded(*x, digits))),
        (_, Some(i)) if digits >= 0 => integer::value(i),
        (_, Some(i)) => integer::value(tens(&i, digits.unsigned_abs())?),
        _ => refuse(format!("type {} doesn't define __round__ method", value.kind())),
    }
}

/// `round(x, digits)`.
fn rounded(x: f64, digits: i64) -> f64 {
    if !x.is_finite() || digits > 400 {
        return x;
    }
    if digits >= 0 {
        return float::fixed(x, digits as usize).parse().unwrap_or(x);
    }
    if digits < -320 {
        return 0f64.copysign(x);
    }
    let whole = BigInt::from_f64(x.trunc()).unwrap_or_default();
    // A fraction decides only where the rest is a tie.
    let doubled = whole * 2 + BigInt::from(if x.fract() != 0.0 { x.signum() as i64 } else { 0 });
    let unit = BigInt::from(10).pow(digits.unsigned_abs() as u32) * 2;
    let result = tie_even(&doubled, &unit) * BigInt::from(10).pow(digits.unsigned_abs() as u32);
    result.to_string().parse::<f64>().unwrap_or(x).copysign(x)
}

/// An integer rounded to a multiple of a power of ten.
fn tens(i: &BigInt, power: u64) -> Outcome<BigInt> {
    if power > i.bits() {
        return Ok(BigInt::zero());
    }
    // Products of numbers of `power / 20` words.
    meter::spend((power as usize / 20).pow(2) / 8)?;
    let unit = BigInt::from(10).pow(power as u32);
    Ok(tie_even(i, &unit) * unit)
}

/// `i / unit`, rounded to the nearest, ties to even.
fn tie_even(i: &BigInt, unit: &BigInt) -> BigInt {
    let (whole, rest) = i.div_mod_floor(unit);
    let twice: BigInt = &rest * 2;
    match twice.cmp(unit) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Equal if whole.is_even() => whole,
        _ => whole + 1,
    }
}

fn file_size(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let binary = args.flag(0, "binary", false)?;
    args.done(1)?;
    value.defined()?;
    let bytes = match value {
        Value::Str(text) => float::parse(text),
        other => operators::number(other)?,
    };
    let Some(bytes) = bytes else { return refuse("filesizeformat: expected a number") };
    if bytes == 1.0 {
        return Value::text("1 Byte");
    }
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes < base {
        return match truncated(bytes)? {
            Some(whole) => Value::text(format!("{whole} Bytes")),
            None => refuse("cannot convert float NaN to integer"),
        };
    }
    let letters = if binary {
        ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]
    } else {
        ["k", "M", "G", "T", "P", "E", "Z", "Y"]
    };
    for (power, letters) in letters.iter().enumerate() {
        let unit = base.powi(power as i32 + 2);
        if bytes < unit || power == 7 {
            return Value::text(format!("{} {letters}B", float::fixed(base * bytes / unit, 1)));
        }
    }
    refuse("filesizeformat: expected a number")
}
