//! The laws of a plan. In: any plan. Out: the first law it breaks.
//!
//! Those of kernels and buffers are here, those of the packed image in `image.rs`.

mod image;
mod last_hidden_state;

use qwenc_formats::{Inputs, Operand, PANEL_ROWS};
use qwenc_ir::Verify;

use crate::memory::{lifetimes, overlap, touched};
use crate::plan::{BufferId, Dest, Kernel, Linear, Plan};
use crate::round_up;
use crate::segment::{Layout, SegmentId};

/// A broken law.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A kernel refers to a segment or buffer that does not exist, or a segment to a weight.
    #[error("{what} is not defined")]
    Undefined {
        /// Printed name.
        what: String,
    },
    /// A width, type, layout or size that does not fit its use.
    #[error("k{kernel}: {what}: expected {expected}, found {found}")]
    Misfit {
        /// Number of the kernel.
        kernel: u32,
        /// Name of the width, type, layout or size that does not fit.
        what: &'static str,
        /// By the law.
        expected: u64,
        /// In the plan.
        found: u64,
    },
    /// Inputs in a form that no kernel multiplies with such weights.
    #[error("k{kernel}: no kernel multiplies weights of {weights} with inputs of {inputs}")]
    Inputs {
        /// Number of the kernel.
        kernel: u32,
        /// Form of inputs of the linear.
        inputs: Inputs,
        /// Format of its packed tensor.
        weights: Operand,
    },
    /// A segment that is not what its parts make.
    #[error("{segment}: {law}: does not hold")]
    Segment {
        /// The segment.
        segment: SegmentId,
        /// Law that must hold.
        law: &'static str,
    },
    /// Offset or size out of its place.
    #[error("{what}: offset {offset} and size {bytes} are not aligned within {limit}")]
    Place {
        /// Printed name.
        what: String,
        /// Its offset.
        offset: u64,
        /// Its size.
        bytes: u64,
        /// Offset at which it must end.
        limit: u64,
    },
    /// Two things share bytes while both are needed.
    #[error("{a} and {b} overlap in memory and in time")]
    Overlap {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// A stated lifetime shorter than the use.
    #[error("{buffer}: stated live {stated:?}, but kernels use it in {used:?}")]
    Lifetime {
        /// The buffer.
        buffer: BufferId,
        /// In the plan.
        stated: (u32, u32),
        /// By the kernels.
        used: (u32, u32),
    },
    /// A kernel reads a buffer, or writes behind columns of it, that nothing wrote.
    #[error("k{kernel} uses {buffer} before all columns that it needs were written")]
    Unwritten {
        /// Number of the kernel.
        kernel: u32,
        /// The buffer.
        buffer: BufferId,
    },
    /// The three sections do not have the form prologue, block, head.
    #[error("{what}")]
    Form {
        /// Law that does not hold.
        what: &'static str,
    },
}

impl Verify for Plan {
    type Error = PlanError;

    fn verify(&self) -> Result<(), PlanError> {
        let embeds = matches!(self.prologue.as_slice(), [Kernel::Embed(_)]);
        let ends = matches!(self.head.as_slice(), [Kernel::Linear(l)] if l.out == Dest::Logits);
        if !embeds || !ends {
            return Err(PlanError::Form {
                what: "a plan starts with one embed and ends with one linear to logits",
            });
        }
        if self.groups.iter().any(|group| group.block.len() < 2) {
            // A kernel's counter is reset while the next kernel runs.
            return Err(PlanError::Form { what: "a block has at least two kernels" });
        }
        image::check(self)?;
        for (i, kernel) in self.kernels() {
            check_defined(self, kernel)?;
            check_kernel(self, i, kernel)?;
        }
        check_buffers(self)?;
        last_hidden_state::check(self)?;
        check_order(self)
    }
}

