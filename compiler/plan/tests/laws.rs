//! Every law of a plan, broken by editing its text: `Checked` refuses it and says which.

use qwenc_ir::Checked;
use qwenc_plan::{lower, parse, Options, PlanError};
use qwenc_testing::qwen3::{mixed, plan, two_kinds, ADAPTED, I4, I8, NO_BIAS, PLAIN};

/// The plan's text with one part replaced must break a law.
fn broken(dtype: &str, from: &str, to: &str) -> PlanError {
    let text = plan(dtype, &NO_BIAS).to_string();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    let edited = text.replacen(from, to, 1);
    let parsed = parse(&edited).unwrap_or_else(|e| panic!("{e}\n{edited}"));
    Checked::of(parsed).expect_err("a law is broken")
}

/// The first line of the plan's text that starts so.
fn line(dtype: &str, start: &str) -> String {
    let text = plan(dtype, &NO_BIAS).to_string();
    let found = text.lines().find(|l| l.trim().starts_with(start));
    found.unwrap_or_else(|| panic!("no line starts with {start:?} in\n{text}")).to_string()
}

fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let found = line.split(' ').find(|w| w.starts_with(&format!("{key}=")));
    found.unwrap_or_else(|| panic!("no {key}= in {line:?}"))
}

/// Replaces a field of the line that starts so.
fn with(dtype: &str, start: &str, key: &str, value: &str) -> PlanError {
    let old = line(dtype, start);
    let new = old.replace(&format!(" {}", field(&old, key)), &format!(" {key}={value}"));
    broken(dtype, &old, &new)
}

fn assert_misfit(e: &PlanError, expected: &str) {
    assert!(matches!(e, PlanError::Misfit { what, .. } if *what == expected), "{expected}: {e}");
}

#[test]
fn what_is_referred_to_exists() {
    for (start, key, value) in [
        ("segment w0", "parts", "@99"),
        ("segment w1", "gain", "@99"),
        ("k0 ", "table", "w99"),
        ("k1 ", "weight", "w99"),
        ("k2 ", "q_gain", "w99"),
        ("k3 ", "out", "b99"),
        ("k4 ", "input", "b99"),
    ] {
        let e = with("f32", start, key, value);
        assert!(matches!(&e, PlanError::Undefined { what } if what == value), "{start} {key}: {e}");
    }
    assert_eq!(with("f32", "k1 ", "weight", "w99").to_string(), "w99 is not defined");
}

#[test]
fn widths_fit() {
    for (start, key, value, what) in [
        ("buffer b0", "width", "8", "output width"),
        ("buffer b1", "width", "8", "rope width"),
        ("k1 ", "input", "b2", "input width"),
        ("k2 ", "qkv", "b0", "q, k, v width"),
        ("k3 ", "q", "b0", "q, k, v width"),
        ("k3 ", "out", "b0", "output width"),
        ("k5 ", "weight", "w1", "weight layout"),
    ] {
        assert_misfit(&with("f32", start, key, value), what);
    }
    assert_misfit(&with("bf16", "k1 ", "gain", "w3"), "gain length");
    assert_misfit(&with("f32", "k2 ", "q_gain", "w1"), "vector layout");
    assert_misfit(&broken("f32", "k4 linear_add", "k4 linear_add bias=w2"), "bias length");
    assert_misfit(&broken("f32", "vocab_rows=37", "vocab_rows=38"), "embedding rows");
}

#[test]
fn segments_hold_their_parts() {
    for (dtype, start, key, value, expected) in [
        ("f32", "segment w0", "cols", "6", "has the columns of its parts"),
        ("f32", "segment w0", "rows", "36", "has the rows of its parts"),
        ("f32", "segment w0", "layout", "paired", "pairs two parts of one shape"),
        ("f32", "segment w0", "layout", "vector", "joins vectors, or matrices"),
        ("f32", "segment w0", "cols", "7 spans=2", "is whole, or cut into the spans of its columns"),
        ("f32", "segment w0", "cols", "7 spans=0", "is whole, or cut into the spans of its columns"),
        ("f32", "segment w1", "gain", "@0", "is per-layer like its parts"),
    ] {
        let e = with(dtype, start, key, value);
        assert!(matches!(&e, PlanError::Segment { law, .. } if *law == expected), "{start} {key}: {e}");
    }
    for segment in ["segment w1", "segment w2"] {
        let old = line("bf16", segment);
        let e = broken("bf16", &old, &format!("{old} gain=@1"));
        assert!(e.to_string().contains("takes in a gain only as a matrix of f32"), "{e}");
    }
    let old = line("f32", "segment w0");
    let e = broken("f32", &old, &old.replacen(" f32 ", " bf12 ", 1));
    assert!(e.to_string().contains("has the type of its parts"), "{e}");
    let e = with("bf16", "k1 ", "gain", "w2");
    assert!(matches!(e, PlanError::Misfit { .. }), "{e}");
}

