//! Token rows of the embedding to the residual stream, and the step's cosines and sines.
//!
//! In: tokens and positions. Out: `x[T, D]` and `rope[T, h]`, padding columns zero. The embedding is
//! read from its panels, so that a tied head needs no second copy.

use inkwell::values::PointerValue;
use qwenc_formats::{Operand, ScaleType, LANES, PANEL_ROWS};
use qwenc_plan::{Embed, Segment};

use crate::bf12;
use crate::builder::{Code, Int, Ptr};
use crate::kernel::Kernel;
use crate::names::Named;

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, e: &Embed) {
    let c = &k.code;
    let table = c.plan.segment(e.table).clone();
    let (image, x, rope) = (k.segment(e.table), k.buffer(e.out), k.buffer(e.rope));
    let frequencies = inverse_frequencies(c);
    let (start, end) = k.share(k.n_rows());
    c.for_each("row", start, end, 1, |row| {
        let token = k.token(row);
        let panel = c.times(c.div(token, c.int(u64::from(PANEL_ROWS))), table.panel_bytes());
        let lane = c.rem(token, c.int(u64::from(PANEL_ROWS))).named("lane");
        let out = k.row_of(x, e.out, row);
        zero(c, out, c.plan.buffer(e.out).row_bytes);
        gather(c, &table, c.at(image, panel).named("panel"), lane, out);
        angles(k, frequencies, row, k.row_of(rope, e.rope, row));
    });
    c.ret();
}

fn zero<'c>(c: &Code<'c, '_>, out: Ptr<'c>, bytes: u64) {
    c.for_each("byte", c.int(0), c.int(bytes), 64, |at| {
        c.store(c.at(out, at), c.floats(0.0, LANES), 64);
    });
}

/// One row of a panel, `cols` floats.
fn gather<'c>(c: &Code<'c, '_>, s: &Segment, panel: Ptr<'c>, lane: Int<'c>, out: Ptr<'c>) {
    let cols = u64::from(s.cols);
    let word = |i: Int<'c>| c.at(panel, c.add(c.times(lane, 4), c.times(i, 4 * u64::from(PANEL_ROWS))));
    match s.format {
        Operand::F32 => c.for_each("input", c.int(0), c.int(cols), 1, |i| {
            c.store(c.at(out, c.times(i, 4)), c.load_f32(word(i)), 4);
        }),
        Operand::Bf12 => bf12::gather(c, s, panel, lane, out),
        Operand::Bf16 => {
            c.for_each("pair", c.int(0), c.int(cols.div_ceil(2)), 1, |i| {
                let pair = c.load_vec(c.i16().vec_type(2), word(i), 4);
                let wide = c.shl_vec(c.zext_vec(pair, c.vec_i32(2)), c.ints(c.i32(), 16, 2));
                c.store(c.at(out, c.times(i, 8)), c.bits(wide, c.vec_f32(2)), 4);
            });
        }
        Operand::I8 { .. } => gather_int(c, s, 4, panel, lane, out),
        Operand::I4 { .. } => gather_int(c, s, 8, panel, lane, out),
    }
}

/// `unit` inputs share four bytes of a row: one a byte, or two, the later in the high half.
fn gather_int<'c>(c: &Code<'c, '_>, s: &Segment, unit: u64, panel: Ptr<'c>, lane: Int<'c>, out: Ptr<'c>) {
    // Quantised segments have groups.
    let (group, scales) = s.format.quantised().expect("a quantised type");
    let (cols, group) = (u64::from(s.cols), u64::from(group));
    let one = |g: Int<'c>, width: u64| {
        let base = c.at(panel, c.times(g, s.format.group_bytes(group)));
        let at = c.at(base, c.times(lane, scales.bytes()));
        let scale = match scales {
            ScaleType::F32 => c.load_f32(at),
            ScaleType::F16 => c.lane(c.load_f16(at, 1), 0).into_float_value(),
        };
        let scale = scale.named("scale");
        let words = c.at(c.plus(base, u64::from(PANEL_ROWS) * scales.bytes()), c.times(lane, 4));
        let columns = c.at(out, c.times(g, 4 * group));
        let piece = |i: Int<'c>, lanes: u64| {
            let word = c.load_vec(c.i8().vec_type(4), c.at(words, c.times(i, 4 * u64::from(PANEL_ROWS))), 4);
            let wide = c.zext_vec(word, c.vec_i32(4));
            let number = |n: i64| c.ints(c.i32(), n as u64, 4);
            let quads = match unit {
                4 => vec![c.sub_vec(wide, number(128))],
                _ => {
                    let halves = [c.and_vec(wide, number(15)), c.lshr_vec(wide, number(4))];
                    halves.map(|half| c.sub_vec(half, number(8))).to_vec()
                }
            };
            for (n, quad) in (0..).zip(quads) {
                let some = lanes.saturating_sub(4 * n).min(4) as u32;
                if some > 0 {
                    let kept: Vec<u32> = (0..some).collect();
                    let q = c.shuffle(quad, quad, &kept);
                    let values = c.vmul(c.to_float(q, c.vec_f32(some)), c.splat(scale, some));
                    let to = c.add(c.times(i, 4 * unit), c.int(16 * n));
                    c.store(c.at(columns, to), values, 4);
                }
            }
        };
        c.for_each("unit", c.int(0), c.int(width / unit), 1, |i| piece(i, unit));
        if !width.is_multiple_of(unit) {
            piece(c.int(width / unit), width % unit);
        }
    };
    c.for_each("group", c.int(0), c.int(cols / group), 1, |g| one(g, group));
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
        let (sin, cos) = c.sin_cos(c.vmul(c.splat(position, lanes), f).named("angle"));
        let factor = c.floats(factor, lanes);
        c.store(c.at(out, at), c.vmul(cos, factor).named("cos"), 4);
        c.store(c.at(out, c.add(at, c.int(4 * u64::from(half)))), c.vmul(sin, factor).named("sin"), 4);
    };
    let whole = half / LANES * LANES;
    c.for_each("byte", c.int(0), c.int(4 * u64::from(whole)), 64, |at| piece(at, LANES));
    if half > whole {
        piece(c.int(4 * u64::from(whole)), half - whole);
    }
}
