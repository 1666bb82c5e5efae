//! CPUs of x86-64: their names, features and registers, and the instructions that kernels use.
//!
//! In: a name, or an operation. Out: features; the operation by instructions, or none where the CPU lacks them. Invariant:
//! only features listed here are used, and the executable checks every one at start.

use inkwell::targets::{InitializationConfig, Target};
use inkwell::types::VectorType;
use inkwell::IntPredicate;
use qwenc_formats::LANES;

use crate::builder::{Code, Vector};
use crate::cpu::Cpu;
use crate::isa::{by_halves, Bytes, VECTOR_BYTES};

/// LLVM's name of the platform.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// The x86-64 baseline (SSE2), to which features are added.
pub(crate) const BASELINE: &str = "x86-64";

/// Makes LLVM's code generator known to it.
pub(crate) fn initialize() {
    Target::initialize_x86(&InitializationConfig::default());
}

/// 8-bit dot-product instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vnni {
    /// 512-bit `vpdpbusd`.
    Avx512,
    /// 256-bit `vpdpbusd` in VEX encoding.
    Avx,
}

/// Features of each level beyond the previous one, spelled as `is_x86_feature_detected!` does.
const V2: &[&str] = &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"];
const V3: &[&str] = &["avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "lzcnt", "movbe"];
const V4: &[&str] = &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];
const VNNI: &str = "avx512vnni";
const BF16: &str = "avx512bf16";
const AVX_VNNI: &str = "avxvnni";

/// Name, level, and features beyond the level.
const CPUS: &[(&str, u32, &[&str])] = &[
    ("x86-64", 1, &[]),
    ("x86-64-v2", 2, &[]),
    ("x86-64-v3", 3, &[]),
    ("x86-64-v4", 4, &[]),
    ("haswell", 3, &[]),
    ("broadwell", 3, &[]),
    ("skylake", 3, &[]),
    ("alderlake", 3, &[AVX_VNNI]),
    ("raptorlake", 3, &[AVX_VNNI]),
    ("skylake-avx512", 4, &[]),
    ("cascadelake", 4, &[VNNI]),
    ("cooperlake", 4, &[VNNI, BF16]),
    ("icelake-client", 4, &[VNNI]),
    ("icelake-server", 4, &[VNNI]),
    ("sapphirerapids", 4, &[VNNI, BF16, AVX_VNNI]),
    ("graniterapids", 4, &[VNNI, BF16, AVX_VNNI]),
    ("znver1", 3, &[]),
    ("znver2", 3, &[]),
    ("znver3", 3, &[]),
    ("znver4", 4, &[VNNI, BF16]),
    ("znver5", 4, &[VNNI, BF16, AVX_VNNI]),
];

/// Every known name.
pub(crate) fn names() -> Vec<&'static str> {
    CPUS.iter().map(|c| c.0).collect()
}