#[test]
fn rows_hold_their_columns() {
    let e = with("f32", "buffer b0", "row_bytes", "0");
    assert!(matches!(&e, PlanError::Place { what, .. } if what.starts_with("b0 as rows")), "{e}");
}

#[test]
fn scratch_memory_is_nothing_else() {
    let scratch = field(&line(I8, "k1 "), "scratch").replace("scratch=", "");
    let e = with(I8, "k1 ", "scratch", "b0");
    assert_misfit(&e, "width of scratch memory");
    let e = with(I8, "k4 ", "input", &scratch);
    assert_misfit(&e, "input width");
}

#[test]
fn segments_lie_in_the_image() {
    for (start, value) in
        [("segment w0", "1"), ("segment w0", "18446744073709551552"), ("segment w1", "4096000")]
    {
        let e = with("f32", start, "offset", value);
        assert!(matches!(&e, PlanError::Place { .. }), "{start} at {value}: {e}");
    }
    let e = with("f32", "image", "weights_bytes", "4096");
    assert!(matches!(&e, PlanError::Place { what, .. } if what == "layers"), "{e}");
}

#[test]
fn segments_do_not_overlap() {
    let e = with("f32", "segment w2", "offset", "0");
    assert_eq!(e.to_string(), "w1 and w2 overlap in memory and in time");
}

#[test]
fn buffers_lie_in_the_arena() {
    for (key, value) in [("offset", "64"), ("offset", "1048576"), ("row_bytes", "129")] {
        let e = with("f32", "buffer b0", key, value);
        assert!(matches!(&e, PlanError::Place { what, .. } if what == "b0"), "{key}: {e}");
    }
    let e = with("f32", "arena", "row_bytes", "0");
    assert!(matches!(e, PlanError::Place { .. }), "{e}");
}

#[test]
fn buffers_that_live_together_lie_apart() {
    let stream = field(&line("f32", "buffer b0"), "offset").replace("offset=", "");
    let e = with("f32", "buffer b2", "offset", &stream);
    assert!(matches!(&e, PlanError::Overlap { .. }), "{e}");
}

#[test]
fn lifetimes_cover_the_use() {
    let e = with("f32", "buffer b0", "live", "0..3");
    assert!(matches!(&e, PlanError::Lifetime { used: (0, 7), .. }), "{e}");
    assert_eq!(e.to_string(), "b0: stated live (0, 3), but kernels use it in (0, 7)");
}

/// A tables' buffer of the prologue is read again in the next layer, after the last kernel that names it.
#[test]
fn what_enters_the_block_lives_through_it() {
    let e = with("f32", "buffer b1", "live", "0..2");
    assert!(matches!(&e, PlanError::Lifetime { used: (0, 6), .. }), "{e}");
}

/// Attention after the linear that reads its result; q lives one kernel longer for it.
#[test]
fn nothing_is_read_before_it_is_written() {
    let (attention, linear, q) = (line("f32", "k3 "), line("f32", "k4 "), line("f32", "buffer b2"));
    let swapped = format!("{linear}\n{attention}\n");
    let text = plan("f32", &NO_BIAS).to_string();
    let text = text.replace(&format!("{attention}\n{linear}\n"), &swapped);
    let text = text.replace(&q, &q.replace("live=1..3", "live=1..4"));
    let e = Checked::of(parse(&text).expect("the text parses")).expect_err("k3 reads what k4 writes");
    assert_eq!(e.to_string(), "k3 uses b4 before all columns that it needs were written");
}

