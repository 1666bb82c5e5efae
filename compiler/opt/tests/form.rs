//! The optimised graph is the expected one, line by line.
//!
//! In: graphs of three families in three types. Out: their optimised text, and the report's.

use std::collections::BTreeSet;

use qwenc_costs::Machine;
use qwenc_formats::DType;
use qwenc_ir::{parse, verify, Dims, Graph, SectionKind};
use qwenc_opt::{egraph_dot, optimise, Limits, Optimised};
use qwenc_target::NoDevice;
use qwenc_testing::families::{llama, model, qwen2, qwen3, Family, DIMS, I4, I8};

fn run(family: &Family) -> Optimised {
    optimise(&model(family), &NoDevice, &Machine::cpu_default(), &Limits::default())
        .expect("a model can be optimised")
}

/// A section as one line per value, weights by their names and `absent` as `-`, leaves inlined.
fn readable(graph: &Graph, kind: SectionKind) -> Vec<String> {
    let section = graph.section(kind);
    let mut names: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for (i, node) in section.nodes.iter().enumerate() {
        let args: Vec<&str> = node.args.iter().map(|a| names[a.0 as usize].as_str()).collect();
        let call = format!("{}({})", node.op.name(), args.join(", "));
        let name = match node.op {
            qwenc_ir::Op::Input => "x".to_string(),
            qwenc_ir::Op::Absent => "-".to_string(),
            qwenc_ir::Op::Weight(id) => graph.weight(id).name.replace("layers.*.", ""),
            qwenc_ir::Op::ConcatRows | qwenc_ir::Op::ScaleCols => call,
            _ => {
                let label = node.label.as_ref().map_or(String::new(), |l| format!(" {l:?}"));
                lines.push(format!("%{i} = {call}{label}"));
                format!("%{i}")
            }
        };
        names.push(name);
    }
    lines
}

/// The values of the block, numbered anew from 0, so that leaves do not count.
fn block(family: &Family) -> Vec<String> {
    let graph = run(family).graph;
    let lines = readable(&graph, SectionKind::Block(0));
    let old: Vec<String> =
        lines.iter().map(|l| l.split(' ').next().expect("a line has a word").to_string()).collect();
    let renumber = |line: &String| {
        let mut words = line.replace('(', "( ").replace(')', " )").replace(',', " ,");
        for (new, old) in old.iter().enumerate() {
            words = words
                .split(' ')
                .map(|w| if w == old { format!("v{new}") } else { w.to_string() })
                .collect::<Vec<_>>()
                .join(" ");
        }
        words.replace("( ", "(").replace(" )", ")").replace(" ,", ",")
    };
    lines.iter().map(renumber).collect()
}

const AFTER_QKV: [&str; 4] = [
    "v2 = prepared_attention(v1) \"attn\"",
    "v3 = linear_add(v2, o, -, x)",
    "v4 = norm_swiglu(v3, scale_cols(concat_rows(gate, up), ffn_norm), -)",
    "v5 = linear_add(v4, down, -, v3) \"out\"",
];

fn check_block(family: &Family, qkv: &str, prepared: &str) {
    let mut expected = vec![qkv, prepared];
    expected.extend(AFTER_QKV);
    assert_eq!(block(family), expected, "{family:?}");
}

const QKV: &str = "v0 = norm_linear(x, scale_cols(concat_rows(q, concat_rows(k, v)), attn_norm), -)";
const BIASED: &str =
    "v0 = norm_linear(x, scale_cols(concat_rows(q, concat_rows(k, v)), attn_norm), concat_rows(q_bias, concat_rows(k_bias, v_bias)))";
const NORMED: &str = "v1 = prepare_qkv(v0, q_norm, k_norm)";
const ROTATED: &str = "v1 = prepare_qkv(v0, -, -)";

/// Qwen3 0.6B.
const REAL: Dims = Dims {
    layers: 28,
    hidden: 1024,
    intermediate: 3072,
    heads: 16,
    kv_heads: 8,
    head_dim: 128,
    vocab_rows: 151_936,
    context: 40_960,
};

#[test]
fn blocks_have_the_expected_form() {
    for dtype in [DType::F32, DType::Bf16, I8, I4] {
        for dequant in [true, false] {
            for dims in [DIMS, REAL, Dims { kv_heads: 4, ..DIMS }] {
                let with = |f: Family| Family { dequant, dims, window: Some(3), ..f };
                check_block(&with(qwen3(dtype)), QKV, NORMED);
                check_block(&with(qwen2(dtype)), BIASED, ROTATED);
                check_block(&with(llama(dtype)), QKV, ROTATED);
                let both = Family { biases: [true; 3], ..qwen3(dtype) };
                check_block(&with(both), BIASED, NORMED);
            }
        }
    }
}

