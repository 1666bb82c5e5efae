//! Integers of any size.
//!
//! In: values and texts. Out: integers as values. Invariant: what fits 64 bits is `Int`; no integer has more than
//! `BITS` bits, and none of more than 4300 digits is printed, which Python refuses too.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use crate::error::{refuse, Fault, Outcome};
use crate::meter;
use crate::value::Value;

/// Bits of the largest integer.
pub(crate) const BITS: u64 = 1 << 18;

/// An integer as a value.
pub(crate) fn value(i: BigInt) -> Outcome<Value> {
    if let Some(small) = i.to_i64() {
        return Ok(Value::Int(small));
    }
    check_bits(i.bits())?;
    let charge = meter::charge(i.bits() as usize / 8 + 64)?;
    Ok(Value::Big(Rc::new((i, charge))))
}

/// Fails if an integer of so many bits is too large.
pub(crate) fn check_bits(bits: u64) -> Outcome<()> {
    meter::spend((bits / 64) as usize)?;
    match bits <= BITS {
        true => Ok(()),
        false => Err(Fault::Limit(format!("an integer has more than {BITS} bits"))),
    }
}

/// `int` of a bool or int.
pub(crate) fn of(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(b) => Some(BigInt::from(i64::from(*b))),
        Value::Int(i) => Some(BigInt::from(*i)),
        Value::Big(i) => Some(i.0.clone()),
        _ => None,
    }
}

/// `str(i)`.
pub(crate) fn text(i: &BigInt) -> Outcome<String> {
    // 4300 digits have fewer bits than this.
    if i.bits() < 14_285 {
        let text = i.to_string();
        if text.trim_start_matches('-').len() <= 4300 {
            return Ok(text);
        }
    }
    refuse("an integer of more than 4300 digits is not printed")
}

/// A value as an index: a bool or an int that fits.
pub(crate) fn index(value: &Value, what: &str) -> Outcome<i64> {
    match value {
        Value::Bool(b) => Ok(i64::from(*b)),
        Value::Int(i) => Ok(*i),
        Value::Big(i) => Ok(if i.0.sign() == num_bigint::Sign::Minus { i64::MIN } else { i64::MAX }),
        Value::Undefined(_) => value.defined().map(|()| 0),
        _ => refuse(format!("{what}: expected an integer, found {}", value.kind())),
    }
}

/// `int(text, base)`.
pub(crate) fn parse(text: &str, base: u32) -> Option<BigInt> {
    let text = text.trim_matches(crate::lexer::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |radix: u32, letters: [&str; 2]| {
        let rest = letters.iter().find_map(|p| digits.strip_prefix(*p))?;
        (base == radix || base == 0).then_some((radix, rest.strip_prefix('_').unwrap_or(rest)))
    };
    let special = prefixed(16, ["0x", "0X"]).or(prefixed(8, ["0o", "0O"])).or(prefixed(2, ["0b", "0B"]));
    let (radix, digits) = match special {
        Some(found) => found,
        None if base == 0 => {
            let zeros = digits.chars().all(|c| c == '0' || c == '_');
            (10, if digits.starts_with('0') && !zeros { "" } else { digits })
        }
        None => (base, digits),
    };
    let well_placed = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let plain: String = digits.chars().filter(|c| *c != '_').map(ascii_digit).collect();
    if plain.is_empty() || !well_placed || plain.len() > 4300 || plain.starts_with(['+', '-']) {
        return None;
    }
    let value = BigInt::parse_bytes(plain.as_bytes(), radix)?;
    Some(if negative { -value } else { value })
}

/// A decimal digit of any script as that of ASCII.
fn ascii_digit(c: char) -> char {
    match crate::methods::digits::decimal(c) {
        Some(digit) => char::from(b'0' + digit),
        None => c,
    }
}
