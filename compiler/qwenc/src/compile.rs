//! `qwenc compile`: the pipeline, and the choice of what to write.
//!
//! In: a model and flags. Out: an executable, or one level of the pipeline as text.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use qwenc_ir::{verify, Checked, Graph, SectionKind};
use qwenc_opt::{egraph_dot, optimise, Limits};
use qwenc_plan::{lower, Activations, Options};

use crate::args::{Compile, Emit, Target, WeightsPlace};
#[cfg(feature = "llvm")]
use crate::cpu;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::input;
use crate::inspect::print;
use crate::interrupt;
use crate::output::Output;
use crate::predict::Prediction;
use crate::{progress, target};

/// checkpoint -> graph -> e-graph -> graph -> plan -> code -> executable.
pub fn run(args: &Compile) -> Result<()> {
    let quant = args.weights.quant()?;
    // A wrong name is told before the work, and so is a tool that is missing.
    let machine = target::machine(args)?;
    #[cfg(feature = "cuda")]
    let compiler = cuda::Compiler::new(args)?;
    let job = Job::start(args)?;
    let model = input::model(&args.model, (quant, &args.changes), args.stated.hints()?, job.scratch())?;
    let source = verify(model.graph()?).context("the model's graph")?;
    let optimising = progress::step("optimising");
    let optimised = optimise(&source, &machine, &Limits::default())?;
    optimising.finish_and_clear();
    if args.explain {
        print(optimised.report.to_string().as_bytes())?;
    }
    match args.emit {
        Emit::Graph => return job.write_text(&optimised.graph.to_string()),
        Emit::EgraphDot => return job.write_text(&dot(&source)?),
        _ => {}
    }
    let activations = activations(args, &optimised.graph)?;
    let plan = lower(&optimised.graph, &Options { activations, ..Options::default() })?;
    let predicted = Prediction::of(&plan, &machine);
    if args.explain {
        print(predicted.to_string().as_bytes())?;
    }
    if args.emit == Emit::Plan {
        return job.write_text(&plan.to_string());
    }
    match args.target {
        #[cfg(feature = "llvm")]
        Target::Cpu => cpu::generate(job, args, &model, &plan, &predicted),
        #[cfg(feature = "cuda")]
        Target::Cuda => cuda::generate(job, args, compiler.as_ref(), &model, &plan, &predicted),
        // Of a backend that this build has not.
        #[allow(unreachable_patterns)]
        target => target::absent(target),
    }
}

/// The precision asked for, if it fits the type of the block's matrices.
fn activations(args: &Compile, graph: &Graph) -> Result<Activations> {
    let Some(name) = args.activations else { return Ok(Activations::Default) };
    let matrices = graph.weights.iter().filter(|w| w.per_layer() && w.shape.len() == 2);
    match matrices.map(|w| w.dtype).find(|&dtype| !name.choice().fit(dtype)) {
        None => Ok(name.choice()),
        Some(dtype) => {
            let name = name.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
            let what = "f32 goes with f32, bf16 and int8, bf16 with bf16, int8 with int8 and int4";
            let message =
                format!("--activations {name}: the weights are {dtype}; {what}; leave the flag out");
            Err(crate::Misuse(message).into())
        }
    }
}

fn dot(graph: &Checked<Graph>) -> Result<String> {
    let block = egraph_dot(graph, SectionKind::Block, &Limits::default())?;
    let head = egraph_dot(graph, SectionKind::Head, &Limits::default())?;
    Ok(format!("{block}\n{head}\n"))
}

/// One compilation: where it works and where it writes.
pub struct Job {
    /// Text without `-o` goes to standard output.
    output: Option<Output>,
    started: Instant,
    place: Place,
}

enum Place {
    /// An executable in the making, with its temporary folder beside the output.
    Beside(qwenc_link::Executable),
    Temporary(tempfile::TempDir),
}

impl Job {
    fn start(args: &Compile) -> Result<Job> {
        let output = match (&args.output, args.emit) {
            (None, Emit::Exe) => Some(PathBuf::from("qwen")),
            (None, Emit::Obj) => Some(PathBuf::from("qwen.o")),
            (None, Emit::Cubin) => Some(PathBuf::from("qwen.cubin")),
            (output, _) => output.clone(),
        };
        let mut output = output.map(|path| Output::new(&path, &args.model)).transpose()?;
        if matches!(args.emit, Emit::Exe | Emit::Obj | Emit::Cubin) {
            output = output.map(|o| o.file().map(Output::File)).transpose()?;
        }
        if let (Some(Output::File(path)), WeightsPlace::External) = (&output, args.place) {
            Output::new(&qwenc_link::beside(path), &args.model)?.file()?;
        }
        let place = match &output {
            Some(Output::File(path)) => Place::Beside(qwenc_link::Executable::new(path)?),
            _ => Place::Temporary(tempfile::tempdir().context("creating a temporary folder")?),
        };
        let job = Job { output, started: Instant::now(), place };
        interrupt::removes(job.scratch().to_path_buf());
        Ok(job)
    }

    fn scratch(&self) -> &Path {
        match &self.place {
            Place::Beside(executable) => executable.folder(),
            Place::Temporary(folder) => folder.path(),
        }
    }

    /// Writes what was asked for as text.
    pub fn write_text(&self, text: &str) -> Result<()> {
        self.write_bytes(text.as_bytes())
    }

    /// To the output under a temporary name first, or to standard output.
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<()> {
        let path = match &self.output {
            None => return print(bytes),
            Some(Output::Stream(path)) => {
                let write = || fs::File::options().write(true).open(path)?.write_all(bytes);
                return write().with_context(|| format!("{}: writing", path.display()));
            }
            Some(Output::File(path)) => path,
        };
        let temporary = self.scratch().join("output");
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            fs::rename(&temporary, path)
        };
        write().with_context(|| format!("{}: writing", path.display()))
    }

    /// The executable to finish, the path where it will be, and when the work began.
    #[cfg(any(feature = "llvm", feature = "cuda"))]
    pub fn into_executable(self) -> Result<(qwenc_link::Executable, PathBuf, Instant)> {
        match (self.place, self.output) {
            (Place::Beside(executable), Some(Output::File(output))) => Ok((executable, output, self.started)),
            _ => bail!("an executable needs an output path"),
        }
    }
}