#[test]
fn the_head_has_the_expected_form() {
    for dtype in [DType::F32, DType::Bf16, I8, I4] {
        let head = readable(&run(&qwen3(dtype)).graph, SectionKind::Head);
        assert_eq!(head, ["%4 = norm_lm_head(x, scale_cols(lm_head, final_norm)) \"logits\""]);
    }
}

#[test]
fn epsilons_survive() {
    let text = run(&qwen3(DType::F32)).graph.to_string();
    assert_eq!(text.matches("eps=1e-6").count(), 4, "qkv, prepare, swiglu, head: {text}");
}

#[test]
fn a_wider_v_is_joined_like_any_other() {
    let (mixed, plain) = (Family { dtype_v: DType::Bf16, ..qwen3(I8) }, qwen3(I8));
    assert_eq!(block(&mixed), block(&plain));
    let text = run(&mixed).graph.to_string();
    assert!(text.contains(&format!("{I8}:288+bf16:96[384, 96]")), "{text}");
}

#[test]
fn norms_of_two_epsilons_are_not_prepared_as_one() {
    let lines = block(&Family { eps_k: 1e-5, ..qwen3(DType::F32) }).join("\n");
    assert!(!lines.contains("prepared_attention") && lines.contains("= attention"), "{lines}");
}

#[test]
fn the_optimised_text_parses_back() {
    let graph = run(&qwen2(I8)).graph;
    let parsed = parse(&graph.to_string()).expect("the text form parses");
    assert_eq!(*verify(parsed).expect("and verifies"), *graph);
}

#[test]
fn optimising_twice_changes_nothing() {
    let once = run(&qwen3(DType::Bf16)).graph;
    let twice =
        optimise(&once, &NoDevice, &Machine::cpu_default(), &Limits::default()).expect("it can be optimised");
    assert_eq!(twice.graph.to_string(), once.to_string());
}

#[test]
fn two_runs_give_the_same_text() {
    for family in [qwen3(I8), qwen2(DType::F32)] {
        let (a, b) = (run(&family), run(&family));
        assert_eq!(a.graph.to_string(), b.graph.to_string());
        assert_eq!(a.report.to_string(), b.report.to_string());
        let dot = || egraph_dot(&model(&family), &Limits::default()).expect("it saturates");
        assert_eq!(dot(), dot());
        assert!(dot().contains("prepare-qkv"));
    }
}

#[test]
fn the_report_explains() {
    insta::assert_snapshot!(run(&qwen3(DType::Bf16)).report.to_string());
}

#[test]
fn the_runner_up_costs_more() {
    for family in [qwen3(I8), qwen2(DType::F32), llama(DType::Bf16)] {
        let report = run(&family).report;
        for section in &report.sections {
            let other = section.runner_up.as_ref().expect("there is another way");
            assert!(report.machine.us(&other.cost) > report.machine.us(&section.chosen), "{report}");
            assert!(report.machine.us(&section.before) > report.machine.us(&section.chosen), "{report}");
            assert_ne!(other.difference, Default::default());
        }
    }
}

/// One digraph, whose edges all end at e-nodes that it declares; both sections are in it.
#[test]
fn the_dot_text_is_one_graph_without_loose_ends() {
    for family in [qwen3(I8), qwen2(DType::F32)] {
        let text = egraph_dot(&model(&family), &Limits::default()).expect("it saturates");
        assert_eq!(text.matches("digraph").count(), 1);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let declared: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.contains(" [label=\"") && !line.contains(" -> "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let edges: Vec<(&str, &str)> = text.lines().filter_map(|l| l.trim().split_once(" -> ")).collect();
        assert!(edges.len() > 50 && declared.len() > 50, "{} edges", edges.len());
        let ends: BTreeSet<&str> = edges.iter().filter_map(|(_, rest)| rest.split(' ').next()).collect();
        assert!(ends.len() > 20, "edges end at {ends:?} alone");
        for (from, rest) in edges {
            let to = rest.split(' ').next().unwrap_or_default();
            assert!(declared.contains(from) && declared.contains(to), "{from} -> {rest}");
            // Its cluster is the one of the class that it ends at.
            let cluster = rest.split_once("lhead=").map(|(_, name)| name.trim_end_matches(']'));
            let class = to.rsplit_once('_').map(|(class, _)| format!("cluster_{class}"));
            assert!(cluster.is_none() || cluster == class.as_deref(), "{rest}");
        }
        assert!(
            declared.iter().any(|n| n.starts_with("block0_"))
                && declared.iter().any(|n| n.starts_with("head_"))
        );
    }
}
