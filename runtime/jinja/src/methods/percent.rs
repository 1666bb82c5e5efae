//! `format % values`.
//!
//! In: a format and values. Out: text. Invariant: as Python's printf-style formatting, errors included.

use super::format_spec::{converted, count, Spec};
use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::meter::Writer;
use crate::value::{integer, operators, Value};

/// The values of a format, taken one after the other or by key.
struct Values<'v> {
    all: &'v Value,
    next: usize,
}

impl Values<'_> {
    fn take(&mut self) -> Outcome<Value> {
        let at = self.next;
        self.next += 1;
        match self.all {
            Value::Tuple(items) if at < items.len() => Ok(items[at].clone()),
            Value::Tuple(_) => refuse("not enough arguments for format string"),
            single if at == 0 => Ok(single.clone()),
            _ => refuse("not enough arguments for format string"),
        }
    }

    fn named(&mut self, key: &str) -> Outcome<Value> {
        // A format by keys uses all of the mapping.
        self.next = usize::MAX / 2;
        match self.all {
            Value::Dict(d) => match d.get(&Value::text(key)?)? {
                Some(value) => Ok(value.clone()),
                None => refuse(format!("the format needs the key '{key}'")),
            },
            _ => refuse("format requires a mapping"),
        }
    }

    fn done(&self) -> Outcome<()> {
        let given = match self.all {
            Value::Tuple(items) => items.len(),
            Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_) => 0,
            _ => 1,
        };
        match self.next < given {
            true => refuse("not all arguments converted during string formatting"),
            false => Ok(()),
        }
    }
}

/// `format % values`.
pub(crate) fn format(interpreter: &Interpreter, format: &str, values: &Value) -> Outcome<String> {
    let mut values = Values { all: values, next: 0 };
    let mut out = Writer::default();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        let mut given = None;
        if rest.starts_with('(') {
            let key = bracketed(rest)?;
            given = Some(values.named(key)?);
            rest = &rest[key.len() + 2..];
        }
        let (spec, conversion, after) = specification(rest, &mut values)?;
        rest = after;
        if conversion == '%' {
            out.push("%")?;
            continue;
        }
        let value = match given {
            Some(value) => value,
            None => values.take()?,
        };
        out.push(&one(interpreter, spec, conversion, &value)?)?;
    }
    out.push(rest)?;
    values.done()?;
    Ok(out.into_string())
}

/// The specification of a conversion, its letter, and the format after it.
fn specification<'f>(format: &'f str, values: &mut Values) -> Outcome<(Spec, char, &'f str)> {
    let mut chars = format.chars().peekable();
    let mut spec = Spec::default();
    let mut left = false;
    while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
        match flag {
            '-' => left = true,
            '+' => spec.sign = Some('+'),
            ' ' => spec.sign = spec.sign.or(Some(' ')),
            '#' => spec.alternate = true,
            _ => spec.zero = true,
        }
    }
    let wide = number(&mut chars, values)?.unwrap_or(0);
    left |= wide < 0;
    spec.width = usize::try_from(wide.unsigned_abs()).unwrap_or(usize::MAX);
    if chars.next_if_eq(&'.').is_some() {
        let precision = number(&mut chars, values)?.unwrap_or(0);
        spec.precision = Some(usize::try_from(precision).unwrap_or(0));
    }
    chars.next_if(|c| "hlL".contains(*c));
    let Some(conversion) = chars.next() else { return refuse("incomplete format") };
    if left {
        (spec.align, spec.zero) = (Some('<'), false);
    }
    let after = chars.map(char::len_utf8).sum::<usize>();
    Ok((spec, conversion, &format[format.len() - after..]))
}

/// A width or precision: digits, or `*` for the next value.
fn number(chars: &mut std::iter::Peekable<std::str::Chars>, values: &mut Values) -> Outcome<Option<i64>> {
    if chars.next_if_eq(&'*').is_none() {
        return Ok(count(chars)?.map(|n| n as i64));
    }
    match values.take()? {
        Value::Int(i) => Ok(Some(i)),
        _ => refuse("* wants int"),
    }
}

/// The key in brackets, which may contain brackets.
fn bracketed(text: &str) -> Outcome<&str> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        open += i32::from(c == '(') - i32::from(c == ')');
        if open == 0 {
            return Ok(&text[1..at]);
        }
    }
    refuse("incomplete format key")
}

fn one(interpreter: &Interpreter, mut spec: Spec, conversion: char, value: &Value) -> Outcome<String> {
    match conversion {
        's' | 'r' | 'a' => {
            let text = converted(interpreter, value, conversion)?;
            let aligned = Spec {
                align: spec.align.or(Some('>')),
                width: spec.width,
                precision: spec.precision,
                ..Spec::default()
            };
            aligned.text(&text)
        }
        'c' => {
            let aligned = Spec { align: spec.align.or(Some('>')), width: spec.width, ..Spec::default() };
            match value {
                Value::Str(text) if text.chars().count() == 1 => aligned.text(text),
                _ => match integer::of(value) {
                    Some(i) => Spec { kind: Some('c'), ..aligned }.integer(&i),
                    None => refuse("%c requires int or char"),
                },
            }
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => whole(spec, conversion, value),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            spec.kind = Some(conversion);
            match operators::number(value)? {
                Some(x) => spec.float(x),
                None => refuse(format!("%{conversion}: must be real number, not {}", value.kind())),
            }
        }
        _ => refuse(format!("unsupported format character '{conversion}'")),
    }
}

fn whole(mut spec: Spec, conversion: char, value: &Value) -> Outcome<String> {
    let number = match value {
        Value::Float(x) if matches!(conversion, 'd' | 'i' | 'u') => {
            num_traits::FromPrimitive::from_f64(x.trunc()).filter(|_| x.is_finite())
        }
        _ => integer::of(value),
    };
    let Some(number) = number else {
        return refuse(format!("%{conversion} format: a number is required, not {}", value.kind()));
    };
    spec.kind = Some(if matches!(conversion, 'd' | 'i' | 'u') { 'd' } else { conversion });
    let Some(precision) = spec.precision.take() else { return spec.integer(&number) };
    // Zeros up to the precision, then blanks up to the width.
    let negative = number.sign() == num_bigint::Sign::Minus;
    let digits = Spec { kind: spec.kind, width: precision, zero: true, ..Spec::default() };
    let digits = digits.integer(&num_traits::Signed::abs(&number))?;
    let sign = if negative { "-" } else { spec.sign.map_or("", |s| if s == '+' { "+" } else { " " }) };
    let prefix = match (spec.alternate, conversion) {
        (true, 'x') => "0x",
        (true, 'X') => "0X",
        (true, 'o') => "0o",
        _ => "",
    };
    spec.pad(&format!("{sign}{prefix}"), &digits, true)
}
