//! Lines that begin with `/`: what a person tells the program instead of the model.
//!
//! In: a line. Out: an order, or what is wrong with it. Invariant: a line is an order only if its first word is `/` and
//! letters; whatever an order cannot do leaves the conversation as it is.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use crate::commands::logits::Partial;
use qwenc_engine::error::{Error, Result};
use qwenc_text::template::Conversation;

/// Names, arguments, meanings.
pub(super) const NAMES: [(&str, &str, &str); 10] = [
    ("/reset", "", "forgets the conversation, but not its system message"),
    (
        "/drop",
        "N",
        "leaves the N oldest turns (default: 1) out of what the model gets, which makes room in its context",
    ),
    ("/system", "TEXT", "sets the system message; without TEXT there is none"),
    ("/think", "", "asks for thinking before answers"),
    ("/no_think", "", "asks for answers without thinking"),
    ("/save", "FILE", "writes the conversation to a file, as JSON"),
    ("/load", "FILE", "goes on with a conversation from such a file"),
    ("/stats", "", "shows how fast the last answer was and how full the context is"),
    ("/help", "", "shows this"),
    ("/quit", "", "ends the program, as Ctrl-D, /exit and /bye do"),
];
/// Other names of orders, known from other programs.
const ALIASES: [(&str, &str); 10] = [
    ("/?", "/help"),
    ("/h", "/help"),
    ("/bye", "/quit"),
    ("/exit", "/quit"),
    ("/q", "/quit"),
    ("/clear", "/reset"),
    ("/new", "/reset"),
    ("/forget", "/drop"),
    ("/nothink", "/no_think"),
    ("/no-think", "/no_think"),
];
/// Lines that mean an order where a person types them: no question consists of them alone.
const WORDS: [(&str, Order); 8] = [
    ("exit", Order::Quit),
    ("quit", Order::Quit),
    ("bye", Order::Quit),
    (":q", Order::Quit),
    (":q!", Order::Quit),
    (":wq", Order::Quit),
    ("?", Order::Help),
    (":help", Order::Help),
];

/// Command of a conversation: a line that begins with `/`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Reset,
    Drop(usize),
    System(Option<String>),
    Think(bool),
    Save(PathBuf),
    Load(PathBuf),
    Stats,
    Help,
    Quit,
}

/// The order that `line` is; none if it is for the model. `typed`: a person types it, at a terminal.
pub(super) fn read(line: &str, typed: bool) -> Option<Result<Order, String>> {
    if typed {
        let word = WORDS.into_iter().find(|(word, _)| line.trim_end().eq_ignore_ascii_case(word));
        if let Some((_, order)) = word {
            return Some(Ok(order));
        }
    }
    let written = line.split(char::is_whitespace).next()?;
    let letters = written.strip_prefix('/')?;
    let rest = line[written.len()..].trim();
    let Some(name) = known(&written.to_ascii_lowercase()) else {
        let is_name = !letters.is_empty() && letters.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        return is_name.then(|| Err(unknown(written)));
    };
    Some(order(name, rest))
}

/// The name of [`NAMES`] that a name or an alias stands for.
fn known(name: &str) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, name)| *name);
    alias.or_else(|| NAMES.iter().map(|(known, ..)| *known).find(|known| *known == name))
}

