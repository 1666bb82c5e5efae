//! Token rows of the embedding to the residual stream, and the step's cosines and sines.
//!
//! In: tokens and positions. Out: `x[T, D]` and `rope[T, h]`, padding columns zero. The embedding is
//! read from its panels, so that a tied head needs no second copy.

use inkwell::values::PointerValue;
use qwenc_formats::{LANES, PANEL_ROWS};
use qwenc_plan::Embed;

use crate::builder::{Code, Int, Ptr};
use crate::decoders::Decoder;
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
        let place = (c.at(image, panel).named("panel"), lane);
        Decoder::of(table.format).gather(c, table.cols, place, out);
        angles(k, frequencies, row, k.row_of(rope, e.rope, row));
    });
    c.ret();
}

fn zero<'c>(c: &Code<'c, '_>, out: Ptr<'c>, bytes: u64) {
    c.for_each("byte", c.int(0), c.int(bytes), 64, |at| {
        c.store(c.at(out, at), c.floats(0.0, LANES), 64);
    });
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
