//! Which activations a plan leaves in memory, by the names that graphs and transformers have for them.
//!
//! In: a plan. Out: name, kernel and columns of each. Invariant: what is listed is the whole value, as it stands when
//! the kernel is done; what fusion keeps in registers (norms, gate and up) or only in the cache (k after RoPE) is not
//! listed.

use crate::plan::{BufferId, Dest, Kernel, Linear, Plan};

/// An activation in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Label in the graph: `q_proj`; of a layer if the kernel is one of the block.
    pub name: &'static str,
    /// The kernel after which it is there.
    pub kernel: u32,
    /// Buffer with a row per token of the step.
    pub buffer: BufferId,
    /// Its first column.
    pub first: u32,
    /// Its columns.
    pub columns: u32,
}

impl Plan {
    /// Every named activation that is in memory when its kernel is done, in the order of kernels.
    pub fn named(&self) -> Vec<Named> {
        let d = self.dims;
        let (q, kv) = (d.q_width(), d.kv_width());
        // Adapters add to q, k and v after the linear that makes them.
        let prepares = |k: &Kernel, b| matches!(k, Kernel::PrepareQkv(p) if p.qkv == b);
        let projects = |kernel: u32, b: BufferId| {
            let mut after = self.kernels().skip(kernel as usize + 1);
            let next = after
                .find(|(_, k)| prepares(k, b) || matches!(k, Kernel::Linear(l) if l.out == Dest::Buffer(b)));
            next.is_some_and(|(_, k)| prepares(k, b))
        };
        let ends_block = |kernel| {
            let group = self.group_of(kernel);
            group.is_some_and(|group| self.block_range(group).end == kernel + 1)
        };
        let mut all = Vec::new();
        for (kernel, what) in self.kernels() {
            let mut add = |name, buffer, first, columns| {
                all.push(Named { name, kernel, buffer, first, columns });
            };
            match *what {
                Kernel::Embed(e) => add("embed", e.out, 0, d.hidden),
                Kernel::Linear(Linear { out: Dest::Buffer(out), .. }) if projects(kernel, out) => {
                    add("q_proj", out, 0, q);
                    add("k_proj", out, q, kv);
                    add("v_proj", out, q + kv, kv);
                }
                Kernel::PrepareQkv(p) => add("q_rope", p.qkv, 0, q),
                Kernel::Attention(a) => add("attn", a.out, 0, q),
                Kernel::Linear(Linear { out: Dest::Buffer(out), .. }) if ends_block(kernel) => {
                    add("out", out, 0, d.hidden);
                }
                Kernel::Linear(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => {}
            }
        }
        all
    }
}
