//! bf16 compressed to 12 bits: back to 16.
//!
//! In: a compressed panel (`compiler/formats/src/bf12.rs` says where its bytes are). Out: what a plain panel would
//! have given, bit for bit. Invariant: whatever a damaged panel says, nothing is read beyond it and nothing written
//! beyond the copy or the row: wrong weights give wrong numbers and no more.

use inkwell::IntPredicate;
use qwenc_formats::{Bf12, LANES, PANEL_ROWS};

use crate::builder::{Code, Int, Ptr, Vector};
use crate::cpu::Cpu;
use crate::decoders::{Compressed, FloatDecoder};
use crate::isa::{self, x86, VECTOR_BYTES};
use crate::names::{halves, Named};

/// Decoder of bf12.
pub(crate) struct Compressed16;

impl FloatDecoder for Compressed16 {
    /// Kernels look 16 bytes up at once.
    fn runs_on(&self, cpu: &Cpu) -> bool {
        x86::looks_up(cpu)
    }

    fn inputs_per_read(&self) -> u64 {
        2
    }

    fn columns<'c>(&self, c: &Code<'c, '_>, words: Vector<'c>) -> Vec<Vector<'c>> {
        c.bf16_pair(words).to_vec()
    }

    fn compressed(&self) -> Option<&dyn Compressed> {
        Some(self)
    }

    fn gather<'c>(&self, c: &Code<'c, '_>, cols: u32, (panel, lane): (Ptr<'c>, Int<'c>), out: Ptr<'c>) {
        gather(c, cols, panel, lane, out);
    }
}

impl Compressed for Compressed16 {
    fn loads(&self) -> (u64, u64) {
        (Bf12::UNITS, Bf12::UNIT)
    }

    fn load<'c>(&self, c: &Code<'c, '_>, panel: Ptr<'c>, load: Ptr<'c>) -> [[Vector<'c>; 2]; 2] {
        quad(c, panel, load)
    }

    fn exceptions(&self, cols: u32) -> [u64; 2] {
        [Bf12::exceptions_at(cols), Bf12::room(cols)]
    }
}

/// A panel's dictionary, in every 16 bytes of a vector.
fn dictionary<'c>(c: &Code<'c, '_>, panel: Ptr<'c>) -> Vector<'c> {
    let once = c.load_vec(c.i8().vec_type(16), panel, 64).named("dictionary");
    let repeated: Vec<u32> = (0..VECTOR_BYTES).map(|i| i % 16).collect();
    c.shuffle(once, once, &repeated)
}

/// Address of a quad's unit.
fn unit<'c>(c: &Code<'c, '_>, panel: Ptr<'c>, quad: Int<'c>) -> Ptr<'c> {
    c.at(c.plus(panel, Bf12::UNITS), c.times(quad, Bf12::UNIT))
}

/// The weights of a quad's unit, as two plain reads: of each, two vectors of pairs of bf16.
fn quad<'c>(c: &Code<'c, '_>, panel: Ptr<'c>, unit: Ptr<'c>) -> [[Vector<'c>; 2]; 2] {
    let table = dictionary(c, panel);
    let bytes = c.i8().vec_type(VECTOR_BYTES);
    let [first, second, codes] = [(0, "lower"), (64, "lower"), (128, "codes")]
        .map(|(at, name)| c.load_vec(bytes, c.plus(unit, at), 64).named(name));
    let low = c.and_vec(codes, c.ints(c.i8(), 15, VECTOR_BYTES));
    let high = c.lshr_vec(codes, c.ints(c.i8(), 4, VECTOR_BYTES));
    [(first, low), (second, high)].map(|(lower, codes)| {
        // Kernels run only where the CPU looks bytes up.
        let upper =
            isa::look_up(c, table, codes).expect("a CPU that reads compressed weights").named("upper");
        let rows = [0, 8].map(|half| {
            let lane = |i: u32| 16 * (i / 16) + half + i % 16 / 2;
            let both: Vec<u32> = (0..VECTOR_BYTES).map(|i| lane(i) + VECTOR_BYTES * (i % 2)).collect();
            c.bits(c.shuffle(lower, upper, &both), c.vec_i32(LANES))
        });
        halves("w", rows)
    })
}

/// The exceptions of a panel, in the order of their inputs.
pub(crate) struct Exceptions<'c> {
    first: Ptr<'c>,
    count: Int<'c>,
    /// Inputs of a row.
    cols: Int<'c>,
}

