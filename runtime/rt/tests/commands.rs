//! The commands as a user meets them, with a mock model inside.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{chain, free, metadata, model, tiny, tokenizer, Executable, END_OF_TEXT, IM_END, KNOWN, ROWS};
use qwenc_rt::text::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use serde_json::json;

/// Says " Brasília." after "The capital of Brazil is", then stops.
fn capital() -> Executable {
    Executable::talking(&chain(&[277, 1147, 13, IM_END, 5, 6, END_OF_TEXT]))
}

#[test]
fn generate_prints_only_the_continuation() {
    let e = capital();
    let prompt = "The capital of Brazil is";
    assert_eq!(e.run(&["generate", prompt]).ok(), " Brasília.\n");
    assert_eq!(e.run(&["generate", "--tokens", "267,301,278,1524,277"]).ok(), " Brasília.\n");
    assert_eq!(e.run(&["generate", prompt, "--print-tokens"]).ok(), "1147,13,2039\n");
    assert_eq!(e.run(&["generate", prompt, "--max-tokens", "1"]).ok(), " Brasília\n");
    assert_eq!(e.run(&["generate", prompt, "--max-tokens", "0"]).ok(), "\n");
    assert_eq!(e.run_with(&["generate", "-"], "The capital of Brazil is\n").ok(), " Brasília.\n");
    let on = e.run(&["generate", prompt, "--ignore-eos", "--print-tokens", "--max-tokens", "6"]);
    assert_eq!(on.ok(), "1147,13,2039,5,6,2037\n");
    for extra in [["--chunk", "1"], ["--chunk", "3"], ["--threads", "3"], ["--context", "40"]] {
        let o = e.run(&[&["generate", prompt, "--max-tokens", "20"][..], &extra].concat());
        assert_eq!(o.ok(), " Brasília.\n", "{extra:?}");
    }
    let o = e.run(&["generate", prompt, "--stats", "--seed", "5"]);
    assert!(o.err.contains("prefill: 5 tokens") && o.err.contains("seed: 5"), "{}", o.err);
    assert_eq!(o.ok(), " Brasília.\n");
}

#[test]
fn generate_flushes_a_character_cut_by_the_limit() {
    let tokenizer = Tokenizer::open(&tokenizer("nano").into()).unwrap();
    let byte = |b: u8| (0..ROWS as u32).find(|&id| tokenizer.bytes(id) == [b]).unwrap();
    let mut ids = vec![277];
    ids.extend("你".bytes().map(byte));
    let e = Executable::talking(&chain(&ids));
    let run = |n: &str| e.run(&["generate", "--tokens", "277", "--max-tokens", n]).ok();
    assert_eq!((run("2"), run("3")), ("\u{fffd}\n".into(), "你\n".into()));
}

#[test]
fn generate_ends_at_a_full_context_with_a_note() {
    let e = Executable::talking(&chain(&[7, 7]));
    let o = e.run(&["generate", "--tokens", "7", "--context", "4", "--print-tokens"]);
    assert!(o.err.contains("context of 4 tokens is full"), "{}", o.err);
    assert_eq!(o.ok(), "7,7,7,7\n");
    let said = e.run(&["generate", "--tokens", "7,7,7,7,7", "--context", "4"]).refused(1);
    assert!(said.contains("5 tokens are needed and it holds 4"), "{said}");
}

#[test]
fn usage_errors_exit_with_2() {
    let e = capital();
    for args in [&["generate"][..], &["generate", ""], &["generate", "--tokens", "2048"], &["nonsense"]] {
        e.run(args).refused(2);
    }
    assert!(e.run(&["generate", "--tokens", "2048"]).err.contains("tokens 0 to 2047"));
    e.run(&["generate", "a", "--context", "301"]).refused(2);
    e.run(&["logits", "--tokens", "9999", "--out", "x"]).refused(2);
    let help = e.run(&["--help"]).ok();
    assert!(help.contains("Examples") && help.contains("Usage: mock"), "{help}");
}

#[test]
fn sampling_is_repeatable_by_its_seed() {
    let e = Executable::talking(&free(ROWS));
    let run = |seed: &[&str]| {
        let fixed =
            ["generate", "x", "--temperature", "1.5", "--print-tokens", "--max-tokens", "40", "--ignore-eos"];
        e.run(&[&fixed[..], seed].concat()).ok()
    };
    assert_eq!(run(&["--seed", "1"]), run(&["--seed", "1"]));
    assert_ne!(run(&["--seed", "1"]), run(&["--seed", "2"]));
    assert_ne!(run(&[]), run(&[]));
    assert!(run(&[]).trim().split(',').all(|id| id.parse::<usize>().unwrap() < KNOWN));
}

