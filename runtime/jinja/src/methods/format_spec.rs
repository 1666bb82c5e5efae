//! Numbers and texts with width, sign, precision and grouping.
//!
//! In: a value and a format specification. Out: text. Invariant: the specification is that of Python's `format`; `%`
//! formatting says what it wants in the same terms.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive};

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::meter::{self, Writer};
use crate::value::{float, integer, operators, repr, Value};

/// A format specification.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub fill: Option<char>,
    pub align: Option<char>,
    pub sign: Option<char>,
    pub alternate: bool,
    pub zero: bool,
    pub width: usize,
    pub grouping: Option<char>,
    pub precision: Option<usize>,
    pub kind: Option<char>,
}

/// Reads a number of a specification.
pub(super) fn count(chars: &mut std::iter::Peekable<std::str::Chars>) -> Outcome<Option<usize>> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let value: usize = number.unwrap_or(0);
        number = Some(value * 10 + digit as usize);
        meter::room(value.saturating_mul(10))?;
    }
    Ok(number)
}

impl Spec {
    /// Parses `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
    pub fn parse(text: &str) -> Outcome<Spec> {
        let mut spec = Spec::default();
        let mut chars = text.chars().peekable();
        let mut ahead = text.chars();
        let (first, second) = (ahead.next(), ahead.next());
        let is_align = |c: Option<char>| c.is_some_and(|c| "<>=^".contains(c));
        if is_align(second) {
            (spec.fill, spec.align) = (chars.next(), chars.next());
        } else if is_align(first) {
            spec.align = chars.next();
        }
        spec.sign = chars.next_if(|c| "+- ".contains(*c));
        if chars.next_if_eq(&'z').is_some() {
            return refuse("the format option 'z' is not supported");
        }
        spec.alternate = chars.next_if_eq(&'#').is_some();
        spec.zero = chars.next_if_eq(&'0').is_some();
        spec.width = count(&mut chars)?.unwrap_or(0);
        spec.grouping = chars.next_if(|c| ",_".contains(*c));
        if chars.next_if_eq(&'.').is_some() {
            let Some(precision) = count(&mut chars)? else {
                return refuse("format specifier missing precision");
            };
            spec.precision = Some(precision);
        }
        spec.kind = chars.next();
        match chars.next() {
            None => Ok(spec),
            Some(_) => refuse(format!("invalid format specifier '{text}'")),
        }
    }

