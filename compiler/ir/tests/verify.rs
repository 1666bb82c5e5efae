//! Mistakes that only a program can make, since text states the facts twice: `Checked` refuses it too.
//!
//! In: a checked model, taken apart and changed. Out: the law that is broken.

mod model;

use model::{edited, model};
use qwenc_ir::{verify, Checked, Extent, NodeId, Op, SectionKind, ShapeError, VerifyError};

#[test]
fn a_changed_operand_breaks_a_shape_law() {
    let mut graph = model(&[]).into_inner();
    graph.groups[0].block.nodes[26].args[1] = NodeId(5);
    let law =
        ShapeError::Law { op: "add", expected: "a[T, n], b[T, n]", found: "[T, 6], [T, 8]".to_string() };
    let expected = VerifyError::Shape { section: SectionKind::Block(0), node: NodeId(26), source: law };
    assert_eq!(verify(graph), Err(expected));
}

#[test]
fn a_missing_operand_breaks_a_shape_law() {
    let mut graph = model(&[]).into_inner();
    graph.groups[0].block.nodes[26].args.pop();
    let law = ShapeError::Arity { op: "add", expected: 2, found: 1 };
    let expected = VerifyError::Shape { section: SectionKind::Block(0), node: NodeId(26), source: law };
    assert_eq!(verify(graph), Err(expected));
}

#[test]
fn an_operand_stands_earlier() {
    for later in [26, 27, 1000] {
        let mut graph = model(&[]).into_inner();
        graph.groups[0].block.nodes[26].args[1] = NodeId(later);
        let source = ShapeError::UnknownOperand(NodeId(later));
        let expected = VerifyError::Shape { section: SectionKind::Block(0), node: NodeId(26), source };
        assert_eq!(verify(graph), Err(expected));
    }
}

#[test]
fn a_weight_is_declared() {
    let mut graph = model(&[]).into_inner();
    graph.weights.pop();
    let e = verify(graph).expect_err("@12 is gone").to_string();
    assert_eq!(e, "Head %1: weight @12 is not declared");
}

#[test]
fn a_stated_type_is_the_inferred_one() {
    let mut graph = model(&[]).into_inner();
    graph.groups[0].block.nodes[2].ty.shape[1] = Extent::Fixed(8);
    let e = verify(graph).expect_err("the type is wrong");
    assert!(matches!(e, VerifyError::Stated { node: NodeId(2), .. }), "{e}");
    assert_eq!(e.to_string(), "Block(0) %2: stated type [T, 8], but its operands make [T, 6]");
}

#[test]
fn push_infers_and_refuses() {
    let mut graph = edited(&[]);
    let kind = SectionKind::Block(0);
    let id = graph.push(kind, Op::Silu, &[NodeId(37)]).expect("the law holds");
    assert_eq!(graph.groups[0].block.node(id).ty.to_string(), "[T, 6]");
    assert_eq!(graph.push(kind, Op::Silu, &[NodeId(99)]), Err(ShapeError::UnknownOperand(NodeId(99))));
    assert!(graph.push(kind, Op::Embed, &[NodeId(1)]).is_err());
    assert_eq!(graph.groups[0].block.nodes.len(), 39, "what is refused leaves no trace");
}

#[test]
fn a_checked_graph_is_the_graph() {
    let graph = edited(&[]);
    let checked = Checked::of(graph.clone()).expect("a model");
    assert_eq!(*checked, graph);
    assert_eq!(checked.into_inner(), graph);
}
