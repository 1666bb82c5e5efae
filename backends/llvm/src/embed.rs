//! Token rows of the embedding to the residual stream, and the step's cosines and sines.
//!
//! In: tokens and positions. Out: `x[T, D]` and `rope[T, h]`, padding columns zero. The embedding is
//! read from its panels, so that a tied head needs no second copy.

use std::mem::offset_of;

use inkwell::values::PointerValue;
use qwenc_abi::Row;
use qwenc_ir::DType;
use qwenc_plan::{Embed, Segment, LANES, PANEL_ROWS};

use crate::builder::{Code, Int, Ptr};
use crate::kernel::Kernel;

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, e: &Embed) {
    let c = &k.code;
    let table = c.plan.segment(e.table).clone();
    let (image, x, rope) = (k.segment(e.table), k.buffer(e.out), k.buffer(e.rope));
    let frequencies = inverse_frequencies(c);
    let (start, end) = k.share(k.n_rows());
    c.for_each(start, end, 1, |row| {
        let token = c.load_int(c.i32(), c.plus(k.step_row(row), offset_of!(Row, token) as u64));
        let token = c.zext(token, c.i64());
        let panel = c.times(c.div(token, c.int(u64::from(PANEL_ROWS))), table.panel_bytes());
        let lane = c.rem(token, c.int(u64::from(PANEL_ROWS)));
        let out = k.row_of(x, e.out, row);
        zero(c, out, c.plan.buffer(e.out).row_bytes);
        gather(c, &table, c.at(image, panel), lane, out);
        angles(k, frequencies, row, k.row_of(rope, e.rope, row));
    });
    c.ret();
}

fn zero<'c>(c: &Code<'c, '_>, out: Ptr<'c>, bytes: u64) {
    c.for_each(c.int(0), c.int(bytes), 64, |at| {
        c.store(c.at(out, at), c.floats(0.0, LANES), 64);
    });
}

/// One row of a panel, `cols` floats.
fn gather<'c>(c: &Code<'c, '_>, s: &Segment, panel: Ptr<'c>, lane: Int<'c>, out: Ptr<'c>) {
    let cols = u64::from(s.cols);
    let lane_bytes = c.times(lane, 4);
    let word = |i: Int<'c>| c.at(panel, c.add(lane_bytes, c.times(i, 4 * u64::from(PANEL_ROWS))));
    match s.dtype {
        DType::F32 => c.for_each(c.int(0), c.int(cols), 1, |i| {
            c.store(c.at(out, c.times(i, 4)), c.load_f32(word(i)), 4);
        }),
        DType::Bf16 | DType::F16 => {
            c.for_each(c.int(0), c.int(cols.div_ceil(2)), 1, |i| {
                let pair = c.load_vec(c.i16().vec_type(2), word(i), 4);
                let wide = c.shl_vec(c.zext_vec(pair, c.vec_i32(2)), c.ints(c.i32(), 16, 2));
                c.store(c.at(out, c.times(i, 8)), c.bits(wide, c.vec_f32(2)), 4);
            });
        }
        DType::I8 { group } => gather_i8(c, s, group, panel, lane_bytes, out),
    }
}

fn gather_i8<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    group: u32,
    panel: Ptr<'c>,
    lane_bytes: Int<'c>,
    out: Ptr<'c>,
) {
    let (cols, group) = (u64::from(s.cols), u64::from(group));
    let one = |g: Int<'c>, width: u64| {
        let base = c.at(panel, c.add(c.times(g, s.group_bytes(group)), lane_bytes));
        let scale = c.load_f32(base);
        let quads = c.plus(base, 4 * u64::from(PANEL_ROWS));
        let columns = c.at(out, c.times(g, 4 * group));
        let piece = |quad: Int<'c>, lanes: u32| {
            let at = c.at(quads, c.times(quad, 4 * u64::from(PANEL_ROWS)));
            let biased = c.zext_vec(c.load_vec(c.i8().vec_type(lanes), at, 1), c.vec_i32(lanes));
            let q = c.add_vec(biased, c.ints(c.i32(), (-128i64) as u64, lanes));
            let values = c.vmul(c.to_float(q, c.vec_f32(lanes)), c.splat(scale, lanes));
            c.store(c.at(columns, c.times(quad, 16)), values, 4);
        };
        c.for_each(c.int(0), c.int(width / 4), 1, |quad| piece(quad, 4));
        if !width.is_multiple_of(4) {
            piece(c.int(width / 4), (width % 4) as u32);
        }
    };
    c.for_each(c.int(0), c.int(cols / group), 1, |g| one(g, group));
    if cols % group > 0 {
        one(c.int(cols / group), cols % group);
    }
}

fn inverse_frequencies<'c>(c: &Code<'c, '_>) -> PointerValue<'c> {
    let table = c.plan.rope.inv_freq(c.plan.dims.head_dim);
    let values: Vec<_> = table.iter().map(|&f| c.float(f)).collect();
    let constant = c.f32().const_array(&values);
    let global = c.module.add_global(constant.get_type(), None, "inv_freq");
    global.set_initializer(&constant);
    global.set_constant(true);
    global.set_alignment(64);
    global.set_linkage(inkwell::module::Linkage::Internal);
    global.as_pointer_value()
}

/// `cos` then `sin` of `f32(position) · inv_freq`, times the attention factor.
fn angles<'c>(k: &Kernel<'c, '_>, frequencies: Ptr<'c>, row: Int<'c>, out: Ptr<'c>) {
    let c = &k.code;
    let half = c.plan.dims.head_dim / 2;
    let factor = c.plan.rope.attention_factor();
    let position = c.int_to_float(k.position(row));
    let piece = |at: Int<'c>, lanes: u32| {
        let f = c.load_vec(c.vec_f32(lanes), c.at(frequencies, at), 4);
        let (sin, cos) = c.sin_cos(c.vmul(c.splat(position, lanes), f));
        let factor = c.floats(factor, lanes);
        c.store(c.at(out, at), c.vmul(cos, factor), 4);
        c.store(c.at(out, c.add(at, c.int(4 * u64::from(half)))), c.vmul(sin, factor), 4);
    };
    let whole = half / LANES * LANES;
    c.for_each(c.int(0), c.int(4 * u64::from(whole)), 64, |at| piece(at, LANES));
    if half > whole {
        piece(c.int(4 * u64::from(whole)), half - whole);
    }
}
