//! Constants of the device code: constants of its shapes, and a struct per tensor, buffer and kernel.
//!
//! In: a plan, its linears, the arena. Out: C++ text. Invariant: floats are written by their bits, so that nothing is
//! rounded twice.

use std::fmt::Write;

use qwenc_formats::{Inputs, PANEL_ROWS};
use qwenc_plan::{BufferId, Dest, Kernel, Plan, SegmentId};

use crate::arena::Arena;
use crate::linear::Linear;
use crate::schedule::{self, padded_head_dim};
use crate::shape::Shape;

/// The constants that all of `device/` refers to.
pub(crate) fn of_model(plan: &Plan, linears: &[Linear], arena: &Arena, counters: &Counters) -> String {
    let d = &plan.dims;
    let mut out = String::new();
    let mut int = |name: &str, value: u64| line(&mut out, &format!("constexpr int {name} = {value};"));
    int("LAYERS", d.layers.into());
    int("HEADS", d.heads.into());
    int("KV_HEADS", d.kv_heads.into());
    int("HEAD_DIM", d.head_dim.into());
    int("DIMS", padded_head_dim(d.head_dim).into());
    int("VOCAB", d.vocab_rows.into());
    int("LOGITS_STRIDE", logits_stride(plan).into());
    int("QUERY_PLANES", if rounds_queries(linears) { 1 } else { 2 });
    int("BARRIER_COUNTERS", counters.barrier.into());
    for (name, value) in schedule::constants(d) {
        int(name, value.into());
    }
    line(&mut out, &schedule::kv_types());
    let scale = (1.0 / f64::from(d.head_dim).sqrt() * std::f64::consts::LOG2_E) as f32;
    line(&mut out, "// 1 / sqrt(head_dim), in units of the logarithm to base 2.");
    line(&mut out, &format!("constexpr float SCORE_SCALE = {};", float(scale)));
    line(&mut out, &format!("constexpr float ROPE_FACTOR = {};", float(plan.rope.attention_factor())));
    line(&mut out, "// The packed weights, and the arena.");
    let mut size = |name: &str, value: u64| line(&mut out, &format!("constexpr size_t {name} = {value};"));
    size("WEIGHTS_BYTES", plan.weights_bytes);
    size("PARTIALS_OFFSET", 0);
    size("FIXED_BYTES", arena.fixed);
    size("CANDIDATES_OFFSET", arena.candidates);
    size("ROWS_BYTES", arena.rows);
    of_layers(&mut out, plan);
    let frequencies: Vec<String> = plan.rope.inv_freq(d.head_dim).into_iter().map(float).collect();
    line(&mut out, "// Radians per position.");
    table(&mut out, "float INVERSE_FREQUENCIES", &frequencies);
    out
}

/// Functions of the layer: record offset, sliding window, layer group. A constant or a formula where all layers are alike, a table
/// otherwise.
fn of_layers(out: &mut String, plan: &Plan) {
    let groups = plan.layer_groups();
    let one = plan.groups.len() == 1;
    let mut function = |about: &str, ty: &str, name: &str, same: Option<String>, of_layer: Vec<String>| {
        line(out, about);
        if same.is_none() {
            table(out, &format!("{ty} {name}s"), &of_layer);
        }
        let value = same.unwrap_or(format!("{name}s[layer]"));
        line(out, &format!("__device__ inline {ty} {name}(unsigned layer) {{ return {value}; }}"));
    };
    let records =
        plan.even_records().map(|bytes| format!("{} + layer * size_t({bytes})", plan.layers_offset));
    let offsets = plan.layer_offsets().iter().map(u64::to_string).collect();
    function(
        "// Start of a layer's record in the packed weights.",
        "size_t",
        "layer_offset",
        records,
        offsets,
    );
    let window = |group: u32| plan.groups[group as usize].window.unwrap_or(0).to_string();
    let windows = groups.iter().map(|&group| window(group)).collect();
    function(
        "// Sliding window; 0: all positions.",
        "unsigned",
        "layer_window",
        one.then(|| window(0)),
        windows,
    );
    let numbers = groups.iter().map(u32::to_string).collect();
    let only = one.then(|| "0".to_string());
    function("// Layer group.", "unsigned", "layer_group", only, numbers);
}

