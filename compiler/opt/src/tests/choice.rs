//! The choice among equal graphs. In: models and machines. Out: what was chosen, against others.

use qwenc_costs::{Machine, Processor};
use qwenc_formats::{DType, Operand};
use qwenc_ir::{Dims, Op, SectionKind};
use qwenc_target::{Limit, LinearShape, NoDevice, Target};

use crate::cost::{is_of_weights, Prices};
use crate::language::{Kind, Term};
use crate::{optimise, random_extraction, Limits};
use qwenc_testing::families::{model, qwen2, qwen3, Family, I8};

fn block_cost(graph: &qwenc_ir::Graph, machine: &Machine) -> u64 {
    let prices = Prices::new(graph, SectionKind::Block(0), machine.processor);
    machine.picoseconds(&prices.section(&graph.groups[0].block))
}

fn without_kernel(graph: &qwenc_ir::Graph) -> usize {
    graph.groups[0]
        .block
        .nodes
        .iter()
        .filter(|node| !is_of_weights(node.op) && !NoDevice.has_kernel(node.op))
        .count()
}

fn machines() -> [Machine; 4] {
    let cpu = Machine::cpu_default();
    [
        Machine { barrier_us: 0.0, ..cpu.clone() },
        Machine { read_gb_s: 1.0, ..cpu.clone() },
        // Products with both planes of inputs are as fast as those of f32: slower ones would be worth a dequantisation,
        // which has no kernel.
        Machine { f32_gflops: 1.0, bf16_gflops: 1.0, int8_gops: 2.0, ..cpu.clone() },
        cpu,
    ]
}

#[test]
fn no_random_graph_is_cheaper() {
    for family in [qwen3(I8), qwen2(DType::F32), Family { dtype_v: DType::Bf16, ..qwen3(I8) }] {
        let source = model(&family);
        for machine in machines() {
            let out =
                optimise(&source, &NoDevice, &machine, &Limits::default()).expect("it can be optimised");
            let chosen = block_cost(&out.graph, &machine);
            let reported = &out.report.sections[0];
            assert_eq!(reported.kind, SectionKind::Block(0));
            assert_eq!(machine.picoseconds(&reported.chosen), chosen);
            for seed in 0..200 {
                let other = random_extraction(&source, seed).expect("there is an expression");
                assert!(block_cost(&other, &machine) >= chosen, "{machine:?}\n{}", *other);
            }
        }
    }
}

/// A target that joins no gate with its up value.
struct WithoutSwiglu;

impl Target for WithoutSwiglu {
    fn has_kernel(&self, op: Op) -> bool {
        !matches!(op, Op::NormSwiglu(_)) && NoDevice.has_kernel(op)
    }

    fn reads(&self, format: Operand) -> bool {
        NoDevice.reads(format)
    }

    fn check(&self, dims: &Dims) -> Result<(), Limit> {
        NoDevice.check(dims)
    }

    fn scratch_row_bytes(&self, linear: &LinearShape) -> u64 {
        NoDevice.scratch_row_bytes(linear)
    }
}

#[test]
fn what_a_target_has_no_kernel_for_is_not_chosen() {
    let source = model(&qwen3(DType::Bf16));
    let chosen = |target: &dyn Target| {
        let out = optimise(&source, target, &Machine::cpu_default(), &Limits::default());
        out.expect("it can be optimised").graph
    };
    let [with, without] = [chosen(&NoDevice), chosen(&WithoutSwiglu)];
    assert!(with.to_string().contains("norm_swiglu"), "{}", *with);
    assert!(!without.to_string().contains("norm_swiglu"), "{}", *without);
    assert_eq!(without_kernel(&without), 0, "{}", *without);
}

