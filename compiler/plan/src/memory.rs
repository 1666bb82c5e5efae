//! Where segments and buffers lie.
//!
//! In: a plan whose offsets are all zero. Out: the same with offsets, lifetimes and totals.
//! Invariant: two buffers overlap in memory only if no kernel could see both.

use qwenc_formats::{Inputs, Operand, PANEL_ROWS};
use qwenc_ir::Eps;

use crate::plan::{Attention, Buffer, BufferId, Dest, Kernel, Plan, Rows};
use crate::round_up;
use crate::segment::{Home, SegmentId};

const PAGE: u64 = 4096;
const ALIGN: u64 = 128;

/// A buffer of f32 rows, one per token; rows are padded to whole panels, and not a multiple of a page apart,
/// where the same columns of all rows would share a set of the first-level cache.
pub(crate) fn step_buffer(plan: &mut Plan, name: &str, width: u32) -> BufferId {
    let whole = 4 * round_up(u64::from(width), u64::from(PANEL_ROWS));
    let row_bytes = if whole.is_multiple_of(PAGE) { whole + ALIGN } else { whole };
    add(plan, name, width, row_bytes, Rows::Step)
}

fn add(plan: &mut Plan, name: &str, width: u32, row_bytes: u64, rows: Rows) -> BufferId {
    plan.buffers.push(Buffer { name: name.to_string(), width, row_bytes, rows, offset: 0, live: (0, 0) });
    BufferId(plan.buffers.len() as u32 - 1)
}

/// Whether a linear's input rows need work before its weights are read.
fn needs_preparation(inputs: Inputs, norm: Option<Eps>) -> bool {
    norm.is_some() || inputs != Inputs::F32
}

/// Bytes of a prepared row.
pub(crate) fn prepared_row_bytes(inputs: Inputs, weights: Operand, cols: u32) -> u64 {
    round_up(inputs.row_bytes(weights, cols), ALIGN)
}

/// Buffers for a linear's prepared rows, if it prepares any.
pub(crate) fn prepared_buffers(
    plan: &mut Plan,
    weight: SegmentId,
    inputs: Inputs,
    norm: Option<Eps>,
) -> Option<[BufferId; 2]> {
    let segment = plan.segment(weight);
    let (format, cols) = (segment.format, segment.cols);
    if !needs_preparation(inputs, norm) {
        return None;
    }
    let bytes = prepared_row_bytes(inputs, format, cols);
    let width = cols;
    Some([
        add(plan, "prepared", width, bytes, Rows::Step),
        add(plan, "prepared_one", width, bytes, Rows::Thread),
    ])
}

/// The buffer for attention's records.
pub(crate) fn parts_buffer(plan: &mut Plan) -> BufferId {
    let bytes = round_up(Attention::parts_bytes(&plan.dims), ALIGN);
    add(plan, "parts", plan.dims.heads, bytes, Rows::Thread)
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
        Kernel::Attention(a) => vec![a.q, a.out, a.parts],
        Kernel::SelectAdapter(s) => vec![s.columns],
        Kernel::Swiglu(s) => vec![s.input, s.out],
        Kernel::Linear(l) => {
            let mut all = vec![l.input];
            all.extend(l.prepared.into_iter().flatten());
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
    let end = |rows: Rows| {
        let of_kind = plan.buffers.iter().filter(|b| b.rows == rows);
        of_kind.map(|b| b.offset + b.row_bytes).max().unwrap_or(0)
    };
    (plan.row_bytes, plan.thread_bytes) = (end(Rows::Step), end(Rows::Thread));
}

fn first_fit(buffers: &[Buffer], placed: &[usize], i: usize) -> u64 {
    let b = &buffers[i];
    let mut taken: Vec<(u64, u64)> = placed
        .iter()
        .map(|&p| &buffers[p])
        .filter(|p| p.rows == b.rows && overlap(p.live, b.live))
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