/// A struct per tensor, buffer and kernel.
pub(crate) fn of_parts(plan: &Plan, linears: &[Linear], counters: &Counters) -> String {
    let mut out = String::new();
    for (i, segment) in plan.segments.iter().enumerate() {
        let names: Vec<&str> =
            segment.parts.iter().map(|p| plan.weights[p.0 as usize].name.as_str()).collect();
        let fields = format!(
            "PER_LAYER = {}; static constexpr size_t OFFSET = {}",
            segment.home.per_layer(),
            segment.offset
        );
        line(
            &mut out,
            &format!("// {} {}[{}, {}]", names.join(" + "), segment.format, segment.rows, segment.cols),
        );
        line(
            &mut out,
            &format!("struct {} {{ static constexpr bool {fields}; }};", segment_name(SegmentId(i as u32))),
        );
    }
    for (i, buffer) in plan.buffers.iter().enumerate() {
        let id = BufferId(i as u32);
        let fields = format!("OFFSET = {}, ROW_BYTES = {}", buffer.offset, buffer.row_bytes);
        line(
            &mut out,
            &format!(
                "struct {} {{ static constexpr size_t {fields}; }}; // [{}]",
                buffer_name(plan, id),
                buffer.width
            ),
        );
    }
    for (number, kernel) in plan.kernels() {
        out.push_str(&of_kernel(plan, number, kernel, linears, counters));
    }
    out
}

/// Index of each kernel's first counter.
pub(crate) struct Counters {
    /// By the kernel's number.
    pub first: Vec<u32>,
    /// Index of the first counter of the persistent kernel's barrier.
    pub barrier: u32,
    /// Number of counters of all kernels.
    pub total: u32,
}

fn of_kernel(plan: &Plan, number: u32, kernel: &Kernel, linears: &[Linear], counters: &Counters) -> String {
    let mut out = String::new();
    line(&mut out, &format!("struct {} {{", struct_name(number, kernel)));
    let using =
        |out: &mut String, name: &str, what: String| line(out, &format!("    using {name} = {what};"));
    match kernel {
        Kernel::Embed(e) => {
            line(&mut out, &format!("    struct Table : {} {{", segment_name(e.table)));
            out.push_str(&of_shape(&Shape::of(plan.segment(e.table), |_| 1)));
            line(&mut out, "    };");
            using(&mut out, "Output", buffer_name(plan, e.out));
            using(&mut out, "Rope", buffer_name(plan, e.rope));
        }
        Kernel::PrepareQkv(p) => {
            using(&mut out, "Qkv", buffer_name(plan, p.qkv));
            using(&mut out, "Rope", buffer_name(plan, p.rope));
            let gains = p.q_gain.zip(p.k_gain);
            line(&mut out, &format!("    static constexpr bool NORM = {};", gains.is_some()));
            if let Some((q, k)) = gains {
                using(&mut out, "QGain", segment_name(q));
                using(&mut out, "KGain", segment_name(k));
                line(&mut out, &format!("    static constexpr float EPS = {};", float(p.eps.get())));
            }
        }
        Kernel::Attention(a) => {
            using(&mut out, "Q", buffer_name(plan, a.q));
            using(&mut out, "Output", buffer_name(plan, a.out));
            line(
                &mut out,
                &format!("    static constexpr int COUNTERS = {};", counters.first[number as usize]),
            );
        }
        Kernel::SelectAdapter(a) => {
            using(&mut out, "Columns", buffer_name(plan, a.columns));
            let (cols, rank, adapters) = (plan.buffer(a.columns).width, a.rank, a.adapters);
            let sizes = format!("COLS = {cols}, RANK = {rank}, ADAPTERS = {adapters}");
            line(&mut out, &format!("    static constexpr unsigned {sizes};"));
        }
        Kernel::Swiglu(j) => {
            using(&mut out, "Input", buffer_name(plan, j.input));
            using(&mut out, "Output", buffer_name(plan, j.out));
            line(&mut out, &format!("    static constexpr unsigned COLS = {};", plan.buffer(j.out).width));
        }
        Kernel::Linear(_) => {
            if let Some(l) = linears.iter().find(|l| l.number == number) {
                out.push_str(&of_linear(plan, l, counters.first[number as usize]));
            }
        }
    }
    line(&mut out, "};");
    out
}

