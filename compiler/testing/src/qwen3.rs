//! A tiny optimised Qwen3 with odd sizes, as text. In: a weight type and edits. Out: graphs, plans,
//! and random weights, none of them zero.

use std::borrow::Cow;

use qwenc_formats::{DType, Inputs, Operand, ScaleType, Scales, Tensor, WeightError};
use qwenc_ir::{parse, verify, Checked, Dims, Graph, Layers, WeightDecl, WeightSource};
use qwenc_plan::{lower, Options, Plan};
use qwenc_target::{Limit, LinearShape, Target};

const QWEN3: &str = include_str!("qwen3.txt");
/// Shorter than a row, and no divisor of one.
pub const I8: &str = "i8g3";
/// The same in four bits.
pub const I4: &str = "i4g3s16";
/// Makes the head read the embedding.
pub const TIED: (&str, &str) = ("%w = weight @13 : W", "%w = weight @0 : W");
/// Takes the biases of q, k and v away.
pub const NO_BIAS: [(&str, &str); 2] = [
    (
        "  %bq = weight @14 : f32[8]
  %bk = weight @15 : f32[4]
  %bv = weight @16 : f32[4]
  %bkv = concat_rows %bk %bv : f32[8]
  %bqkv = concat_rows %bq %bkv : f32[16]
",
        "  %nothing = absent : f32[]\n",
    ),
    ("%scaled %bqkv", "%scaled %nothing"),
];

/// Two adapters of rank 1 beside q, k and v, gate and up.
pub const ADAPTED: [(&str, &str); 4] = [
    (
        "\"layers.*.v_bias\" f32[4]\n",
        "\"layers.*.v_bias\" f32[4]
weight @17 \"layers.*.q_a\" f32[2, 7]
weight @18 \"layers.*.k_a\" f32[2, 7]
weight @19 \"layers.*.v_a\" f32[2, 7]
weight @20 \"layers.*.q_b\" f32[8, 2]
weight @21 \"layers.*.k_b\" f32[4, 2]
weight @22 \"layers.*.v_b\" f32[4, 2]
weight @23 \"layers.*.gate_a\" f32[2, 7]
weight @24 \"layers.*.up_a\" f32[2, 7]
weight @25 \"layers.*.gate_b\" f32[19, 2]
weight @26 \"layers.*.up_b\" f32[19, 2]
",
    ),
    (
        "  %q_norm = weight",
        "  %qa = weight @17 : f32[2, 7]
  %ka = weight @18 : f32[2, 7]
  %va = weight @19 : f32[2, 7]
  %kva = concat_rows %ka %va : f32[4, 7]
  %qkva = concat_rows %qa %kva : f32[6, 7]
  %scaled_qkva = scale_cols %qkva %attn_norm : f32[6, 7]
  %nob = absent : f32[]
  %ranks = norm_linear eps=1e-6 %x %scaled_qkva %nob : [T, 6]
  %chosen = select_adapter rank=1 adapters=2 %ranks : [T, 6]
  %qb = weight @20 : f32[8, 2]
  %kb = weight @21 : f32[4, 2]
  %vb = weight @22 : f32[4, 2]
  %kvb = diagonal %kb %vb : f32[8, 4]
  %qkvb = diagonal %qb %kvb : f32[16, 6]
  %adapted = linear_add %chosen %qkvb %nob %qkv : [T, 16]
  %q_norm = weight",
    ),
    ("eps=1e-6 %qkv %q_norm", "eps=1e-6 %adapted %q_norm"),
    (
        "  %y = norm_swiglu eps=1e-6 %h %scaled_gate_up %none : [T, 19]",
        "  %joined = norm_linear eps=1e-6 %h %scaled_gate_up %none : [T, 38]
  %ga = weight @23 : f32[2, 7]
  %ua = weight @24 : f32[2, 7]
  %gua = concat_rows %ga %ua : f32[4, 7]
  %scaled_gua = scale_cols %gua %ffn_norm : f32[4, 7]
  %mlp_ranks = norm_linear eps=1e-6 %h %scaled_gua %none : [T, 4]
  %mlp_chosen = select_adapter rank=1 adapters=2 %mlp_ranks : [T, 4]
  %gb = weight @25 : f32[19, 2]
  %ub = weight @26 : f32[19, 2]
  %gub = diagonal %gb %ub : f32[38, 4]
  %sum = linear_add %mlp_chosen %gub %none %joined : [T, 38]
  %y = swiglu %sum : [T, 19]",
    ),
];

