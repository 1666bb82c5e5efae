//! The CUDA target: its architectures, and kernels plus weights to an executable.
//!
//! In: a plan and `--sm`. Out: an executable, or one level of the kernels. Invariant: architectures are ascending
//! and each is there once, so that their order on the command line does not matter.

use std::thread::available_parallelism;

use anyhow::{anyhow, Result};
use qwenc_costs::Machine;
use qwenc_cuda::{bundle, emit, Compiled, Form, Nvrtc, NvrtcError, Source, DEFAULT_SMS, OLDEST_SM};
use qwenc_ir::Checked;
use qwenc_models::Model;
use qwenc_plan::{Dictionaries, Plan};

use crate::args::{Compile, Emit, Target};
use crate::job::{Job, Made};
use crate::nvrtc::Search;
use crate::predict::Prediction;
use crate::{metadata, package, progress, Misuse};

/// Architectures that `--sm` asks for.
fn architectures(args: &Compile) -> Result<Vec<u32>> {
    let mut all = args.sm.clone().unwrap_or_else(|| DEFAULT_SMS.to_vec());
    if let Some(old) = all.iter().find(|&&sm| sm < OLDEST_SM) {
        let usual = DEFAULT_SMS.map(|sm| sm.to_string()).join(",");
        let what =
            format!("--sm {old}: the kernels need compute capability 8.0 or newer; give some of {usual}");
        return Err(Misuse(what).into());
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn newest(architectures: &[u32]) -> u32 {
    architectures.last().copied().unwrap_or(OLDEST_SM)
}

/// Rates of the newest architecture.
pub fn machine(args: &Compile) -> Result<Machine> {
    Ok(Machine::of_gpu(newest(&architectures(args)?)))
}

/// Compiler of the kernels, found before the work.
pub struct Compiler {
    nvrtc: Nvrtc,
    /// Forms of machine code to make, in this order.
    targets: Vec<(u32, Form)>,
}

impl Compiler {
    /// Finds NVRTC, if machine code for a GPU is asked for.
    pub fn new(args: &Compile) -> Result<Option<Compiler>> {
        if args.target != Target::Cuda {
            return Ok(None);
        }
        let all = architectures(args)?;
        let last = newest(&all);
        let targets = match args.emit {
            Emit::Exe | Emit::Lib => {
                let cubins = all.iter().map(|&sm| (sm, Form::Cubin));
                cubins.chain([(last, Form::Ptx)]).collect()
            }
            Emit::Ptx => vec![(last, Form::Ptx)],
            Emit::Cubin => vec![(last, Form::Cubin)],
            _ => return Ok(None),
        };
        let needs: Vec<u32> = targets.iter().map(|(sm, _)| *sm).collect();
        let search = Search::of_this_machine();
        let nvrtc = Nvrtc::find(&search.candidates, &needs).map_err(|e| match e {
            NvrtcError::NotFound { .. } => anyhow!("{e}, {}", search.advice()),
            e => e.into(),
        })?;
        Ok(Some(Compiler { nvrtc, targets }))
    }

    fn compile(&self, source: &Source) -> Result<Vec<Compiled>> {
        let bar = progress::count("compiling kernels", self.targets.len() as u64);
        let threads = available_parallelism().map_or(1, |n| n.get());
        let done = |n: usize| bar.set_position(n as u64);
        let code = self.nvrtc.compile_all(&source.text, &self.targets, threads, &done)?;
        bar.finish_and_clear();
        Ok(code)
    }

    /// Names of the architectures in metadata and messages.
    fn names(&self) -> Vec<String> {
        let name = |&(sm, form): &(u32, Form)| match form {
            Form::Cubin => format!("sm_{sm}"),
            Form::Ptx => format!("compute_{sm}"),
        };
        self.targets.iter().map(name).collect()
    }
}

/// Kernels for GPUs, and what of them was asked for.
pub fn generate(
    job: Job,
    args: &Compile,
    compiler: Option<&Compiler>,
    (model, dictionaries): (&Model, &Dictionaries),
    plan: &Checked<Plan>,
    predicted: &Prediction,
) -> Result<Made> {
    let source = emit(plan)?;
    // Without a compiler nothing but the source was asked for.
    let Some(compiler) = compiler else { return job.write_text(&source.text) };
    if matches!(args.emit, Emit::Ptx | Emit::Cubin) {
        // PTX ends with a zero, for the driver.
        let text = |c: &Compiled| c.bytes[..c.bytes.len() - usize::from(c.form == Form::Ptx)].to_vec();
        return job.write_bytes(&compiler.compile(&source)?.iter().flat_map(text).collect::<Vec<u8>>());
    }
    let product = job.into_product()?;
    package::room(&product, model, plan)?;
    let (code, provenance) = package::with_provenance(model, || compiler.compile(&source));
    let bundle = bundle(&source.model, &code?);
    let names = compiler.names();
    let features: Vec<&str> = names.iter().map(String::as_str).collect();
    let linking = progress::step("linking");
    let linked = product.link_cuda(&bundle.bytes, bundle.code_id, !args.no_serve)?;
    linking.finish_and_clear();
    let target = ("cuda", &features[..]);
    let about = metadata::of((model, provenance), plan, target, args.kv(), predicted.stated());
    let weights_bytes = package::finish(linked, (model, dictionaries), plan, &about, args.place)?;
    Ok(Made::Binary { weights_bytes, target: format!("cuda for {}", names.join(", ")) })
}
