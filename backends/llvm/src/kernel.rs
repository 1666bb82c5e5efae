//! A kernel's view of the step: its arguments, its memory, its share of the work.
//!
//! In: `StepArgs`, layer and thread. Out: addresses of rows, segments and caches; loops over shares.
//! Invariant: field offsets come from the ABI's structs by `offset_of!`.

use std::mem::{offset_of, size_of};

use inkwell::{AddressSpace, IntPredicate};
use qwenc_abi::{KvType, Row, StepArgs};
use qwenc_plan::{BufferId, Rows, SegmentId};

use crate::builder::{Code, Int, Ptr};

/// A kernel under construction: code plus the three arguments.
pub(crate) struct Kernel<'c, 'a> {
    pub code: Code<'c, 'a>,
    pub args: Ptr<'c>,
    pub layer: Int<'c>,
    pub thread: Int<'c>,
    /// The kernel's number in the plan.
    number: u32,
}

impl<'c, 'a> Kernel<'c, 'a> {
    /// The kernel's arguments; the builder stands in its entry block.
    pub fn new(code: Code<'c, 'a>, number: u32) -> Kernel<'c, 'a> {
        let param = |i: u32| {
            // Every kernel is declared with these three parameters.
            code.function.get_nth_param(i).expect("kernels take args, layer, thread")
        };
        let (args, layer, thread) =
            (param(0).into_pointer_value(), param(1).into_int_value(), param(2).into_int_value());
        Kernel { code, args, layer, thread, number }
    }

    /// The step itself, which takes `args` and `thread` and is of no layer.
    pub fn of_step(code: Code<'c, 'a>) -> Kernel<'c, 'a> {
        // The step is declared with these two parameters.
        let param = |i: u32| code.function.get_nth_param(i).expect("the step takes args and thread");
        let (args, thread) = (param(0).into_pointer_value(), param(1).into_int_value());
        let layer = code.int(0);
        Kernel { code, args, layer, thread, number: 0 }
    }

