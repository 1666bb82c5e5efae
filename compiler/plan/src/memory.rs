//! Placement of segments and buffers.
//!
//! In: a plan whose offsets are all zero. Out: the same with offsets, lifetimes and totals.
//! Invariant: two buffers overlap in memory only if no kernel could see both.

use qwenc_formats::PANEL_ROWS;

use crate::plan::{Buffer, BufferId, Dest, Kernel, Plan};
use crate::round_up;
use crate::segment::Home;

const PAGE: u64 = 4096;
const ALIGN: u64 = 128;

/// A buffer of f32 rows, one per token; rows are padded to whole panels, and not a multiple of a page apart,
/// where the same columns of all rows would share a set of the first-level cache.
pub(crate) fn f32_buffer(plan: &mut Plan, name: &str, width: u32) -> BufferId {
    let whole = 4 * round_up(u64::from(width), u64::from(PANEL_ROWS));
    let row_bytes = if whole.is_multiple_of(PAGE) { whole + ALIGN } else { whole };
    add(plan, name, width, row_bytes)
}

/// Scratch memory of one kernel, in rows of so many bytes; no buffer for 0.
pub(crate) fn scratch_buffer(plan: &mut Plan, row_bytes: u64) -> Option<BufferId> {
    (row_bytes > 0).then(|| add(plan, "scratch", 0, round_up(row_bytes, ALIGN)))
}

fn add(plan: &mut Plan, name: &str, width: u32, row_bytes: u64) -> BufferId {
    plan.buffers.push(Buffer { name: name.to_string(), width, row_bytes, offset: 0, live: (0, 0) });
    BufferId(plan.buffers.len() as u32 - 1)
}

/// Per-layer segments fill a record that repeats; the others stand before the first record.
pub(crate) fn place_segments(plan: &mut Plan, reserve: u64) {
    let (mut fixed, mut records) = (round_up(reserve, PAGE), vec![0; plan.groups.len()]);
    for s in &mut plan.segments {
        let at = match s.home {
            Home::Model => &mut fixed,
            Home::Layers(group) => &mut records[group as usize],
        };
        s.offset = *at;
        *at += round_up(s.bytes(), ALIGN);
    }
    plan.layers_offset = round_up(fixed, PAGE);
    plan.weights_bytes = plan.layers_offset;
    for (group, bytes) in plan.groups.iter_mut().zip(records) {
        group.record_bytes = round_up(bytes, PAGE);
        plan.weights_bytes += u64::from(group.layers.count()) * group.record_bytes;
    }
}

/// Buffers that a kernel touches.
pub(crate) fn touched(kernel: &Kernel) -> Vec<BufferId> {
    match *kernel {
        Kernel::Embed(e) => vec![e.out, e.rope],
        Kernel::PrepareQkv(p) => vec![p.qkv, p.rope],
        Kernel::Attention(a) => vec![a.q, a.out],
        Kernel::SelectAdapter(s) => vec![s.columns],
        Kernel::Swiglu(s) => vec![s.input, s.out],
        Kernel::Linear(l) => {
            let mut all = vec![l.input];
            all.extend(l.scratch);
            all.extend(l.residual);
            if let Dest::Buffer(b) = l.out {
                all.push(b);
            }
            all
        }
    }
}

/// First and last kernel that see each buffer. What comes into the layers' kernels from before is live in all of them,
/// since blocks repeat.
pub(crate) fn lifetimes(plan: &Plan) -> Vec<(u32, u32)> {
    let mut live = vec![(u32::MAX, 0); plan.buffers.len()];
    for (i, kernel) in plan.kernels() {
        for b in touched(kernel) {
            let l = &mut live[b.0 as usize];
            *l = (l.0.min(i), l.1.max(i));
        }
    }
    let blocks = plan.layer_kernels();
    for l in &mut live {
        if l.0 < blocks.start && blocks.contains(&l.1) {
            l.1 = blocks.end - 1;
        }
    }
    live
}

/// First fit in order of size, largest first.
pub(crate) fn place_buffers(plan: &mut Plan) {
    for (buffer, live) in lifetimes(plan).into_iter().enumerate() {
        plan.buffers[buffer].live = live;
    }
    let mut order: Vec<usize> = (0..plan.buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(plan.buffers[i].row_bytes), i));
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        plan.buffers[i].offset = first_fit(&plan.buffers, &placed, i);
        placed.push(i);
    }
    plan.row_bytes = plan.buffers.iter().map(|b| b.offset + b.row_bytes).max().unwrap_or(0);
}

fn first_fit(buffers: &[Buffer], placed: &[usize], i: usize) -> u64 {
    let b = &buffers[i];
    let mut taken: Vec<(u64, u64)> = placed
        .iter()
        .map(|&p| &buffers[p])
        .filter(|p| overlap(p.live, b.live))
        .map(|p| (p.offset, p.offset + p.row_bytes))
        .collect();
    taken.sort_unstable();
    let mut at = 0;
    for (start, end) in taken {
        if at + b.row_bytes <= start {
            break;
        }
        at = at.max(end);
    }
    at
}

/// Whether two lifetimes share a kernel.
pub(crate) fn overlap(a: (u32, u32), b: (u32, u32)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}
