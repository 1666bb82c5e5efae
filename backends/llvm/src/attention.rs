//! Streaming attention: one pass over the cached positions with a running maximum and sum.
//!
//! In: rotated q and the cache. Out: `[T, H·h]`, padding columns zero. Which thread takes which heads, rows and
//! positions; `attention_unit.rs` has what is computed. Invariant: positions are taken in parts of [`ATTENTION_PART`], at
//! multiples of their length, and joined in order; so a token's result does not depend on what else is in the step,
//! nor on which threads take which parts.

use inkwell::IntPredicate;
use qwenc_abi::{KvType, Row};
use qwenc_formats::LANES;
use qwenc_plan::{round_up, Attention};

use crate::attention_unit::{first_visible, together, Heads, Shared, Unit};
use crate::builder::{Any, Int};
use crate::kernel::Kernel;
use crate::names::{field, Named};
use crate::schedule::{ATTENTION_PART, QUERIES};
use crate::softmax::Part;

/// Shares of the work for each thread, at least, so that threads end together.
const SHARES: u64 = 8;

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, a: &Attention) {
    let c = &k.code;
    for ty in KvType::ALL {
        let s = Shared { a, ty, queries: k.buffer(a.q), results: k.buffer(a.out) };
        c.when(&format!("kv_{}", ty.name()), k.kv_is(ty), || {
            c.choose("split", splits(k), || by_parts(k, &s), || by_heads(k, &s));
        });
    }
    c.ret();
}

/// Whether threads share out the parts of a token's positions: it is alone, has several, and its heads
/// leave threads without work.
fn splits<'c>(k: &Kernel<'c, '_>) -> Int<'c> {
    let c = &k.code;
    let alone = c.cmp(IntPredicate::EQ, k.n_rows(), c.int(1));
    let long = c.cmp(IntPredicate::UGE, k.position(c.int(0)), c.int(ATTENTION_PART));
    let left = c.rem(c.int(u64::from(c.plan.dims.kv_heads)), k.threads());
    c.and(c.and(alone, long), c.cmp(IntPredicate::NE, left, c.int(0)))
}

/// A thread takes a kv head of some rows, and all their positions: part after part, and each for all of the rows, so
/// that it comes into the caches once.
fn by_heads<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let (heads_at_once, rows_at_once) = together(c.cpu.registers(), group);
    let rows = k.n_rows();
    let rows_taken = rows_taken(k, (heads_at_once, rows_at_once));
    let shares = c.div(c.sub(c.add(rows, rows_taken), c.int(1)), rows_taken);
    let kept = k.thread_scratch("parts", k.thread);
    k.take("unit", c.times(shares, kv_heads), c.int(1), |unit, _| {
        let kv_head = c.div(unit, shares).named("kv_head");
        let first = c.mul(c.rem(unit, shares), rows_taken).named("rows.start");
        let end = c.min(c.add(first, rows_taken), rows).named("rows.end");
        for head in (0..group).step_by(heads_at_once as usize) {
            let heads = Heads::of(k, kv_head, head..group.min(head + heads_at_once));
            let total = |row: Int<'c>, i: usize| {
                let before = c.add(c.times(c.sub(row, first), heads.count()), c.int(i as u64));
                Part(c.at(kept, c.times(before, Part::bytes(c))).named("total"))
            };
            let each = |then: &dyn Fn(Int<'c>, usize)| {
                c.for_each("row", first, end, 1, |row| (0..heads.numbers.len()).for_each(|i| then(row, i)));
            };
            each(&|row, i| total(row, i).clear(c));
            let (from, to) = parts_seen(k, (first, end));
            c.for_each("part", from, to, 1, |part| {
                let by_rows = |rows: &[Int<'c>]| {
                    let unit = Unit::new(k, s, rows, &heads, |_| Part::on_stack(c, "part"));
                    c.when("seen", unit.sees(c, part), || {
                        unit.one_part(c, part);
                        for (n, query) in unit.queries.iter().enumerate() {
                            let (row, i) = (rows[n / heads.numbers.len()], n % heads.numbers.len());
                            total(row, i).join(c, query.part);
                        }
                    });
                };
                c.for_each("first_row", first, end, rows_at_once, |row| {
                    let stop = c.min(c.add(row, c.int(rows_at_once)), end).named("first_row.end");
                    let one_by_one = || c.for_each("row", row, stop, 1, |row| by_rows(&[row]));
                    if rows_at_once == 1 {
                        return one_by_one();
                    }
                    let all: Vec<Int> = (0..rows_at_once).map(|i| c.add(row, c.int(i))).collect();
                    let together = one_sequence(k, row, stop, rows_at_once);
                    c.choose("one_sequence", together, || by_rows(&all), one_by_one);
                });
            });
            each(&|row, i| total(row, i).finish(c, heads.result(k, s, row, i)));
        }
        c.for_each("row", first, end, 1, |row| zero_padding(k, s, row));
    });
}