fn order(name: &str, rest: &str) -> Result<Order, String> {
    let file = || match rest {
        "" => Err(format!("{name} needs the name of a file")),
        path => Ok(PathBuf::from(path)),
    };
    let alone = |order| match rest {
        "" => Ok(order),
        _ => Err(format!("{name} takes nothing after it; begin a line with a space to say it to the model")),
    };
    match name {
        "/reset" => alone(Order::Reset),
        "/drop" => match rest {
            "" => Ok(Order::Drop(1)),
            n => n.parse().ok().filter(|&n| n > 0).map(Order::Drop).ok_or_else(|| {
                format!("/drop {n}: expected a number of turns, 1 or more; without a number it is 1")
            }),
        },
        "/system" => Ok(Order::System((!rest.is_empty()).then(|| rest.to_owned()))),
        "/think" => alone(Order::Think(true)),
        "/no_think" => alone(Order::Think(false)),
        "/save" => file().map(Order::Save),
        "/load" => file().map(Order::Load),
        "/stats" => alone(Order::Stats),
        "/help" => Ok(Order::Help),
        "/quit" => alone(Order::Quit),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> String {
    let near = match nearest(name) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    };
    format!(
        "{name} is unknown{near}; /help shows all, and a line that begins with a space is said to the model"
    )
}

/// The order whose name is most like `name`, if any is like it: by its beginning, or at most two letters apart.
fn nearest(name: &str) -> Option<&'static str> {
    let all = || NAMES.iter().map(|(name, ..)| *name).chain(ALIASES.iter().map(|(alias, _)| *alias));
    let begun = all().find(|known| name.len() > 2 && known.starts_with(name));
    let like = || all().filter(|known| known.len() > 3).map(|known| (edits(name, known), known)).min();
    begun.or_else(|| like().filter(|&(edits, known)| edits <= 2 && edits + 2 < known.len()).map(|(_, k)| k))
}

/// Number of letters to insert, remove or replace to make `b` of `a` (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Text of `/help`.
pub(super) fn help() -> String {
    let lines =
        NAMES.map(|(name, argument, meaning)| format!("{:<15} {meaning}\n", format!("{name} {argument}")));
    lines.concat()
        + "A line that ends in \\ goes on in the next; a pasted block is one question. Ctrl-C stops an answer, Ctrl-D \
           ends."
}

/// Sets or removes the system message.
pub(super) fn set_system(conversation: &mut Conversation, text: Option<&str>) {
    let messages = &mut conversation.messages;
    if messages.first().is_some_and(|m| m["role"] == "system") {
        messages.remove(0);
    }
    if let Some(text) = text {
        messages.insert(0, json!({"role": "system", "content": text}));
    }
}

/// Writes a conversation, never over a file that is something else.
pub(super) fn save(conversation: &Conversation, path: &Path) -> Result<()> {
    if path.exists() && load(path).is_err() {
        let what = format!("{} exists and is no saved conversation; give another name", path.display());
        return Err(Error::Usage(what));
    }
    let all = json!({"messages": conversation.messages, "enable_thinking": conversation.enable_thinking});
    let mut file = Partial::create(path)?;
    file.write(format!("{all:#}\n").as_bytes())?;
    file.finish()
}

