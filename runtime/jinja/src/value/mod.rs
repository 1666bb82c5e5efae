//! Python's values, as far as templates meet them.
//!
//! In: JSON, or what operations make. Out: `Value`. Invariant: lists, tuples and dicts do not change once made, hold
//! their size as a `Charge` and nest at most `NESTING` deep, so that dropping, printing and comparing them is bounded;
//! what changes (namespaces, macros) stands in the interpreter's tables and is named by its index.

pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod dict;
pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod iterate;
pub(crate) mod json;
pub(crate) mod operators;
pub(crate) mod printable;
pub(crate) mod repr;
pub(crate) mod slices;
pub(crate) mod subscript;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use num_bigint::BigInt;

use crate::error::{Fault, Outcome};
use crate::globals::Function;
use crate::interpreter::loops::LoopState;
use crate::meter::{self, Charge};

pub(crate) use dict::Dict;

/// Bytes of a value in a container.
const SLOT: usize = 24;
/// Bytes of a text or container beside its content.
const HEADER: usize = 64;

/// A text.
#[derive(Clone, Debug)]
pub(crate) struct Text(Rc<TextInner>);

#[derive(Debug)]
struct TextInner {
    text: Box<str>,
    /// Escaped for HTML, or declared so: Python's Markup.
    safe: bool,
    _charge: Charge,
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl Text {
    pub fn new(text: impl Into<Box<str>>) -> Outcome<Text> {
        Text::marked(text.into(), false)
    }

    /// A text that filters need not escape.
    pub fn safe(text: impl Into<Box<str>>) -> Outcome<Text> {
        Text::marked(text.into(), true)
    }

    fn marked(text: Box<str>, safe: bool) -> Outcome<Text> {
        let charge = meter::charge(text.len() + HEADER)?;
        Ok(Text(Rc::new(TextInner { text, safe, _charge: charge })))
    }

    pub fn is_safe(&self) -> bool {
        self.0.safe
    }
}

/// The items of a list or tuple.
#[derive(Debug)]
pub(crate) struct Seq {
    items: Vec<Value>,
    depth: u16,
    /// Names of the items, of a tuple of `groupby`.
    pub names: Option<[&'static str; 2]>,
    _charge: Charge,
}

impl Deref for Seq {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

/// The depth of a container whose deepest item has this depth.
pub(crate) fn deeper(depth: u16) -> Outcome<u16> {
    match depth < meter::NESTING {
        true => Ok(depth + 1),
        false => Err(Fault::Limit("lists and dicts nest too deeply".into())),
    }
}

impl Seq {
    pub fn new(items: Vec<Value>) -> Outcome<Seq> {
        let depth = deeper(items.iter().map(Value::depth).max().unwrap_or(0))?;
        let charge = meter::charge(items.len() * SLOT + HEADER)?;
        Ok(Seq { items, depth, names: None, _charge: charge })
    }
}

/// A growing list of values, within the limits.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: Vec<Value>,
}

impl Items {
    pub fn push(&mut self, value: Value) -> Outcome<()> {
        meter::spend(1)?;
        if self.items.len() == self.items.capacity() {
            meter::room(self.items.len() * 2 * SLOT)?;
        }
        self.items.push(value);
        Ok(())
    }

    pub fn into_vec(self) -> Vec<Value> {
        self.items
    }

    pub fn list(self) -> Outcome<Value> {
        Value::list(self.items)
    }
}

/// Python's `range` object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub start: i64,
    pub stop: i64,
    pub step: i64,
}

impl Range {
    pub fn len(&self) -> usize {
        let (start, stop, step) = (i128::from(self.start), i128::from(self.stop), i128::from(self.step));
        let count = match step > 0 {
            true => (stop - start + step - 1).div_euclid(step),
            false => (start - stop - step - 1).div_euclid(-step),
        };
        usize::try_from(count.max(0)).unwrap_or(usize::MAX)
    }

