//! A kernel's view of the step: its arguments, its memory, its share of the work.
//!
//! In: `StepArgs`, layer and thread. Out: addresses of rows, segments and caches; loops over shares.
//! Invariant: field offsets come from the ABI's structs by `offset_of!`.

use std::mem::size_of;

use inkwell::module::Linkage;
use inkwell::{AddressSpace, IntPredicate};
use qwenc_abi::{KvType, Row, StepArgs};
use qwenc_plan::{BufferId, Home, SegmentId};

use crate::builder::{Code, Int, Ptr};
use crate::names::{self, field, Field, Named};
use crate::schedule;

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
        let param = |i: u32, name| {
            // Every kernel is declared with these three parameters.
            code.function.get_nth_param(i).expect("kernels take args, layer, thread").named(name)
        };
        let args = param(0, "args").into_pointer_value();
        let (layer, thread) = (param(1, "layer").into_int_value(), param(2, "thread").into_int_value());
        Kernel { code, args, layer, thread, number }
    }

    /// The step itself, which takes `args` and `thread` and is of no layer.
    pub fn of_step(code: Code<'c, 'a>) -> Kernel<'c, 'a> {
        let param = |i: u32, name| {
            // The step is declared with these two parameters.
            code.function.get_nth_param(i).expect("the step takes args and thread").named(name)
        };
        let (args, thread) = (param(0, "args").into_pointer_value(), param(1, "thread").into_int_value());
        let layer = code.int(0);
        Kernel { code, args, layer, thread, number: 0 }
    }

    /// An 8-byte number of `StepArgs`.
    pub fn field(&self, (name, offset): Field) -> Int<'c> {
        self.code.load_int(self.code.i64(), self.code.plus(self.args, offset as u64)).named(name)
    }

    /// A pointer of `StepArgs`.
    pub fn pointer(&self, (name, offset): Field) -> Ptr<'c> {
        self.code.load_ptr(self.code.plus(self.args, offset as u64)).named(name)
    }

    /// Tokens of the step.
    pub fn n_rows(&self) -> Int<'c> {
        self.field(field!(StepArgs, n_rows))
    }

    /// Threads that run the step.
    pub fn threads(&self) -> Int<'c> {
        self.field(field!(StepArgs, threads))
    }

    /// This thread's part of `0..total`, in order and as even as it goes.
    pub fn share(&self, total: Int<'c>) -> (Int<'c>, Int<'c>) {
        self.share_of(self.thread, total)
    }

    fn share_of(&self, thread: Int<'c>, total: Int<'c>) -> (Int<'c>, Int<'c>) {
        let threads = self.threads();
        let at = |i: Int<'c>, name| self.code.div(self.code.mul(total, i), threads).named(name);
        (at(thread, "share.start"), at(self.code.add(thread, self.code.int(1)), "share.end"))
    }

    /// `0..total` in pieces of `piece`, each given as start and end. A thread takes its own share front to back, so that it reads
    /// one stream, then helps the others with theirs, so that a thread whose core is busy elsewhere
    /// delays no other thread. `name` is that of a piece.
    pub fn take(&self, name: &str, total: Int<'c>, piece: Int<'c>, body: impl FnOnce(Int<'c>, Int<'c>)) {
        let c = &self.code;
        let threads = self.threads();
        c.for_each("turn", c.int(0), threads, 1, |turn| {
            let owner = c.rem(c.add(self.thread, turn), threads).named("owner");
            let (start, end) = self.share_of(owner, total);
            let counter = self.counter(owner, self.number);
            c.repeat(
                name,
                || {
                    let at = c.add(start, c.fetch_add(counter, piece));
                    (at, c.cmp(IntPredicate::ULT, at, end))
                },
                |at| body(at, c.min(c.add(at, piece), end).named(&format!("{name}.end"))),
            );
        });
    }

    /// Address of the counter of a thread's share of kernel `number`.
    fn counter(&self, thread: Int<'c>, number: u32) -> Ptr<'c> {
        let c = &self.code;
        let arena = self.pointer(field!(StepArgs, arena));
        let of_kernel = c.plus(arena, 64 * u64::from(number));
        c.at(of_kernel, c.times(thread, schedule::counter_bytes(c.plan))).named("counter")
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
        let barrier = self.pointer(field!(StepArgs, barrier));
        let data = self.pointer(field!(StepArgs, barrier_data));
        // A pointer and a matching type: always well-formed.
        self.code.b.build_indirect_call(ty, barrier, &[data.into()], "").expect("a well-typed call");
    }

    /// Shows the step's observer, if it has one, what kernel `number` left; no thread goes on before it has looked.
    pub fn observe(&self, number: u32, layer: Int<'c>) {
        let c = &self.code;
        let zero = c.int(0);
        let address = self.field(field!(StepArgs, observer));
        c.when("observed", c.cmp(IntPredicate::NE, address, zero), || {
            c.when("first_thread", c.cmp(IntPredicate::EQ, self.thread, zero), || {
                let (pointer, i64) = (c.cx.ptr_type(AddressSpace::default()), c.i64());
                let ty = c.cx.void_type().fn_type(&[pointer.into(), i64.into(), i64.into()], false);
                let observer = self.pointer(field!(StepArgs, observer));
                let data = self.pointer(field!(StepArgs, observer_data));
                let operands = [data.into(), c.int(u64::from(number)).into(), layer.into()];
                // A pointer and a matching type: always well-formed.
                c.b.build_indirect_call(ty, observer, &operands, "").expect("a well-typed call");
            });
            self.barrier();
        });
    }

    /// Entry `index` of a table, which becomes a constant of the module.
    pub fn entry(&self, name: &str, table: &[u64], index: Int<'c>) -> Int<'c> {
        let c = &self.code;
        let global = c.module.get_global(name).unwrap_or_else(|| {
            let entries: Vec<_> = table.iter().map(|&n| c.int(n)).collect();
            let constant = c.i64().const_array(&entries);
            let global = c.module.add_global(constant.get_type(), None, name);
            global.set_initializer(&constant);
            global.set_constant(true);
            global.set_linkage(Linkage::Internal);
            global
        });
        c.load_int(c.i64(), c.at(global.as_pointer_value(), c.times(index, 8))).named(name)
    }

    /// Sliding window of the kernel's layer group.
    pub fn window(&self) -> Option<u32> {
        let group = self.code.plan.group_of(self.number)?;
        self.code.plan.groups[group as usize].window
    }

    /// Start of a buffer: of its first row.
    pub fn buffer(&self, id: BufferId) -> Ptr<'c> {
        let offset = self.behind_counters(self.code.plan.buffer(id).offset);
        let at = self.code.at(self.pointer(field!(StepArgs, arena)), offset);
        at.named(&names::buffer(self.code.plan, id))
    }

    /// Scratch memory of a thread. `name` is what the kernel keeps there.
    pub fn thread_scratch(&self, name: &str, thread: Int<'c>) -> Ptr<'c> {
        let c = &self.code;
        let first = self.behind_counters(c.plan.row_bytes);
        let offset = c.add(first, c.times(thread, schedule::thread_bytes(c.plan)));
        c.at(self.pointer(field!(StepArgs, arena)), offset).named(name)
    }

    /// Offset in the arena of what is behind the counters and so many bytes for each row.
    fn behind_counters(&self, bytes_per_row: u64) -> Int<'c> {
        let c = &self.code;
        let max_rows = self.field(field!(StepArgs, max_rows));
        let counters = c.times(self.threads(), schedule::counter_bytes(c.plan));
        c.add(counters, c.times(max_rows, bytes_per_row))
    }

    /// Row `r` of a buffer that starts at `base`.
    pub fn row_of(&self, base: Ptr<'c>, id: BufferId, r: Int<'c>) -> Ptr<'c> {
        let c = &self.code;
        let row = c.at(base, c.times(r, c.plan.buffer(id).row_bytes));
        row.named(&format!("{}.row", names::buffer(c.plan, id)))
    }

    /// Start of a segment; this layer's, if it is per-layer.
    pub fn segment(&self, id: SegmentId) -> Ptr<'c> {
        let c = &self.code;
        let segment = c.plan.segment(id);
        let image = self.pointer(field!(StepArgs, weights));
        let start = match (segment.home, c.plan.even_records()) {
            (Home::Model, _) => c.plus(image, segment.offset),
            (Home::Layers(_), Some(bytes)) => {
                let record = c.times(self.layer, bytes);
                c.at(c.plus(image, c.plan.layers_offset + segment.offset), record)
            }
            (Home::Layers(_), None) => {
                let record = self.entry("layer_offsets", &c.plan.layer_offsets(), self.layer);
                c.at(c.plus(image, segment.offset), record)
            }
        };
        start.named(&names::segment(c.plan, id))
    }

    /// `StepArgs::rows[r]`.
    pub fn step_row(&self, r: Int<'c>) -> Ptr<'c> {
        let rows = self.pointer(field!(StepArgs, rows));
        self.code.at(rows, self.code.times(r, size_of::<Row>() as u64)).named("step_row")
    }

    /// A 4-byte number of `StepArgs::rows[r]`, as i64.
    fn row_field(&self, r: Int<'c>, (name, offset): Field) -> Int<'c> {
        let c = &self.code;
        c.zext(c.load_int(c.i32(), c.plus(self.step_row(r), offset as u64)), c.i64()).named(name)
    }

    /// The token in row `r`, as i64.
    pub fn token(&self, r: Int<'c>) -> Int<'c> {
        self.row_field(r, field!(Row, token))
    }

    /// Position of the token in row `r`, as i64.
    pub fn position(&self, r: Int<'c>) -> Int<'c> {
        self.row_field(r, field!(Row, position))
    }

    /// The cache of the sequence of row `r`.
    pub fn kv(&self, r: Int<'c>) -> Ptr<'c> {
        let (name, offset) = field!(Row, kv);
        self.code.load_ptr(self.code.plus(self.step_row(r), offset as u64)).named(name)
    }

    /// The adapter of row `r`, as i64: from 1, 0 for none.
    pub fn adapter(&self, r: Int<'c>) -> Int<'c> {
        self.row_field(r, field!(Row, adapter))
    }

    /// Positions of every cache.
    pub fn kv_capacity(&self) -> Int<'c> {
        self.field(field!(StepArgs, kv_capacity))
    }

    /// Whether the caches are of this type.
    pub fn kv_is(&self, ty: KvType) -> Int<'c> {
        let found = self.field(field!(StepArgs, kv_type));
        self.code.cmp(IntPredicate::EQ, found, self.code.int(ty as u64))
    }
}
