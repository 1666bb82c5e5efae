//! `json.dumps`, which is transformers' `tojson`.
//!
//! In: a value and the options of the filter. Out: JSON text. Invariant: equal to Python's for every value, errors
//! included: undefined, namespaces and iterators have no JSON.

use crate::error::{refuse, Outcome};
use crate::meter::{self, Writer};
use crate::value::{compare, float, integer, printable, Value};

/// The options of `json.dumps`.
pub(crate) struct Style {
    pub ensure_ascii: bool,
    /// The indentation of a level.
    pub indent: Option<String>,
    pub between_items: String,
    pub after_key: String,
    pub sort_keys: bool,
}

/// Writes `json.dumps(value)`.
pub(crate) fn write(out: &mut Writer, value: &Value, style: &Style, level: usize) -> Outcome<()> {
    meter::spend(1)?;
    meter::stack()?;
    match value {
        Value::None => out.push("null"),
        Value::Bool(b) => out.push(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push(&i.to_string()),
        Value::Big(i) => out.push(&integer::text(&i.0)?),
        Value::Float(x) => out.push(&number(*x)),
        Value::Str(s) => string(out, s, style.ensure_ascii),
        Value::List(items) | Value::Tuple(items) => {
            if items.is_empty() {
                return out.push("[]");
            }
            out.push("[")?;
            for (i, item) in items.iter().enumerate() {
                separate(out, style, level + 1, i)?;
                write(out, item, style, level + 1)?;
            }
            line(out, style, level)?;
            out.push("]")
        }
        Value::Dict(d) => {
            let mut pairs: Vec<_> = d.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            if style.sort_keys {
                pairs = sorted(pairs)?;
            }
            object(out, &pairs, style, level)
        }
        _ => refuse(format!("Object of type {} is not JSON serializable", value.kind())),
    }
}

fn sorted(pairs: Vec<(Value, Value)>) -> Outcome<Vec<(Value, Value)>> {
    let keyed = pairs.iter().enumerate().map(|(i, (key, _))| (key.clone(), Value::Int(i as i64))).collect();
    let order = compare::sort(keyed, false)?;
    let at = |i: &Value| match i {
        Value::Int(i) => pairs[*i as usize].clone(),
        _ => (Value::None, Value::None),
    };
    Ok(order.iter().map(at).collect())
}

fn object(out: &mut Writer, pairs: &[(Value, Value)], style: &Style, level: usize) -> Outcome<()> {
    if pairs.is_empty() {
        return out.push("{}");
    }
    out.push("{")?;
    for (i, (key, value)) in pairs.iter().enumerate() {
        separate(out, style, level + 1, i)?;
        let text = match key {
            Value::Str(s) => s.to_string(),
            Value::None => "null".into(),
            Value::Bool(b) => if *b { "true" } else { "false" }.into(),
            Value::Int(_) | Value::Big(_) => integer::text(&integer::of(key).unwrap_or_default())?,
            Value::Float(x) => number(*x),
            _ => {
                return refuse(format!("keys must be str, int, float, bool or None, not {}", key.kind()));
            }
        };
        string(out, &text, style.ensure_ascii)?;
        out.push(&style.after_key)?;
        write(out, value, style, level + 1)?;
    }
    line(out, style, level)?;
    out.push("}")
}

fn separate(out: &mut Writer, style: &Style, level: usize, index: usize) -> Outcome<()> {
    if index > 0 {
        out.push(&style.between_items)?;
    }
    line(out, style, level)
}

fn line(out: &mut Writer, style: &Style, level: usize) -> Outcome<()> {
    match &style.indent {
        Some(indent) => {
            out.push("\n")?;
            out.repeat(indent, level)
        }
        None => Ok(()),
    }
}

fn number(x: f64) -> String {
    match (x.is_nan(), x.is_infinite()) {
        (true, _) => "NaN".into(),
        (_, true) => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        _ => float::repr(x),
    }
}

fn string(out: &mut Writer, text: &str, ensure_ascii: bool) -> Outcome<()> {
    out.push("\"")?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let escape: String = match c {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\t' => "\\t".into(),
            '\x08' => "\\b".into(),
            '\x0c' => "\\f".into(),
            c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
            c if ensure_ascii && c > '~' && !printable::is_mark(c) => {
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
            _ => continue,
        };
        out.push(&text[plain..at])?;
        out.push(&escape)?;
        plain = at + c.len_utf8();
    }
    out.push(&text[plain..])?;
    out.push("\"")
}
