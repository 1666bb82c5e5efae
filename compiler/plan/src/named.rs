//! Which activations a plan leaves in memory, by the names that graphs and transformers have for them.
//!
//! In: a plan. Out: name, kernel and columns of each. Invariant: what is listed is the whole value, as it stands when
//! the kernel is done; what fusion keeps in registers (norms, gate and up) or only in the cache (k after RoPE) is not
//! listed.

use crate::plan::{BufferId, Dest, Kernel, Linear, Plan};

/// An activation in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// As the graph labels it: `q_proj`; of a layer if the kernel is one of the block.
    pub name: &'static str,
    /// The kernel after which it is there.
    pub kernel: u32,
    /// Where: a row per token of the step.
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
        let prepared = self.block.iter().find_map(|k| match k {
            Kernel::PrepareQkv(p) => Some(p.qkv),
            _ => None,
        });
        // Adapters add to q, k and v after the linear that makes them.
        let writes = |k: &Kernel| matches!(k, Kernel::Linear(l) if prepared.map(Dest::Buffer) == Some(l.out));
        let projected = self.kernels().filter(|(_, k)| writes(k)).map(|(number, _)| number).last();
        let last = (self.prologue.len() + self.block.len()).saturating_sub(1) as u32;
        let mut all = Vec::new();
        for (kernel, what) in self.kernels() {
            let mut add = |name, buffer, first, columns| {
                all.push(Named { name, kernel, buffer, first, columns });
            };
            match *what {
                Kernel::Embed(e) => add("embed", e.out, 0, d.hidden),
                Kernel::Linear(Linear { out: Dest::Buffer(out), .. }) if Some(kernel) == projected => {
                    add("q_proj", out, 0, q);
                    add("k_proj", out, q, kv);
                    add("v_proj", out, q + kv, kv);
                }
                Kernel::PrepareQkv(p) => add("q_rope", p.qkv, 0, q),
                Kernel::Attention(a) => add("attn", a.out, 0, q),
                Kernel::Linear(Linear { out: Dest::Buffer(out), .. }) if kernel == last => {
                    add("out", out, 0, d.hidden);
                }
                Kernel::Linear(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => {}
            }
        }
        all
    }

    /// Whether a kernel is run for each layer.
    pub fn is_of_block(&self, kernel: u32) -> bool {
        let begin = self.prologue.len();
        (begin..begin + self.block.len()).contains(&(kernel as usize))
    }
}
