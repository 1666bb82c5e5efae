//! SwiGLU by itself, where gate and up are sums that no single linear makes.
//!
//! In: `[T, 2F]`, gate and then up. Out: `silu(gate) · up`, `[T, F]`. Pieces of all rows are shared out, so that one
//! token keeps several threads busy.

use qwenc_formats::LANES;
use qwenc_plan::Swiglu;

use crate::kernel::Kernel;
use crate::names::Named;

pub(crate) fn emit(k: &Kernel, s: &Swiglu) {
    let c = &k.code;
    let width = c.plan.buffer(s.out).width;
    let (input, out) = (k.buffer(s.input), k.buffer(s.out));
    // Rows are padded to whole vectors, so the last piece of `up` may begin before the padding and end in it.
    let pieces = u64::from(width.div_ceil(LANES));
    let (start, end) = k.share(c.times(k.n_rows(), pieces));
    c.for_each("unit", start, end, 1, |unit| {
        let (row, piece) =
            (c.div(unit, c.int(pieces)).named("row"), c.rem(unit, c.int(pieces)).named("piece"));
        let at = c.times(piece, 4 * u64::from(LANES));
        let gate = c.at(k.row_of(input, s.input, row), at);
        let up = c.plus(gate, 4 * u64::from(width));
        let [gate, up] =
            [(gate, "gate"), (up, "up")].map(|(at, name)| c.load_vec(c.vec_f32(LANES), at, 4).named(name));
        c.store(c.at(k.row_of(out, s.out, row), at), c.vmul(c.silu(gate), up), 4);
    });
    c.ret();
}
