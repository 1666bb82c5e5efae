//! `serve`: the model over HTTP.
//!
//! In: an address, how much at a time. Out: answers, until SIGTERM or Ctrl-C, after which those under way are finished.
//! Invariant: it listens before the model is loaded, so that `/health` can say so; this thread runs the model.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;

use crate::cli::{SamplingArgs, Serve};
use crate::commands::opened::{Opened, Use};
use crate::commands::sampling::defaults;
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::session::Session;
use qwenc_engine::program::Program;
use qwenc_serve::constrain::Constraints;
use qwenc_serve::files::Files;
use qwenc_serve::hosts::Hosts;
use qwenc_serve::key::{ApiKey, VARIABLE};
use qwenc_serve::metrics::Metrics;
use qwenc_serve::sandbox::Sandbox;
use qwenc_serve::schedule::{Order, Scheduler};
use qwenc_serve::state::{seconds, Access, Model, Server};
use qwenc_serve::Web;
use qwenc_text::template::ChatTemplate;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Serve,
    console: &mut Console,
) -> Result<()> {
    let parallel_and_waiting = u64::from(args.parallel) + u64::from(args.max_queue);
    let connections = Files::reserve(parallel_and_waiting)?;
    let access = access(args)?;
    // Before there are threads, and files that a fork would copy.
    let sandbox = Constraints::sandbox()?;
    let address = SocketAddr::new(args.host, args.port);
    let refused = |source| Error::Listen { address: address.to_string(), source };
    let socket = TcpListener::bind(address).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    let metrics = Metrics::new().map_err(|e| Error::Server { reason: e.to_string() })?;
    let (orders, inbox) = channel();
    let (parallel, max_queue) = (usize::from(args.parallel), usize::from(args.max_queue));
    let server = Arc::new(Server::new(metrics, access, parallel, max_queue, orders));
    let web = Web::start(socket, Arc::clone(&server), connections)?;
    let listening = format!("listening on http://{address}\n");
    // SAFETY: by the caller's promise.
    let done = unsafe { answer(program, weights, args, (&server, &sandbox), inbox, (console, &listening)) };
    server.drain();
    web.end();
    done
}

/// Which requests are answered.
fn access(args: &Serve) -> Result<Access> {
    let environment = std::env::var_os(VARIABLE);
    let environment = environment.as_deref().map(|key| key.to_str().unwrap_or("\u{fffd}"));
    let key = ApiKey::find(args.api_key.as_deref(), args.api_key_file.as_deref(), environment)?;
    Ok(Access { hosts: Hosts::new(args.host, &args.allow_host), key, log: args.log_requests })
}

/// Loads the model and runs it until the server is told to end. `listening` is said when nothing but the weights is left to
/// be loaded.
unsafe fn answer(
    program: &Program,
    weights: Option<&Path>,
    args: &Serve,
    (server, sandbox): (&Arc<Server>, &Arc<Sandbox>),
    inbox: Receiver<Order>,
    (console, listening): (&mut Console, &str),
) -> Result<()> {
    let opened = Opened::new(program, weights)?;
    opened.text("serve")?;
    if args.sampling.max_tokens == Some(0) {
        return Err(Error::Usage("--max-tokens 0 leaves no answer; give 1 or more".into()));
    }
    console.print(listening)?;
    let parallel = usize::from(args.parallel);
    let wanted = Use { outputs: parallel, sequences: parallel, kv: opened.kv(&args.machine)? };
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    let most = engine.max_rows().min(engine.max_outputs());
    if parallel > most {
        return Err(Error::Usage(format!(
            "--parallel {parallel} needs steps of {parallel} tokens, found {most} at most; raise --chunk or --context"
        )));
    }
    let one = |_| opened.session(&engine, &args.machine);
    let sessions: Vec<Session> = (0..parallel).map(one).collect::<Result<_>>()?;
    let context = sessions.first().map_or(0, Session::limit);
    server.metrics.slots.set(parallel as i64);
    server.metrics.kv_capacity.set((parallel * context) as i64);
    server.loaded(model(program, &opened, (sandbox, &args.sampling), context)?);
    console.note(&format!("ready: {parallel} at a time, {context} tokens each; {}", engine.place()))?;
    Scheduler::new(engine, sessions, inbox, &server.metrics).run()
}

/// Facts of the model that requests need.
fn model(
    program: &Program,
    opened: &Opened,
    (sandbox, flags): (&Arc<Sandbox>, &SamplingArgs),
    context: usize,
) -> Result<Model> {
    let tokenizer = Arc::clone(opened.text("serve")?);
    let mut metadata = opened.metadata().clone();
    metadata.sampling = defaults(metadata.sampling, flags);
    let template = ChatTemplate::of(&metadata);
    let name = if metadata.model.name.is_empty() { "model" } else { &metadata.model.name };
    let hex = |bytes: &[u8]| bytes.iter().take(5).map(|b| format!("{b:02x}")).collect::<String>();
    let identity = program.identity;
    let allowed: Arc<[bool]> = opened.allowed(program).into();
    let constraints = Constraints::new(sandbox, &tokenizer, allowed.len(), &metadata.stop_tokens);
    Ok(Model {
        name: name.to_owned(),
        tokenizer,
        template,
        allowed,
        context,
        max_context: program.code.sizes().max_context as usize,
        fingerprint: format!("fp_{}{}", hex(&identity.code_id), hex(&identity.weights_id)),
        created: seconds(),
        constraints,
        metadata,
    })
}
