//! Filters that lay text out: `indent`, `truncate`, `wordwrap`, `center`, `pprint`.
//!
//! In: a value and arguments. Out: a text. Invariant: widths are within the limits before anything is written.

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::lexer::is_space;
use crate::meter::{self, Writer};
use crate::methods;
use crate::value::{compare, integer, printable, repr, Text, Value};

use super::arguments::Arguments;
use super::text;

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    mut args: Arguments,
) -> Outcome<Value> {
    match name {
        "indent" => indent(&value, args),
        "truncate" => truncate(&value, args),
        "wordwrap" => word_wrap(&value, args),
        "center" => {
            let width = args.integer(0, "width", 80)?;
            args.done(1)?;
            methods::center(&text(interpreter, &value)?, width, " ")
        }
        _ => {
            args.done(0)?;
            let mut out = Writer::default();
            Pretty { interpreter, out: &mut out }.format(&value, 0, 0, 0)?;
            Value::text(out.into_string())
        }
    }
}

fn of_text(value: &Value) -> Outcome<Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        other => {
            other.defined()?;
            refuse(format!("expected a string, found {}", other.kind()))
        }
    }
}

fn indent(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let width = args.take(0, "width").unwrap_or(Value::Int(4));
    let (first, blank) = (args.flag(1, "first", false)?, args.flag(2, "blank", false)?);
    args.done(3)?;
    let value = of_text(value)?;
    let indention = match width {
        Value::Str(text) => text.to_string(),
        other => {
            let mut blanks = Writer::default();
            blanks.repeat(" ", usize::try_from(integer::index(&other, "width")?).unwrap_or(0))?;
            blanks.into_string()
        }
    };
    let mut out = Writer::default();
    if first {
        out.push(&indention)?;
    }
    let with_end = format!("{}\n", &*value);
    for (at, line) in methods::lines(&with_end, false).into_iter().enumerate() {
        if at > 0 {
            out.push("\n")?;
            if blank || !line.is_empty() {
                out.push(&indention)?;
            }
        }
        out.push(line)?;
    }
    Value::text(out.into_string())
}

fn truncate(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let length = args.integer(0, "length", 255)?;
    let kill_words = args.flag(1, "killwords", false)?;
    let end = args.take(2, "end").map_or_else(|| Value::text("..."), Ok)?;
    let leeway = match args.or_none(3, "leeway") {
        Value::None => 5,
        other => integer::index(&other, "leeway")?,
    };
    args.done(4)?;
    let end = of_text(&end)?;
    let end_length = end.chars().count() as i64;
    if length < end_length || leeway < 0 {
        return refuse(format!(
            "truncate: expected a length of at least {end_length} and a leeway of at least 0"
        ));
    }
    if value.is_undefined() {
        return Ok(value.clone());
    }
    let text = of_text(value)?;
    if text.chars().count() as i64 <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let cut = text.char_indices().nth((length - end_length) as usize).map_or(text.len(), |(at, _)| at);
    let kept = &text[..cut];
    let kept = match kill_words {
        true => kept,
        false => kept.rsplit_once(' ').map_or(kept, |(before, _)| before),
    };
    Value::text(format!("{kept}{}", &*end))
}

fn word_wrap(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let width = args.integer(0, "width", 79)?;
    let break_long = args.flag(1, "break_long_words", true)?;
    let wrap = match args.or_none(2, "wrapstring") {
        Value::None => "\n".to_string(),
        other => of_text(&other)?.to_string(),
    };
    let hyphens = args.flag(3, "break_on_hyphens", true)?;
    args.done(4)?;
    let value = of_text(value)?;
    let Some(width) = usize::try_from(width).ok().filter(|w| *w > 0) else {
        return refuse("wordwrap: the width must be above zero");
    };
    let mut out = Writer::default();
    for (at, line) in methods::lines(&value, false).into_iter().enumerate() {
        if at > 0 {
            out.push(&wrap)?;
        }
        for (at, line) in wrapped(line, width, break_long, hyphens)?.iter().enumerate() {
            if at > 0 {
                out.push(&wrap)?;
            }
            out.push(line)?;
        }
    }
    Value::text(out.into_string())
}