#[test]
fn without_a_tokenizer_ids_go_in_and_out() {
    let e = Executable::new(model(), &chain(&[1, 2, 3, IM_END]), b"", &metadata());
    assert_eq!(e.run(&["generate", "--tokens", "1", "--top-k", "1"]).code, 0);
    let said = e.run(&["generate", "text"]).refused(1);
    assert!(said.contains("no tokenizer") && said.contains("--tokens 1,2,3"), "{said}");
    assert!(e.run(&["chat", "--prompt", "a"]).refused(1).contains("cannot chat"));
    let e = Executable::new(
        tiny(),
        &[vec![5; 19], vec![2]].concat(),
        b"",
        &json!({"stop_tokens": [2], "sampling": {"stop": ["x"]}}),
    );
    assert_eq!(e.run(&["generate", "--tokens", "1", "--max-tokens", "3"]).ok(), "5,5,5\n");
    assert_eq!(e.run(&["generate", "--tokens", "1,19"]).ok(), "2\n");
}

/// Ids that the small tokenizer has for a turn's end.
fn answering(ids: &[u32]) -> Executable {
    Executable::talking(&chain(&[&[198], ids].concat()))
}

#[test]
fn chat_answers_in_turns() {
    let e = answering(&[2044, 267, 703, 2045, 363, 576, 0, IM_END]);
    let answer = "<think>The user</think>\n\nHello!\n";
    assert_eq!(e.run(&["chat", "--prompt", "hi"]).ok(), answer);
    let two = e.run_with(&["chat", "--system", "Be brief."], "hi\n\n<|im_end|> again\n").ok();
    assert_eq!(two, answer.repeat(2));
    let stats = e.run_with(&["chat", "--stats"], "hi\nand then?\n");
    let fed: Vec<&str> = stats.err.lines().filter(|l| l.starts_with("prefill")).collect();
    // The first turn feeds all of its prompt; the second keeps what is still true of it, up to where
    // the template drops the thinking, and feeds the rest.
    let tokenizer = Tokenizer::open(&tokenizer("nano").into()).unwrap();
    let count = |text| tokenizer.encode_prompt(text).unwrap().len();
    let first = count("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    let second = count("Hello!<|im_end|>\n<|im_start|>user\nand then?<|im_end|>\n<|im_start|>assistant\n");
    assert!(fed[0].starts_with(&format!("prefill: {first} tokens")), "{fed:?}");
    assert!(fed[1].starts_with(&format!("prefill: {second} tokens")), "{fed:?}");
    assert!(stats.err.contains("decode: 7 tokens"), "{}", stats.err);
    let note = e.run(&["chat", "--prompt", "hi", "--max-tokens", "2"]);
    assert!(note.err.contains("stopped after 2 tokens"), "{}", note.err);
    let full = e.run(&["chat", "--prompt", "hi", "--context", "5"]).refused(1);
    assert!(full.contains("context is full"), "{full}");
}

#[test]
fn chat_takes_orders_and_lines_that_go_on() {
    let e = answering(&[363, 576, 0, IM_END]);
    let file = e.folder.path().join("saved.json");
    let order = |name: &str| format!("{name} {}\n", file.display());
    let lines =
        ["/system Be brief.\nhi\\\nthere\n", &order("/save"), "/reset\n/stats\n/foo\n", &order("/load")]
            .concat();
    let done = e.run_with(&["chat"], &lines);
    let saved = std::fs::read_to_string(&file).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(saved["messages"][1], json!({"role": "user", "content": "hi\nthere"}));
    assert_eq!(saved["messages"][2], json!({"role": "assistant", "content": "\n\nHello!"}));
    for part in [
        "is set",
        "3 messages are in",
        "anew",
        "prefill: ",
        "context: ",
        "/foo is unknown",
        "3 messages came",
    ] {
        assert!(done.err.contains(part), "{part} not in {}", done.err);
    }
    assert_eq!(done.ok(), "\n\nHello!\n");
    let quit = e.run_with(&["chat"], "/quit\nhi\n");
    assert_eq!((quit.code, quit.out.as_str()), (0, ""));
    // The chat page exports the same shape, with a title and the thinking apart.
    let exported = json!({"title": "t", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!", "reasoning_content": "Hm."},
    ]});
    std::fs::write(&file, exported.to_string()).unwrap();
    let done = e.run_with(&["chat"], &format!("{}hi\n", order("/load")));
    assert!(done.err.contains("3 messages came"), "{}", done.err);
    assert_eq!(done.ok(), "\n\nHello!\n");
    // A file that is something else stays.
    let said = e.run_with(&["chat"], &format!("/save {}\n", e.path.display()));
    assert!(said.err.contains("is no saved conversation; give another name"), "{}", said.err);
}

