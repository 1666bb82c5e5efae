//! `qwenc compile`: the pipeline, and the choice of what to write.
//!
//! In: a model and flags. Out: an executable, a library, or one level of the pipeline as text. Invariant: only [`run`],
//! which is for the command, prints.

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use qwenc_ir::{verify, Checked, Graph, WeightDecl};
use qwenc_models::Model;
use qwenc_opt::{egraph_dot, optimise, Limits};
use qwenc_plan::{lower, Activations, Dictionaries, Options, Plan};

use crate::args::{Compile, Emit, Target, WeightsPlace};
#[cfg(feature = "llvm")]
use crate::cpu;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::error::Error;
use crate::input;
use crate::inspect::print;
use crate::job::{Job, Made, Unnamed};
use crate::predict::Prediction;
use crate::{note, progress, target};

/// Report of a compilation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file that was written; none where bytes are in `made`.
    pub output: Option<PathBuf>,
    /// Kind of output.
    pub made: Made,
    /// With `explain`: which rewrites fired, the costs, the graph before and after, and how fast it should run.
    pub explained: String,
    /// Warnings about the model.
    pub warnings: Vec<String>,
    /// Duration of the compilation.
    pub time: Duration,
}

impl Report {
    /// The level that was asked for, where it is text and was not written to a file.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        match &self.made {
            Made::Level(bytes) => std::str::from_utf8(bytes),
            Made::Binary { .. } => Ok(""),
        }
    }
}

/// Compiles a model. Nothing is printed; what stood at the output's place is replaced only by something whole.
pub fn compile(options: &Compile) -> Result<Report, Error> {
    Ok(pipeline(options, Unnamed::File)?)
}

/// The command: says what was made.
pub fn run(args: &Compile) -> Result<()> {
    let report = pipeline(args, Unnamed::of_stdout())?;
    print(report.explained.as_bytes())?;
    match (&report.made, &report.output) {
        (Made::Level(bytes), output) => {
            if let (Some(output), None) = (output, &args.output) {
                note(&format!("{}: written", output.display()));
            }
            print(bytes)
        }
        (Made::Binary { weights_bytes, target }, Some(output)) => {
            let place = if args.place == WeightsPlace::Embed { "embedded" } else { "beside it" };
            let (megabytes, seconds) = (*weights_bytes as f64 / 1e6, report.time.as_secs_f64());
            let output = output.display();
            note(&format!("{output}: {megabytes:.1} MB of weights {place}, {target} in {seconds:.1} s"));
            if args.target == Target::Cpu && args.cpu.is_none() {
                note("it is for this machine's CPU; `--cpu x86-64-v3` makes one for most PCs since 2015");
            }
            Ok(())
        }
        (Made::Binary { .. }, None) => Ok(()),
    }
}

/// The same, its refusals still apart from its failures.
pub(crate) fn pipeline(args: &Compile, unnamed: Unnamed) -> Result<Report> {
    let started = Instant::now();
    let mut explained = String::new();
    let (made, output, warnings) = work(args, unnamed, &mut explained)?;
    Ok(Report { output, made, explained, warnings, time: started.elapsed() })
}

/// checkpoint -> graph -> e-graph -> graph -> plan -> code -> executable.
fn work(
    args: &Compile,
    unnamed: Unnamed,
    explained: &mut String,
) -> Result<(Made, Option<PathBuf>, Vec<String>)> {
    let quant = args.weights.quant()?;
    // A wrong name is told before the work, and so is a tool that is missing.
    let machine = target::machine(args)?;
    let device = target::device(args)?;
    #[cfg(feature = "cuda")]
    let compiler = cuda::Compiler::new(args)?;
    let job = Job::start(args, unnamed)?;
    let hints = args.stated.hints()?;
    let model = with_adapters(input::model(&args.model, (quant, &args.changes), hints)?, args)?;
    let warnings = model.warnings().to_vec();
    let output = job.path();
    let done = |made| Ok((made, output, warnings));
    let source = verify(model.graph()?).context("the model's graph")?;
    let optimising = progress::step("optimising");
    let optimised = optimise(&source, &*device, &machine, &Limits::default())?;
    optimising.finish_and_clear();
    if args.explain {
        *explained += &optimised.report.to_string();
    }
    match args.emit {
        Emit::Graph => return done(job.write_text(&optimised.graph.to_string())?),
        Emit::EgraphDot => return done(job.write_text(&egraph_dot(&source, &Limits::default())?)?),
        _ => {}
    }
    let (plan, dictionaries) = planned(args, &*device, &optimised.graph, &model)?;
    let predicted = Prediction::of(&plan, &machine);
    if args.explain {
        *explained += &predicted.to_string();
    }
    if args.emit == Emit::Plan {
        return done(job.write_text(&plan.to_string())?);
    }
    done(match args.target {
        #[cfg(feature = "llvm")]
        Target::Cpu => cpu::generate(job, args, (&model, &dictionaries), &plan, &predicted)?,
        #[cfg(feature = "cuda")]
        Target::Cuda => {
            cuda::generate(job, args, compiler.as_ref(), (&model, &dictionaries), &plan, &predicted)?
        }
        // Of a backend that this build has not.
        #[allow(unreachable_patterns)]
        target => target::absent(target)?,
    })
}

/// With the adapters that are to be chosen from; the command says what they change.
fn with_adapters(model: Model, args: &Compile) -> Result<Model> {
    let (model, reports) = model.with_adapters(&args.kept()?)?;
    for (name, report) in model.adapters().into_iter().zip(reports) {
        let deltas: usize = report.deltas.iter().map(|(_, n)| n).sum();
        note(&format!("adapter {name}: {deltas} deltas of {}", report.source.folder.display()));
    }
    Ok(model)
}

/// The plan for a target, with weights of bf16 compressed to 12 bits where its kernels read them so and they fit.
fn planned(
    args: &Compile,
    target: &dyn qwenc_target::Target,
    graph: &Checked<Graph>,
    model: &Model,
) -> Result<(Checked<Plan>, Dictionaries)> {
    let options = Options { activations: activations(args, graph)?, ..Options::default() };
    let plan = lower(graph, target, &options)?;
    let looking = progress::step("looking through the weights");
    let threads = available_parallelism().map_or(1, |n| n.get());
    let dictionaries = Dictionaries::new(&plan, model, threads)?;
    looking.finish_and_clear();
    let plain = dictionaries.misfits().clone();
    let plan = if plain.is_empty() { plan } else { lower(graph, target, &Options { plain, ..options })? };
    Ok((plan, dictionaries))
}

/// The precision asked for, if it fits the type of the block's matrices.
fn activations(args: &Compile, graph: &Graph) -> Result<Activations> {
    let Some(name) = args.activations else { return Ok(Activations::Default) };
    // Adapters are in f32 whatever they stand beside.
    let own = |w: &&WeightDecl| w.per_layer() && w.shape.len() == 2 && !Model::is_of_adapter(w);
    let matrices = graph.weights.iter().filter(own);
    match matrices
        .map(|w| w.dtype)
        .find(|dtype| dtype.operand().is_some_and(|format| !name.choice().fit(format)))
    {
        None => Ok(name.choice()),
        Some(dtype) => {
            let name = name.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
            let what = "f32 goes with f32, f16, bf16, int8, Q4_K and Q6_K, bf16 with bf16, int8 with int8, int4, Q4_K and Q6_K";
            let message = format!(
                "--activations {name}: the weights are {}; {what}; leave the flag out",
                dtype.words()
            );
            Err(crate::Misuse(message).into())
        }
    }
}
