//! The persistent kernel: the launches of a step of one token as phases of one launch.
//!
//! In: those launches and what they call. Out: C++ text and one cooperative launch. Invariant: it calls the same device
//! functions for the same blocks in the same order, so that its results are the same, bit for bit.

use std::fmt::Write;

use qwenc_abi::{Blocks, CudaLaunch, CudaVariant, Of};
use qwenc_plan::Plan;

use crate::constants::struct_name;
use crate::launches::{Definition, Definitions, THREADS};
use crate::linear::Linear;

/// A launch and the definition of its kernel.
struct Phase<'a> {
    launch: &'a CudaLaunch,
    definition: &'a Definition,
}

/// The kernel, and its launch: the runtime makes as many blocks as the device holds.
pub(crate) fn kernel(
    plan: &Plan,
    linears: &[Linear],
    one: &CudaVariant,
    definitions: &Definitions,
) -> (CudaLaunch, String) {
    let mut text = String::new();
    let mut line = |l: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{l}");
    };
    line("// All of a token's launches as one.");
    line(&format!("extern \"C\" __global__ __launch_bounds__({THREADS}, 1) void {NAME}(const Step step) {{"));
    line("    Step s = step;");
    line("    Phases phases(s);");
    let names = weights_after(plan, linears, one);
    let sections = [(&one.prologue, "    "), (&one.block, "        "), (&one.head, "    ")];
    let mut number = 0;
    for (section, (launches, indent)) in sections.into_iter().enumerate() {
        if section == 1 {
            line("    for (s.layer = 0; s.layer < LAYERS; s.layer++) {");
        }
        if section == 2 {
            line("    s.layer = 0;");
        }
        for launch in launches {
            let last = number + 1 == names.len();
            let definition = definitions.of(&launch.kernel);
            line(&format!("{indent}{}", Phase { launch, definition }.run()));
            if !last {
                line(&format!("{indent}phases.meet(s, [&] {{ {} }});", names[number]));
            }
            number += 1;
        }
        if section == 1 {
            line("    }");
        }
    }
    line("    phases.finish();");
    line("}");
    let all = one.prologue.iter().chain(&one.block).chain(&one.head);
    let shared_bytes = all.map(|l| l.shared_bytes).max().unwrap_or(0);
    let device = Blocks { times: 1, of: Of::One, tile: 1 };
    let launch = CudaLaunch { kernel: NAME.to_string(), grid: [device; 3], threads: THREADS, shared_bytes };
    (launch, text)
}

const NAME: &str = "step_persistent";

impl Phase<'_> {
    fn run(&self) -> String {
        // One row, one output.
        let [x, y, z] = self.launch.grid.map(|b| b.times);
        // Blocks that take several panels in turn prepare their inputs once, if there are no more than run at a time.
        let x = match self.definition.any_columns {
            true if y == 1 => format!("min({x}u, gridDim.x)"),
            true => format!("min({x}u, max(gridDim.x / {y}, 1u))"),
            false => x.to_string(),
        };
        let call = &self.definition.call;
        format!("phases.run(s, {x}, {y}, {z}, [](const Step& s, const Block& at) {{ {call}(s, at); }});")
    }
}

/// For each launch the statement that fetches the weights of the next linear.
fn weights_after(plan: &Plan, linears: &[Linear], one: &CudaVariant) -> Vec<String> {
    let named: Vec<(String, bool)> = plan
        .kernels()
        .filter(|(number, _)| linears.iter().any(|l| l.number == *number))
        .map(|(number, kernel)| (struct_name(number, kernel), is_of_block(plan, number)))
        .collect();
    let reads =
        |launch: &CudaLaunch| named.iter().position(|(n, _)| launch.kernel.starts_with(&n.to_lowercase()));
    let (before, block) = (one.prologue.len(), one.block.len());
    let all: Vec<&CudaLaunch> = one.prologue.iter().chain(&one.block).chain(&one.head).collect();
    let first_of_block = named.iter().find(|(_, of_block)| *of_block);
    let head = named.iter().find(|(_, of_block)| !of_block);
    (0..all.len())
        .map(|i| {
            let end = if i < before + block { before + block } else { all.len() };
            let next = all[i + 1..end.max(i + 1)].iter().find_map(|l| reads(l)).map(|n| &named[n].0);
            match next {
                Some(name) if i < before => format!("fetch_ahead<{name}>(s, 0);"),
                Some(name) => format!("fetch_ahead<{name}>(s, s.layer);"),
                None if i < before + block => {
                    let first = first_of_block
                        .map_or(String::new(), |(n, _)| format!("fetch_ahead<{n}>(s, s.layer + 1);"));
                    let head = head.map_or(String::new(), |(n, _)| {
                        format!(" if (s.layer + 1 == LAYERS) fetch_ahead<{n}>(s, 0);")
                    });
                    format!("{first}{head}")
                }
                None => String::new(),
            }
        })
        .collect()
}

fn is_of_block(plan: &Plan, number: u32) -> bool {
    let number = number as usize;
    let begin = plan.prologue.len();
    (begin..begin + plan.block.len()).contains(&number)
}
