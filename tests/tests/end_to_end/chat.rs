//! `chat` at a terminal, with a person's keys: history, editing, several lines, orders, Ctrl-C.

use std::path::Path;
use std::process::Command;

use qwenc_tests::terminal::Terminal;
use qwenc_tests::variants::{executable, folder};
use serde_json::Value;

const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";
const BACKSPACE: &str = "\x7f";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const ENTER: &str = "\r";

/// A conversation at its first prompt.
fn chat(flags: &[&str]) -> Terminal {
    chat_at(80, flags)
}

/// A conversation at a terminal of so many columns.
fn chat_at(columns: u16, flags: &[&str]) -> Terminal {
    let mut command = Command::new(executable("sample", "bf16"));
    command.args(["chat", "--temperature", "0"]).args(flags);
    let mut terminal = Terminal::of_columns(columns, &mut command);
    terminal.shows("you> ");
    terminal
}

/// Contents of a saved conversation.
fn contents(path: &Path) -> Vec<String> {
    let saved: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let content = |m: &Value| m["content"].as_str().unwrap().to_string();
    saved["messages"].as_array().unwrap().iter().map(content).collect()
}

#[test]
fn lines_are_edited_and_come_back() {
    let mut t = chat(&["--no-think"]);
    let shown = t.press_for("What is the capital of Japan?\r", "tok/s]");
    assert!(shown.contains("The capital of Japan is Tokyo.\r\n"), "{shown:?}");
    t.shows("> ");
    t.press_for(&format!("What is 7 + 6?{LEFT}{BACKSPACE}5{ENTER}"), "7 + 5 = 12.\r\n");
    t.shows("tok/s]");
    t.shows("> ");
    t.press_for(&format!("{UP}{UP}{ENTER}"), "The capital of Japan is Tokyo.\r\n");
    t.shows("tok/s]");
    t.shows("> ");
    t.press_for("\x1b[A", "capital");
    // Ctrl-C drops a line that was begun, Ctrl-D ends.
    t.press_for(CTRL_C, "Ctrl-D or /quit ends");
    t.shows("> ");
    t.press(CTRL_D);
    assert_eq!(t.ends().code(), Some(0));
}

#[test]
fn questions_of_several_lines() {
    let file = folder().join("saved.json");
    let save = format!("/save {}\r", file.display());
    let mut t = chat(&["--no-think", "--max-tokens", "2"]);
    t.press_for("one\\\r", "...> ");
    t.press_for("two\r", "tok/s]");
    t.shows("> ");
    t.press_for("\x1b[200~if a:\n    b \\\nc\x1b[201~", "c");
    t.press_for(ENTER, "tok/s]");
    t.shows("> ");
    t.press_for(&save, "messages are in");
    let said = contents(&file);
    assert_eq!((said[0].as_str(), said[2].as_str()), ("one\ntwo", "if a:\n    b \\\nc"));
}

#[test]
fn orders() {
    let file = folder().join("saved.json");
    let named = |order: &str| format!("{order} {}\r", file.display());
    let mut t = chat(&["--no-think"]);
    t.press_for("/help\r", "/no_think ");
    t.press_for("/nonsense\r", "note: /nonsense is unknown");
    t.press_for("/system Be brief.\r", "the system message is set");
    t.press_for("What is the capital of Peru?\r", "Lima.");
    t.press_for("/stats\r", "prefill: ");
    let shown = t.shows(" of 2048 tokens\r\n");
    assert!(shown.contains("\ndecode: ") && shown.contains("\ncontext: "), "{shown:?}");
    t.press_for(&named("/save"), "3 messages are in");
    assert_eq!(
        contents(&file),
        ["Be brief.", "What is the capital of Peru?", "The capital of Peru is Lima."]
    );
    t.press_for("/reset\r", "begins anew");
    t.press_for("/system\r", "no system message");
    t.press_for(&named("/load"), "3 messages came from");
    t.press_for("/load /nowhere\r", "note: cannot open /nowhere");
    // Tab completes.
    t.press_for("/q\t", "/quit");
    t.press(ENTER);
    assert_eq!(t.ends().code(), Some(0));
}

