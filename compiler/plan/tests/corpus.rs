//! Every file below `corpus/` is one test. In: its first line and input. Out: what that command makes of it, compared with the
//! text after `----`. `corpus/README.md` lists the commands.

use qwenc_ir::{verify, Checked};
use qwenc_plan::{lower, parse, Options};
use qwenc_testing::corpus::Corpus;
use qwenc_testing::qwen3::{COMPRESSING, PLAIN};

#[test]
fn every_file_gives_its_expected_text() {
    Corpus::new("qwenc-plan", env!("CARGO_MANIFEST_DIR")).check(12, run);
}

fn run(command: &str, input: &str) -> String {
    match command {
        "lower" => lowered(input, &PLAIN),
        "lower compressing" => lowered(input, &COMPRESSING),
        "parse" => match parse(input) {
            Ok(plan) => plan.to_string(),
            Err(e) => format!("error: {e}\n"),
        },
        "verify" => match Checked::of(parse(input).unwrap_or_else(|e| panic!("{e}\n{input}"))) {
            Ok(_) => "ok\n".to_string(),
            Err(e) => format!("error: {e}\n"),
        },
        _ => panic!("unknown command {command:?}; corpus/README.md lists them"),
    }
}

fn lowered(input: &str, target: &dyn qwenc_target::Target) -> String {
    let graph = qwenc_ir::parse(input).unwrap_or_else(|e| panic!("{e}\n{input}"));
    let graph = verify(graph).unwrap_or_else(|e| panic!("{e}\n{input}"));
    match lower(&graph, target, &Options::default()) {
        Ok(plan) => {
            let text = plan.to_string();
            let again = Checked::of(parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
            assert!(again.is_ok_and(|again| again == plan), "the printed form is another plan:\n{text}");
            text
        }
        Err(e) => format!("error: {e}\n"),
    }
}
