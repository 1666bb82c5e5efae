//! Names in LLVM IR, for people who read it.
//!
//! In: values, fields of the ABI's structs, the plan's memory. Out: values with names, to which LLVM adds a number where
//! two would be the same. Invariant: an object is the same with and without, since local names end with the IR.

use inkwell::values::BasicValue;
use qwenc_plan::{BufferId, Plan, SegmentId};

/// A value that can have a name.
pub(crate) trait Named {
    /// The same value; called so, unless it has a name or is a constant.
    fn named(self, name: &str) -> Self;
}

impl<'c, V: BasicValue<'c>> Named for V {
    fn named(self, name: &str) -> V {
        if self.as_basic_value_enum().get_name().is_empty() {
            self.set_name(name);
        }
        self
    }
}

/// A field of a struct in memory: its name, and its offset in bytes.
pub(crate) type Field = (&'static str, usize);

/// The [`Field`] of a struct of the ABI: `field!(StepArgs, n_rows)`.
macro_rules! field {
    ($of:ty, $field:ident) => {
        (stringify!($field), std::mem::offset_of!($of, $field))
    };
}
pub(crate) use field;

/// The name of vector `i` of a tile, which has two for each row: `sum0.lo`, `sum0.hi`, `sum1.lo`, and so on.
pub(crate) fn half(name: &str, i: usize) -> String {
    format!("{name}{}.{}", i / 2, ["lo", "hi"][i % 2])
}

/// Both halves of a panel's rows, as `w.lo` and `w.hi`.
pub(crate) fn halves<V: Named>(name: &str, [low, high]: [V; 2]) -> [V; 2] {
    [low.named(&format!("{name}.lo")), high.named(&format!("{name}.hi"))]
}

/// A buffer as the plan's text has it, and what it holds: `b2.norm_linear`.
pub(crate) fn buffer(plan: &Plan, id: BufferId) -> String {
    format!("{id}.{}", plan.buffer(id).name)
}

/// A segment as the plan's text has it, and the tensors in it: `w2.q_proj.k_proj.v_proj`.
pub(crate) fn segment(plan: &Plan, id: SegmentId) -> String {
    let tensors = plan.segment(id).parts.iter().map(|part| short(&plan.weights[part.0 as usize].name));
    format!("{id}.{}", tensors.collect::<Vec<_>>().join("."))
}

/// The end of a tensor's name: `q_proj` of `model.layers.*.self_attn.q_proj.weight`, `q_proj.bias` of its bias.
fn short(tensor: &str) -> String {
    let words: Vec<&str> = tensor.split('.').filter(|&word| word != "*").collect();
    match words[..] {
        [.., name, "weight"] => name.to_string(),
        [.., of, name] => format!("{of}.{name}"),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn tensors_are_told_apart_by_the_end_of_their_names() {
        assert_eq!(short("model.layers.*.self_attn.q_proj.weight"), "q_proj");
        assert_eq!(short("model.layers.*.self_attn.q_proj.bias"), "q_proj.bias");
        assert_eq!(short("model.layers.*.self_attn.q_proj.lora_A"), "q_proj.lora_A");
        assert_eq!(short("model.embed_tokens.weight"), "embed_tokens");
        assert_eq!(short("*.q"), "q");
    }
}
