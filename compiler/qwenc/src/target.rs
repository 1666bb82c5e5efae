//! The target: which flags go with it, whether this build has it, and what it is good at.
//!
//! In: the arguments of `compile`. Out: a machine, or what is wrong. Invariant: after this no flag is ignored.

use anyhow::{bail, Result};
use clap::ValueEnum;
use qwenc_costs::Machine;

use crate::args::{Compile, Emit, Target};
use crate::Misuse;

/// Checks the flags against each other and gives the machine that the target is taken to be.
pub fn machine(args: &Compile) -> Result<Machine> {
    let misuse = |what: String| Err(Misuse(what).into());
    let name = args.emit.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
    if !matches!(args.emit, Emit::Exe | Emit::Lib) {
        for (flag, is_given) in [("--dynamic", args.dynamic), ("--linker", args.linker.is_some())] {
            if is_given {
                return misuse(format!("{flag} goes with --emit exe and lib; --emit {name} links nothing"));
            }
        }
    }
    if args.no_serve && args.emit != Emit::Exe {
        return misuse(format!("--no-serve goes with --emit exe; --emit {name} has no server"));
    }
    match (args.target, args.emit) {
        (Target::Cuda, Emit::LlvmIr | Emit::Asm | Emit::Obj) => {
            misuse(format!("--emit {name} goes with --target cpu; CUDA has cuda, ptx and cubin"))
        }
        (Target::Cpu, Emit::Cuda | Emit::Ptx | Emit::Cubin) => {
            misuse(format!("--emit {name} goes with --target cuda; a CPU has llvm-ir, asm and obj"))
        }
        (Target::Cuda, _) if args.cpu.is_some() => {
            misuse("--cpu goes with --target cpu; --sm names the GPUs to compile for".to_string())
        }
        (Target::Cpu, _) if args.sm.is_some() => {
            misuse("--sm goes with --target cuda; --cpu names the CPU to compile for".to_string())
        }
        (Target::Cpu, emit) => cpu(args, emit),
        (Target::Cuda, _) => cuda(args),
    }
}

/// The target as optimiser and plan ask it; `machine` has refused one that this build lacks.
pub fn device(args: &Compile) -> Result<Box<dyn qwenc_target::Target>> {
    Ok(match args.target {
        #[cfg(feature = "llvm")]
        Target::Cpu => Box::new(crate::cpu::chosen(args)?),
        #[cfg(feature = "cuda")]
        Target::Cuda => Box::new(qwenc_cuda::Gpu),
        // Graphs and plans need no backend.
        #[allow(unreachable_patterns)]
        _ => Box::new(qwenc_target::NoDevice),
    })
}

/// Error: this build lacks the backend.
pub fn absent<T>(target: Target) -> Result<T> {
    let (name, what, feature) = match target {
        Target::Cpu => ("cpu", "LLVM", "llvm"),
        Target::Cuda => ("cuda", "CUDA", "cuda"),
    };
    let other = match target {
        Target::Cpu if cfg!(feature = "cuda") => ", or use --target cuda",
        Target::Cuda if cfg!(feature = "llvm") => ", or use --target cpu",
        _ => "",
    };
    bail!("--target {name}: this qwenc was built without {what}; build it with `--features {feature}`{other}")
}

#[cfg(feature = "llvm")]
fn cpu(args: &Compile, _: Emit) -> Result<Machine> {
    crate::cpu::machine(args)
}

/// Machine for levels that need no backend.
#[cfg(not(feature = "llvm"))]
fn cpu(_: &Compile, emit: Emit) -> Result<Machine> {
    match emit {
        Emit::Graph | Emit::EgraphDot | Emit::Plan => Ok(Machine::cpu_default()),
        _ => absent(Target::Cpu),
    }
}

#[cfg(feature = "cuda")]
fn cuda(args: &Compile) -> Result<Machine> {
    crate::cuda::machine(args)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Compile) -> Result<Machine> {
    absent(Target::Cuda)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_backend_is_named_with_the_way_out() {
        let said = |target| absent::<()>(target).unwrap_err().to_string();
        let cpu = said(Target::Cpu);
        assert!(cpu
            .starts_with("--target cpu: this qwenc was built without LLVM; build it with `--features llvm`"));
        assert_eq!(cpu.ends_with("or use --target cuda"), cfg!(feature = "cuda"));
        assert_eq!(said(Target::Cuda).ends_with("or use --target cpu"), cfg!(feature = "llvm"));
    }
}