#[test]
fn thinking_is_dimmed() {
    let mut t = chat(&["--think"]);
    let question = "What is the capital of Brazil?\r";
    let shown = t.press_for(question, "tok/s]");
    let (thought, said) = shown.split_once("\r\n\x1b[0m\r\n").unwrap_or_else(|| panic!("{shown:?}"));
    assert!(thought.contains("\x1b[2mThinking:\r\n"), "{shown:?}");
    assert!(said.starts_with("The capital of Brazil is Brasília.\r\n"), "{shown:?}");
    assert!(!shown.contains("think>"), "{shown:?}");
    t.shows("> ");
    t.press_for("/no_think\r", "thinking is off");
    t.shows("> ");
    let shown = t.press_for(question, "tok/s]");
    assert!(shown.contains("\r\nThe capital of Brazil is Brasília.\r\n"), "{shown:?}");
    assert!(!shown.contains("hinking") && !shown.contains("think>"), "{shown:?}");
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let mut t = chat(&["--no-think", "--ignore-eos", "--max-tokens", "1000000", "--system", "Be brief."]);
    for _ in 0..2 {
        t.press_for("What is the capital of Japan?\r", "Tokyo");
        t.press(CTRL_C);
        t.shows("tok/s]");
        t.shows("> ");
    }
    t.press(CTRL_D);
    assert_eq!(t.ends().code(), Some(0));
}

#[test]
fn a_greeting_says_what_this_is_and_how_it_ends() {
    let mut command = Command::new(executable("sample", "bf16"));
    let mut t = Terminal::start(command.args(["chat", "--context", "100"]));
    let shown = t.shows("you> ");
    assert!(shown.contains("context of 100 tokens. /help shows"), "{shown:?}");
    t.press_for("/?\r", "/no_think ");
    t.press_for("/hepl\r", "did you mean /help?");
    t.press("exit\r");
    assert_eq!(t.ends().code(), Some(0));
    for word in ["/bye\r", "/exit\r", ":q\r", "quit\r"] {
        let mut t = chat(&[]);
        t.press(word);
        assert_eq!(t.ends().code(), Some(0), "{word}");
    }
}

#[test]
fn words_wrap_at_the_margin() {
    let mut t = chat_at(20, &["--no-think"]);
    t.press_for("/system Be brief.\r", "is set");
    t.shows("> ");
    t.press_for("What is the capital of Brazil?\r", "The capital of\r\nBrazil is Brasília.\r\n");
}

#[test]
fn what_is_typed_during_an_answer_waits_for_the_next_prompt() {
    let mut t = chat(&["--no-think", "--ignore-eos", "--max-tokens", "1500"]);
    t.press_for("What is the capital of Japan?\r", "Tokyo");
    t.press("xyzzy");
    let shown = t.shows("tok/s]");
    assert!(!shown.contains("xyzzy"), "{shown:?}");
    let shown = t.shows("xyzzy");
    assert!(shown.contains("you> "), "{shown:?}");
    // It can be edited as if it had been typed now.
    t.press("\x15/quit\r");
    assert_eq!(t.ends().code(), Some(0));
    assert!(t.echoes());
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let mut t = chat(&["--no-think", "--ignore-eos", "--max-tokens", "1000000"]);
    assert!(!t.echoes());
    t.press_for("What is the capital of Japan?\r", "Tokyo");
    // The first Ctrl-C ends the answer; what ends the program is any that comes before the next prompt, or Ctrl-D.
    t.press(&CTRL_C.repeat(2));
    t.press(CTRL_D);
    let code = t.ends().code();
    assert!(code == Some(0) || code == Some(130), "{code:?}");
    assert!(t.echoes());
}

#[test]
fn a_full_context_is_no_dead_end() {
    let mut t = chat(&["--no-think", "--context", "100"]);
    let mut notes = 0;
    for _ in 0..8 {
        let shown = t.press_for("What is the capital of Japan?\r", "tok/s]");
        assert!(shown.contains("The capital of Japan is Tokyo.\r\n"), "{shown:?}");
        notes += usize::from(shown.contains("the model no longer gets the"));
        t.shows("> ");
    }
    assert!((1..8).contains(&notes), "{notes}");
    t.press_for(&format!("{}\r", "word ".repeat(200)), "note: the context is full");
    t.shows("start with --context up to 2048");
    t.press_for("/drop\r", "the model no longer gets the oldest turn");
    t.press_for("/drop 99\r", "the conversation begins anew");
    t.press_for("What is the capital of Japan?\r", "Tokyo.\r\n");
}