impl<'c> Exceptions<'c> {
    /// Those of a panel of `cols` columns; `at` is their offset, and `room` their greatest number.
    pub fn of(c: &Code<'c, '_>, panel: Ptr<'c>, cols: Int<'c>, [at, room]: [Int<'c>; 2]) -> Exceptions<'c> {
        let count = c.zext(c.load_int(c.i32(), c.plus(panel, Bf12::COUNT)), c.i64());
        let count = c.min(count, room).named("exceptions");
        Exceptions { first: c.at(panel, at), count, cols }
    }

    /// The input of exception `i`; one that no row has after the last.
    pub fn input(&self, c: &Code<'c, '_>, i: Int<'c>) -> Int<'c> {
        let exists = c.cmp(IntPredicate::ULT, i, self.count);
        // The first is read where there is none: it is room for one at least.
        let (input, _) = self.place(c, c.select(exists, i, c.int(0)));
        c.select(exists, input, c.int(u64::from(u32::MAX)))
    }

    /// Input and row, both of the panel.
    fn place(&self, c: &Code<'c, '_>, i: Int<'c>) -> (Int<'c>, Int<'c>) {
        let place = c.zext(c.load_int(c.i32(), c.at(self.first, c.times(i, 8))), c.i64());
        let rows = c.int(u64::from(PANEL_ROWS));
        (c.min(c.div(place, rows), c.sub(self.cols, c.int(1))), c.rem(place, rows))
    }

    /// Puts those from number `i` on, before input `end`, where they stand in a plain panel, of which `copy` begins
    /// with input `start`, an even one. Returns the number of the next.
    pub fn put(
        &self,
        c: &Code<'c, '_>,
        i: Int<'c>,
        (start, end): (Int<'c>, Int<'c>),
        copy: Ptr<'c>,
    ) -> Int<'c> {
        c.count_while(
            "exception",
            i,
            |i| c.cmp(IntPredicate::ULT, self.input(c, i), end),
            |i| {
                let (input, row) = self.place(c, i);
                // One before `start`, which only a damaged panel has, would be far beyond the end.
                let within = c.min(c.sub(input, start), c.sub(c.sub(end, start), c.int(1)));
                let (input, odd) = (within, c.rem(within, c.int(2)));
                let pair = c.add(c.times(c.div(input, c.int(2)), 4 * u64::from(PANEL_ROWS)), c.times(row, 4));
                let bits = c.load_int(c.i16(), c.at(self.first, c.add(c.times(i, 8), c.int(6))));
                c.store(c.at(copy, c.add(pair, c.times(odd, 2))), bits, 2);
            },
        )
    }

    /// `body(input, row, where the element is)` for all.
    fn each(&self, c: &Code<'c, '_>, body: impl FnOnce(Int<'c>, Int<'c>, Ptr<'c>)) {
        c.for_each("exception", c.int(0), self.count, 1, |i| {
            let (input, row) = self.place(c, i);
            body(input, row, c.at(self.first, c.add(c.times(i, 8), c.int(4))));
        });
    }
}

/// One row of a panel, `cols` floats.
fn gather<'c>(c: &Code<'c, '_>, cols: u32, panel: Ptr<'c>, lane: Int<'c>, out: Ptr<'c>) {
    let sixteen = u64::from(LANES);
    let (half, row) = (c.div(lane, c.int(sixteen)), c.rem(lane, c.int(sixteen)));
    let four = c.times(c.div(row, c.int(4)), Bf12::byte(4, 0).0);
    let one = c.times(c.rem(row, c.int(4)), Bf12::byte(1, 0).0);
    let first = c.add(c.times(half, Bf12::byte(LANES, 0).0), c.add(four, one));
    let byte = |p: Ptr<'c>| c.load_int(c.i8(), p);
    let upwards =
        |byte: Int<'c>, bits: u64| c.shl_vec(c.splat(c.zext(byte, c.i32()), 1), c.ints(c.i32(), bits, 1));
    let element = |unit: Ptr<'c>, input: u32, to: Ptr<'c>| {
        let (offset, part) = Bf12::byte(0, input);
        let at = c.add(first, c.int(offset));
        let codes = c.zext(byte(c.at(c.plus(unit, 128), at)), c.i64());
        let code = if part == 0 { c.rem(codes, c.int(16)) } else { c.div(codes, c.int(16)) };
        let (upper, lower) = (byte(c.at(panel, code)), byte(c.at(c.plus(unit, 64 * part), at)));
        c.store(to, c.add_vec(upwards(upper, 24), upwards(lower, 16)), 4);
    };
    let inputs = u64::from(cols);
    c.for_each("quad", c.int(0), c.int(inputs / 4), 1, |i| {
        let to = c.at(out, c.times(i, 16));
        (0..4).for_each(|input| element(unit(c, panel, i), input, c.plus(to, 4 * u64::from(input))));
    });
    let whole = inputs / 4 * 4;
    for input in whole..inputs {
        let unit = unit(c, panel, c.int(inputs / 4));
        element(unit, (input - whole) as u32, c.plus(out, 4 * input));
    }
    let places = Compressed16.exceptions(cols).map(|n| c.int(n));
    Exceptions::of(c, panel, c.int(inputs), places).each(c, |input, row, element| {
        let own = c.cmp(IntPredicate::EQ, row, lane);
        c.when("own", own, || c.store(c.at(out, c.times(input, 4)), c.load_f32(element), 4));
    });
}
