//! Global functions.
//!
//! In: arguments. Out: a value. Invariant: those of jinja2 and the two of transformers; `lipsum` alone is refused.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{refuse, Fault, Outcome};
use crate::filters::arguments::Arguments;
use crate::interpreter::calls::Given;
use crate::interpreter::Interpreter;
use crate::value::{self, integer, iterate, Cycler, Dict, Joiner, Range, Seq, Value};

/// A global function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

const NAMES: [(&str, Function); 8] = [
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("cycler", Function::Cycler),
    ("joiner", Function::Joiner),
    ("lipsum", Function::Lipsum),
    ("raise_exception", Function::RaiseException),
    ("strftime_now", Function::StrftimeNow),
];

/// The longest range of the sandbox.
const MAX_RANGE: usize = 100_000;

impl Function {
    pub fn named(name: &str) -> Option<Function> {
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, function)| *function)
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }
}

/// Calls a global function.
pub(crate) fn call(interpreter: &mut Interpreter, function: Function, given: Given) -> Outcome<Value> {
    match function {
        Function::Range => range(given),
        Function::Dict => Ok(Value::Dict(Dict::new(pairs(given)?.into_iter().map(Ok))?.into())),
        Function::Namespace => {
            let dict = Dict::new(pairs(given)?.into_iter().map(Ok))?;
            interpreter.new_namespace(dict.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        Function::Cycler => {
            if given.positional.is_empty() || !given.keyword.is_empty() {
                return refuse("cycler: at least one item has to be provided");
            }
            Ok(Value::Cycler(Rc::new(Cycler { items: Seq::new(given.positional)?, at: Cell::new(0) })))
        }
        Function::Joiner => {
            let mut args = Arguments::new("joiner", given);
            let separator = args.take(0, "sep").map_or_else(|| Value::text(", "), Ok)?;
            args.done(1)?;
            value::deeper(separator.depth())?;
            Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
        }
        Function::Lipsum => refuse("lipsum is not supported: a prompt has no use for random text"),
        Function::RaiseException => {
            let mut args = Arguments::new("raise_exception", given);
            let message = args.needed(0, "message")?;
            args.done(1)?;
            Err(Fault::Raised(interpreter.text_of(&message)?))
        }
        Function::StrftimeNow => {
            let mut args = Arguments::new("strftime_now", given);
            let format = args.needed(0, "format")?;
            args.done(1)?;
            match &format {
                Value::Str(format) => Value::text(strftime_now(format)?),
                _ => refuse("strftime_now: the format must be a string"),
            }
        }
    }
}

fn range(given: Given) -> Outcome<Value> {
    if !given.keyword.is_empty() {
        return refuse("range takes no keyword arguments");
    }
    let numbers: Vec<i64> =
        given.positional.iter().map(|v| integer::index(v, "range")).collect::<Outcome<_>>()?;
    let range = match numbers[..] {
        [stop] => Range { start: 0, stop, step: 1 },
        [start, stop] => Range { start, stop, step: 1 },
        [_, _, 0] => return refuse("range: the step must not be zero"),
        [start, stop, step] => Range { start, stop, step },
        _ => return refuse("range takes one to three arguments"),
    };
    if range.len() > MAX_RANGE {
        return refuse(format!("range too big: the sandbox blocks ranges larger than {MAX_RANGE}"));
    }
    Ok(Value::Range(range))
}

/// The pairs that `dict(…)` is given.
fn pairs(given: Given) -> Outcome<Vec<(Value, Value)>> {
    let mut pairs = Vec::new();
    match &given.positional[..] {
        [] => {}
        [Value::Dict(d)] => pairs.extend(d.iter().map(|(k, v)| (k.clone(), v.clone()))),
        [other] => {
            for pair in iterate::items(other)? {
                match &iterate::items(&pair)?[..] {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return refuse("dict: expected pairs"),
                }
            }
        }
        _ => return refuse("dict takes at most one positional argument"),
    }
    for (name, value) in given.keyword {
        pairs.push((Value::text(name)?, value));
    }
    Ok(pairs)
}

/// `datetime.now().strftime(format)`.
fn strftime_now(format: &str) -> Outcome<String> {
    let unusable = || Fault::Runtime { line: 0, message: "strftime_now: unusable format".into() };
    if format.is_empty() {
        return Ok(String::new());
    }
    if format.len() > 1024 {
        return Err(unusable());
    }
    let micros = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = micros.map_or(0, |since| since.subsec_micros());
    let format = format.replace("%%", "\u{1}").replace("%f", &format!("{micros:06}")).replace('\u{1}', "%%");
    let format = std::ffi::CString::new(format).map_err(|_| unusable())?;
    let mut text = [0u8; 4096];
    // SAFETY: tm is plain data for which zero is a value; all pointers are to live locals, and strftime writes at most
    // the length it is given.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut parts);
        // A datetime without a zone prints none.
        parts.tm_zone = c"".as_ptr();
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &parts)
    };
    String::from_utf8(text[..length].to_vec()).map_err(|_| unusable())
}