fn of_linear(plan: &Plan, l: &Linear, counters: u32) -> String {
    let mut out = of_shape(&l.shape);
    let columns = plan.columns(&l.plan);
    let mut using = |name: &str, what: String| line(&mut out, &format!("    using {name} = {what};"));
    using("Weight", segment_name(l.plan.weight));
    using("Input", buffer_name(plan, l.plan.input));
    if let Some(scratch) = l.plan.scratch {
        using("Prepared", buffer_name(plan, scratch));
    }
    if let Dest::Buffer(b) = l.plan.out {
        using("Output", buffer_name(plan, b));
    }
    if let Some(gain) = l.plan.gain {
        using("Gain", segment_name(gain));
    }
    if let Some(bias) = l.plan.bias {
        using("Bias", segment_name(bias));
    }
    let flags = [
        ("NORM", l.plan.norm.is_some()),
        ("HAS_GAIN", l.plan.gain.is_some()),
        ("HAS_BIAS", l.plan.bias.is_some()),
        ("PAIRED", l.shape.paired()),
        ("RESIDUAL", l.plan.residual.is_some()),
        ("LOGITS", l.logits),
        ("EVEN", l.shape.even()),
        ("CUT", !l.shape.paired() && columns.len() < (l.shape.weight.panels() * PANEL_ROWS) as usize),
    ];
    let flags: Vec<String> = flags.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    line(&mut out, &format!("    static constexpr bool {};", flags.join(", ")));
    if let Some(eps) = l.plan.norm {
        line(&mut out, &format!("    static constexpr float EPS = {};", float(eps.get())));
    }
    let weight = &l.shape.weight;
    let how = format!(
        "SPANS = {}, STRIP = {}, CHAINS = {}, SPLITS = {}, COUNTERS = {counters}, FIRST = {}, END = {}",
        weight.spans,
        weight.strip(),
        l.shape.chains(),
        l.shape.splits(),
        columns.start,
        columns.end
    );
    line(&mut out, &format!("    static constexpr int {how};"));
    let begin = span_begin(&l.shape);
    line(
        &mut out,
        &format!("    __device__ static constexpr int span_begin(int span) {{ return {begin}; }}"),
    );
    out
}

/// The first unit of a span, or the end of the last, as an expression.
fn span_begin(shape: &Shape) -> String {
    let borders = shape.borders();
    if shape.even() {
        return format!("span * {}", borders[1]);
    }
    let (begins, end) = borders.split_at(borders.len() - 1);
    let of_spans = (1..).zip(begins).map(|(next, unit)| format!("span < {next} ? {unit} : "));
    of_spans.collect::<String>() + &end[0].to_string()
}

/// Constants of a linear's panels, steps and units.
fn of_shape(l: &Shape) -> String {
    let mut out = String::new();
    line(&mut out, &format!("    using Decoder = {};", l.row.decoder.name));
    let (row, block) = (&l.row, l.row.block());
    let sizes = [
        ("COLS", u64::from(l.weight.cols)),
        ("PANELS", u64::from(l.weight.panels())),
        ("PANEL_BYTES", l.weight.panel_bytes()),
        ("PLANES", u64::from(row.planes)),
        ("STEPS", u64::from(row.steps())),
        ("STEP_COLS", u64::from(row.decoder.step_cols)),
        ("STEP_BYTES", u64::from(row.decoder.step_bytes)),
        ("UNITS", u64::from(row.units())),
        ("UNIT_STEPS", u64::from(row.unit_steps())),
        ("UNIT_BYTES", row.unit_bytes()),
        ("GROUP", u64::from(row.group())),
        ("SCALE_BYTES", row.decoder.scale_bytes),
        ("BLOCK_UNITS", block.units),
        ("BLOCK_BYTES", block.bytes),
        ("HEAD_BYTES", block.head),
    ];
    for some in sizes.chunks(5) {
        let some: Vec<String> = some.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        line(&mut out, &format!("    static constexpr int {};", some.join(", ")));
    }
    out
}

/// Whether queries and probabilities are rounded to bf16: where the linears' inputs are too.
fn rounds_queries(linears: &[Linear]) -> bool {
    linears.iter().any(|l| l.plan.inputs == Inputs::Bf16)
}

/// Floats between two rows of logits.
pub(crate) fn logits_stride(plan: &Plan) -> u32 {
    plan.dims.vocab_rows.next_multiple_of(32)
}

/// The name of a kernel's struct: `K1_norm_linear`.
pub(crate) fn struct_name(number: u32, kernel: &Kernel) -> String {
    format!("K{number}_{}", kernel.name())
}

fn segment_name(id: SegmentId) -> String {
    format!("W{}", id.0)
}

fn buffer_name(plan: &Plan, id: BufferId) -> String {
    format!("B{}_{}", id.0, plan.buffer(id).name)
}

/// A float by its bits: the shortest decimal that reads back as the same.
fn float(value: f32) -> String {
    format!("{value:e}f")
}

fn table(out: &mut String, what: &str, values: &[String]) {
    line(out, &format!("__device__ const {what}[{}] = {{", values.len()));
    for some in values.chunks(8) {
        line(out, &format!("    {},", some.join(", ")));
    }
    line(out, "};");
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