/// Packed tensors that a kernel reads.
fn segments(kernel: &Kernel) -> Vec<SegmentId> {
    match *kernel {
        Kernel::Embed(e) => vec![e.table],
        Kernel::PrepareQkv(p) => p.q_gain.into_iter().chain(p.k_gain).collect(),
        Kernel::Attention(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => Vec::new(),
        Kernel::Linear(l) => [Some(l.weight), l.gain, l.bias].into_iter().flatten().collect(),
    }
}

fn check_defined(plan: &Plan, kernel: &Kernel) -> Result<(), PlanError> {
    if let Some(s) = segments(kernel).into_iter().find(|s| s.0 as usize >= plan.segments.len()) {
        return Err(PlanError::Undefined { what: s.to_string() });
    }
    match touched(kernel).into_iter().find(|b| b.0 as usize >= plan.buffers.len()) {
        Some(b) => Err(PlanError::Undefined { what: b.to_string() }),
        None => Ok(()),
    }
}

fn check_kernel(plan: &Plan, kernel: u32, k: &Kernel) -> Result<(), PlanError> {
    let fits = |what, expected: u32, found: u32| match expected == found {
        true => Ok(()),
        false => {
            Err(PlanError::Misfit { kernel, what, expected: u64::from(expected), found: u64::from(found) })
        }
    };
    let width = |b: BufferId| plan.buffer(b).width;
    let vector = |id: SegmentId| fits("vector layout", Layout::Vector as u32, plan.segment(id).layout as u32);
    let d = plan.dims;
    match *k {
        Kernel::Embed(e) => {
            let layout = plan.segment(e.table).layout;
            fits("embedding layout", Layout::Panels as u32, layout as u32)?;
            fits("embedding spans", 1, plan.segment(e.table).spans)?;
            fits("embedding columns", d.hidden, plan.segment(e.table).cols)?;
            fits("embedding rows", d.vocab_rows, plan.segment(e.table).rows)?;
            fits("output width", d.hidden, width(e.out))?;
            fits("rope width", d.head_dim, width(e.rope))
        }
        Kernel::PrepareQkv(p) => {
            fits("q, k, v width", d.q_width() + 2 * d.kv_width(), width(p.qkv))?;
            for gain in p.q_gain.into_iter().chain(p.k_gain) {
                vector(gain)?;
                fits("gain length", d.head_dim, plan.segment(gain).cols)?;
            }
            fits("rope width", d.head_dim, width(p.rope))
        }
        Kernel::Attention(a) => {
            fits("q, k, v width", d.q_width() + 2 * d.kv_width(), width(a.q))?;
            fits("output width", d.q_width(), width(a.out))
        }
        Kernel::SelectAdapter(s) => {
            let turn = s.rank.saturating_mul(s.adapters);
            let whole = turn > 0 && width(s.columns).is_multiple_of(turn);
            fits("whole turns of adapters", 1, u32::from(whole))
        }
        Kernel::Swiglu(s) => fits("gate and up", 2 * width(s.out), width(s.input)),
        Kernel::Linear(l) => {
            l.gain.into_iter().chain(l.bias).try_for_each(vector)?;
            check_linear(plan, kernel, &l, &fits)
        }
    }
}

fn check_linear(
    plan: &Plan,
    kernel: u32,
    l: &Linear,
    fits: &dyn Fn(&'static str, u32, u32) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let w = plan.segment(l.weight);
    fits("input width", w.cols, plan.buffer(l.input).width)?;
    let layout = match w.layout {
        Layout::Diagonal if !l.swiglu => Layout::Diagonal,
        _ if l.swiglu => Layout::PairedPanels,
        _ => Layout::Panels,
    };
    fits("weight layout", layout as u32, w.layout as u32)?;
    if let Some(gain) = l.gain {
        fits("gain length", w.cols, plan.segment(gain).cols)?;
    }
    if let Some(bias) = l.bias {
        let width = match l.out {
            Dest::Buffer(b) => plan.buffer(b).width,
            Dest::Logits => w.rows,
        };
        fits("bias length", width, plan.segment(bias).cols)?;
    }
    let rows = if l.swiglu { w.rows / 2 } else { w.rows };
    match l.out {
        Dest::Logits => fits("logits", plan.dims.vocab_rows, rows)?,
        // `check_order` sees to the columns behind them.
        Dest::Buffer(b) => {
            let left = plan.buffer(b).width.saturating_sub(l.first);
            fits("output width", rows.min(left), rows)?;
        }
    }
    if l.first > 0 && (l.swiglu || l.out == Dest::Logits) {
        return Err(PlanError::Form { what: "only columns of a buffer are made by several linears" });
    }
    if l.residual.is_some_and(|r| Dest::Buffer(r) != l.out) {
        return Err(PlanError::Form { what: "a residual is added in place" });
    }
    if !w.format.meets(l.inputs) {
        return Err(PlanError::Inputs { kernel, inputs: l.inputs, weights: w.format });
    }
    // Every other use of a buffer expects a width above 0, so that scratch memory holds nothing else.
    l.scratch.map_or(Ok(()), |b| fits("width of scratch memory", 0, plan.buffer(b).width))?;
    if l.swiglu && l.bias.is_some() {
        return Err(PlanError::Form { what: "no kernel adds a bias before SwiGLU" });
    }
    Ok(())
}

/// Rows of f32 hold their columns, up to whole panels; scratch memory has none.
fn check_row(plan: &Plan, id: BufferId) -> Result<(), PlanError> {
    let b = plan.buffer(id);
    let needed = 4 * round_up(u64::from(b.width), u64::from(PANEL_ROWS));
    match b.row_bytes < needed {
        true => {
            let what = format!("{id} as rows of f32");
            Err(PlanError::Place { what, offset: b.offset, bytes: needed, limit: b.row_bytes })
        }
        false => Ok(()),
    }
}

fn check_buffers(plan: &Plan) -> Result<(), PlanError> {
    for (i, (b, used)) in plan.buffers.iter().zip(lifetimes(plan)).enumerate() {
        let id = BufferId(i as u32);
        check_row(plan, id)?;
        if used.0 <= used.1 && (b.live.0 > used.0 || b.live.1 < used.1) {
            return Err(PlanError::Lifetime { buffer: id, stated: b.live, used });
        }
        let limit = plan.row_bytes;
        if b.offset % 128 != 0
            || b.row_bytes % 128 != 0
            || b.row_bytes > limit
            || b.offset > limit - b.row_bytes
        {
            let (offset, bytes) = (b.offset, b.row_bytes);
            return Err(PlanError::Place { what: id.to_string(), offset, bytes, limit });
        }
        for (j, o) in plan.buffers[..i].iter().enumerate() {
            let shares = b.offset < o.offset + o.row_bytes && o.offset < b.offset + b.row_bytes;
            if shares && overlap(o.live, b.live) {
                return Err(PlanError::Overlap { a: format!("b{j}"), b: id.to_string() });
            }
        }
    }
    Ok(())
}

/// Data flow: all columns that a kernel reads were written by earlier kernels, in the order of columns.
fn check_order(plan: &Plan) -> Result<(), PlanError> {
    let mut written = vec![0; plan.buffers.len()];
    let width = |b: BufferId| plan.buffer(b).width;
    for (i, kernel) in plan.kernels() {
        let (reads, writes) = match *kernel {
            Kernel::Embed(e) => (vec![], vec![(e.out, 0, width(e.out)), (e.rope, 0, width(e.rope))]),
            Kernel::PrepareQkv(p) => (vec![p.qkv, p.rope], vec![]),
            Kernel::Attention(a) => (vec![a.q], vec![(a.out, 0, width(a.out))]),
            Kernel::SelectAdapter(s) => (vec![s.columns], vec![]),
            Kernel::Swiglu(s) => (vec![s.input], vec![(s.out, 0, width(s.out))]),
            Kernel::Linear(l) => {
                let rows = plan.segment(l.weight).rows / if l.swiglu { 2 } else { 1 };
                let out = match l.out {
                    Dest::Buffer(b) if l.residual.is_none() => vec![(b, l.first, rows)],
                    Dest::Buffer(_) | Dest::Logits => vec![],
                };
                ([Some(l.input), l.residual].into_iter().flatten().collect(), out)
            }
        };
        if let Some(&buffer) = reads.iter().find(|b: &&BufferId| written[b.0 as usize] != width(**b)) {
            return Err(PlanError::Unwritten { kernel: i, buffer });
        }
        for (buffer, first, columns) in writes {
            let so_far = &mut written[buffer.0 as usize];
            if first != 0 && first != *so_far {
                return Err(PlanError::Unwritten { kernel: i, buffer });
            }
            *so_far = first + columns;
        }
    }
    Ok(())
}
