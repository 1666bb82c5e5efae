//! Optimised graphs to plans: the expected text, and what has no plan.
//!
//! `INSTA_UPDATE=always cargo test -p qwenc-plan` accepts changed plans.

use qwenc_formats::Operand;
use qwenc_ir::Checked;
use qwenc_plan::{lower, Kernel, LowerError, Options, Plan};
use qwenc_testing::qwen3::{graph, mixed, plan, two_kinds, Device, ADAPTED, I8, NO_BIAS, PLAIN, TIED};

fn check(name: &str, plan: &Checked<Plan>) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_description("INSTA_UPDATE=always cargo test -p qwenc-plan accepts a changed plan");
    settings.bind(|| insta::assert_snapshot!(name, plan.to_string()));
}

#[test]
fn f32_packs_gains_into_weights() {
    check("f32", &plan("f32", &[]));
}

#[test]
fn bf16_keeps_gains_as_vectors() {
    check("bf16", &plan("bf16", &[]));
}

#[test]
fn int8_prepares_the_input_of_every_linear() {
    check("int8", &plan(I8, &[]));
}

/// The table is also read without the gain, so even f32 keeps the gain apart.
#[test]
fn a_tied_head_shares_the_embedding() {
    check("f32_tied", &plan("f32", &[TIED]));
}

#[test]
fn adapters_are_kernels_beside_what_they_adapt() {
    check("int8_adapted", &plan(I8, &ADAPTED));
}

#[test]
fn only_f32_joins_on_a_diagonal() {
    let edits: Vec<(&str, &str)> = ADAPTED.to_vec();
    let text =
        edits[0].1.replace("_b\" f32[8, 2]", "_b\" bf16[8, 2]").replace("_b\" f32[4, 2]", "_b\" bf16[4, 2]");
    let block = edits[1].1.replace("f32[8, 2]", "bf16[8, 2]").replace("f32[4, 2]", "bf16[4, 2]");
    let block = block.replace("f32[8, 4]", "bf16[8, 4]").replace("f32[16, 6]", "bf16[16, 6]");
    let e = refused("bf16", &[(edits[0].0, &text), (edits[1].0, &block), edits[2], edits[3]]);
    assert!(e.to_string().contains("joins on a diagonal only f32"), "{e}");
}

#[test]
fn an_absent_bias_is_no_segment() {
    let text = plan("bf16", &NO_BIAS).to_string();
    assert!(!text.contains(" bias="), "{text}");
}

#[test]
fn the_reserve_moves_the_image_by_pages() {
    let reserved = lower(&graph("bf16", &[]), &PLAIN, &Options { reserve: 1, ..Options::default() })
        .expect("it can be planned");
    let plain = plan("bf16", &[]);
    assert_eq!(reserved.weights_bytes, plain.weights_bytes + 4096);
    assert_eq!(reserved.layers_offset, plain.layers_offset + 4096);
    assert_eq!(reserved.segments[0].offset, 4096);
}

#[test]
fn sizes_are_those_of_the_model() {
    let plan = plan("f32", &[]);
    let expected = [4 * 4, 4 * 2, 4 + 4].map(|head| 2 * 2 * head);
    assert_eq!(plan.kv_bytes_per_position(), expected, "layers, k and v, head_dim elements and int8's scale");
    let linears = plan.segments.iter().skip(1).filter(|s| s.rows > 1);
    let bytes: u64 = linears.map(|s| s.bytes() * if s.home.per_layer() { 2 } else { 1 }).sum();
    assert_eq!(plan.bytes_per_token(), bytes, "every matrix but the embedding");
}

fn refused(dtype: &str, edits: &[(&str, &str)]) -> LowerError {
    lower(&graph(dtype, edits), &PLAIN, &Options::default()).expect_err("this graph has no plan")
}

#[test]
fn ops_that_the_optimiser_removes_have_no_kernel() {
    let e = refused("bf16", &[("  return %out\n", "  %silu = silu %out : [T, 7]\n  return %silu\n")]);
    assert!(matches!(e, LowerError::NoKernel { op: "silu", .. }), "{e}");
    assert_eq!(e.to_string(), "Block(0) %29: no kernel for silu; optimise the graph first");
}

