//! Filters.
//!
//! In: a value, the name of a filter, arguments. Out: a value. Invariant: the filters are jinja2's, with transformers'
//! `tojson`; `urlize` alone is refused when it is called.

pub(crate) mod arguments;
mod choose;
mod html;
mod layout;
mod numbers;
mod sequences;
mod sorting;
mod texts;

use crate::error::{refuse, shown, Outcome};
use crate::interpreter::calls::Given;
use crate::interpreter::Interpreter;
use crate::value::{compare, repr, subscript, Value};
use arguments::Arguments;
pub(crate) use html::escaped;

const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// True if there is such a filter.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Applies a filter.
pub(crate) fn call(interpreter: &mut Interpreter, name: &str, value: Value, given: Given) -> Outcome<Value> {
    let mut args = Arguments::new(name, given);
    match name {
        "batch" | "first" | "items" | "join" | "last" | "list" | "random" | "reverse" | "slice" | "sum"
        | "count" | "length" => sequences::call(interpreter, name, value, args),
        "dictsort" | "groupby" | "max" | "min" | "sort" | "unique" => {
            sorting::call(interpreter, name, value, args)
        }
        "map" | "reject" | "rejectattr" | "select" | "selectattr" => {
            choose::call(interpreter, name, value, args)
        }
        "abs" | "filesizeformat" | "float" | "int" | "round" => numbers::call(interpreter, name, value, args),
        "indent" | "truncate" | "wordwrap" | "pprint" | "center" => {
            layout::call(interpreter, name, value, args)
        }
        "e" | "escape" | "forceescape" | "safe" | "striptags" | "urlencode" | "urlize" | "xmlattr" => {
            html::call(interpreter, name, value, args)
        }
        "capitalize" | "format" | "lower" | "replace" | "string" | "title" | "tojson" | "trim" | "upper"
        | "wordcount" => texts::call(interpreter, name, value, args),
        "attr" => {
            let name = args.needed(0, "name")?;
            args.done(1)?;
            attribute_only(interpreter, &value, &name)
        }
        "d" | "default" => {
            let default = args.take(0, "default_value").map_or_else(|| Value::text(""), Ok)?;
            let boolean = args.flag(1, "boolean", false)?;
            args.done(2)?;
            Ok(if value.is_undefined() || boolean && !value.truth() { default } else { value })
        }
        _ => refuse(format!("no filter named '{name}'")),
    }
}

/// The filter `attr`, which does not look for items.
fn attribute_only(interpreter: &Interpreter, value: &Value, name: &Value) -> Outcome<Value> {
    let Value::Str(text) = name else { return refuse("attr: the name must be a string") };
    let absent = || Value::undefined(format!("'{} object' has no attribute '{}'", value.kind(), shown(text)));
    if value.is_undefined() {
        return subscript::attribute(interpreter, value, name);
    }
    match value {
        Value::Dict(_) if crate::methods::find(value, text).is_none() => Ok(absent()),
        _ => subscript::attribute(interpreter, value, name),
    }
}

/// Attribute path of filters (`make_attrgetter` in jinja2): the parts of a dotted name, or one index.
pub(super) struct Getter {
    parts: Vec<Value>,
    default: Option<Value>,
    ignore_case: bool,
}

impl Getter {
    pub fn new(attribute: &Value, default: Option<Value>, ignore_case: bool) -> Outcome<Getter> {
        let parts = match attribute {
            Value::None => Vec::new(),
            Value::Str(dotted) => dotted
                .split('.')
                .map(|part| match !part.is_empty() && part.chars().all(crate::methods::digits::is_digit) {
                    true => match part.parse() {
                        Ok(index) => Ok(Value::Int(index)),
                        Err(_) => refuse(format!("'{part}' is no index")),
                    },
                    false => Value::text(part),
                })
                .collect::<Outcome<_>>()?,
            other => vec![other.clone()],
        };
        Ok(Getter { parts, default, ignore_case })
    }

    pub fn get(&self, interpreter: &Interpreter, item: &Value) -> Outcome<Value> {
        let mut item = item.clone();
        for part in &self.parts {
            item = subscript::item(interpreter, &item, part)?;
            if let (true, Some(default)) = (item.is_undefined(), &self.default) {
                item = default.clone();
            }
        }
        match (&item, self.ignore_case) {
            (Value::Str(text), true) => Value::text(text.to_lowercase()),
            _ => Ok(item),
        }
    }
}

/// `str(value)`.
pub(super) fn text(interpreter: &Interpreter, value: &Value) -> Outcome<String> {
    repr::text(interpreter, value)
}

/// True if one value sorts before another.
pub(super) fn less(a: &Value, b: &Value) -> Outcome<bool> {
    compare::less(a, b)
}
