//! Filters that compare.
//!
//! In: a value and arguments. Out: a value. Invariant: letters are compared without case unless told.

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::value::dict::Key;
use crate::value::{compare, iterate, Seq, Value};

use super::arguments::Arguments;
use super::{less, Getter};

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    args: Arguments,
) -> Outcome<Value> {
    match name {
        "sort" => sort(interpreter, &value, args),
        "dictsort" => dictsort(&value, args),
        "unique" => unique(interpreter, &value, args),
        "groupby" => group_by(interpreter, &value, args),
        _ => extreme(interpreter, name == "max", &value, args),
    }
}

fn sort(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let reverse = args.flag(0, "reverse", false)?;
    let case_sensitive = args.flag(1, "case_sensitive", false)?;
    let attribute = args.or_none(2, "attribute");
    args.done(3)?;
    let getters: Vec<Getter> = match &attribute {
        Value::Str(names) => names
            .split(',')
            .map(|name| Getter::new(&Value::text(name)?, None, !case_sensitive))
            .collect::<Outcome<_>>()?,
        other => vec![Getter::new(other, None, !case_sensitive)?],
    };
    let mut keyed = Vec::new();
    for item in iterate::items(value)? {
        let keys = getters.iter().map(|g| g.get(interpreter, &item)).collect::<Outcome<_>>()?;
        keyed.push((Value::list(keys)?, item));
    }
    Value::list(compare::sort(keyed, reverse)?)
}

fn dictsort(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let case_sensitive = args.flag(0, "case_sensitive", false)?;
    let by = args.take(1, "by");
    let reverse = args.flag(2, "reverse", false)?;
    args.done(3)?;
    let by_value = match &by {
        None => false,
        Some(Value::Str(by)) if **by == *"key" => false,
        Some(Value::Str(by)) if **by == *"value" => true,
        Some(_) => return refuse("dictsort sorts by either \"key\" or \"value\""),
    };
    value.defined()?;
    let Value::Dict(dict) = value else { return refuse("dictsort: expected a mapping") };
    let mut keyed = Vec::new();
    for (key, value) in dict.iter() {
        let by = match if by_value { value } else { key } {
            Value::Str(text) if !case_sensitive => Value::text(text.to_lowercase())?,
            other => other.clone(),
        };
        keyed.push((by, Value::tuple(vec![key.clone(), value.clone()])?));
    }
    Value::list(compare::sort(keyed, reverse)?)
}

fn unique(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let case_sensitive = args.flag(0, "case_sensitive", false)?;
    let attribute = args.or_none(1, "attribute");
    args.done(2)?;
    let getter = Getter::new(&attribute, None, !case_sensitive)?;
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for item in iterate::items(value)? {
        if seen.insert(Key::of(&getter.get(interpreter, &item)?)?) {
            out.push(item);
        }
    }
    Value::iter(out, "generator")
}

fn extreme(interpreter: &Interpreter, greatest: bool, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let case_sensitive = args.flag(0, "case_sensitive", false)?;
    let attribute = args.or_none(1, "attribute");
    args.done(2)?;
    let getter = Getter::new(&attribute, None, !case_sensitive)?;
    let mut best: Option<(Value, Value)> = None;
    for item in iterate::items(value)? {
        let key = getter.get(interpreter, &item)?;
        let better = match &best {
            None => true,
            Some((least, _)) if greatest => less(least, &key)?,
            Some((least, _)) => less(&key, least)?,
        };
        if better {
            best = Some((key, item));
        }
    }
    let empty = || Value::undefined("no aggregated item, sequence was empty");
    Ok(best.map_or_else(empty, |(_, item)| item))
}

fn group_by(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let attribute = args.needed(0, "attribute")?;
    let default = args.take(1, "default").filter(|d| !matches!(d, Value::None));
    let case_sensitive = args.flag(2, "case_sensitive", false)?;
    args.done(3)?;
    let getter = Getter::new(&attribute, default.clone(), !case_sensitive)?;
    let shown = Getter::new(&attribute, default, false)?;
    let mut keyed = Vec::new();
    for item in iterate::items(value)? {
        keyed.push((getter.get(interpreter, &item)?, item));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in compare::sort(keyed, false)? {
        let key = getter.get(interpreter, &item)?;
        match groups.last_mut() {
            Some((last, items)) if compare::equal(last, &key)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut out = Vec::new();
    for (key, items) in groups {
        let key = if case_sensitive { key } else { shown.get(interpreter, &items[0])? };
        let mut group = Seq::new(vec![key, Value::list(items)?])?;
        group.names = Some(["grouper", "list"]);
        out.push(Value::Tuple(group.into()));
    }
    Value::list(out)
}