/// The pieces between which a line may be cut.
fn chunks(line: &str, hyphens: bool) -> Vec<&str> {
    let mut chunks = Vec::new();
    let chars: Vec<char> = line.chars().collect();
    let letter = |at: usize| chars.get(at).is_some_and(|c| c.is_alphabetic());
    let (mut new, mut from) = (false, 0);
    for ((start, _), (at, c)) in line.char_indices().zip(chars.iter().enumerate()) {
        let turns = at > 0 && is_space(*c) != is_space(chars[at - 1]);
        if new || turns {
            chunks.push(&line[from..start]);
            from = start;
        }
        new = hyphens
            && *c == '-'
            && at > 1
            && letter(at - 1)
            && letter(at - 2) | letter(at - 1)
            && letter(at + 1)
            && letter(at + 2);
    }
    chunks.push(&line[from..]);
    chunks
}

/// Characters of a chunk, none counted beyond `width + 1`.
fn counted(chunk: &str, width: usize) -> usize {
    chunk.chars().take(width.saturating_add(1)).count()
}

fn wrapped(line: &str, width: usize, break_long: bool, hyphens: bool) -> Outcome<Vec<String>> {
    meter::spend_bytes(line.len() * 8)?;
    meter::room(line.len() * 64)?;
    let mut rest = chunks(line, hyphens);
    rest.reverse();
    let blank = |chunk: &str| chunk.chars().all(is_space);
    let mut lines: Vec<String> = Vec::new();
    while !rest.is_empty() {
        meter::spend(1)?;
        let mut current: Vec<&str> = Vec::new();
        let mut length = 0;
        if !lines.is_empty() && rest.last().is_some_and(|chunk| blank(chunk)) {
            rest.pop();
        }
        while let Some(chunk) = rest.last() {
            let more = counted(chunk, width);
            if length + more > width {
                break;
            }
            length += more;
            current.extend(rest.pop());
        }
        if let Some(chunk) = rest.pop_if(|chunk| counted(chunk, width) > width) {
            if break_long {
                let room = (width - length).max(1);
                let cut = chunk.char_indices().nth(room).map_or(chunk.len(), |(at, _)| at);
                let (now, later) = chunk.split_at(cut);
                current.push(now);
                rest.push(later);
            } else if current.is_empty() {
                current.push(chunk);
            } else {
                rest.push(chunk);
            }
        }
        if current.last().is_some_and(|chunk| blank(chunk)) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    Ok(lines)
}

/// `pprint.pformat`.
struct Pretty<'i, 't, 'o> {
    interpreter: &'i Interpreter<'t>,
    out: &'o mut Writer,
}

const WIDTH: usize = 80;

