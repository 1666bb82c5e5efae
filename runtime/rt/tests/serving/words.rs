//! Answers of every kind, token by token, with the small tokenizer.

use std::sync::Arc;

use crate::answers::tokenizer;
use qwenc_rt::serve::words::{Piece, Reading, Words};
use qwenc_rt::text::tokenizer::Controls;

/// Reasoning, content, calls with their arguments, whether a stop string came.
fn read(reading: Reading, stops: &[&str], said: &str) -> (String, String, Vec<String>, bool) {
    let tokenizer = Arc::new(tokenizer());
    let mut words = Words::new(&tokenizer, reading, stops.iter().map(|s| s.to_string()).collect());
    let mut pieces = Vec::new();
    for id in tokenizer.encode(said, Controls::Parsed).unwrap() {
        pieces.extend(words.push(id));
    }
    pieces.extend(words.finish());
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::<String>::new());
    for piece in pieces {
        match piece {
            Piece::Reasoning(text) => reasoning += &text,
            Piece::Content(text) => content += &text,
            Piece::Call { name, .. } => calls.push(name + " "),
            Piece::Arguments { index, text } => calls[index] += &text,
        }
    }
    assert_eq!(calls.len(), words.calls());
    (reasoning, content, calls, words.is_stopped())
}

const CHAT: Reading = Reading::Chat { opened: false, calls: false };
const TOOLS: Reading = Reading::Chat { opened: false, calls: true };

fn plain(reasoning: &str, content: &str) -> (String, String, Vec<String>, bool) {
    (reasoning.into(), content.into(), Vec::new(), false)
}

#[test]
fn thinking_is_kept_apart() {
    let said = "<think>\nFirst,\n\nthen.\n</think>\n\nThe answer.\n";
    assert_eq!(read(CHAT, &[], said), plain("First,\n\nthen.", "The answer.\n"));
    assert_eq!(read(TOOLS, &[], said), plain("First,\n\nthen.", "The answer.\n"));
    let opened = Reading::Chat { opened: true, calls: false };
    assert_eq!(read(opened, &[], "\nso\n</think>\n\nyes"), plain("so", "yes"));
    assert_eq!(read(opened, &[], "never ends"), plain("never ends", ""));
    assert_eq!(read(CHAT, &[], "a <think> later"), plain("", "a <think> later"));
    assert_eq!(read(Reading::Plain, &[], said), plain("", said));
    assert_eq!(read(CHAT, &[], "\n\nplain"), plain("", "\n\nplain"));
}

#[test]
fn calls_are_kept_apart() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";
    let two = format!("Let me see.\n{call}\n{call}");
    let called = vec!["f {\"x\": 1}".to_owned(); 2];
    assert_eq!(read(TOOLS, &[], &two), ("".into(), "Let me see.".into(), called.clone(), false));
    let thought = format!("<think>\nhm\n</think>\n\n{call}\n{call}");
    assert_eq!(read(TOOLS, &["x"], &thought), ("hm".into(), "".into(), called, false));
    assert_eq!(read(CHAT, &[], &two), plain("", &two));
    let torn = "<tool_call>\n{\"name\": \"f\", \"argum";
    assert_eq!(read(TOOLS, &[], torn), plain("", &format!("{torn}</tool_call>")));
}

#[test]
fn stop_strings_end_the_answer_only() {
    let said = "<think>\nstop\n</think>\n\nThe end. stop here";
    let (reasoning, content, _, stopped) = read(CHAT, &["stop", "end."], said);
    assert_eq!((reasoning.as_str(), content.as_str(), stopped), ("stop", "The ", true));
    assert!(!read(CHAT, &["nothing of that"], said).3);
    assert_eq!(read(Reading::Plain, &["sto"], "st st"), plain("", "st st"));
}

#[test]
fn characters_come_whole() {
    let tokenizer = Arc::new(tokenizer());
    let mut words = Words::new(&tokenizer, CHAT, Vec::new());
    let ids = tokenizer.encode("é語", Controls::Literal).unwrap();
    assert!(ids.len() > 2, "characters of several tokens");
    let mut all = String::new();
    for &id in &ids[..ids.len() - 1] {
        for piece in words.push(id) {
            let Piece::Content(text) = piece else { panic!("{piece:?}") };
            assert!(!text.contains('\u{fffd}'));
            all += &text;
        }
    }
    assert_eq!(words.finish(), [Piece::Content("\u{fffd}".into())], "the length ran out amid a character");
    assert_eq!(all, "é");
}
