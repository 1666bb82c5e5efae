//! Lines that begin with `/`: what a person tells the program instead of the model.
//!
//! In: a line. Out: an order, or what is wrong with it. Invariant: a line is an order only if its first word is `/` and
//! letters; whatever an order cannot do leaves the conversation as it is.

use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use crate::commands::logits::Partial;
use crate::error::{Error, Result};
use crate::text::template::Conversation;

/// Names, arguments, meanings.
pub(super) const NAMES: [(&str, &str, &str); 9] = [
    ("/reset", "", "forgets the conversation, but not its system message"),
    ("/system", "TEXT", "sets the system message; without TEXT there is none"),
    ("/think", "", "asks for thinking before answers"),
    ("/no_think", "", "asks for answers without thinking"),
    ("/save", "FILE", "writes the conversation to a file, as JSON"),
    ("/load", "FILE", "goes on with a conversation from such a file"),
    ("/stats", "", "shows how fast the last answer was and how full the context is"),
    ("/help", "", "shows this"),
    ("/quit", "", "ends the program, as Ctrl-D does"),
];

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Reset,
    System(Option<String>),
    Think(bool),
    Save(PathBuf),
    Load(PathBuf),
    Stats,
    Help,
    Quit,
}

/// The order that `line` is; none if it is for the model.
pub(super) fn read(line: &str) -> Option<Result<Order, String>> {
    let name = line.split(char::is_whitespace).next()?;
    let letters = name.strip_prefix('/')?;
    if letters.is_empty() || !letters.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
        return None;
    }
    let rest = line[name.len()..].trim();
    let file = || match rest {
        "" => Err(format!("{name} needs the name of a file")),
        path => Ok(PathBuf::from(path)),
    };
    let alone = |order| match rest {
        "" => Ok(order),
        _ => Err(format!("{name} takes nothing after it; begin a line with a space to say it to the model")),
    };
    Some(match name {
        "/reset" => alone(Order::Reset),
        "/system" => Ok(Order::System((!rest.is_empty()).then(|| rest.to_owned()))),
        "/think" => alone(Order::Think(true)),
        "/no_think" => alone(Order::Think(false)),
        "/save" => file().map(Order::Save),
        "/load" => file().map(Order::Load),
        "/stats" => alone(Order::Stats),
        "/help" => alone(Order::Help),
        "/quit" => alone(Order::Quit),
        _ => Err(format!("{name} is unknown; /help shows what there is, and a line that begins with a space is said to the model")),
    })
}

/// What `/help` shows.
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

/// Forgets all but the system message.
pub(super) fn reset(conversation: &mut Conversation) {
    let system = conversation.messages.first().is_some_and(|m| m["role"] == "system");
    conversation.messages.truncate(usize::from(system));
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
    if path.metadata().map_err(Error::file("open", path))?.is_dir() {
        return Err(wrong("it is a folder".into()));
    }
    let text = std::fs::read(path).map_err(Error::file("read", path))?;
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
        assert_eq!(read("/reset"), Some(Ok(Order::Reset)));
        assert_eq!(read("/system Be brief. "), Some(Ok(Order::System(Some("Be brief.".into())))));
        assert_eq!(read("/system"), Some(Ok(Order::System(None))));
        assert_eq!(read("/no_think"), Some(Ok(Order::Think(false))));
        assert_eq!(read("/save a b.json"), Some(Ok(Order::Save("a b.json".into()))));
        for wrong in ["/save", "/foo", "/reset now", "/help me"] {
            assert!(read(wrong).unwrap().is_err(), "{wrong}");
        }
        for said in ["hello", " /reset", "/etc/passwd?", "/ 2", "1/2", "What is this? /no_think", ""] {
            assert_eq!(read(said), None, "{said}");
        }
        assert!(NAMES.iter().all(|(name, ..)| help().contains(name) && read(name).is_some()));
    }

    #[test]
    fn the_system_message_comes_first_and_stays() {
        let mut c =
            Conversation { messages: vec![json!({"role": "user", "content": "a"})], ..Default::default() };
        set_system(&mut c, Some("x"));
        set_system(&mut c, Some("y"));
        assert_eq!(c.messages.len(), 2);
        reset(&mut c);
        assert_eq!(c.messages, [json!({"role": "system", "content": "y"})]);
        set_system(&mut c, None);
        assert!(c.messages.is_empty());
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