impl Pretty<'_, '_, '_> {
    /// `repr` with the keys of dicts in order.
    fn flat(&self, out: &mut Writer, value: &Value) -> Outcome<()> {
        meter::spend(1)?;
        meter::stack()?;
        let (open, close, items) = match value {
            Value::List(items) => ("[", "]", items),
            Value::Tuple(items) => ("(", if items.len() == 1 { ",)" } else { ")" }, items),
            Value::Dict(_) => {
                out.push("{")?;
                for (at, (key, value)) in sorted(value)?.iter().enumerate() {
                    if at > 0 {
                        out.push(", ")?;
                    }
                    self.flat(out, key)?;
                    out.push(": ")?;
                    self.flat(out, value)?;
                }
                return out.push("}");
            }
            _ => return repr::repr(self.interpreter, out, value),
        };
        out.push(open)?;
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(", ")?;
            }
            self.flat(out, item)?;
        }
        out.push(close)
    }

    fn format(&mut self, value: &Value, indent: usize, allowance: usize, level: u32) -> Outcome<()> {
        let mut flat = Writer::default();
        self.flat(&mut flat, value)?;
        let flat = flat.into_string();
        if flat.chars().count() + indent + allowance <= WIDTH {
            return self.out.push(&flat);
        }
        match value {
            Value::List(items) => self.items("[", items, "]", indent, allowance, level + 1),
            Value::Tuple(items) => {
                let close = if items.len() == 1 { ",)" } else { ")" };
                self.items("(", items, close, indent, allowance, level + 1)
            }
            Value::Dict(_) => self.pairs(&sorted(value)?, indent, allowance, level + 1),
            Value::Str(text) => self.text(text, indent, allowance, level == 0),
            _ => self.out.push(&flat),
        }
    }

    fn items(
        &mut self,
        open: &str,
        items: &[Value],
        close: &str,
        indent: usize,
        allowance: usize,
        level: u32,
    ) -> Outcome<()> {
        self.out.push(open)?;
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(",\n")?;
                self.out.repeat(" ", indent + 1)?;
            }
            let last = at + 1 == items.len();
            self.format(item, indent + 1, if last { allowance + close.len() } else { 1 }, level)?;
        }
        self.out.push(close)
    }

    fn pairs(
        &mut self,
        pairs: &[(Value, Value)],
        indent: usize,
        allowance: usize,
        level: u32,
    ) -> Outcome<()> {
        self.out.push("{")?;
        for (at, (key, value)) in pairs.iter().enumerate() {
            if at > 0 {
                self.out.push(",\n")?;
                self.out.repeat(" ", indent + 1)?;
            }
            let mut name = Writer::default();
            self.flat(&mut name, key)?;
            let name = name.into_string();
            self.out.push(&name)?;
            self.out.push(": ")?;
            let last = at + 1 == pairs.len();
            let indent = indent + 1 + name.chars().count() + 2;
            self.format(value, indent, if last { allowance + 1 } else { 1 }, level)?;
        }
        self.out.push("}")
    }

    fn text(&mut self, text: &str, indent: usize, allowance: usize, top: bool) -> Outcome<()> {
        let (indent, allowance) = if top { (indent + 1, allowance + 1) } else { (indent, allowance) };
        let width = WIDTH.saturating_sub(indent);
        let lines = methods::lines(text, true);
        let mut chunks = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let last = at + 1 == lines.len();
            let whole = quoted(line)?;
            if whole.chars().count() <= width.saturating_sub(if last { allowance } else { 0 }) {
                chunks.push(whole);
                continue;
            }
            let mut current = String::new();
            let parts = words(line);
            for (at, part) in parts.iter().enumerate() {
                let cut = if at + 1 == parts.len() && last { allowance } else { 0 };
                let candidate = quoted(&format!("{current}{part}"))?;
                if candidate.chars().count() > width.saturating_sub(cut) {
                    if !current.is_empty() {
                        chunks.push(quoted(&current)?);
                    }
                    current = part.to_string();
                } else {
                    current.push_str(part);
                }
            }
            if !current.is_empty() {
                chunks.push(quoted(&current)?);
            }
        }
        let brackets = top && chunks.len() > 1;
        if brackets {
            self.out.push("(")?;
        }
        for (at, chunk) in chunks.iter().enumerate() {
            if at > 0 {
                self.out.push("\n")?;
                self.out.repeat(" ", indent)?;
            }
            self.out.push(chunk)?;
        }
        self.out.push(if brackets { ")" } else { "" })
    }
}

fn quoted(text: &str) -> Outcome<String> {
    let mut out = Writer::default();
    printable::repr(&mut out, text)?;
    Ok(out.into_string())
}

/// Words, each with the whitespace after it.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let word = rest.find(is_space).unwrap_or(rest.len());
        let end = rest[word..].find(|c| !is_space(c)).map_or(rest.len(), |at| word + at);
        words.push(&rest[..end]);
        rest = &rest[end..];
    }
    words
}

/// The pairs of a dict by their keys, or as they are where keys have no order.
fn sorted(value: &Value) -> Outcome<Vec<(Value, Value)>> {
    let Value::Dict(dict) = value else { return Ok(Vec::new()) };
    let pairs: Vec<(Value, Value)> = dict.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let keyed = pairs.iter().enumerate().map(|(at, (key, _))| (key.clone(), Value::Int(at as i64))).collect();
    let Ok(order) = compare::sort(keyed, false) else { return Ok(pairs) };
    let at = |i: &Value| match i {
        Value::Int(i) => Some(pairs[*i as usize].clone()),
        _ => None,
    };
    Ok(order.iter().filter_map(at).collect())
}
