//! Every file below `corpus/` is one test. In: its first line and input. Out: what that command makes of it, compared with the
//! text after `----`. `corpus/README.md` lists the commands.

use qwenc_costs::Machine;
use qwenc_ir::{parse, verify};
use qwenc_opt::{optimise, Limits, Optimised};
use qwenc_target::NoDevice;
use qwenc_testing::corpus::Corpus;

#[test]
fn every_file_gives_its_expected_text() {
    Corpus::new("qwenc-opt", env!("CARGO_MANIFEST_DIR")).check(10, run);
}

fn run(command: &str, input: &str) -> String {
    let graph = parse(input).unwrap_or_else(|e| panic!("{e}\n{input}"));
    let graph = verify(graph).unwrap_or_else(|e| panic!("{e}\n{input}"));
    let done = optimise(&graph, &NoDevice, &Machine::cpu_default(), &Limits::default());
    match (command, done) {
        (_, Err(e)) => format!("error: {e}\n"),
        ("optimise", Ok(optimised)) => optimised.graph.to_string(),
        ("rules", Ok(optimised)) => rules(&optimised),
        _ => panic!("unknown command {command:?}; corpus/README.md lists them"),
    }
}

/// Section, stage and rules that fired, one stage a line.
fn rules(optimised: &Optimised) -> String {
    let mut text = String::new();
    for section in &optimised.report.sections {
        for stage in &section.stages {
            let fired: Vec<String> = stage.fired.iter().map(|rule| rule.rule.to_string()).collect();
            text += &format!("{}: {:?}: {}\n", section.title, stage.stage, fired.join(", "));
        }
    }
    text
}
