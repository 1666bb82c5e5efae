//! The choice of an adapter.
//!
//! In: `[T, m·adapters·rank]`, what the adapters make of each token. Out: the same with zeros in place of what is
//! not of the token's adapter. Rows of the step are shared out.

use inkwell::IntPredicate;
use qwenc_plan::SelectAdapter;

use crate::kernel::Kernel;
use crate::names::Named;

pub(crate) fn emit(k: &Kernel, s: &SelectAdapter) {
    let c = &k.code;
    let (rank, adapters) = (u64::from(s.rank), u64::from(s.adapters));
    let blocks = u64::from(c.plan.buffer(s.columns).width) / rank;
    let columns = k.buffer(s.columns);
    let (start, end) = k.share(k.n_rows());
    c.for_each("row", start, end, 1, |row| {
        let line = k.row_of(columns, s.columns, row);
        let adapter = k.adapter(row);
        c.for_each("block", c.int(0), c.int(blocks), 1, |block| {
            // The row counts adapters from 1, so that 0 is none.
            let of = c.add(c.rem(block, c.int(adapters)), c.int(1)).named("block.adapter");
            c.when("other", c.cmp(IntPredicate::NE, of, adapter), || {
                let first = c.at(line, c.times(block, 4 * rank));
                c.for_each("column", c.int(0), c.int(rank), 1, |i| {
                    c.store(c.at(first, c.times(i, 4)), c.float(0.0), 4);
                });
            });
        });
    });
    c.ret();
}