#[test]
fn formats_that_are_only_stored_have_no_kernels() {
    let e = refused("q4_1", &[]);
    assert!(matches!(e, LowerError::WeightType { .. }));
    assert_eq!(e.to_string(), "weight embed: no kernel reads Q4_1; export it as f32, bf16, int8 or int4");
}

#[test]
fn weights_are_parts_and_one_gain() {
    let dequant = "  %loose = weight @7 : W[7, 8]\n  %o = dequant %loose : f32[7, 8]\n";
    let twice = "  %gu = scale_cols %gate_up %ffn_norm : W[38, 7]\n  %scaled_gate_up = scale_cols %gu %ffn_norm : W[38, 7]\n";
    let below = "  %wk = scale_cols %k %attn_norm : W[4, 7]\n  %kv = concat_rows %wk %v : W[8, 7]\n";
    let first = ("  %attn_norm = weight @1 : f32[7]\n", "");
    let earlier = ("  %k = weight", "  %attn_norm = weight @1 : f32[7]\n  %k = weight");
    let cases: [(&str, &[(&str, &str)]); 3] = [
        ("dequant", &[("  %o = weight @7 : W[7, 8]\n", dequant)]),
        ("scale_cols", &[("  %scaled_gate_up = scale_cols %gate_up %ffn_norm : W[38, 7]\n", twice)]),
        ("concat_rows", &[first, earlier, ("  %kv = concat_rows %k %v : W[8, 7]\n", below)]),
    ];
    for (name, edits) in cases {
        let e = refused("bf16", edits);
        assert!(matches!(e, LowerError::WeightExpression { op, .. } if op == name), "{name}: {e}");
    }
}

#[test]
fn what_is_overwritten_is_not_used_again() {
    let residual = ("%attn %o %none %x : [T, 7]", "%attn %o %none %x : [T, 7]\n  %late = add %h %x : [T, 7]");
    let late = ("%y %down %none %h", "%y %down %none %late");
    let e = refused("bf16", &[residual, late]);
    assert!(matches!(e, LowerError::InPlace { .. }), "{e}");
    assert_eq!(e.to_string(), "Block(0) %20: the residual is used after being overwritten");
    let slice = ("  %gate = weight", "  %late = slice start=0 len=7 %qkv : [T, 7]\n  %gate = weight");
    let add = ("return %out", "%sum = add %out %late : [T, 7]\n  return %sum");
    let e = refused("bf16", &[slice, add]);
    assert_eq!(e.to_string(), "Block(0) %16: q, k and v are used after being rotated in place");
}

#[test]
fn ranks_are_not_used_after_the_choice() {
    let choice = "  %mlp_chosen = select_adapter rank=1 adapters=2 %mlp_ranks : [T, 4]";
    let late = "  %late = slice start=0 len=4 %ranks : [T, 4]\n  %mlp_chosen = add %late %mlp_ranks : [T, 4]";
    let mut edits = ADAPTED.to_vec();
    edits.push((choice, late));
    let text = refused("bf16", &edits).to_string();
    assert!(text.ends_with("ranks are used after those of other adapters became 0 in place"), "{text}");
}

#[test]
fn a_block_ends_in_the_residual_stream() {
    let e = refused("bf16", &[("linear_add %y %down %none %h", "linear %y %down %none")]);
    assert_eq!(e.to_string(), "Block(0) %28: the section must end in the residual stream's buffer");
}

/// Fused values are not there: norms, gate and up, k after RoPE.
#[test]
fn activations_in_memory_have_their_names() {
    let plan = plan("f32", &[]);
    let named = plan.named();
    let names: Vec<&str> = named.iter().map(|n| n.name).collect();
    assert_eq!(names, ["embed", "q_proj", "k_proj", "v_proj", "q_rope", "attn", "out"]);
    assert!(named.windows(2).all(|pair| pair[0].kernel <= pair[1].kernel));
    assert_eq!(named.iter().filter(|n| plan.group_of(n.kernel).is_none()).count(), 1);
    for n in &named {
        assert!(n.first + n.columns <= plan.buffer(n.buffer).width, "{n:?}");
    }
}

