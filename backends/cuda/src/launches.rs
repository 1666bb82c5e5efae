//! The kernels of a model: their definitions, and how each step launches them.
//!
//! In: a plan and its linears. Out: C++ text, and launches by number of rows. Invariant: a kernel does the same, bit for
//! bit, in every variant that has it.

use std::fmt::Write;

use qwenc_abi::{Blocks, CudaLaunch, CudaProbes, CudaVariant, Of};
use qwenc_plan::{Kernel, Plan};

use crate::constants::struct_name;
use crate::linear::Linear;
use crate::schedule::{
    padded_head_dim, Attention, DECODE_ROWS, EXACT_TOKENS, JOINED, PART_TOGETHER_BYTES, PICK_BLOCKS,
    PIECE_BYTES, PROBED_BARRIERS, THREADS, TILE_PANELS, WARPS,
};

/// Definitions of kernels, each once.
#[derive(Default)]
pub(crate) struct Definitions {
    all: Vec<Definition>,
    /// C++ text.
    pub text: String,
}

/// A kernel: its name and the device function that it calls.
pub(crate) struct Definition {
    name: String,
    /// The device function that it calls.
    pub call: String,
    /// Place of its wait for earlier launches.
    waits: Waits,
    /// Struct of the linear whose weights it reads; none where it reads few.
    pub weights: Option<String>,
}

/// Place of a kernel's wait for earlier launches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// No programmatic dependent launch: a step begins with the kernel.
    Never,
    /// At the start of the kernel.
    First,
    /// In the device function, behind its first loads of weights.
    Inside,
}

impl Definition {
    /// Definition of a kernel that waits at its start.
    fn new(name: &str, call: String) -> Definition {
        Definition { name: name.to_string(), call, waits: Waits::First, weights: None }
    }
}

impl Definitions {
    /// Definition of the kernel that a launch names.
    pub(crate) fn of(&self, name: &str) -> &Definition {
        // A launch is made only after its kernel was added.
        self.all.iter().find(|definition| definition.name == name).expect("a kernel for every launch")
    }

    /// Makes sure that the kernel stands in the text; `bounds` are its threads, and how many blocks a multiprocessor
    /// should have room for.
    fn add(&mut self, definition: Definition, bounds: (u32, u32)) {
        if self.all.iter().any(|known| known.name == definition.name) {
            return;
        }
        let (threads, blocks) = bounds;
        let bounds = format!("{threads}, {blocks}");
        let Definition { name, call, waits, .. } = &definition;
        let wait = if *waits == Waits::First { " wait_for_earlier_launches();" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "extern \"C\" __global__ __launch_bounds__({bounds}) void {name}(const Step s) {{ \
             let_next_launch_begin();{wait} {call}(s, this_block()); }}"
        );
        self.all.push(definition);
    }
}

/// Class of token counts that a variant is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    One,
    /// Up to 8 or 16.
    Few(u32),
    Many,
}

const VARIANTS: [Tokens; 4] = [Tokens::One, Tokens::Few(8), Tokens::Few(DECODE_ROWS), Tokens::Many];

/// All variants of a step.
pub(crate) fn variants(plan: &Plan, linears: &[Linear], definitions: &mut Definitions) -> Vec<CudaVariant> {
    let mut all = Vec::new();
    for tokens in VARIANTS {
        let max_rows = match tokens {
            Tokens::One => 1,
            Tokens::Few(n) => n,
            Tokens::Many => u32::MAX,
        };
        let blocks = vec![vec![]; plan.groups.len()];
        let mut variant = CudaVariant { max_rows, prologue: vec![], blocks, head: vec![] };
        for (number, kernel) in plan.kernels() {
            let launches = match kernel {
                // Fused into the attention of one token.
                Kernel::PrepareQkv(_) if tokens == Tokens::One => vec![],
                Kernel::Linear(_) => {
                    let l = linears.iter().find(|l| l.number == number);
                    l.map_or(vec![], |l| of_linear(l, &struct_name(number, kernel), tokens, definitions))
                }
                _ => vec![of_other(plan, number, kernel, tokens, definitions)],
            };
            let section = match plan.group_of(number) {
                Some(group) => &mut variant.blocks[group as usize],
                None if number < plan.layer_kernels().start => &mut variant.prologue,
                None => &mut variant.head,
            };
            section.extend(launches);
        }
        variant.head.extend(of_pick(definitions));
        all.push(variant);
    }
    all
}