#[test]
fn chat_leaves_out_the_oldest_turns_where_the_context_is_full() {
    let e = answering(&[363, 576, 0, IM_END]);
    let done = e.run_with(&["chat", "--context", "40"], &"hi\n".repeat(6));
    assert!(
        done.err.contains("context of 40 tokens is full, so the model no longer gets the"),
        "{}",
        done.err
    );
    assert_eq!(done.ok(), "\n\nHello!\n".repeat(6));
    // What does not fit alone is refused, and changes nothing; the advice is one that can be followed.
    let long = "word ".repeat(100);
    let done = e.run_with(&["chat", "--context", "40"], &format!("hi\n{long}\nhi\n/stats\n"));
    assert!(done.err.contains("start with --context up to 300"), "{}", done.err);
    assert_eq!(done.ok(), "\n\nHello!\n".repeat(2));
    let long = "word ".repeat(400);
    let done = e.run_with(&["chat"], &format!("{long}\nhi\n"));
    assert!(
        done.err.contains("this model handles no more") && !done.err.contains("--context"),
        "{}",
        done.err
    );
    // Words that end the program at a terminal are questions in a pipe.
    assert_eq!(e.run_with(&["chat"], "exit\nhi\n/bye\nhi\n").ok(), "\n\nHello!\n".repeat(2));
}

#[test]
fn chat_without_thinking_prefills_the_empty_thought() {
    let e = Executable::talking(&chain(&[363, 576, 0, IM_END]));
    assert_eq!(e.run(&["chat", "--no-think", "--prompt", "hi"]).ok(), "Hello!\n");
}

#[test]
fn chat_needs_a_template() {
    let mut m = metadata();
    m["chat_template"] = json!(null);
    let e = Executable::new(model(), &free(ROWS), &tokenizer("nano"), &m);
    assert!(e.run(&["chat", "--prompt", "hi"]).refused(1).contains("no chat template"));
}

#[test]
fn logits_are_written_whole_or_not_at_all() {
    let e = Executable::new(tiny(), &[3; 20], b"", &json!({}));
    let out = e.folder.path().join("l.safetensors");
    let name = out.to_str().unwrap();
    let mut first: Option<Vec<u8>> = None;
    for chunk in ["256", "2", "1"] {
        e.run(&["logits", "--tokens", "4,5,6", "--out", name, "--chunk", chunk]).ok();
        let bytes = std::fs::read(&out).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (logits, tokens) = (file.tensor("logits").unwrap(), file.tensor("tokens").unwrap());
        assert_eq!((logits.shape(), tokens.shape()), (&[3, 20][..], &[3][..]));
        assert_eq!(tokens.data(), [4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
        let floats: Vec<f32> =
            logits.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert!(floats.iter().enumerate().all(|(i, &x)| x.is_finite() && (x == 12.0) == (i % 20 == 3)));
        assert_eq!(*first.get_or_insert(bytes.clone()), bytes, "chunks of {chunk}");
    }
    let said = e.run(&["logits", "--tokens", "1", "--out", "/no/such/folder/x"]).refused(1);
    assert!(said.contains("cannot create /no/such/folder"), "{said}");
    // A device is written in place, never replaced.
    let said = e.run(&["logits", "--tokens", "1", "--out", "/dev/full"]).refused(1);
    assert!(said.contains("cannot write /dev/full"), "{said}");
    let files = || std::fs::read_dir(e.folder.path()).unwrap().count();
    let before = files();
    e.run(&["logits", "--tokens", "1,2,3", "--out", name, "--context", "2"]).refused(1);
    assert_eq!(files(), before, "a partial file stayed");
}

#[test]
fn info_tells_what_it_needs() {
    let e = capital();
    let text = e.run(&["info"]).ok();
    for part in ["mock (Mock)", "sse2", "2039, 2037", "tokenizer 2046", "2048 rows", "SHA-256"] {
        assert!(text.contains(part), "{part} not in\n{text}");
    }
    let o = e.run(&["info", "--json", "--context", "17", "--threads", "2", "--chunk", "4"]).ok();
    let v: serde_json::Value = serde_json::from_str(&o).unwrap();
    let memory = &v["memory_bytes"];
    assert_eq!(memory["kv_at_context"], 32 * 64);
    assert_eq!(memory["scratch"], 4 * 16 + 2 * (64 + 8) + 4 * 4 * 2048);
    assert_eq!(v["cpu"]["threads"], 2);
}

#[test]
fn pinned_threads_give_the_same_and_are_let_go() {
    let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = || status().lines().find(|l| l.starts_with("Cpus_allowed:")).unwrap().to_owned();
    let before = mask();
    let prompt = "The capital of Brazil is";
    assert_eq!(capital().run(&["generate", prompt, "--pin"]).ok(), " Brasília.\n");
    assert_eq!(mask(), before);
    let shown = capital().run(&["info", "--pin", "--threads", "1"]).ok();
    assert!(shown.contains("1, on CPUs "), "{shown}");
    let said = capital().run(&["generate", prompt, "--pin", "--threads", "1024"]).refused(2);
    assert!(said.contains("1024 threads, but this process may use"), "{said}");
}

struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let mut err = Vec::new();
    let code = capital().run_into(&["generate", "hello"], "", &mut Closed, &mut err);
    assert_eq!((code, err), (0, Vec::new()));
}