    /// Pads a text; `=` pads behind the sign or prefix, which is `head`.
    pub fn pad(&self, head: &str, body: &str, numeric: bool) -> Outcome<String> {
        let length = head.chars().count() + body.chars().count();
        let padding = self.width.saturating_sub(length);
        let zero = self.zero && self.fill.is_none();
        let fill = self.fill.unwrap_or(if zero { '0' } else { ' ' }).to_string();
        let align = self.align.unwrap_or(match (numeric, zero) {
            (true, true) => '=',
            (true, false) => '>',
            _ => '<',
        });
        let (before, between, after) = match align {
            '<' => (0, 0, padding),
            '^' => (padding / 2, 0, padding - padding / 2),
            '=' => (0, padding, 0),
            _ => (padding, 0, 0),
        };
        let mut out = Writer::default();
        out.repeat(&fill, before)?;
        out.push(head)?;
        out.repeat(&fill, between)?;
        out.push(body)?;
        out.repeat(&fill, after)?;
        Ok(out.into_string())
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (_, Some('+')) => "+",
            (_, Some(' ')) => " ",
            _ => "",
        }
    }

    /// Puts separators between groups of the digits before the point; zeros in front count as digits.
    fn grouped(&self, head: &str, body: String, size: usize) -> String {
        let Some(separator) = self.grouping else { return body };
        let end = body.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(body.len());
        let end =
            if size == 3 { body.find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len()) } else { end };
        let (digits, rest) = body.split_at(end);
        let pads = (self.zero && self.fill.is_none() && self.align.is_none())
            || (self.fill == Some('0') && self.align == Some('='));
        let group = |digits: &str| {
            let first = digits.len() % size;
            let mut out = digits[..first].to_string();
            for (i, c) in digits[first..].char_indices() {
                if i % size == 0 && !out.is_empty() {
                    out.push(separator);
                }
                out.push(c);
            }
            out
        };
        let mut digits = digits.to_string();
        let mut text = group(&digits);
        // Zeros until the width is reached; a separator is never first.
        while pads && head.len() + text.len() + rest.len() < self.width {
            digits.insert(0, '0');
            text = group(&digits);
        }
        text + rest
    }

    /// An integer.
    pub fn integer(&self, value: &BigInt) -> Outcome<String> {
        let kind = self.kind.unwrap_or('d');
        if self.precision.is_some() {
            return refuse("precision not allowed in integer format specifier");
        }
        let magnitude = value.abs();
        let (digits, prefix) = match kind {
            'd' | 'n' => (integer::text(&magnitude)?, ""),
            'x' => (magnitude.to_str_radix(16), "0x"),
            'X' => (magnitude.to_str_radix(16).to_uppercase(), "0X"),
            'o' => (magnitude.to_str_radix(8), "0o"),
            'b' => (magnitude.to_str_radix(2), "0b"),
            'c' => {
                let c = value.to_u32().and_then(char::from_u32);
                let Some(c) = c else { return refuse("%c: not a character") };
                return self.pad("", &c.to_string(), true);
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' => {
                let value = integer::value(value.clone())?;
                return self.float(operators::number(&value)?.unwrap_or(0.0));
            }
            _ => return refuse(format!("unknown format code '{kind}' for an integer")),
        };
        let head =
            format!("{}{}", self.sign_of(value.is_negative()), if self.alternate { prefix } else { "" });
        if self.width > 1000 && self.grouping.is_some() {
            return refuse("a grouped number is wider than 1000");
        }
        let digits = self.grouped(&head, digits, if matches!(kind, 'd' | 'n') { 3 } else { 4 });
        self.pad(&head, &digits, true)
    }

    /// A float.
    pub fn float(&self, x: f64) -> Outcome<String> {
        let kind = self.kind.unwrap_or(' ');
        let lower = kind.to_ascii_lowercase();
        if !"efgn% ".contains(lower) {
            return refuse(format!("unknown format code '{kind}' for a float"));
        }
        let precision = self.precision.unwrap_or(6);
        meter::room(precision)?;
        let (size, percent) = if kind == '%' { (x.abs() * 100.0, "%") } else { (x.abs(), "") };
        let mut body = match lower {
            _ if x.is_nan() => "nan".to_string(),
            _ if x.is_infinite() => "inf".into(),
            'e' => float::exponent(size, precision),
            'f' | '%' => float::fixed(size, precision),
            'g' | 'n' => float::general(size, precision, self.alternate),
            _ => match self.precision {
                None => float::repr(size),
                Some(precision) => with_point(size, precision),
            },
        };
        if self.alternate && !body.contains('.') && x.is_finite() {
            let at = body.find('e').unwrap_or(body.len());
            body.insert(at, '.');
        }
        if kind.is_ascii_uppercase() {
            body = body.to_uppercase();
        }
        body.push_str(percent);
        if self.width > 1000 && self.grouping.is_some() {
            return refuse("a grouped number is wider than 1000");
        }
        let head = self.sign_of(x.is_sign_negative() && !x.is_nan());
        let body = self.grouped(head, body, 3);
        self.pad(head, &body, true)
    }

    /// `format(value, spec)`.
    pub fn value(&self, interpreter: &Interpreter, value: &Value) -> Outcome<String> {
        let plain = self.kind.is_none_or(|k| k == 's');
        match value {
            Value::Str(text) if plain => self.text(text),
            Value::Bool(b) if self.kind.is_none() => {
                let text = if *b { "True" } else { "False" };
                match self.width == 0 && !self.alternate && self.sign.is_none() && self.grouping.is_none() {
                    true => Ok(text.into()),
                    false => self.integer(&BigInt::from(i64::from(*b))),
                }
            }
            Value::Bool(_) | Value::Int(_) | Value::Big(_) => {
                let value = integer::of(value).unwrap_or_default();
                match self.kind.is_none() && self.precision.is_some() {
                    true => refuse("precision not allowed in integer format specifier"),
                    false => self.integer(&value),
                }
            }
            Value::Float(x) => self.float(*x),
            _ => refuse(format!("unsupported format specifier for {}", interpreter.text_of(value)?)),
        }
    }

    /// A text, cut to the precision.
    pub fn text(&self, text: &str) -> Outcome<String> {
        if self.align == Some('=') || self.sign.is_some() || self.grouping.is_some() || self.alternate {
            return refuse("an option of the format specifier is not allowed for strings");
        }
        let end = self.precision.and_then(|p| text.char_indices().nth(p)).map_or(text.len(), |(at, _)| at);
        self.pad("", &text[..end], false)
    }
}

/// A float as without a type, but with so many digits: `g`, with one digit behind the point at least.
fn with_point(x: f64, precision: usize) -> String {
    let digits = float::exponent(x, precision.max(1) - 1);
    let power: i64 = digits.split_once('e').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
    let text = float::general(x, precision, false);
    match power >= -4 && power < precision.max(1) as i64 {
        // As many digits before the point as the precision: an exponent stands instead.
        true if power + 1 == precision.max(1) as i64 && x != 0.0 => {
            let (mantissa, power) = digits.split_once('e').unwrap_or((&digits, "+00"));
            let mantissa = match mantissa.contains('.') {
                true => mantissa.trim_end_matches('0').trim_end_matches('.'),
                false => mantissa,
            };
            format!("{mantissa}e{power}")
        }
        true if !text.contains('.') => text + ".0",
        _ => text,
    }
}

/// `repr` or `str` of a value as text.
pub(super) fn converted(interpreter: &Interpreter, value: &Value, conversion: char) -> Outcome<String> {
    let mut out = Writer::default();
    match conversion {
        's' => repr::write(interpreter, &mut out, value)?,
        _ => repr::repr(interpreter, &mut out, value)?,
    }
    let text = out.into_string();
    if conversion != 'a' {
        return Ok(text);
    }
    let escaped = |c: char| match u32::from(c) {
        ..0x80 => c.to_string(),
        code @ ..0x100 => format!("\\x{code:02x}"),
        code @ ..0x10000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    meter::room(text.len() * 4)?;
    Ok(text.chars().map(escaped).collect())
}