    pub fn get(&self, index: usize) -> Value {
        Value::Int(self.start.wrapping_add(self.step.wrapping_mul(index as i64)))
    }
}

/// Which part of a dict a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

/// An iterator, which gives each item once.
#[derive(Debug)]
pub(crate) struct Iter {
    pub items: RefCell<VecDeque<Value>>,
    pub kind: &'static str,
    depth: u16,
    _charge: Charge,
}

/// `cycler(…)`.
#[derive(Debug)]
pub(crate) struct Cycler {
    pub items: Seq,
    pub at: Cell<usize>,
}

/// `joiner(…)`.
#[derive(Debug)]
pub(crate) struct Joiner {
    pub separator: Value,
    pub used: Cell<bool>,
}

/// A method of a value, not called yet.
#[derive(Debug)]
pub(crate) struct Method {
    pub of: Value,
    pub name: &'static str,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Absent; with the message of the error that using it is.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, never one within.
    Big(Rc<(BigInt, Charge)>),
    Float(f64),
    Str(Text),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    Range(Range),
    View(Rc<Dict>, View),
    Iter(Rc<Iter>),
    /// An index of the interpreter's namespaces.
    Namespace(usize),
    /// An index of the interpreter's macros.
    Macro(usize),
    Loop(Rc<LoopState>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
    Function(Function),
    Method(Rc<Method>),
}

impl Value {
    pub fn text(text: impl Into<Box<str>>) -> Outcome<Value> {
        Text::new(text).map(Value::Str)
    }

    pub fn list(items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::List(Rc::new(Seq::new(items)?)))
    }

    pub fn tuple(items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::Tuple(Rc::new(Seq::new(items)?)))
    }

    pub fn iter(items: Vec<Value>, kind: &'static str) -> Outcome<Value> {
        let seq = Seq::new(items)?;
        let items = RefCell::new(seq.items.into());
        Ok(Value::Iter(Rc::new(Iter { items, kind, depth: seq.depth, _charge: seq._charge })))
    }

    pub fn undefined(message: impl Into<Rc<str>>) -> Value {
        Value::Undefined(message.into())
    }

    /// Nesting depth of containers in this value.
    pub fn depth(&self) -> u16 {
        match self {
            Value::List(s) | Value::Tuple(s) => s.depth,
            Value::Dict(d) | Value::View(d, _) => d.depth(),
            Value::Iter(i) => i.depth,
            Value::Cycler(c) => c.items.depth,
            Value::Joiner(j) => j.separator.depth().saturating_add(1),
            Value::Method(m) => m.of.depth().saturating_add(1),
            _ => 0,
        }
    }

    /// Python's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Big(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Range(_) => "range",
            Value::View(_, View::Keys) => "dict_keys",
            Value::View(_, View::Values) => "dict_values",
            Value::View(_, View::Items) => "dict_items",
            Value::Iter(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
            Value::Function(_) => "function",
            Value::Method(_) => "method",
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// Fails if this is undefined.
    pub fn defined(&self) -> Outcome<()> {
        match self {
            Value::Undefined(message) => Err(Fault::Runtime { line: 0, message: message.to_string() }),
            _ => Ok(()),
        }
    }

    /// Python's `bool(value)`.
    pub fn truth(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(s) | Value::Tuple(s) => !s.is_empty(),
            Value::Dict(d) | Value::View(d, _) => !d.is_empty(),
            Value::Range(r) => r.len() > 0,
            Value::Loop(state) => state.length() > 0,
            _ => true,
        }
    }

    /// Python's `len(value)`, if it has one.
    pub fn length(&self) -> Option<usize> {
        match self {
            Value::Undefined(_) => Some(0),
            Value::Str(s) => Some(s.chars().count()),
            Value::List(s) | Value::Tuple(s) => Some(s.len()),
            Value::Dict(d) | Value::View(d, _) => Some(d.len()),
            Value::Range(r) => Some(r.len()),
            Value::Loop(state) => Some(state.length()),
            _ => None,
        }
    }
}
