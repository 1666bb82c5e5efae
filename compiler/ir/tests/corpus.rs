//! Every file below `corpus/` is one test. In: its first line and input. Out: what that command makes
//! of it, compared with the text after `----`. `corpus/README.md` lists the commands.

use qwenc_formats::DType;
use qwenc_ir::{dataflow, infer, parse, verify, Dims, Elements, Extent, Graph, Op, Section, Type};
use qwenc_testing::corpus::Corpus;

fn corpus() -> Corpus {
    Corpus::new("qwenc-ir", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_file_gives_its_expected_text() {
    corpus().check(100, run);
}

#[test]
fn every_op_has_a_shape_file() {
    let named: Vec<String> = corpus()
        .files()
        .iter()
        .filter(|p| p.parent().is_some_and(|d| d.ends_with("shape")))
        .map(|p| p.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    for op in Op::ALL {
        assert!(named.iter().any(|n| n == op.name()), "tests/corpus/shape/{}.txt is missing", op.name());
    }
}

fn run(command: &str, input: &str) -> String {
    let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
    match name {
        "parse" => parsed(input),
        "verify" => verified(input),
        "shape" => input.lines().map(|line| shape(argument, line) + "\n").collect(),
        "dead" => format!("{:?}\n", dataflow::dead(&section(input, argument))),
        "dot" => dataflow::dot(&section(input, argument)),
        _ => panic!("unknown command {command:?}; corpus/README.md lists them"),
    }
}

fn parsed(input: &str) -> String {
    match parse(input) {
        Ok(graph) => {
            let printed = graph.to_string();
            assert_eq!(parse(&printed), Ok(graph), "the printed form is another graph:\n{printed}");
            printed
        }
        Err(e) => format!("error: {e}\n"),
    }
}

fn verified(input: &str) -> String {
    let graph = parse(input).unwrap_or_else(|e| panic!("{e}\n{input}"));
    match verify(graph) {
        Ok(_) => "ok\n".to_string(),
        Err(e) => format!("error: {e}\n"),
    }
}

fn section(input: &str, name: &str) -> Section {
    let graph: Graph = parse(input).unwrap_or_else(|e| panic!("{e}\n{input}"));
    match name {
        "prologue" => graph.prologue,
        "block" => graph.groups[0].block.clone(),
        _ => graph.head,
    }
}

/// H = 4, K = 2, h = 8, D = 16, F = 12, V = 50.
const DIMS: Dims = Dims {
    layers: 3,
    hidden: 16,
    intermediate: 12,
    heads: 4,
    kv_heads: 2,
    head_dim: 8,
    vocab_rows: 50,
    context: 64,
};

fn shape(name: &str, line: &str) -> String {
    let op = Op::ALL.into_iter().find(|op| op.name() == name);
    let op = op.unwrap_or_else(|| panic!("unknown op {name:?}"));
    let types: Vec<Type> = line.split(" | ").filter(|t| *t != "none").map(ty).collect();
    let operands: Vec<&Type> = types.iter().collect();
    match infer(op, &operands, &DIMS, &[]) {
        Ok(ty) => ty.to_string(),
        Err(e) => format!("error: {e}"),
    }
}

/// `[T, 8]` is an activation, `bf16[4, 8]` a constant, `absent` the type of an absent operand.
fn ty(text: &str) -> Type {
    if text == "absent" {
        return Type { elements: Elements::One(DType::F32), shape: Vec::new(), constant: true };
    }
    let (dtype, axes) = text.trim_end_matches(']').split_once('[').unwrap_or_else(|| panic!("type {text:?}"));
    let extent = |axis: &str| match axis {
        "T" => Extent::Tokens,
        "S" => Extent::Cache,
        n => Extent::Fixed(n.parse().unwrap_or_else(|_| panic!("axis {n:?} in {text:?}"))),
    };
    let shape = axes.split(", ").map(extent).collect();
    match dtype {
        "" => Type { elements: Elements::One(DType::F32), shape, constant: false },
        d => Type { elements: Elements::One(d.parse().expect("a dtype")), shape, constant: true },
    }
}
