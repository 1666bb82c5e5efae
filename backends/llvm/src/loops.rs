//! Loops and branches. In: a name, bounds and a body. Out: basic blocks of that name; carried values as phis.

use inkwell::basic_block::BasicBlock;
use inkwell::values::BasicValue;
use inkwell::IntPredicate;

use crate::builder::{Any, Code, Int, Ptr};
use crate::names::Named;

impl<'c> Code<'c, '_> {
    /// Blocks of one loop or branch: `panel.loop`, `panel.body`, and so on.
    fn blocks<const N: usize>(&self, name: &str, kinds: [&str; N]) -> [BasicBlock<'c>; N] {
        kinds.map(|kind| self.cx.append_basic_block(self.function, &format!("{name}.{kind}")))
    }

    fn here(&self) -> BasicBlock<'c> {
        // A kernel is always built at the end of some block.
        self.b.get_insert_block().expect("the builder stands in a block")
    }

    fn jump(&self, to: BasicBlock<'c>) {
        // The builder stands in a block, so the branch has a place.
        self.b.build_unconditional_branch(to).expect("the builder stands in a block");
    }

    /// `for i in (start..end).step_by(step)`, with values carried from one round to the next; `name` says what `i`
    /// counts. Returns their values after the last round.
    pub fn fold(
        &self,
        name: &str,
        start: Int<'c>,
        end: Int<'c>,
        step: u64,
        init: &[Any<'c>],
        body: impl FnOnce(Int<'c>, &[Any<'c>]) -> Vec<Any<'c>>,
    ) -> Vec<Any<'c>> {
        let [head, inside, after] = self.blocks(name, ["loop", "body", "after"]);
        let before = self.here();
        self.jump(head);
        self.b.position_at_end(head);
        let phi = |ty| self.b.build_phi(ty, "").expect("the builder stands in a block");
        // The closure above: the builder stands in `head`.
        let counter = phi(self.i64().into());
        let carried: Vec<_> = init.iter().map(|v| phi(v.get_type())).collect();
        let i = counter.as_basic_value().into_int_value().named(name);
        let more = self.cmp(IntPredicate::ULT, i, end);
        // The builder stands in `head`.
        self.b.build_conditional_branch(more, inside, after).expect("the builder stands in a block");
        self.b.position_at_end(inside);
        let values: Vec<Any> = carried.iter().map(|p| p.as_basic_value()).collect();
        let next = body(i, &values);
        let i_next = self.add(i, self.int(step)).named(&format!("{name}.next"));
        let last = self.here();
        self.jump(head);
        counter.add_incoming(&[(&start, before), (&i_next, last)]);
        for ((p, a), b) in carried.iter().zip(init).zip(&next) {
            p.add_incoming(&[(a as &dyn BasicValue, before), (b as &dyn BasicValue, last)]);
        }
        self.b.position_at_end(after);
        values
    }

    /// `for i in (start..end).step_by(step)`.
    pub fn for_each(&self, name: &str, start: Int<'c>, end: Int<'c>, step: u64, body: impl FnOnce(Int<'c>)) {
        self.fold(name, start, end, step, &[], |i, _| {
            body(i);
            Vec::new()
        });
    }

    /// `while goes_on(i) { body(i); i += 1 }`; returns the last `i`.
    pub fn count_while(
        &self,
        name: &str,
        start: Int<'c>,
        goes_on: impl FnOnce(Int<'c>) -> Int<'c>,
        body: impl FnOnce(Int<'c>),
    ) -> Int<'c> {
        let counter = self.variable(name);
        counter.set(self, start);
        let next = || {
            let i = counter.get(self);
            (i, goes_on(i))
        };
        self.repeat(name, next, |i| {
            body(i);
            counter.set(self, self.add(i, self.int(1)));
        });
        counter.get(self)
    }

    /// 0, until it is set.
    pub fn variable(&self, name: &str) -> Variable<'c> {
        let variable = Variable(self.stack(&format!("{name}.variable"), self.i64().into()));
        variable.set(self, self.int(0));
        variable
    }

    /// `while let (value, true) = next() { body(value) }`.
    pub fn repeat(&self, name: &str, next: impl FnOnce() -> (Int<'c>, Int<'c>), body: impl FnOnce(Int<'c>)) {
        let [head, inside, after] = self.blocks(name, ["loop", "body", "after"]);
        self.jump(head);
        self.b.position_at_end(head);
        let (value, more) = next();
        // The builder stands in `head`.
        self.b.build_conditional_branch(more, inside, after).expect("the builder stands in a block");
        self.b.position_at_end(inside);
        body(value.named(name));
        self.jump(head);
        self.b.position_at_end(after);
    }

    /// `if condition { yes } else { no }`; both give one value.
    pub fn either(
        &self,
        name: &str,
        condition: Int<'c>,
        yes: impl FnOnce() -> Any<'c>,
        no: impl FnOnce() -> Any<'c>,
    ) -> Any<'c> {
        let [then, other, join] = self.blocks(name, ["then", "else", "join"]);
        // The builder stands in a block, so the branch has a place.
        self.b.build_conditional_branch(condition, then, other).expect("the builder stands in a block");
        self.b.position_at_end(then);
        let a = (yes(), self.here());
        self.jump(join);
        self.b.position_at_end(other);
        let b = (no(), self.here());
        self.jump(join);
        self.b.position_at_end(join);
        // The builder stands in `join`.
        let phi = self.b.build_phi(a.0.get_type(), "").expect("the builder stands in a block");
        phi.add_incoming(&[(&a.0, a.1), (&b.0, b.1)]);
        phi.as_basic_value()
    }

    /// `if condition { yes } else { no }`, for what they do.
    pub fn choose(&self, name: &str, condition: Int<'c>, yes: impl FnOnce(), no: impl FnOnce()) {
        let nothing = || self.int(0).into();
        let then = || {
            yes();
            nothing()
        };
        self.either(name, condition, then, || {
            no();
            nothing()
        });
    }

    /// `if condition { yes }`.
    pub fn when(&self, name: &str, condition: Int<'c>, yes: impl FnOnce()) {
        self.choose(name, condition, yes, || ());
    }
}

/// An integer that changes where no fold carries it.
#[derive(Clone, Copy)]
pub(crate) struct Variable<'c>(Ptr<'c>);

impl<'c> Variable<'c> {
    pub fn get(self, c: &Code<'c, '_>) -> Int<'c> {
        c.load_int(c.i64(), self.0)
    }

    pub fn set(self, c: &Code<'c, '_>, to: Int<'c>) {
        c.store(self.0, to, 8);
    }
}