#[test]
fn a_plan_starts_with_embed_and_ends_with_logits() {
    let embed = line("f32", "k0 ");
    let e = broken("f32", &format!("{embed}\n"), "");
    assert!(matches!(e, PlanError::Form { .. }), "{e}");
    let e = with("f32", "k7 ", "out", "b0");
    assert_eq!(e.to_string(), "a plan starts with one embed and ends with one linear to logits");
}

#[test]
fn adapters_fit_what_they_adapt() {
    let text = plan("f32", &ADAPTED).to_string();
    for (from, to, law) in [
        ("columns=b4 rank=1 adapters=2", "columns=b4 rank=4 adapters=2", "whole turns of adapters"),
        ("columns=b4 rank=1 adapters=2", "columns=b4 rank=0 adapters=2", "whole turns of adapters"),
        ("join_swiglu input=b7", "join_swiglu input=b4", "gate and up"),
        ("layout=diagonal parts=@25,@26", "layout=panels parts=@25,@26", "has the columns of its parts"),
        ("f32 layout=diagonal", "bf16 layout=diagonal", "joins on a diagonal only f32"),
    ] {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        let parsed = parse(&text.replacen(from, to, 1)).expect("the text parses");
        let e = Checked::of(parsed).expect_err(law);
        assert!(e.to_string().contains(law), "{law}: {e}");
    }
}

#[test]
fn a_residual_is_added_in_place() {
    let e = with("f32", "k4 ", "residual", "b5");
    assert_eq!(e.to_string(), "a residual is added in place");
}

#[test]
fn inputs_fit_the_weights() {
    for (dtype, start, inputs) in [(I8, "k1 ", "f32"), (I4, "k4 ", "int16"), ("f32", "k1 ", "bf16")] {
        let e = with(dtype, start, "inputs", inputs);
        let kernel = start.trim();
        let law = format!("{kernel}: no kernel multiplies weights of {dtype} with inputs of {inputs}");
        assert_eq!(e.to_string(), law);
    }
}

/// A kernel's counter is reset while the next one runs.
#[test]
fn a_block_has_two_kernels() {
    let text = plan("f32", &NO_BIAS).to_string();
    let kept = |l: &&str| !["  k2", "  k3", "  k4", "  k5", "  k6"].iter().any(|k| l.starts_with(k));
    let text: Vec<&str> = text.lines().filter(kept).collect();
    let e = Checked::of(parse(&text.join("\n")).expect("the text parses")).expect_err("one kernel is left");
    assert_eq!(e.to_string(), "a block has at least two kernels");
}

#[test]
fn layer_groups_share_nothing_and_cover_all_layers() {
    let text = lower(&two_kinds("bf16", I8), &PLAIN, &Options::default())
        .expect("the graph can be planned")
        .to_string();
    let broken = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        let parsed = parse(&text.replacen(from, to, 1)).expect("the text parses");
        Checked::of(parsed).expect_err("a law is broken").to_string()
    };
    for layers in ["layers 0 ", "layers 0 1-2 ", "layers 0 3 "] {
        let found = broken("layers 0 2 ", &layers.replace("0 1-2", "0-2"));
        assert_eq!(found, "every layer is in one layer group");
    }
    let line =
        text.lines().rev().find(|l| l.contains(" residual=")).expect("the second block ends in a linear");
    let weight = field(line, "weight");
    let first = text.lines().find(|l| l.contains(" residual=")).expect("so does the first");
    let e = broken(line, &line.replace(weight, field(first, "weight")));
    assert!(e.ends_with("is read by kernels of its layer group alone: does not hold"), "{e}");
    let e = broken("in=layers1", "in=layers2");
    assert!(e.contains("is not aligned within 0") || e.contains("does not hold"), "{e}");
}

#[test]
fn columns_of_several_linears_are_written_in_order() {
    let text =
        lower(&mixed("bf16", I8), &PLAIN, &Options::default()).expect("the graph can be planned").to_string();
    let broken = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        Checked::of(parse(&text.replacen(from, to, 1)).expect("the text parses"))
            .expect_err("a law is broken")
    };
    for first in [" first=11", ""] {
        let e = broken(" first=12", first);
        assert!(matches!(e, PlanError::Unwritten { .. }), "{first}: {e}");
    }
    assert_misfit(&broken(" first=12", " first=13"), "output width");
    assert_misfit(&broken(" first=12", " first=4294967295"), "output width");
}
