//! Every file below `corpus/` is one test. In: its first line and input. Out: what that command makes
//! of it, compared with the text after `----`. `corpus/README.md` lists the commands.

use std::fs;
use std::path::{Path, PathBuf};

use qwenc_formats::DType;
use qwenc_ir::{
    dataflow, infer, parse, verify, Dims, Elements, Eps, Extent, Graph, Op, Section, Slot, Type, WeightId,
};

const BLESS: &str = "INSTA_UPDATE=always cargo test -p qwenc-ir --test corpus";

#[test]
fn every_file_gives_its_expected_text() {
    let blessing = std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always");
    let files = files();
    assert!(files.len() > 50, "only {} files: is the corpus whole?", files.len());
    let mut failures = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a corpus file is readable");
        let (command, rest) = text.split_once('\n').expect("the first line is the command");
        let (input, expected) = rest.split_once("----\n").unwrap_or((rest, ""));
        let found = run(command, input);
        if found == expected {
            continue;
        }
        if blessing {
            fs::write(&path, format!("{command}\n{input}----\n{found}")).expect("the file is writable");
        } else {
            failures.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display()));
        }
    }
    let all = failures.join("\n");
    assert!(failures.is_empty(), "{all}\nIf this is right, accept it with\n    {BLESS}\n");
}

#[test]
fn every_op_has_a_shape_file() {
    let named: Vec<String> = files()
        .iter()
        .filter(|p| p.parent().is_some_and(|d| d.ends_with("shape")))
        .map(|p| p.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    for op in ops() {
        assert!(named.iter().any(|n| n == op.name()), "tests/corpus/shape/{}.txt is missing", op.name());
    }
}

fn files() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).expect("a corpus folder is readable");
        entries.map(|e| e.expect("an entry is readable").path()).collect()
    };
    let folders = list(&corpus).into_iter().filter(|p| p.is_dir());
    let mut all: Vec<PathBuf> = folders.flat_map(|folder| list(&folder)).collect();
    all.sort();
    all
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
    let op = ops().into_iter().find(|op| op.name() == name);
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

/// One of each.
fn ops() -> Vec<Op> {
    let eps = Eps::new(1e-6);
    let all = vec![
        Op::Input,
        Op::Weight(WeightId(0)),
        Op::Absent,
        Op::Dequant,
        Op::ConcatRows,
        Op::ScaleCols,
        Op::Diagonal,
        Op::Embed,
        Op::RmsNorm(eps),
        Op::Linear,
        Op::HeadNorm(eps),
        Op::Rope,
        Op::CacheAppend(Slot::K),
        Op::CacheAppend(Slot::V),
        Op::RepeatKv,
        Op::Scores,
        Op::CausalMask,
        Op::Softmax,
        Op::WeightedSum,
        Op::Silu,
        Op::Mul,
        Op::Add,
        Op::LmHead,
        Op::SelectAdapter { rank: 3, adapters: 2 },
        Op::Normalize(eps),
        Op::Slice { start: 4, len: 8 },
        Op::Swiglu,
        Op::LinearAdd,
        Op::NormLinear(eps),
        Op::NormSwiglu(eps),
        Op::NormLmHead(eps),
        Op::HeadNormRope(eps),
        Op::Attention,
        Op::PrepareQkv(eps),
        Op::PreparedAttention,
    ];
    // Names in op.rs, so that an op missing above is noticed.
    let source = include_str!("../src/op.rs");
    let names = source.lines().filter(|l| l.trim_start().starts_with("Op::") && l.contains("=> \"")).count();
    assert_eq!(all.len(), names, "an op of src/op.rs is not in this list");
    all
}
