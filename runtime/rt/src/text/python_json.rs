//! `json.dumps` and `repr` of floats, for the `tojson` of chat templates: those were written for Python.
//!
//! In: JSON values. Out: text. Invariant: `to_json` equals `json.dumps(value, ensure_ascii=False)` for
//! everything that JSON can carry. Python is the law: what differs from it here is a bug, however odd.

use serde_json::Value;

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub fn to_json(value: &Value, indent: Option<usize>) -> String {
    let mut out = String::new();
    write(&mut out, value, indent, 0);
    out
}

fn write(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) {
    match value {
        Value::Array(items) => sequence(out, ('[', ']'), items, indent, depth, |out, item| {
            write(out, item, indent, depth + 1);
        }),
        Value::Object(map) => sequence(out, ('{', '}'), map, indent, depth, |out, (key, item)| {
            string(out, key);
            out.push_str(": ");
            write(out, item, indent, depth + 1);
        }),
        Value::String(s) => string(out, s),
        Value::Number(n) if n.is_f64() => out.push_str(&float(n.as_f64().unwrap_or_default())),
        other => out.push_str(&other.to_string()),
    }
}

fn sequence<T>(
    out: &mut String,
    brackets: (char, char),
    items: impl IntoIterator<Item = T>,
    indent: Option<usize>,
    depth: usize,
    mut each: impl FnMut(&mut String, T),
) {
    out.push(brackets.0);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        empty = false;
        line(out, indent, depth + 1);
        each(out, item);
    }
    if !empty {
        line(out, indent, depth);
    }
    out.push(brackets.1);
}

fn line(out: &mut String, indent: Option<usize>, depth: usize) {
    if let Some(width) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * depth));
    }
}

/// serde_json escapes exactly what Python escapes when `ensure_ascii` is off.
fn string(out: &mut String, s: &str) {
    out.push_str(&Value::from(s).to_string());
}

/// `repr(x)`: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub fn float(x: f64) -> String {
    let digits = format!("{x:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if x == 0.0 || (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_repr_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
        ];
        for (x, text) in cases {
            assert_eq!(float(x), text);
        }
    }

    #[test]
    fn separators_escapes_order_and_indent() {
        let v: Value = serde_json::from_str(
            r#"{"b": [1, 2.0, null, true], "a": {"é<&'": "\"\n\u0001😀/"}, "e": [], "f": {}}"#,
        )
        .unwrap();
        assert_eq!(
            to_json(&v, None),
            r#"{"b": [1, 2.0, null, true], "a": {"é<&'": "\"\n\u0001😀/"}, "e": [], "f": {}}"#
        );
        assert_eq!(
            to_json(&serde_json::json!({"a": [1, 2], "b": []}), Some(2)),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}"
        );
    }
}