    /// An 8-byte number of `StepArgs`.
    pub fn field(&self, offset: usize) -> Int<'c> {
        self.code.load_int(self.code.i64(), self.code.plus(self.args, offset as u64))
    }

    /// A pointer of `StepArgs`.
    pub fn pointer(&self, offset: usize) -> Ptr<'c> {
        self.code.load_ptr(self.code.plus(self.args, offset as u64))
    }

    /// Tokens of the step.
    pub fn n_rows(&self) -> Int<'c> {
        self.field(offset_of!(StepArgs, n_rows))
    }

    /// Threads that run the step.
    pub fn threads(&self) -> Int<'c> {
        self.field(offset_of!(StepArgs, threads))
    }

    /// This thread's part of `0..total`, in order and as even as it goes.
    pub fn share(&self, total: Int<'c>) -> (Int<'c>, Int<'c>) {
        self.share_of(self.thread, total)
    }

    fn share_of(&self, thread: Int<'c>, total: Int<'c>) -> (Int<'c>, Int<'c>) {
        let threads = self.threads();
        let at = |i: Int<'c>| self.code.div(self.code.mul(total, i), threads);
        (at(thread), at(self.code.add(thread, self.code.int(1))))
    }

    /// `0..total` in pieces of `piece`, each given as start and end. A thread takes its own share front to back, so that it reads
    /// one stream, then helps the others with theirs, so that a thread whose core is busy elsewhere
    /// holds nobody up.
    pub fn take(&self, total: Int<'c>, piece: Int<'c>, body: impl FnOnce(Int<'c>, Int<'c>)) {
        let c = &self.code;
        let threads = self.threads();
        c.for_each(c.int(0), threads, 1, |i| {
            let owner = c.rem(c.add(self.thread, i), threads);
            let (start, end) = self.share_of(owner, total);
            let counter = self.counter(owner, self.number);
            c.repeat(
                || {
                    let at = c.add(start, c.fetch_add(counter, piece));
                    (at, c.cmp(IntPredicate::ULT, at, end))
                },
                |at| body(at, c.min(c.add(at, piece), end)),
            );
        });
    }

    /// Where a thread's share of kernel `number` is counted.
    fn counter(&self, thread: Int<'c>, number: u32) -> Ptr<'c> {
        let c = &self.code;
        let arena = self.pointer(offset_of!(StepArgs, arena));
        c.at(c.plus(arena, 64 * u64::from(number)), c.times(thread, c.plan.counter_bytes()))
    }

    /// Makes kernel `number` ready for the next time. All threads have left it, and meet once more
    /// before its next run, since a block has at least two kernels.
    pub fn reset(&self, number: u32) {
        self.code.store(self.counter(self.thread, number), self.code.int(0), 8);
    }

    /// Meets the other threads.
    pub fn barrier(&self) {
        let cx = self.code.cx;
        let pointer = cx.ptr_type(AddressSpace::default());
        let ty = cx.void_type().fn_type(&[pointer.into()], false);
        let barrier = self.pointer(offset_of!(StepArgs, barrier));
        let data = self.pointer(offset_of!(StepArgs, barrier_data));
        // A pointer and a matching type: always well-formed.
        self.code.b.build_indirect_call(ty, barrier, &[data.into()], "").expect("a well-typed call");
    }

    /// Shows the step's observer, if it has one, what kernel `number` left; nobody goes on before it has looked.
    pub fn observe(&self, number: u32, layer: Int<'c>) {
        let c = &self.code;
        let zero = c.int(0);
        let address = self.field(offset_of!(StepArgs, observer));
        c.when(c.cmp(IntPredicate::NE, address, zero), || {
            c.when(c.cmp(IntPredicate::EQ, self.thread, zero), || {
                let (pointer, i64) = (c.cx.ptr_type(AddressSpace::default()), c.i64());
                let ty = c.cx.void_type().fn_type(&[pointer.into(), i64.into(), i64.into()], false);
                let observer = self.pointer(offset_of!(StepArgs, observer));
                let data = self.pointer(offset_of!(StepArgs, observer_data));
                let operands = [data.into(), c.int(u64::from(number)).into(), layer.into()];
                // A pointer and a matching type: always well-formed.
                c.b.build_indirect_call(ty, observer, &operands, "").expect("a well-typed call");
            });
            self.barrier();
        });
    }

    /// Start of a buffer: of its first row, or of this thread's row.
    pub fn buffer(&self, id: BufferId) -> Ptr<'c> {
        self.buffer_of(id, self.thread)
    }

    /// The same, as it is for another thread.
    pub fn buffer_of(&self, id: BufferId, thread: Int<'c>) -> Ptr<'c> {
        let c = &self.code;
        let buffer = c.plan.buffer(id);
        let max_rows = self.field(offset_of!(StepArgs, max_rows));
        let threads = self.threads();
        let counters = c.times(threads, c.plan.counter_bytes());
        let offset = match buffer.rows {
            Rows::Step => c.add(counters, c.times(max_rows, buffer.offset)),
            Rows::Thread => {
                let rows = c.add(counters, c.times(max_rows, c.plan.row_bytes));
                c.add(c.add(rows, c.int(buffer.offset)), c.times(thread, c.plan.thread_bytes))
            }
        };
        c.at(self.pointer(offset_of!(StepArgs, arena)), offset)
    }

    /// Row `r` of a buffer that starts at `base`.
    pub fn row_of(&self, base: Ptr<'c>, id: BufferId, r: Int<'c>) -> Ptr<'c> {
        self.code.at(base, self.code.times(r, self.code.plan.buffer(id).row_bytes))
    }

    /// Start of a segment; this layer's, if it is per-layer.
    pub fn segment(&self, id: SegmentId) -> Ptr<'c> {
        let c = &self.code;
        let segment = c.plan.segment(id);
        let image = self.pointer(offset_of!(StepArgs, weights));
        match segment.per_layer {
            false => c.plus(image, segment.offset),
            true => {
                let record = c.times(self.layer, c.plan.layer_bytes);
                c.at(c.plus(image, c.plan.layers_offset + segment.offset), record)
            }
        }
    }

    /// `StepArgs::rows[r]`.
    pub fn step_row(&self, r: Int<'c>) -> Ptr<'c> {
        let rows = self.pointer(offset_of!(StepArgs, rows));
        self.code.at(rows, self.code.times(r, size_of::<Row>() as u64))
    }

    /// Position of the token in row `r`, as i64.
    pub fn position(&self, r: Int<'c>) -> Int<'c> {
        let c = &self.code;
        let at = c.plus(self.step_row(r), offset_of!(Row, position) as u64);
        c.zext(c.load_int(c.i32(), at), c.i64())
    }

    /// The cache of the sequence of row `r`.
    pub fn kv(&self, r: Int<'c>) -> Ptr<'c> {
        self.code.load_ptr(self.code.plus(self.step_row(r), offset_of!(Row, kv) as u64))
    }

    /// The adapter of row `r`, as i64: from 1, 0 for none.
    pub fn adapter(&self, r: Int<'c>) -> Int<'c> {
        let c = &self.code;
        let at = c.plus(self.step_row(r), offset_of!(Row, adapter) as u64);
        c.zext(c.load_int(c.i32(), at), c.i64())
    }

    /// Positions of every cache.
    pub fn kv_capacity(&self) -> Int<'c> {
        self.field(offset_of!(StepArgs, kv_capacity))
    }

    /// Whether the caches are of this type.
    pub fn kv_is(&self, ty: KvType) -> Int<'c> {
        let found = self.field(offset_of!(StepArgs, kv_type));
        self.code.cmp(IntPredicate::EQ, found, self.code.int(ty as u64))
    }
}
