//! CPUs by name, and what generated code may use of them.
//!
//! In: `native`, a level such as `x86-64-v3`, or a model such as `znver4`. Out: a feature list.
//! Invariant: code uses the features of that list alone, and the executable checks every one at start.

use qwenc_formats::Operand;

use crate::decoders::Decoder;
use crate::isa::x86::{self, Vnni};

/// A CPU to generate code for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    name: String,
    features: Vec<&'static str>,
}

/// A CPU name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown CPU {name:?}; expected native or one of {}", Cpu::names().join(", "))]
pub struct CpuError {
    /// Name as it was given.
    pub name: String,
}

impl Cpu {
    /// Every known name but `native`.
    pub fn names() -> Vec<&'static str> {
        x86::names()
    }

    /// The CPU of this name; `native` is this machine, by what it reports.
    pub fn named(name: &str) -> Result<Cpu, CpuError> {
        if name == "native" {
            return Ok(Cpu { name: name.to_string(), features: x86::detected() });
        }
        let (name, features) = x86::named(name).ok_or_else(|| CpuError { name: name.to_string() })?;
        Ok(Cpu { name: name.to_string(), features })
    }

    /// The CPU without any feature.
    pub(crate) fn baseline() -> Cpu {
        Cpu { name: x86::BASELINE.to_string(), features: Vec::new() }
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
        x86::vnni(self)
    }

    /// Whether kernels read this format.
    pub fn reads(&self, format: Operand) -> bool {
        Decoder::of(format).runs_on(self)
    }

    /// Vector registers of 16 floats that fit in the register file at once.
    pub(crate) fn registers(&self) -> usize {
        x86::registers(self)
    }

    /// LLVM's feature string.
    pub(crate) fn llvm_features(&self) -> String {
        let spelled = |f: &&str| format!("+{}", x86::llvm_feature(f));
        self.features.iter().map(spelled).collect::<Vec<_>>().join(",")
    }
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
