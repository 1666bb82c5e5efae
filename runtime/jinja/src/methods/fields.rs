//! `format.format(…)`.
//!
//! In: a format with fields in braces, arguments. Out: text. Invariant: as Python's `str.format` in the sandbox:
//! attributes and items of fields are those that templates may read.

use super::format_spec::{converted, Spec};
use crate::error::{refuse, Outcome};
use crate::interpreter::calls::Given;
use crate::interpreter::Interpreter;
use crate::meter::Writer;
use crate::value::{subscript, Value};

struct Fields<'g> {
    given: &'g Given,
    /// The next field without a name; None once fields are numbered.
    next: Option<usize>,
    numbered: bool,
}

/// `format.format(…)`.
pub(super) fn format(interpreter: &Interpreter, format: &str, given: Given) -> Outcome<String> {
    let mut fields = Fields { given: &given, next: Some(0), numbered: false };
    let mut out = Writer::default();
    fields.write(interpreter, &mut out, format, 3)?;
    Ok(out.into_string())
}

impl Fields<'_> {
    fn write(
        &mut self,
        interpreter: &Interpreter,
        out: &mut Writer,
        format: &str,
        depth: u32,
    ) -> Outcome<()> {
        if depth == 0 {
            return refuse("max string recursion exceeded");
        }
        let mut rest = format;
        while let Some(at) = rest.find(['{', '}']) {
            out.push(&rest[..at])?;
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                out.push(brace)?;
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return refuse("single '}' encountered in format string");
            }
            let mut open = 1;
            let end = after.char_indices().find(|(_, c)| {
                open += i32::from(*c == '{') - i32::from(*c == '}');
                open == 0
            });
            let Some((end, _)) = end else { return refuse("expected '}' before end of string") };
            let text = self.field(interpreter, &after[..end], depth)?;
            out.push(&text)?;
            rest = &after[end + 1..];
        }
        out.push(rest)
    }

    fn field(&mut self, interpreter: &Interpreter, field: &str, depth: u32) -> Outcome<String> {
        // A colon or exclamation mark in square brackets belongs to the name.
        let mut inside = false;
        let end = field.char_indices().find(|(_, c)| {
            inside = if inside { *c != ']' } else { *c == '[' };
            !inside && matches!(c, ':' | '!')
        });
        let (name, rest) = field.split_at(end.map_or(field.len(), |(at, _)| at));
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let mut chars = rest.chars();
                let conversion = chars.next();
                match (conversion, chars.as_str()) {
                    (Some('s' | 'r' | 'a'), "") => (conversion, ""),
                    (Some('s' | 'r' | 'a'), rest) if rest.starts_with(':') => (conversion, &rest[1..]),
                    _ => return refuse("unknown conversion specifier"),
                }
            }
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let value = self.value(interpreter, name)?;
        let mut full = Writer::default();
        self.write(interpreter, &mut full, spec, depth - 1)?;
        let spec = full.into_string();
        match conversion {
            Some(conversion) => Spec::parse(&spec)?.text(&converted(interpreter, &value, conversion)?),
            None if spec.is_empty() => interpreter.text_of(&value),
            None => Spec::parse(&spec)?.value(interpreter, &value),
        }
    }

    fn value(&mut self, interpreter: &Interpreter, name: &str) -> Outcome<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let mut value = self.first(first)?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = subscript::attribute(interpreter, &value, &Value::text(&after[..end])?)?;
                rest = &after[end..];
                continue;
            }
            let Some((key, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) else {
                return refuse("expected '}' before end of string");
            };
            let key = match key.parse() {
                Ok(index) => Value::Int(index),
                Err(_) => Value::text(key)?,
            };
            value = subscript::item(interpreter, &value, &key)?;
            rest = after;
        }
        Ok(value)
    }

    fn first(&mut self, name: &str) -> Outcome<Value> {
        let at = match (name.is_empty(), name.parse::<usize>()) {
            (true, _) if self.numbered => {
                return refuse("cannot switch from manual to automatic field numbering")
            }
            (true, _) => {
                let at = self.next.unwrap_or(0);
                self.next = Some(at + 1);
                at
            }
            (_, Ok(_)) if self.next != Some(0) => {
                return refuse("cannot switch from automatic field numbering to manual");
            }
            (_, Ok(at)) => {
                self.numbered = true;
                at
            }
            _ => {
                let found = self.given.keyword.iter().find(|(n, _)| n == name);
                return match found {
                    Some((_, value)) => Ok(value.clone()),
                    None => refuse(format!("format: no argument '{name}'")),
                };
            }
        };
        match self.given.positional.get(at) {
            Some(value) => Ok(value.clone()),
            None => refuse(format!("format: no argument {at}")),
        }
    }
}