/// Each layer group has kernels and records of its own, and buffers that the other may reuse.
#[test]
fn layer_groups_have_kernels_and_records() {
    let plan = lower(&two_kinds("bf16", I8), &PLAIN, &Options::default()).expect("the graph can be planned");
    let [first, second] = &plan.groups[..] else { panic!("two groups\n{}", *plan) };
    assert_eq!((first.layers.to_string(), first.window), ("0 2".to_string(), None));
    assert_eq!((second.layers.to_string(), second.window), ("1".to_string(), Some(4)));
    assert_eq!(first.block.len(), second.block.len());
    assert!(first.record_bytes < second.record_bytes, "int8 in groups of 3 takes more than bf16\n{}", *plan);
    assert_eq!((plan.even_records(), plan.layer_groups()), (None, vec![0, 1, 0]));
    let [a, b, c] = plan.layer_offsets()[..] else { panic!("three layers") };
    assert_eq!((a, b - a, c - b), (plan.layers_offset, first.record_bytes, second.record_bytes));
    assert_eq!(plan.weights_bytes, c + first.record_bytes);
    let kernels = [0, 1].map(|group| plan.block_range(group));
    assert_eq!(
        (kernels[0].start, kernels[0].end, kernels[1].end),
        (1, kernels[1].start, plan.layer_kernels().end)
    );
    assert_eq!(
        (plan.group_of(0), plan.group_of(1), plan.group_of(kernels[1].start)),
        (None, Some(0), Some(1))
    );
    let names: Vec<&str> = plan.named().iter().map(|n| n.name).collect();
    let of_layer = ["q_proj", "k_proj", "v_proj", "q_rope", "attn", "out"];
    assert_eq!(names, [&["embed"][..], &of_layer, &of_layer].concat());
    let even = lower(&graph("bf16", &[]), &PLAIN, &Options::default()).expect("the graph can be planned");
    assert_eq!(even.even_records(), Some(even.groups[0].record_bytes));
}

/// Rows in one format are one packed tensor and one linear; the next linear writes the columns behind. Gate and up of two
/// formats are joined by a kernel of their own.
#[test]
fn rows_of_several_formats_are_several_linears() {
    for (first, second) in [("bf16", I8), (I8, "f32")] {
        let plan =
            lower(&mixed(first, second), &PLAIN, &Options::default()).expect("the graph can be planned");
        let names: Vec<&str> = plan.groups[0].block.iter().map(Kernel::name).collect();
        let expected = [
            ["norm_linear", "norm_linear", "prepare_qkv", "attention", "linear_add"].as_slice(),
            &["norm_linear", "norm_linear", "join_swiglu", "linear_add"],
        ];
        assert_eq!(names, expected.concat());
        let linears = |range: std::ops::Range<usize>| -> Vec<(String, u32, u32)> {
            let of = |kernel: &Kernel| match kernel {
                Kernel::Linear(l) => {
                    let s = plan.segment(l.weight);
                    Some((s.format.to_string(), l.first, s.rows))
                }
                _ => None,
            };
            plan.groups[0].block[range].iter().filter_map(of).collect()
        };
        let (first, second) = (first.to_string(), second.to_string());
        assert_eq!(linears(0..2), [(first.clone(), 0, 12), (second.clone(), 12, 4)]);
        assert_eq!(linears(5..7), [(second, 0, 19), (first, 19, 19)]);
        let named = plan.named();
        let projected: Vec<u32> =
            named.iter().filter(|n| n.name.ends_with("_proj")).map(|n| n.kernel).collect();
        assert_eq!(projected, [2; 3], "q, k and v are there when the last of their linears is done");
    }
}

#[test]
fn f16_is_f32_where_kernels_do_not_read_it() {
    for (f16, expected) in [(false, Operand::F32), (true, Operand::F16)] {
        let device = if f16 { Device { reads: &[Operand::F16] } } else { PLAIN };
        let plan = lower(&graph("f16", &[]), &device, &Options::default()).expect("the graph can be planned");
        assert!(plan.segments.iter().filter(|s| s.rows > 1).all(|s| s.format == expected), "{}", *plan);
    }
}