/// Kernels of a linear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Inputs of several tokens.
    Prepare,
    /// Products of f32 weights.
    Exact,
    /// Products of one token, which prepare their inputs themselves.
    One,
    /// Products of up to 8 or 16 tokens.
    Few(u32),
    /// Products of many tokens.
    Many,
}

impl Part {
    fn suffix(self) -> String {
        match self {
            Part::Prepare => "prepare".to_string(),
            Part::Exact => "exact".to_string(),
            Part::One => "one".to_string(),
            Part::Few(n) => format!("few{n}"),
            Part::Many => "many".to_string(),
        }
    }

    /// Blocks that a multiprocessor should have room for: two keep the memory busier than one, where it is the bound and
    /// registers allow.
    fn blocks(self) -> u32 {
        match self {
            Part::One | Part::Few(8) => 2,
            Part::Prepare | Part::Exact | Part::Few(_) | Part::Many => 1,
        }
    }

    /// Whether blocks loop over panels, and wait for earlier launches behind their first loads of weights.
    fn in_turn(self) -> bool {
        matches!(self, Part::One | Part::Few(_))
    }
}

fn of_linear(l: &Linear, name: &str, tokens: Tokens, definitions: &mut Definitions) -> Vec<CudaLaunch> {
    let count = if l.logits { Of::Outputs } else { Of::Rows };
    let few = [fixed(l.shape.weight.panels()), fixed(l.shape.splits())];
    let mut launch = |part: Part, call: String, grid: [Blocks; 2], shared: u32| {
        let kernel = format!("{}_{}", name.to_lowercase(), part.suffix());
        let in_turn = part.in_turn();
        let waits = if in_turn { Waits::Inside } else { Waits::First };
        let definition = Definition { name: kernel.clone(), call, waits, weights: Some(name.to_string()) };
        definitions.add(definition, (THREADS, part.blocks()));
        let grid = [grid[0], grid[1], ONE];
        CudaLaunch { kernel, grid, threads: THREADS, shared_bytes: shared, in_turn, waits: true }
    };
    let prepares = [per(1, count, 1), ONE];
    if l.shape.exact() {
        let prepare = launch(Part::Prepare, format!("prepare<{name}>"), prepares, 128);
        let grid = [fixed(l.shape.weight.panels()), per(1, count, EXACT_TOKENS)];
        let shared = 4 * WARPS * EXACT_TOKENS * 32;
        return vec![prepare, launch(Part::Exact, format!("linear_exact<{name}>"), grid, shared)];
    }
    if tokens == Tokens::One {
        let call = format!("linear_decode<{name}, 1, true>");
        return vec![launch(Part::One, call, few, l.shape.shared_for_one(l.plan.gain.is_some()))];
    }
    let prepare = launch(Part::Prepare, format!("prepare<{name}>"), prepares, 128);
    let product = match tokens {
        Tokens::Few(n) => {
            let call = format!("linear_decode<{name}, {}, false>", n / 8);
            launch(Part::Few(n), call, few, l.shape.shared_for_few(n))
        }
        _ => {
            let tiles = l.shape.token_tiles();
            let grid = [per(1, count, 16 * tiles), fixed(l.shape.weight.panels().div_ceil(TILE_PANELS))];
            launch(Part::Many, format!("linear_prefill<{name}, {tiles}>"), grid, l.shape.shared_for_many())
        }
    };
    vec![prepare, product]
}

