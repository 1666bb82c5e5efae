//! CPUs by name, and what generated code may use of them.
//!
//! In: `native`, a level such as `x86-64-v3`, or a model such as `znver4`. Out: a feature list.
//! Invariant: only features listed here are used, and the executable checks every one at start.

use qwenc_formats::Operand;

use crate::decoders::Decoder;

/// A CPU to generate code for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    name: String,
    features: Vec<&'static str>,
}

/// Which 8-bit dot-product instruction there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vnni {
    /// 512-bit `vpdpbusd`.
    Avx512,
    /// 256-bit `vpdpbusd` in VEX encoding.
    Avx,
}

/// A CPU name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown CPU {name:?}; expected native or one of {}", Cpu::names().join(", "))]
pub struct CpuError {
    /// As given.
    pub name: String,
}

/// Features of each level beyond the previous one, spelled as `is_x86_feature_detected!` does.
const V2: &[&str] = &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"];
const V3: &[&str] = &["avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "lzcnt", "movbe"];
const V4: &[&str] = &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];
const VNNI: &str = "avx512vnni";
pub(crate) const BF16: &str = "avx512bf16";
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

impl Cpu {
    /// Every known name but `native`.
    pub fn names() -> Vec<&'static str> {
        CPUS.iter().map(|c| c.0).collect()
    }

    /// The CPU of this name; `native` is this machine, by what it reports.
    pub fn named(name: &str) -> Result<Cpu, CpuError> {
        if name == "native" {
            return Ok(Cpu { name: name.to_string(), features: detected() });
        }
        let (name, level, extra) =
            CPUS.iter().find(|c| c.0 == name).ok_or_else(|| CpuError { name: name.to_string() })?;
        let levels: &[(u32, &[&'static str])] = &[(2, V2), (3, V3), (4, V4), (0, extra)];
        let of_level = levels.iter().filter(|(l, _)| l <= level).flat_map(|(_, f)| f.iter().copied());
        Ok(Cpu { name: (*name).to_string(), features: of_level.collect() })
    }

    /// The least that any x86-64 has.
    pub(crate) fn baseline() -> Cpu {
        Cpu { name: "x86-64".to_string(), features: Vec::new() }
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Features that code may use, in a fixed order.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }

    /// Whether code may use the feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }

    /// The 8-bit dot product to use, if there is one.
    pub fn vnni(&self) -> Option<Vnni> {
        if self.has(VNNI) {
            Some(Vnni::Avx512)
        } else if self.has(AVX_VNNI) {
            Some(Vnni::Avx)
        } else {
            None
        }
    }

    /// Whether kernels read this format.
    pub fn reads(&self, format: Operand) -> bool {
        Decoder::of(format).runs_on(self)
    }

    /// Vector registers of 16 floats that fit in the register file at once.
    pub(crate) fn registers(&self) -> usize {
        if self.has("avx512f") {
            32
        } else if self.has("avx2") {
            8
        } else {
            4
        }
    }

    /// LLVM's feature string.
    pub(crate) fn llvm_features(&self) -> String {
        let spelled = |f: &&str| match *f {
            "bmi1" => "+bmi".to_string(),
            f => format!("+{f}"),
        };
        self.features.iter().map(spelled).collect::<Vec<_>>().join(",")
    }
}

/// What this machine has of the features above. A level counts only as a whole, so that the
/// instructions LLVM assumes to come together do.
fn detected() -> Vec<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_include_the_lower_ones() {
        let v4 = Cpu::named("x86-64-v4").unwrap();
        let v3 = Cpu::named("x86-64-v3").unwrap();
        assert!(v3.features().iter().all(|f| v4.has(f)));
        assert!(!v3.has("avx512f") && v4.vnni().is_none());
        assert_eq!(Cpu::named("znver4").unwrap().vnni(), Some(Vnni::Avx512));
        assert_eq!(Cpu::named("alderlake").unwrap().vnni(), Some(Vnni::Avx));
        assert!(Cpu::named("x86-64").unwrap().features().is_empty());
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let message = Cpu::named("pentium").unwrap_err().to_string();
        assert!(message.contains("\"pentium\"") && message.contains("znver5"), "{message}");
    }
}
