//! The persistent kernel: the launches of a step of one token as phases of one launch.
//!
//! In: those launches and what they call. Out: C++ text and one cooperative launch. Invariant: it calls the same device
//! functions for the same blocks in the same order, so that its results are the same, bit for bit.

use std::fmt::Write;

use qwenc_abi::{Blocks, CudaLaunch, CudaVariant, Of};

use crate::launches::{Definition, Definitions};
use crate::schedule::THREADS;

/// A launch and the definition of its kernel.
struct Phase<'a> {
    launch: &'a CudaLaunch,
    definition: &'a Definition,
}

/// The kernel, and its launch: the runtime makes as many blocks as the device holds.
pub(crate) fn kernel(one: &CudaVariant, definitions: &Definitions) -> (CudaLaunch, String) {
    let mut text = String::new();
    let mut line = |l: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{l}");
    };
    line("// All of a token's launches as one.");
    line(&format!("extern \"C\" __global__ __launch_bounds__({THREADS}, 1) void {NAME}(const Step step) {{"));
    line("    Step s = step;");
    line("    Phases phases(s);");
    let mut prefetches = weights_after(one, definitions).into_iter();
    let mut left = prefetches.len();
    let mut phases = |launches: &[CudaLaunch], indent: &str| {
        let mut lines = Vec::new();
        for launch in launches {
            let definition = definitions.of(&launch.kernel);
            lines.push(format!("{indent}{}", Phase { launch, definition }.run()));
            left -= 1;
            let prefetch = prefetches.next().unwrap_or_default();
            if left > 0 {
                lines.push(format!("{indent}phases.meet(s, [&] {{ {prefetch} }});"));
            }
        }
        lines.join("\n")
    };
    line(&phases(&one.prologue, "    "));
    line("    for (s.layer = 0; s.layer < LAYERS; s.layer++) {");
    for (group, block) in one.blocks.iter().enumerate() {
        let among_several = one.blocks.len() > 1;
        if among_several {
            line(&format!("        if (layer_group(s.layer) == {group}) {{"));
        }
        line(&phases(block, "        "));
        if among_several {
            line("        }");
        }
    }
    line("    }");
    line("    s.layer = 0;");
    line(&phases(&one.head, "    "));
    line("    phases.finish();");
    line("}");
    let all = launches(one);
    let shared_bytes = all.map(|l| l.shared_bytes).max().unwrap_or(0);
    let device = Blocks { times: 1, of: Of::One, tile: 1 };
    let launch = CudaLaunch {
        kernel: NAME.to_string(),
        grid: [device; 3],
        threads: THREADS,
        shared_bytes,
        in_turn: false,
        waits: false,
    };
    (launch, text)
}

const NAME: &str = "step_persistent";

/// All launches in the order of the kernel's phases.
fn launches(one: &CudaVariant) -> impl Iterator<Item = &CudaLaunch> {
    one.prologue.iter().chain(one.blocks.iter().flatten()).chain(&one.head)
}

impl Phase<'_> {
    fn run(&self) -> String {
        // One row, one output.
        let [x, y, z] = self.launch.grid.map(|b| b.times);
        // Blocks that take several panels in turn prepare their inputs once, if there are no more than run at a time.
        let x = match self.launch.in_turn {
            true if y == 1 => format!("min({x}u, blocks_again())"),
            true => format!("min({x}u, max(blocks_again() / {y}, 1u))"),
            false => x.to_string(),
        };
        let call = &self.definition.call;
        format!("phases.run(s, {x}, {y}, {z}, [](const Step& s, const Block& at) {{ {call}(s, at); }});")
    }
}

/// Prefetches at the barrier behind each phase: weights of the linear two phases later, so that they arrive while the phase
/// between runs, attention among them; at the first barrier of the next phase too. With several layer groups, none across the
/// end of a block, since the next layer may be of any.
fn weights_after(one: &CudaVariant, definitions: &Definitions) -> Vec<String> {
    let all: Vec<&CudaLaunch> = launches(one).collect();
    let fetch = |at: usize, layer: &str| {
        let name = definitions.of(&all.get(at)?.kernel).weights.as_ref()?;
        Some(format!("fetch_ahead<{name}>(s, {layer});"))
    };
    let begin = one.prologue.len();
    let mut ends = Vec::new();
    for block in &one.blocks {
        ends.push(ends.last().unwrap_or(&begin) + block.len());
    }
    let end = ends.last().copied().unwrap_or(begin);
    let of_barrier = |after: usize| {
        let at = after + 2;
        if after < begin {
            let next = if after == 0 { fetch(1, "0") } else { None };
            return [next, fetch(at, "0")].map(|f| f.filter(|_| ends.len() == 1));
        }
        let here = ends.iter().find(|&&end| after < end).copied().unwrap_or(all.len());
        if after >= end || at < here {
            return [fetch(at, "s.layer"), None];
        }
        if ends.len() > 1 {
            return [None, None];
        }
        let again = at - end;
        let head = fetch(end + again, "0").map(|f| format!("if (s.layer + 1 == LAYERS) {f}"));
        [fetch(begin + again, "s.layer + 1"), head]
    };
    (0..all.len()).map(|i| of_barrier(i).into_iter().flatten().collect::<Vec<_>>().join(" ")).collect()
}
