//! Buffers that share bytes are never needed at once. In: plans. Out: a run of their kernels that
//! notes, for every byte of a row, which buffer wrote it last.
//!
//! It trusts neither the stated lifetimes nor the checker: it goes by the kernels' fields alone.

use std::collections::BTreeMap;
use std::ops::Range;

use qwenc_plan::{lower, Options, Plan};
use qwenc_testing::qwen3::{mixed, plan, two_kinds, I4, I8, NO_BIAS, PLAIN, TIED};

/// A kernel of the text form: its name and the buffers in its fields.
struct Kernel {
    name: String,
    reads: Vec<usize>,
    writes: Vec<usize>,
}

fn kernel(line: &str) -> Kernel {
    let mut words = line.trim().split(' ').skip(1);
    let name = words.next().expect("a kernel has a name").to_string();
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for (key, value) in words.filter_map(|w| w.split_once('=')) {
        let ids = value.split(',').filter_map(|b| b.strip_prefix('b')?.parse::<usize>().ok());
        for id in ids {
            match (name.as_str(), key) {
                ("embed", _) | (_, "out" | "scratch") => writes.push(id),
                // q is rotated in place.
                (_, "qkv") => {
                    reads.push(id);
                    writes.push(id);
                }
                _ => reads.push(id),
            }
        }
    }
    Kernel { name, reads, writes }
}

/// Prologue, then each layer's block, then the head.
fn schedule(plan: &Plan) -> Vec<Kernel> {
    let text = plan.to_string();
    let all: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with('k')).collect();
    let range = |range: Range<u32>| &all[range.start as usize..range.end as usize];
    let blocks = plan.layer_kernels();
    let layers = plan.layer_groups().into_iter().flat_map(|group| range(plan.block_range(group)));
    let head = range(blocks.end..all.len() as u32);
    range(0..blocks.start).iter().chain(layers).chain(head).map(|l| kernel(l)).collect()
}

/// Bytes of row 0 of a buffer.
fn bytes(plan: &Plan, id: usize) -> Range<u64> {
    let b = &plan.buffers[id];
    b.offset..b.offset + b.row_bytes
}

fn check(plan: &Plan) {
    let mut owner: BTreeMap<u64, usize> = BTreeMap::new();
    for k in schedule(plan) {
        for &id in &k.reads {
            let mine = bytes(plan, id).all(|at| owner.get(&at) == Some(&id));
            assert!(mine, "{} reads b{id}, which another buffer overwrote\n{plan}", k.name);
        }
        let mut touched = [k.reads.clone(), k.writes.clone()].concat();
        touched.sort_unstable();
        touched.dedup();
        let mut seen = BTreeMap::new();
        for id in touched {
            for at in bytes(plan, id) {
                let other = seen.insert(at, id);
                assert_eq!(other, None, "{} touches b{id} on the same bytes\n{plan}", k.name);
            }
        }
        for id in k.writes {
            owner.extend(bytes(plan, id).map(|at| (at, id)));
        }
    }
}

#[test]
fn no_buffer_is_overwritten_while_needed() {
    for dtype in ["f32", "bf16", I8, I4] {
        for edits in [&[][..], &[TIED], &NO_BIAS] {
            let plan = plan(dtype, edits);
            assert!(plan.buffers.len() > 6, "the run proves little\n{}", *plan);
            check(&plan);
        }
    }
    let two = lower(&two_kinds("bf16", I4), &PLAIN, &Options::default()).expect("the graph can be planned");
    check(&two);
    check(&lower(&mixed("bf16", I4), &PLAIN, &Options::default()).expect("the graph can be planned"));
}

/// The block's scratch is smaller than the sum of its buffers: memory is shared at all.
#[test]
fn memory_is_shared() {
    let plan = plan("bf16", &[]);
    let sum: u64 = plan.buffers.iter().map(|b| b.row_bytes).sum();
    assert!(plan.row_bytes < sum, "{} of {sum}", plan.row_bytes);
}

/// The run above notices what it is for.
#[test]
#[should_panic(expected = "which another buffer overwrote")]
fn an_overwritten_buffer_is_noticed() {
    let mut plan = plan("bf16", &[]).into_inner();
    let x = plan.buffers[0].offset;
    let attention = plan.buffers.iter_mut().find(|b| b.name == "attention").expect("attention has a result");
    attention.offset = x;
    check(&plan);
}