/// 1100 columns of down, which are cut into spans.
pub const WIDE: [(&str, &str); 5] = [
    ("intermediate=19", "intermediate=1100"),
    ("[19, 7]", "[1100, 7]"),
    ("[38, 7]", "[2200, 7]"),
    ("[7, 19]", "[7, 1100]"),
    ("[T, 19]", "[T, 1100]"),
];

/// 180 of everything that is 7, which makes six panels of down.
pub const TALL: [(&str, &str); 4] =
    [("hidden=7", "hidden=180"), (", 7]", ", 180]"), ("[7, ", "[180, "), ("f32[7]", "f32[180]")];

/// The graph with weights of this type, after replacing parts of its text.
pub fn graph(dtype: &str, edits: &[(&str, &str)]) -> Checked<Graph> {
    let mut text = QWEN3.to_string();
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?} is not in the text");
        text = text.replace(from, to);
    }
    let text = numbered(&text.replace("W[", &format!("{dtype}[")));
    let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(graph).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// q and k in the first type, v in the second, which gate has too, but not up.
pub fn mixed(first: &str, second: &str) -> Checked<Graph> {
    let v = format!("\"layers.*.v\" {second}[");
    let gate = format!("\"layers.*.gate\" {second}[");
    let of = |from: &str, to: String| (from.to_string(), to);
    let edits = [
        of("\"layers.*.v\" W[", v),
        of("\"layers.*.gate\" W[", gate),
        of("%v = weight @4 : W[", format!("%v = weight @4 : {second}[")),
        of("%gate = weight @9 : W[", format!("%gate = weight @9 : {second}[")),
        of("%k %v : W[8, 7]", format!("%k %v : {first}:4+{second}:4[8, 7]")),
        of(" : W[16, 7]", format!(" : {first}:12+{second}:4[16, 7]")),
        of(" : W[38, 7]", format!(" : {second}:19+{first}:19[38, 7]")),
    ];
    let edits: Vec<(&str, &str)> = edits.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    graph(first, &edits)
}

/// Layers 0 and 2 with matrices of the first type and no window, layer 1 with matrices of the second and a window.
pub fn two_kinds(first: &str, second: &str) -> Checked<Graph> {
    let groups = [(Layers::from_iter([0, 2]), None), (Layers::from_iter([1]), Some(4))];
    let one = graph(first, &[("layers=2", "layers=3"), ("layers 0-1 {", "layers 0-2 {")]);
    let declared = one.weights.len();
    let text = one.into_inner().regrouped(groups).to_string();
    let (mut of_second, mut out) = (false, String::new());
    for line in text.lines() {
        let number = line.strip_prefix("weight @").and_then(|rest| rest.split(' ').next()?.parse().ok());
        of_second = number.map_or(of_second, |n: usize| n >= declared);
        if line.ends_with('{') {
            of_second = line.starts_with("layers 1 ");
        }
        let line = if of_second {
            line.replace(&format!("{first}["), &format!("{second}["))
        } else {
            line.to_string()
        };
        // Vectors are f32 in both.
        out += &(line + "\n");
    }
    let graph = parse(&out).unwrap_or_else(|e| panic!("{e}\n{out}"));
    verify(graph).unwrap_or_else(|e| panic!("{e}\n{out}"))
}