fn of_other(
    plan: &Plan,
    number: u32,
    launched: &Kernel,
    tokens: Tokens,
    definitions: &mut Definitions,
) -> CudaLaunch {
    let d = &plan.dims;
    let name = struct_name(number, launched);
    let attention = Attention::of(d);
    let head_tiles = attention.head_tiles;
    let queries = 16 * padded_head_dim(d.head_dim) * 2 * 2;
    let rows = per(1, Of::Rows, 1);
    let (what, threads, grid, shared_bytes) = match launched {
        Kernel::Attention(_) if tokens == Tokens::Many => {
            let warps = attention.prefill_warps;
            let tile = warps * attention.tile_tokens;
            let grid = [fixed(d.kv_heads * head_tiles), per(1, Of::Rows, tile), ONE];
            // Four tiles, of queries and, with two warps, of weighted values; two pieces. At most 98 KiB, and every
            // architecture has 99.
            ("attention_prefill", 32 * warps, grid, 4 * queries + 2 * PIECE_BYTES)
        }
        Kernel::Attention(_) => {
            let grid = [fixed(d.kv_heads * head_tiles), rows, fixed(attention.blocks)];
            // Queries, then their rows before they are fragments or what warps share of a part; at the end the factors by
            // which parts are joined.
            let attend = queries + PART_TOGETHER_BYTES.max(4 * attention.tile_heads * d.head_dim);
            let join = attention.joined_heads * JOINED * 12;
            let what = if tokens == Tokens::One { "attention_one" } else { "attention_decode" };
            (what, THREADS, grid, 128 + attend.max(join))
        }
        Kernel::PrepareQkv(_) => {
            ("prepare_qkv", THREADS, [rows, fixed((d.heads + d.kv_heads).div_ceil(WARPS)), ONE], 0)
        }
        Kernel::SelectAdapter(_) => ("select_adapter", THREADS, [rows, ONE, ONE], 0),
        Kernel::Swiglu(_) => ("join_swiglu", THREADS, [rows, ONE, ONE], 0),
        _ => ("embed", THREADS, [rows, ONE, ONE], 0),
    };
    let kernel = match launched {
        Kernel::Attention(_) => format!("k{number}_{what}"),
        _ => name.to_lowercase(),
    };
    // The preparation that is fused into the attention of one token.
    let before = plan.kernels().filter(|(n, k)| *n < number && matches!(k, Kernel::PrepareQkv(_))).last();
    let call = match before {
        Some((n, prepare)) if what == "attention_one" => {
            format!("{what}<{name}, {}>", struct_name(n, prepare))
        }
        _ => format!("{what}<{name}>"),
    };
    let is_first = matches!(launched, Kernel::Embed(_));
    let waits = if is_first { Waits::Never } else { Waits::First };
    definitions.add(Definition { name: kernel.clone(), call, waits, weights: None }, (threads, 1));
    CudaLaunch { kernel, grid, threads, shared_bytes, in_turn: false, waits: !is_first }
}

fn of_pick(definitions: &mut Definitions) -> [CudaLaunch; 2] {
    definitions.add(Definition::new("pick_parts", "pick_parts_of_vocabulary".to_string()), (THREADS, 1));
    definitions.add(Definition::new("pick", "pick_from_parts".to_string()), (32, 1));
    let outputs = per(1, Of::Outputs, 1);
    let parts = [outputs, fixed(PICK_BLOCKS), ONE];
    let launch = |kernel: &str, grid, threads, shared_bytes| {
        let kernel = kernel.to_string();
        CudaLaunch { kernel, grid, threads, shared_bytes, in_turn: false, waits: true }
    };
    [launch("pick_parts", parts, THREADS, 128), launch("pick", [outputs, ONE, ONE], 32, 0)]
}

/// Probe kernels.
pub(crate) fn probes(definitions: &mut Definitions) -> CudaProbes {
    let mut launch = |kernel: &str| {
        definitions.add(Definition::new(kernel, kernel.to_string()), (THREADS, 1));
        let (kernel, grid) = (kernel.to_string(), [ONE; 3]);
        CudaLaunch { kernel, grid, threads: THREADS, shared_bytes: 0, in_turn: false, waits: true }
    };
    CudaProbes {
        launch: launch("probe_launch"),
        reading: launch("probe_reading"),
        barriers: launch("probe_barriers"),
        barrier_count: PROBED_BARRIERS,
    }
}

const ONE: Blocks = fixed(1);

const fn fixed(times: u32) -> Blocks {
    Blocks { times, of: Of::One, tile: 1 }
}

const fn per(times: u32, of: Of, tile: u32) -> Blocks {
    Blocks { times, of, tile }
}