/// Fewer bytes and fewer launches win on every GPU as on every CPU, so both run the same graph.
#[test]
fn gpus_choose_what_cpus_choose() {
    for family in [qwen3(I8), qwen3(DType::Bf16), qwen2(DType::F32)] {
        let source = model(&family);
        let chosen = |machine: &Machine| {
            optimise(&source, &NoDevice, machine, &Limits::default())
                .expect("it can be optimised")
                .graph
                .to_string()
        };
        let cpu = chosen(&Machine::cpu_default());
        for sm in [80, 86, 89, 90, 100, 120] {
            assert_eq!(chosen(&Machine::of_gpu(sm)), cpu, "sm_{sm}");
        }
    }
}

/// h is used twice; a cost over trees would count the whole of attention twice.
#[test]
fn shared_parts_are_counted_once() {
    let out = optimise(&model(&qwen3(I8)), &NoDevice, &Machine::cpu_default(), &Limits::default())
        .expect("it can be optimised");
    assert_eq!(out.report.sections[0].chosen.launches, 6);
    assert_eq!(out.report.chosen_per_token().launches, 1 + 3 * 6 + 1);
}

/// The kernels of a model without adapters, and of the adapters down, choice and up beside q, k and v, o, gate and up, and
/// down; SwiGLU must wait for the sum. That joined adapters have zeros beside them, which are read too, changes nothing:
/// attention has no kernel for q, k and v apart.
#[test]
fn adapters_are_joined_as_what_they_adapt() {
    for family in [qwen3(I8), qwen2(DType::Bf16)] {
        for (rank, machine) in [4, 16].into_iter().flat_map(|rank| machines().map(|machine| (rank, machine)))
        {
            let source = model(&Family { adapters: Some((rank, 2)), ..family.clone() });
            let out =
                optimise(&source, &NoDevice, &machine, &Limits::default()).expect("it can be optimised");
            assert_eq!(without_kernel(&out.graph), 0, "{machine:?}\n{}", *out.graph);
            let kernels =
                out.graph.groups[0].block.nodes.iter().filter(|n| matches!(n.op, Op::PrepareQkv(_))).count();
            assert_eq!(kernels, 1, "{}", *out.graph);
        }
        let source = model(&Family { adapters: Some((4, 2)), ..family });
        let out = optimise(&source, &NoDevice, &Machine::cpu_default(), &Limits::default())
            .expect("it can be optimised");
        assert_eq!(out.report.sections[0].chosen.launches, 6 + 4 * 3 + 1, "{}", *out.graph);
    }
}

#[test]
fn weights_from_weights_are_free_and_dequant_alone_is_not() {
    let source = model(&qwen3(I8));
    let work = Prices::new(&source, SectionKind::Head, Processor::Cpu).section(&source.head);
    // rms_norm, dequant, lm_head.
    assert_eq!(work.launches, 3);
    // [61, 96] in groups of 40: stored, written as f32, read as f32.
    let stored = 61 * 96 + 61 * 3 * 4;
    assert!(work.bytes > stored + 2 * 4 * 61 * 96, "{work}");
    let out = optimise(&source, &NoDevice, &Machine::cpu_default(), &Limits::default())
        .expect("it can be optimised");
    let head = &out.report.sections[1].chosen;
    // 64 rows packed; inputs of two planes.
    let packed = 2 * I8.operand().map_or(0, |operand| operand.panel_bytes(96));
    assert_eq!((head.launches, head.bytes, head.activation_bytes), (1, packed, 4 * (96 + 61)));
    assert_eq!(head.int8_ops, 2 * 2 * 61 * 96);
}

#[test]
fn every_kind_reads_back_as_it_prints() {
    let eps = qwenc_ir::Eps::new(1e-6);
    for op in [qwenc_ir::Op::NormSwiglu(eps), qwenc_ir::Op::Slice { start: 1, len: 2 }, qwenc_ir::Op::LmHead]
    {
        let kind = Kind::of(op);
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let term: egg::RecExpr<Term> = "(slice 1 2 (rms-norm eps=1e-6 input @0))".parse().expect("a term");
    assert_eq!(term.to_string(), "(slice 1 2 (rms-norm eps=1e-6 input @0))");
}
