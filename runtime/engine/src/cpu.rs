//! Which instructions the code may execute, and whether this processor has them.
//!
//! In: the feature list of `ModelInfo`. Out: nothing, or an error that lists what is missing.
//! Invariant: `require` runs before the first call of generated code; a name that this file does
//! not know counts as missing, never as present.

use qwenc_abi::ModelInfo;

use crate::error::{Error, Result};

/// Comma-separated features that the check pretends are absent; for tests.
pub const HIDE_VARIABLE: &str = "QWENC_HIDE_CPU_FEATURES";

/// The features named in `model`, in its order.
pub fn wanted(model: &ModelInfo) -> Vec<String> {
    if model.features.is_null() || model.features_len == 0 {
        return Vec::new();
    }
    // SAFETY: a ModelInfo's features point to features_len constant bytes of the executable.
    let bytes = unsafe { std::slice::from_raw_parts(model.features, model.features_len as usize) };
    split(&String::from_utf8_lossy(bytes))
}

/// Checks that this processor has every feature in `model`, but those in `QWENC_HIDE_CPU_FEATURES`.
pub fn require(model: &ModelInfo) -> Result<()> {
    let hidden = std::env::var(HIDE_VARIABLE).unwrap_or_default();
    require_features(&wanted(model), &split(&hidden))
}

/// Checks that this processor has every feature in `wanted` and that none of them is in `hidden`.
pub fn require_features(wanted: &[String], hidden: &[String]) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|name| hidden.contains(name) || !present(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Cpu { missing: missing.join(", "), wanted: wanted.join(", ") })
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

#[cfg(target_arch = "x86_64")]
fn present(name: &str) -> bool {
    macro_rules! table {
        ($($feature:tt)*) => {
            match name {
                $($feature => std::arch::is_x86_feature_detected!($feature),)*
                _ => false,
            }
        };
    }
    table! {
        "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "sse4a" "avx" "avx2" "fma" "f16c" "bmi1" "bmi2"
        "lzcnt" "popcnt" "movbe" "adx" "aes" "pclmulqdq" "sha" "gfni" "vaes" "vpclmulqdq" "rdrand"
        "rdseed" "fxsr" "xsave" "xsavec" "xsaveopt" "xsaves" "cmpxchg16b" "avx512f" "avx512cd"
        "avx512bw" "avx512dq" "avx512vl" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vnni"
        "avx512bitalg" "avx512vpopcntdq" "avx512bf16" "avx512vp2intersect" "avx512fp16" "avxvnni"
        "avxifma" "avxneconvert" "avxvnniint8" "avxvnniint16"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn present(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_features_are_listed_with_the_way_out() {
        let e = require_features(&split("sse2,avx9000, avx2"), &split("avx2")).unwrap_err();
        let text = e.to_string();
        assert!(text.contains("lacks avx9000, avx2,"), "{text}");
        assert!(text.contains("--cpu native") && text.contains("x86-64-v3"), "{text}");
        assert_eq!(e.exit_code(), 1);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_baseline_is_present() {
        require_features(&split("sse,sse2"), &[]).unwrap();
        require_features(&[], &split("avx2")).unwrap();
    }
}