/// Reads what [`save`] wrote.
pub(super) fn load(path: &Path) -> Result<Conversation> {
    let wrong = |what: String| Error::Usage(format!("{} is no saved conversation: {what}", path.display()));
    let mut file = qwenc_files::regular(path).map_err(Error::file("open", path))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(Error::file("read", path))?;
    let all: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let messages = all["messages"].as_array().ok_or_else(|| wrong("no list of \"messages\"".into()))?;
    for (i, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["system", "user", "assistant", "tool"].contains(&role) || !message["content"].is_string() {
            return Err(wrong(format!("message {i} needs a role and a text as \"content\"")));
        }
    }
    let enable_thinking = all["enable_thinking"].as_bool();
    Ok(Conversation { messages: messages.clone(), enable_thinking, ..Conversation::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_what_is_for_the_model() {
        let read = |line| read(line, false);
        assert_eq!(read("/reset"), Some(Ok(Order::Reset)));
        assert_eq!(read("/system Be brief. "), Some(Ok(Order::System(Some("Be brief.".into())))));
        assert_eq!(read("/system"), Some(Ok(Order::System(None))));
        assert_eq!(read("/no_think"), Some(Ok(Order::Think(false))));
        assert_eq!(read("/save a b.json"), Some(Ok(Order::Save("a b.json".into()))));
        assert_eq!(read("/drop"), Some(Ok(Order::Drop(1))));
        assert_eq!(read("/drop 3"), Some(Ok(Order::Drop(3))));
        for help in ["/?", "/help", "/HELP", "/help me", "/h"] {
            assert_eq!(read(help), Some(Ok(Order::Help)), "{help}");
        }
        for quit in ["/quit", "/exit", "/bye", "/q", "/Bye "] {
            assert_eq!(read(quit), Some(Ok(Order::Quit)), "{quit}");
        }
        for wrong in ["/save", "/foo", "/reset now", "/quit it", "/drop x", "/drop 0", "/drop -1"] {
            assert!(read(wrong).unwrap().is_err(), "{wrong}");
        }
        for said in
            ["hello", " /reset", "/etc/passwd?", "/ 2", "1/2", "What is this? /no_think", "", "/", "/Users"]
        {
            assert_eq!(read(said), None, "{said}");
        }
        assert!(NAMES.iter().all(|(name, ..)| help().contains(name) && read(name).is_some()));
        assert!(ALIASES.iter().all(|(alias, name)| read(alias) == read(name) && read(alias).is_some()));
    }

    #[test]
    fn words_that_end_other_programs_end_this_one_where_they_are_typed() {
        for word in ["exit", "quit", "EXIT", "bye", ":q", ":q!", "quit "] {
            assert_eq!(read(word, true), Some(Ok(Order::Quit)), "{word}");
            assert_eq!(read(word, false), None, "{word}");
        }
        assert_eq!(read("?", true), Some(Ok(Order::Help)));
        for said in [" exit", "exit the loop?", "How do I quit vim?", "q", "help"] {
            assert_eq!(read(said, true), None, "{said}");
        }
    }

    #[test]
    fn unknown_orders_name_what_is_like_them() {
        for (wrong, near) in [
            ("/rest", "/reset"),
            ("/hepl", "/help"),
            ("/sys", "/system"),
            ("/statistics", ""),
            ("/stat", "/stats"),
            ("/quti", "/quit"),
            ("/sav", "/save"),
            ("/ext", "/exit"),
            ("/nothing", "/nothink"),
            ("/translate", ""),
            ("/etc", ""),
            ("/tmp", ""),
        ] {
            let said = read(wrong, true).unwrap().unwrap_err();
            let meant =
                said.split_once("did you mean ").map_or("", |(_, rest)| rest.split_once('?').unwrap().0);
            assert_eq!(meant, near, "{said}");
            assert!(said.starts_with(&format!("{wrong} is unknown")) && said.contains("/help"), "{said}");
        }
    }

    #[test]
    fn the_system_message_comes_first_and_is_replaced() {
        let mut c =
            Conversation { messages: vec![json!({"role": "user", "content": "a"})], ..Default::default() };
        set_system(&mut c, Some("x"));
        set_system(&mut c, Some("y"));
        assert_eq!(c.messages.len(), 2);
        assert_eq!(c.messages[0], json!({"role": "system", "content": "y"}));
        set_system(&mut c, None);
        assert_eq!(c.messages.len(), 1);
    }

    #[test]
    fn saved_conversations_come_back_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let messages = vec![json!({"role": "user", "content": "é"})];
        let c = Conversation { messages, enable_thinking: Some(false), ..Conversation::default() };
        for _ in 0..2 {
            save(&c, &path).unwrap();
            let back = load(&path).unwrap();
            assert_eq!((back.messages, back.enable_thinking), (c.messages.clone(), Some(false)));
        }
        for (text, part) in [
            ("weights", "expected value"),
            ("{}", "no list"),
            (r#"{"messages": [{"role": "user"}]}"#, "message 0 needs"),
            (r#"{"messages": [{"role": "god", "content": ""}]}"#, "message 0 needs"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(load(&path).err().unwrap().to_string().contains(part), "{text}");
            assert!(save(&c, &path).err().unwrap().to_string().contains("give another name"));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert!(load(folder.path()).is_err() && save(&c, folder.path()).is_err());
        assert!(load(&folder.path().join("none")).err().unwrap().to_string().contains("cannot open"));
    }
}