/// Name and features of a CPU, if it is known.
pub(crate) fn named(name: &str) -> Option<(&'static str, Vec<&'static str>)> {
    let (name, level, extra) = CPUS.iter().find(|c| c.0 == name)?;
    let levels: &[(u32, &[&'static str])] = &[(2, V2), (3, V3), (4, V4), (0, extra)];
    let of_level = levels.iter().filter(|(l, _)| l <= level).flat_map(|(_, f)| f.iter().copied());
    Some((name, of_level.collect()))
}

/// Features of this machine among those above. A level counts only as a whole, so that the
/// instructions LLVM assumes to come together do.
pub(crate) fn detected() -> Vec<&'static str> {
    let mut found = Vec::new();
    for level in [V2, V3, V4] {
        if !level.iter().all(|f| detect(f)) {
            break;
        }
        found.extend_from_slice(level);
    }
    let v4 = found.contains(&"avx512f");
    let extra = [(VNNI, v4), (BF16, v4), (AVX_VNNI, found.contains(&"avx2"))];
    found.extend(extra.iter().filter(|(f, base)| *base && detect(f)).map(|(f, _)| *f));
    found
}

#[cfg(target_arch = "x86_64")]
fn detect(feature: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match feature {
        "sse3" => has!("sse3"),
        "ssse3" => has!("ssse3"),
        "sse4.1" => has!("sse4.1"),
        "sse4.2" => has!("sse4.2"),
        "popcnt" => has!("popcnt"),
        "avx" => has!("avx"),
        "avx2" => has!("avx2"),
        "fma" => has!("fma"),
        "f16c" => has!("f16c"),
        "bmi1" => has!("bmi1"),
        "bmi2" => has!("bmi2"),
        "lzcnt" => has!("lzcnt"),
        "movbe" => has!("movbe"),
        "avx512f" => has!("avx512f"),
        "avx512bw" => has!("avx512bw"),
        "avx512cd" => has!("avx512cd"),
        "avx512dq" => has!("avx512dq"),
        "avx512vl" => has!("avx512vl"),
        VNNI => has!("avx512vnni"),
        BF16 => has!("avx512bf16"),
        AVX_VNNI => has!("avxvnni"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(_feature: &str) -> bool {
    false
}

/// LLVM's spelling of a feature.
pub(crate) fn llvm_feature(feature: &str) -> &str {
    match feature {
        "bmi1" => "bmi",
        other => other,
    }
}

/// The 8-bit dot product to use, if there is one.
pub(crate) fn vnni(cpu: &Cpu) -> Option<Vnni> {
    if cpu.has(VNNI) {
        Some(Vnni::Avx512)
    } else if cpu.has(AVX_VNNI) {
        Some(Vnni::Avx)
    } else {
        None
    }
}

/// Vector registers of 16 floats that fit in the register file at once.
pub(crate) fn registers(cpu: &Cpu) -> usize {
    if cpu.has("avx512f") {
        32
    } else if cpu.has("avx2") {
        8
    } else {
        4
    }
}

/// Whether multiplication and addition round once.
pub(crate) fn fuses(cpu: &Cpu) -> bool {
    cpu.has("fma")
}

/// Whether an instruction makes f32 of f16.
pub(crate) fn widens_f16(cpu: &Cpu) -> bool {
    cpu.has("f16c")
}

/// Whether 16 bytes are looked up at once.
pub(crate) fn looks_up(cpu: &Cpu) -> bool {
    cpu.has("avx2")
}

impl Bytes {
    /// Whether two products with inputs of up to 127 can leave 16 bits. Such bytes have a bias of 128.
    fn overflow(self) -> bool {
        2 * 127 * i32::from(self.largest) > i32::from(i16::MAX)
    }
}

/// Whether [`dot4`] multiplies the bytes as they are.
pub(super) fn keeps_bias(c: &Code, bytes: Bytes) -> bool {
    !(bytes.overflow() && vnni(c.cpu).is_none() && c.cpu.has("avx2"))
}

/// See [`super::dot4`].
pub(super) fn dot4<'c>(
    c: &Code<'c, '_>,
    bytes: Bytes,
    sum: Vector<'c>,
    w: Vector<'c>,
    x: Vector<'c>,
) -> Option<Vector<'c>> {
    match vnni(c.cpu) {
        Some(Vnni::Avx512) => Some(c.instruction("llvm.x86.avx512.vpdpbusd.512", &[sum, w, x])),
        Some(Vnni::Avx) => {
            let dot = |v: &[Vector<'c>]| c.instruction("llvm.x86.avx512.vpdpbusd.256", v);
            Some(by_halves(c, &[sum, w, x], dot))
        }
        None if c.cpu.has("avx512bw") => Some(dot4_pairs(c, bytes, [sum, w, x])),
        None if c.cpu.has("avx2") => {
            Some(by_halves(c, &[sum, w, x], |v| dot4_pairs(c, bytes, [v[0], v[1], v[2]])))
        }
        None => None,
    }
}

/// 8 or 16 lanes by `vpmaddubsw`, which adds two products in 16 bits and saturates: weights that could overflow are
/// taken as magnitudes, at most 128, their signs put on the inputs, at most 127 in magnitude.
fn dot4_pairs<'c>(c: &Code<'c, '_>, bytes: Bytes, [sum, w, x]: [Vector<'c>; 3]) -> Vector<'c> {
    let lanes = sum.get_type().get_size();
    let wide = lanes == LANES;
    let i8s = c.i8().vec_type(4 * lanes);
    let (mut w, mut x) = (c.bits(w, i8s), c.bits(x, i8s));
    if bytes.overflow() {
        let q = c.xor_vec(w, c.ints(c.i8(), 128, 4 * lanes));
        x = match wide {
            // `vpsignb` is not that wide.
            true => {
                let zero = i8s.const_zero();
                c.vselect(c.cmp_vec(IntPredicate::SLT, q, zero), c.sub_vec(zero, x), x)
            }
            false => c.instruction("llvm.x86.avx2.psign.b", &[x, q]),
        };
        let wraps = c.cx.bool_type().const_zero();
        w = c.intrinsic("llvm.abs", &[i8s.into()], &[q.into(), wraps.into()]).into_vector_value();
    }
    let [of_pairs, of_quads] = match wide {
        true => ["llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"],
        false => ["llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"],
    };
    let pairs = c.instruction(of_pairs, &[w, x]);
    let quads = c.instruction(of_quads, &[pairs, c.ints(c.i16(), 1, 2 * lanes)]);
    c.add_vec(sum, quads)
}

/// See [`super::dot2`]: `vdpbf16ps`, which takes tiny numbers as zero.
pub(super) fn dot2<'c>(
    c: &Code<'c, '_>,
    sum: Vector<'c>,
    w: Vector<'c>,
    x: Vector<'c>,
) -> Option<Vector<'c>> {
    if !c.cpu.has(BF16) || sum.get_type().get_size() != LANES {
        return None;
    }
    let pairs: VectorType = c.cx.bf16_type().vec_type(2 * LANES);
    Some(c.instruction("llvm.x86.avx512bf16.dpbf16ps.512", &[sum, c.bits(w, pairs), c.bits(x, pairs)]))
}

