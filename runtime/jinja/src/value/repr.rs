//! `str` and `repr` of values.
//!
//! In: a value, and the interpreter for what stands in its tables. Out: text. Invariant: equal to Python's, but for
//! what has an address there; a namespace that holds itself ends in `{...}`.

use crate::error::Outcome;
use crate::interpreter::Interpreter;
use crate::meter::{self, Writer};
use crate::value::{float, integer, printable, Value};

/// `str(value)`.
pub(crate) fn text(interpreter: &Interpreter, value: &Value) -> Outcome<String> {
    let mut out = Writer::default();
    write(interpreter, &mut out, value)?;
    Ok(out.into_string())
}

/// Writes `str(value)`.
pub(crate) fn write(interpreter: &Interpreter, out: &mut Writer, value: &Value) -> Outcome<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(s) => out.push(s),
        _ => repr(interpreter, out, value),
    }
}

/// Writes `repr(value)`.
pub(crate) fn repr(interpreter: &Interpreter, out: &mut Writer, value: &Value) -> Outcome<()> {
    Printer { interpreter, inside: Vec::new() }.value(out, value)
}

struct Printer<'i, 't> {
    interpreter: &'i Interpreter<'t>,
    /// The namespaces around this value.
    inside: Vec<usize>,
}

impl Printer<'_, '_> {
    fn value(&mut self, out: &mut Writer, value: &Value) -> Outcome<()> {
        meter::spend(1)?;
        meter::stack()?;
        match value {
            Value::Undefined(_) => out.push("Undefined"),
            Value::None => out.push("None"),
            Value::Bool(true) => out.push("True"),
            Value::Bool(false) => out.push("False"),
            Value::Int(i) => out.push(&i.to_string()),
            Value::Big(i) => out.push(&integer::text(&i.0)?),
            Value::Float(x) => out.push(&float::repr(*x)),
            Value::Str(s) if s.is_safe() => {
                out.push("Markup(")?;
                printable::repr(out, s)?;
                out.push(")")
            }
            Value::Str(s) => printable::repr(out, s),
            Value::List(items) => self.items(out, "[", items, "]"),
            Value::Tuple(items) => self.items(out, "(", items, if items.len() == 1 { ",)" } else { ")" }),
            Value::Dict(d) => self.pairs(out, d.iter()),
            Value::Range(r) if r.step == 1 => out.push(&format!("range({}, {})", r.start, r.stop)),
            Value::Range(r) => out.push(&format!("range({}, {}, {})", r.start, r.stop, r.step)),
            Value::View(..) => {
                out.push(value.kind())?;
                let items = crate::value::iterate::items(value)?;
                self.items(out, "([", &items, "])")
            }
            Value::Namespace(index) => self.namespace(out, *index),
            Value::Macro(index) => {
                let name = self.interpreter.macro_name(*index);
                match name {
                    Some(name) => {
                        out.push("<Macro ")?;
                        printable::repr(out, &name)?;
                        out.push(">")
                    }
                    None => out.push("<Macro anonymous>"),
                }
            }
            Value::Loop(state) => out.push(&format!("<LoopContext {}/{}>", state.index(), state.length())),
            Value::Iter(i) => out.push(&format!("<{} object>", i.kind)),
            Value::Method(m) => out.push(&format!("<built-in method {} of {} object>", m.name, m.of.kind())),
            Value::Function(f) => out.push(&format!("<function {}>", f.name())),
            Value::Cycler(_) | Value::Joiner(_) => {
                out.push(&format!("<jinja2.utils.{} object>", value.kind()))
            }
        }
    }

    fn items(&mut self, out: &mut Writer, open: &str, items: &[Value], close: &str) -> Outcome<()> {
        out.push(open)?;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push(", ")?;
            }
            self.value(out, item)?;
        }
        out.push(close)
    }

    fn pairs<'a>(
        &mut self,
        out: &mut Writer,
        pairs: impl Iterator<Item = (&'a Value, &'a Value)>,
    ) -> Outcome<()> {
        out.push("{")?;
        for (i, (key, value)) in pairs.enumerate() {
            if i > 0 {
                out.push(", ")?;
            }
            self.value(out, key)?;
            out.push(": ")?;
            self.value(out, value)?;
        }
        out.push("}")
    }

    fn namespace(&mut self, out: &mut Writer, index: usize) -> Outcome<()> {
        out.push("<Namespace ")?;
        if self.inside.contains(&index) {
            out.push("{...}")?;
        } else {
            self.inside.push(index);
            let interpreter = self.interpreter;
            self.pairs(out, interpreter.namespace(index).iter().map(|(key, value)| (key, value)))?;
            self.inside.pop();
        }
        out.push(">")
    }
}
