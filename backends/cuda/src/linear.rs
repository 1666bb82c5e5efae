//! A linear of the plan, as this backend sees it.
//!
//! In: a plan's kernel. Out: its shape, and what its inputs and results are. Invariant: the planes of its inputs follow
//! from the plan alone.

use qwenc_plan::{Dest, Linear as PlanLinear, Plan};

use crate::shape::Shape;

/// A linear.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// Number among the kernels.
    pub number: u32,
    /// The plan's linear.
    pub plan: PlanLinear,
    /// Its weights.
    pub shape: Shape,
    /// Whether results are logits.
    pub logits: bool,
}

impl Linear {
    /// The `number`-th kernel of the plan.
    pub(crate) fn of(plan: &Plan, number: u32, l: &PlanLinear) -> Linear {
        let shape = Shape::of(plan.segment(l.weight), |decoder| decoder.planes(l.inputs));
        Linear { number, plan: *l, shape, logits: l.out == Dest::Logits }
    }
}