/// See [`super::look_up`].
pub(super) fn look_up<'c>(c: &Code<'c, '_>, table: Vector<'c>, codes: Vector<'c>) -> Option<Vector<'c>> {
    if !looks_up(c.cpu) {
        return None;
    }
    if c.cpu.has("avx512bw") {
        return Some(c.instruction("llvm.x86.avx512.pshuf.b.512", &[table, codes]));
    }
    let (low, high): (Vec<u32>, Vec<u32>) = ((0..32).collect(), (32..64).collect());
    let part = |lanes: &[u32]| {
        c.instruction("llvm.x86.avx2.pshuf.b", &[table, codes].map(|v| c.shuffle(v, v, lanes)))
    };
    let all: Vec<u32> = (0..VECTOR_BYTES).collect();
    Some(c.shuffle(part(&low), part(&high), &all))
}

/// See [`Code::times_power`].
pub(super) fn times_power<'c>(c: &Code<'c, '_>, x: Vector<'c>, k: Vector<'c>) -> Option<Vector<'c>> {
    if !c.cpu.has("avx512f") || x.get_type().get_size() != LANES {
        return None;
    }
    let (all, as_it_is) = (c.i16().const_all_ones(), c.i32().const_int(4, false));
    let args = [x.into(), k.into(), x.into(), all.into(), as_it_is.into()];
    Some(c.intrinsic("llvm.x86.avx512.mask.scalef.ps.512", &[], &args).into_vector_value())
}

/// See [`Code::to_bf16`].
pub(super) fn to_bf16<'c>(c: &Code<'c, '_>, x: Vector<'c>) -> Option<Vector<'c>> {
    if !c.cpu.has(BF16) || x.get_type().get_size() != LANES {
        return None;
    }
    let rounded = c.instruction("llvm.x86.avx512bf16.cvtneps2bf16.512", &[x]);
    Some(c.bits(rounded, c.i16().vec_type(LANES)))
}
