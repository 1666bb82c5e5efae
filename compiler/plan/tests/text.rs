//! The text form: what is printed parses back to the same plan; what is wrong is named with its line.

use qwenc_formats::Operand;
use qwenc_plan::{lower, parse, Options};
use qwenc_testing::qwen3::{
    graph, mixed, plan, two_kinds, ADAPTED, COMPRESSING, I4, I8, NO_BIAS, PLAIN, TIED, WIDE,
};

#[test]
fn plans_round_trip() {
    let scaled =
        ("rope theta=10000\n", "rope theta=500000 llama3 factor=32 low=1 high=4 original_context=8192\n");
    let two = lower(&two_kinds("bf16", I8), &PLAIN, &Options::default()).expect("the graph can be planned");
    assert_eq!(parse(&two.to_string()).as_ref(), Ok(&*two), "{}", *two);
    let rows = lower(&mixed("bf16", I8), &PLAIN, &Options::default()).expect("the graph can be planned");
    assert_eq!(parse(&rows.to_string()).as_ref(), Ok(&*rows), "{}", *rows);
    for dtype in ["f32", "bf16", I8, "i8g64", I4, "i4g32"] {
        for edits in [&[][..], &[TIED], &NO_BIAS, &ADAPTED, &[scaled], &WIDE] {
            let plan = plan(dtype, edits);
            let text = plan.to_string();
            let parsed = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(parsed, *plan, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }
}

/// The error of the text with `from` replaced, without its line number.
fn refused(from: &str, to: &str) -> String {
    let text = plan(I8, &[]).to_string();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    let e = parse(&text.replacen(from, to, 1)).expect_err("the text is wrong");
    let line = text.lines().position(|l| l.contains(from.lines().next().unwrap_or_default()));
    assert_eq!(Some(e.line), line.map(|l| l + 1), "{e}");
    e.what
}

#[test]
fn compressed_plans_round_trip() {
    let plan =
        lower(&graph("bf16", &[]), &COMPRESSING, &Options::default()).expect("the graph can be planned");
    let text = plan.to_string();
    assert_eq!(
        text.matches(" bf12 ").count(),
        plan.segments.iter().filter(|s| s.format == Operand::Bf12).count()
    );
    assert_eq!(parse(&text).as_ref(), Ok(&*plan), "{text}");
    let e = parse(&text.replacen(" bf12 ", " bf13 ", 1)).expect_err("the text is wrong");
    assert_eq!(e.what, "expected a format of weights");
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(refused("hidden=7", "hidden=x"), "expected a number, found \"x\"");
    assert_eq!(refused("layers_offset=", "offset="), "layers_offset= is missing");
    assert_eq!(
        refused("layout=panels", "layout=tiles"),
        "expected vector, panels, paired or diagonal, found \"tiles\""
    );
    assert_eq!(refused("segment w0 i8g3", "segment w0 i4"), "expected a format of weights");
    assert_eq!(refused("parts=@0", "parts=0"), "expected @ and a number, found \"0\"");
    assert_eq!(refused(" out=b0 ", " "), "out= is missing");
    assert_eq!(refused("rope=b1", "rope=w1"), "expected b and a number, found \"w1\"");
    assert_eq!(refused("live=0..", "live=0-"), "live: expected first..last");
    assert_eq!(
        refused("out=logits", "out=probabilities"),
        "expected b and a number, found \"probabilities\""
    );
    assert_eq!(refused("table=w0", "row=w0"), "table= is missing");
}

#[test]
fn a_kernel_is_what_its_fields_say() {
    let e = refused("k3 attention", "k3 linear");
    assert_eq!(e, "input= is missing");
    let e = refused("k4 linear_add", "k4 norm_linear");
    assert!(e.starts_with("unknown kernel \"norm_linear\"; its fields make \"linear_add\""), "{e}");
    let e = refused("k4 linear_add", "k4 conv");
    assert!(e.starts_with("unknown kernel \"conv\""), "{e}");
}