/// Values have names in `qwen3.txt`, so that edits need not count; the text form wants numbers.
fn numbered(text: &str) -> String {
    let mut out = String::new();
    let mut names: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.ends_with('{') {
            names.clear();
        }
        if let Some((name, _)) = line.trim().split_once(" = ") {
            names.push(name);
        }
        let number = |word: &str| names.iter().rposition(|n| *n == word).map(|i| format!("%{i}"));
        let words = line.split(' ').map(|word| number(word).unwrap_or_else(|| word.to_string()));
        out += &(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    out
}

/// A target that needs scratch memory where inputs are normalised or rounded.
pub struct Device {
    /// Formats that it reads besides those that every target does.
    pub reads: &'static [Operand],
}

/// Reads what every target does.
pub const PLAIN: Device = Device { reads: &[] };
/// Reads bf16 in 12 bits.
pub const COMPRESSING: Device = Device { reads: &[Operand::Bf12] };

impl Target for Device {
    fn reads(&self, format: Operand) -> bool {
        !matches!(format, Operand::F16 | Operand::Bf12) || self.reads.contains(&format)
    }

    fn check(&self, _: &Dims) -> Result<(), Limit> {
        Ok(())
    }

    fn scratch_row_bytes(&self, linear: &LinearShape) -> u64 {
        match linear.norm || linear.inputs != Inputs::F32 {
            true => 4 * u64::from(linear.cols),
            false => 0,
        }
    }
}

/// Its plan.
pub fn plan(dtype: &str, edits: &[(&str, &str)]) -> Checked<Plan> {
    lower(&graph(dtype, edits), &PLAIN, &Options::default()).expect("the graph can be planned")
}

/// The same values for the same tensor name.
pub struct Random;

impl WeightSource for Random {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError> {
        let name = decl.tensor_name(layer);
        let (rows, cols) = match decl.shape[..] {
            [n] => (1, n as usize),
            [r, c] => (r as usize, c as usize),
            _ => unreachable!("weights have one or two axes"),
        };
        let mut state =
            name.bytes().fold(0x2545_f491_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_01b3));
        let mut bits = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        // Exponents of 0.5 to 4, so that no value is zero, huge or not a number.
        let mut next = || f32::from_bits(0x3f00_0000 + (bits() & 0x017f_ffff) + ((bits() & 1) << 31));
        let mut bytes = |n: usize| -> Vec<u8> { (0..n).flat_map(|_| next().to_le_bytes()).collect() };
        let n = rows * cols;
        let (data, scales) = match decl.dtype {
            DType::F32 => (bytes(n), None),
            DType::F16 | DType::Bf16 => {
                // Here and there an upper byte that no other element has.
                let upper = |i: usize, b: u8| if i % 9 == 4 { 1 + (i / 9 * 7 % 62) as u8 } else { b };
                let all = bytes(n);
                (all.chunks(4).enumerate().flat_map(|(i, b)| [b[2], upper(i, b[3])]).collect(), None)
            }
            DType::I8 { .. } => {
                // Never 0.
                let q = |b: &[u8]| if b[0] == 0 { 127 } else { b[0] };
                let data = bytes(n).chunks(4).map(q).collect();
                (data, Some(random_scales(&decl.dtype, (rows, cols), &mut bytes)))
            }
            DType::I4 { .. } => {
                let q = |n: u8| if n == 8 { 15 } else { n };
                let both = |b: &[u8]| q(b[0] & 15) | q(b[0] >> 4) << 4;
                let data = bytes(rows * cols.div_ceil(2)).chunks(4).map(both).collect();
                (data, Some(random_scales(&decl.dtype, (rows, cols), &mut bytes)))
            }
            other => unreachable!("no kernel reads {other}"),
        };
        Tensor::new(&name, decl.dtype, (rows, cols), Cow::Owned(data), scales)
    }
}

/// `bytes` gives as many f32 as it is asked for. As f16, their upper halves are numbers of other sizes.
fn random_scales(
    dtype: &DType,
    (rows, cols): (usize, usize),
    bytes: &mut dyn FnMut(usize) -> Vec<u8>,
) -> Scales<'static> {
    let (group, ty) = dtype.quantised().expect("only quantised types have scales");
    let all = bytes(rows * cols.div_ceil(group as usize));
    match ty {
        ScaleType::F32 => Scales::F32(Cow::Owned(all)),
        ScaleType::F16 => Scales::F16(Cow::Owned(all.chunks(4).flat_map(|b| [b[2], b[3]]).collect())),
    }
}
