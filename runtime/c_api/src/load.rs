//! A library's model, loaded: `qwen_load` and `qwen_free`.
//!
//! In: options, and the model's constants from generated code. Out: a handle. Invariant: weights are looked for as
//! an executable does, with the library's own file in the executable's place.

use std::ffi::{c_char, c_ulong, c_void, CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qwenc_abi::{Identity, ModelInfo, ABI_VERSION};

use crate::border::{self, bad};
use crate::handles::{About, Model, QwenModel, Shared};
use crate::types::Options;
use crate::worker::{Jobs, Worker};
use qwenc_cli::cli::{KvName, Machine};
use qwenc_cli::commands::opened::{Opened, Use};
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::cuda::bundle::Bundle;
use qwenc_engine::inference::session::check_context;
use qwenc_engine::program::{Code, Program};

/// Requests in a step where the options do not say.
const USUAL_BATCH: u32 = 16;

/// The model's code as a library hands it over.
#[derive(Clone, Copy)]
enum Given {
    Cpu(&'static ModelInfo),
    Cuda(&'static [u8]),
}

/// Loads the model of a library for CPUs; the generated `qwen_load` calls it.
///
/// # Safety
/// `options` must be null or point to what it says to be; `model` and `identity` must point to constants, and
/// `model.step` must keep to the contract of `StepFn` for weights that carry `identity`.
#[no_mangle]
pub unsafe extern "C" fn qwenc_load(
    options: *const Options,
    model: *const ModelInfo,
    identity: *const Identity,
) -> *mut QwenModel {
    // SAFETY: by the caller's promise.
    border::handle(|| unsafe { load(options, Given::Cpu(&*model), &*identity) })
}

/// Loads the model of a library whose kernels are for GPUs; the generated `qwen_load` calls it.
///
/// # Safety
/// `options` must be null or point to what it says to be; `bundle` must point to `bundle_bytes` constant bytes and
/// `identity` to a constant, and the bundle's kernels must keep to the contract of `CudaStep` for weights that carry
/// `identity`.
#[no_mangle]
pub unsafe extern "C" fn qwenc_load_cuda(
    options: *const Options,
    bundle: *const u8,
    bundle_bytes: c_ulong,
    identity: *const Identity,
) -> *mut QwenModel {
    border::handle(|| {
        // SAFETY: by the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bundle, bundle_bytes as usize) };
        // SAFETY: by the caller's promise.
        unsafe { load(options, Given::Cuda(bytes), &*identity) }
    })
}

/// Frees a model's handle.
///
/// # Safety
/// `model` must be null or a handle that is not used any more.
#[no_mangle]
pub unsafe extern "C" fn qwen_free(model: *mut QwenModel) {
    border::status(|| {
        if !model.is_null() {
            // SAFETY: by the caller's promise; `handle` made it.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    });
}

unsafe fn load(options: *const Options, code: Given, identity: &'static Identity) -> Result<QwenModel> {
    // SAFETY: by the caller's promise.
    let wishes = unsafe { Wishes::read(options)? };
    let library = library()?;
    // SAFETY: by the caller's promise.
    let open = move |ready: &dyn Fn(Arc<Shared>), jobs: Jobs| unsafe {
        open(code, identity, &library, &wishes, ready, jobs)
    };
    let (worker, shared) = Worker::start(open)?;
    Ok(QwenModel(Arc::new(Model { worker, shared })))
}

/// Options of `qwen_load`, checked.
struct Wishes {
    weights: Option<PathBuf>,
    machine: Machine,
    batch: u32,
}

impl Wishes {
    unsafe fn read(options: *const Options) -> Result<Wishes> {
        let none = Machine {
            threads: None,
            pin: false,
            device: None,
            decode: None,
            context: None,
            chunk: None,
            kv_type: None,
        };
        if options.is_null() {
            return Ok(Wishes { weights: None, machine: none, batch: USUAL_BATCH });
        }
        // SAFETY: by the caller's promise.
        let o = unsafe { border::measured(options, "options")? };
        let some = |n: u32| (n != 0).then_some(n);
        let threads = some(o.threads).map(|n| u16::try_from(n).ok().filter(|n| *n <= 1024).ok_or(n));
        let threads = threads
            .transpose()
            .map_err(|n| bad(format!("qwen_options.threads is {n}, expected 1 to 1024")))?;
        let kv_type = match o.kv_type {
            0 => None,
            1 => Some(KvName::F32),
            2 => Some(KvName::Bf16),
            3 => Some(KvName::Int8),
            n => return Err(bad(format!("qwen_options.kv_type is {n}, expected a qwen_kv_type, 0 to 3"))),
        };
        let (device, context) = (some(o.device).map(|n| n as usize), some(o.context).map(|n| n as usize));
        let machine = Machine { threads, device, context, chunk: some(o.chunk), kv_type, ..none };
        let weights = (!o.weights.is_null()).then(|| {
            // SAFETY: by the caller's promise it ends with a NUL.
            PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(o.weights) }.to_bytes()))
        });
        Ok(Wishes { weights, machine, batch: some(o.batch).unwrap_or(USUAL_BATCH) })
    }
}

/// Opens the model on the thread that calls, and does jobs until no handle is left.
unsafe fn open(
    code: Given,
    identity: &'static Identity,
    library: &Path,
    wishes: &Wishes,
    ready: &dyn Fn(Arc<Shared>),
    jobs: Jobs,
) -> Result<()> {
    let bundle;
    let code = match code {
        Given::Cpu(model) if model.abi_version != ABI_VERSION => {
            return Err(Error::AbiVersion { expected: ABI_VERSION, found: model.abi_version });
        }
        Given::Cpu(model) => Code::Cpu(model),
        Given::Cuda(bytes) => {
            bundle = Bundle::parse(bytes)?;
            Code::Cuda(&bundle)
        }
    };
    let program = Program { code, identity, executable: library.to_path_buf() };
    let opened = Opened::new(&program, wishes.weights.as_deref())?;
    let machine = &wishes.machine;
    let (kv, sizes) = (opened.kv(machine)?, code.sizes());
    let limit = check_context(machine.context, sizes.max_context as usize)?;
    let batch = wishes.batch as usize;
    let shared = Arc::new(Shared {
        about: About::new(opened.metadata())?,
        allowed: opened.allowed(&program),
        context: machine.context,
        opened,
        sizes,
        kv,
        limit,
    });
    // SAFETY: by the caller's promise.
    let engine =
        unsafe { shared.opened.engine(&program, machine, Use { outputs: batch, sequences: batch, kv })? };
    ready(Arc::clone(&shared));
    jobs.work(engine);
    Ok(())
}

/// The file of the library that this code is in.
fn library() -> Result<PathBuf> {
    let here = qwen_free as *const c_void;
    let mut found = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: `found` is a local that it fills.
    let known = unsafe { libc::dladdr(here, &raw mut found) } != 0 && !found.dli_fname.is_null();
    if !known {
        return Err(bad(
            "the loader does not know the library's file; name the weights in qwen_options.weights",
        ));
    }
    // SAFETY: the loader's own text.
    let name: &CStr = unsafe { CStr::from_ptr(found.dli_fname.cast::<c_char>()) };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    // A library that was loaded from memory has no file: then the weights must be named.
    Ok(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
}