/// Rows that a thread takes: many, so that a part serves many queries, but enough shares for all threads.
fn rows_taken<'c>(k: &Kernel<'c, '_>, (heads_at_once, rows_at_once): (u64, u64)) -> Int<'c> {
    let c = &k.code;
    let most = QUERIES / (heads_at_once * rows_at_once);
    let blocks = c.div(c.add(k.n_rows(), c.int(rows_at_once - 1)), c.int(rows_at_once));
    let units = c.times(blocks, u64::from(c.plan.dims.kv_heads));
    let share = c.div(units, c.times(k.threads(), SHARES));
    c.times(c.max(c.min(share, c.int(most)), c.int(1)), rows_at_once).named("rows_taken")
}

/// The parts that any of the rows `first .. end` sees, from the first to behind the last.
fn parts_seen<'c>(k: &Kernel<'c, '_>, (first, end): (Int<'c>, Int<'c>)) -> (Int<'c>, Int<'c>) {
    let c = &k.code;
    let none = [c.int(u64::from(u32::MAX)).into(), c.int(0).into()];
    let seen = c.fold("row", first, end, 1, &none, |row, carried| {
        let [lowest, highest] =
            [(0, "lowest"), (1, "highest")].map(|(i, name)| carried[i].named(name).into_int_value());
        let position = k.position(row);
        let lowest = c.min(lowest, first_visible(k, position));
        vec![lowest.into(), c.max(highest, position).into()]
    });
    let of = |position: Any<'c>| c.div(position.into_int_value(), c.int(ATTENTION_PART));
    (of(seen[0]).named("parts.start"), c.add(of(seen[1]), c.int(1)).named("parts.end"))
}

/// A thread takes a part of a kv head's positions; when all are done, a head's parts are joined.
fn by_parts<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let (heads_at_once, _) = together(c.cpu.registers(), group);
    let row = c.int(0);
    let (first, end) = parts_seen(k, (row, c.int(1)));
    let most = u64::from(d.context).div_ceil(ATTENTION_PART);
    let kept = k.thread_scratch("parts", c.int(0));
    let place = |head: Int<'c>, part: Int<'c>| {
        Part(c.at(kept, c.times(c.add(c.times(head, most), part), Part::bytes(c))))
    };
    k.take("unit", c.times(c.sub(end, first), kv_heads), c.int(1), |unit, _| {
        let (part, kv_head) = (c.div(unit, c.int(kv_heads)), c.rem(unit, c.int(kv_heads)).named("kv_head"));
        let part = c.add(first, part).named("part");
        for head in (0..group).step_by(heads_at_once as usize) {
            let heads = Heads::of(k, kv_head, head..group.min(head + heads_at_once));
            Unit::new(k, s, &[row], &heads, |head| place(head, part)).one_part(c, part);
        }
    });
    k.barrier();
    let (start, stop) = k.share(c.int(u64::from(d.heads)));
    let total = Part::on_stack(c, "total");
    c.for_each("head", start, stop, 1, |head| {
        total.clear(c);
        c.for_each("part", first, end, 1, |part| total.join(c, place(head, part)));
        let column = c.times(head, 4 * u64::from(d.head_dim));
        total.finish(c, c.at(k.row_of(s.results, s.a.out, row), column));
    });
    zero_padding(k, s, row);
}

/// Whether `first .. end` are `count` rows of one sequence.
fn one_sequence<'c>(k: &Kernel<'c, '_>, first: Int<'c>, end: Int<'c>, count: u64) -> Int<'c> {
    let c = &k.code;
    let full = c.cmp(IntPredicate::EQ, c.sub(end, first), c.int(count));
    let (name, offset) = field!(Row, kv);
    let kv = |row: Int<'c>| c.load_int(c.i64(), c.plus(k.step_row(row), offset as u64)).named(name);
    // Rows of one sequence stand together, so the ends tell; `end` is at least one past `first`.
    let same = c.cmp(IntPredicate::EQ, kv(first), kv(c.sub(end, c.int(1))));
    c.and(full, same)
}

fn zero_padding<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>, row: Int<'c>) {
    let c = &k.code;
    let (to, width) = (k.row_of(s.results, s.a.out, row), u64::from(c.plan.dims.q_width()));
    for column in width..round_up(width, u64::from(LANES)) {
        c.store(c.plus(to, 4 * column), c.float(0.0), 4);
    }
}
