//! The machine code for a device, loaded, and its kernels by name.
//!
//! In: a bundle and a device. Out: the model's launches with a function for each. Invariant: code is chosen by
//! what NVIDIA promises: a cubin runs on devices of its major architecture that are not older, PTX on all that are
//! not older.

use std::collections::HashMap;
use std::ffi::{c_void, CString};
use std::rc::Rc;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction, CUjit_option as Jit, CUresult};
use qwenc_abi::{Blocks, CudaLaunch, CudaModule};

use super::bundle::Bundle;
use super::driver::{refused, version_text, Context, Device, PROGRAMMATIC_SM};
use crate::error::{Error, Result};

/// Shared memory that a block may have without asking.
const SHARED_UNASKED: u32 = 48 << 10;
/// Room for what the driver says about PTX that it cannot compile.
const LOG_BYTES: usize = 4096;

/// The best code for a device of architecture `sm`.
pub fn choose(modules: &[CudaModule], sm: u32) -> Option<&CudaModule> {
    let newest = |ptx: bool, runs: &dyn Fn(u32) -> bool| {
        modules.iter().filter(|m| m.ptx == ptx && runs(m.sm)).max_by_key(|m| m.sm)
    };
    let cubin = newest(false, &|of| of / 10 == sm / 10 && of <= sm);
    cubin.or_else(|| newest(true, &|of| of <= sm))
}

/// The code for `device`, or an error that says what there is.
pub fn require<'b>(bundle: &'b Bundle, device: &Device) -> Result<&'b CudaModule> {
    choose(&bundle.model.modules, device.sm).ok_or_else(|| Error::Architecture {
        device: device.name.clone(),
        sm: device.sm,
        code: bundle.architectures(),
    })
}

/// One kernel's launch.
pub(super) struct Launch {
    pub(super) function: CUfunction,
    pub(super) kernel: String,
    pub(super) grid: [Blocks; 3],
    pub(super) threads: u32,
    pub(super) shared_bytes: u32,
    /// Limit of the grid in x for kernels whose blocks loop over columns: the resident blocks of the device.
    pub(super) columns: Option<u32>,
    /// Whether it can be a programmatic dependent launch: its machine code has `griddepcontrol.wait`.
    pub(super) waits: bool,
}

/// Loaded form of a [`qwenc_abi::CudaVariant`].
pub(super) struct Variant {
    pub(super) max_rows: u32,
    pub(super) prologue: Vec<Launch>,
    pub(super) blocks: Vec<Vec<Launch>>,
    pub(super) head: Vec<Launch>,
}

/// Launches of [`qwenc_abi::CudaProbes`]; where there are several blocks, with the number of resident blocks of the device.
pub(super) struct Probes {
    pub(super) launch: Launch,
    pub(super) reading: (Launch, u32),
    pub(super) barriers: (Launch, u32),
    /// Barriers in one launch of `barriers`.
    pub(super) barrier_count: u32,
}

/// The model's kernels on one device.
pub(super) struct Kernels {
    module: sys::CUmodule,
    /// Not empty; the last one takes any number of rows.
    pub(super) variants: Vec<Variant>,
    /// A step of one row as one kernel, and how many of its blocks the device holds at once.
    pub(super) persistent: Option<(Launch, u32)>,
    pub(super) probes: Option<Probes>,
    /// The context that the code is loaded into.
    _context: Rc<Context>,
}

impl Kernels {
    /// Loads the code for the context's device.
    pub(super) fn load(bundle: &Bundle, context: &Rc<Context>) -> Result<Kernels> {
        let chosen = require(bundle, context.device())?;
        let module = load(bundle.machine_code(chosen), chosen)?;
        let mut kernels = Kernels {
            module,
            variants: Vec::new(),
            persistent: None,
            probes: None,
            _context: Rc::clone(context),
        };
        let (most_shared, found) = (context.shared_bytes()?, HashMap::new());
        // Machine code for older architectures has no `griddepcontrol.wait`, on newer devices too.
        let waits = chosen.sm >= PROGRAMMATIC_SM && context.has_programmatic_launches();
        let mut functions = Functions { module, context, most_shared, waits, found };
        for variant in &bundle.model.variants {
            kernels.variants.push(Variant {
                max_rows: variant.max_rows,
                prologue: functions.all(&variant.prologue)?,
                blocks: variant.blocks.iter().map(|block| functions.all(block)).collect::<Result<_>>()?,
                head: functions.all(&variant.head)?,
            });
        }
        if let Some(launch) = &bundle.model.persistent {
            let one = functions.one(launch)?;
            let blocks = resident(one.function, launch, context)?;
            kernels.persistent = Some((one, blocks));
        }
        if let Some(probes) = &bundle.model.probes {
            let mut all_blocks = |launch: &CudaLaunch| {
                let one = functions.one(launch)?;
                let blocks = resident(one.function, launch, context)?;
                Ok((one, blocks))
            };
            let (reading, barriers) = (all_blocks(&probes.reading)?, all_blocks(&probes.barriers)?);
            let (launch, barrier_count) = (functions.one(&probes.launch)?, probes.barrier_count);
            kernels.probes = Some(Probes { launch, reading, barriers, barrier_count });
        }
        Ok(kernels)
    }

    /// The variant for so many rows, or for the head outputs.
    pub(super) fn variant(&self, rows: usize) -> &Variant {
        let fits = |v: &&Variant| rows <= v.max_rows as usize;
        // The last one takes any number.
        self.variants.iter().find(fits).unwrap_or(&self.variants[self.variants.len() - 1])
    }
}

/// Number of blocks of a kernel that the device holds at once; not 0.
fn resident(function: CUfunction, launch: &CudaLaunch, context: &Context) -> Result<u32> {
    let (threads, shared) = (launch.threads as i32, launch.shared_bytes as usize);
    // SAFETY: the function is of a loaded module.
    let each = unsafe { result::occupancy::max_active_block_per_multiprocessor(function, threads, shared) };
    let each = u32::try_from(each.map_err(refused("count a kernel's blocks"))?).unwrap_or(0);
    match each * context.multiprocessors()? {
        0 => Err(Error::BadBundle {
            found: format!("the device has no room for a block of {}", launch.kernel),
        }),
        blocks => Ok(blocks),
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // SAFETY: loaded by `load`; these functions are not launched any more. After a failed kernel it fails too.
        let _ = unsafe { result::module::unload(self.module) };
    }
}

/// Functions of a module, by name, with the most shared memory that each may have so far.
struct Functions<'a> {
    module: sys::CUmodule,
    context: &'a Context,
    most_shared: u32,
    /// Whether the machine code has `griddepcontrol.wait`, and device and driver programmatic dependent launch.
    waits: bool,
    found: HashMap<String, (CUfunction, u32)>,
}

impl Functions<'_> {
    fn all(&mut self, launches: &[CudaLaunch]) -> Result<Vec<Launch>> {
        launches.iter().map(|launch| self.one(launch)).collect()
    }

    fn one(&mut self, launch: &CudaLaunch) -> Result<Launch> {
        let (function, allowed) = match self.found.get(&launch.kernel) {
            Some(found) => *found,
            None => (self.find(&launch.kernel)?, SHARED_UNASKED),
        };
        let shared = launch.shared_bytes;
        if shared > self.most_shared {
            let found = format!(
                "{} takes {shared} bytes of shared memory, the device has {}",
                launch.kernel, self.most_shared
            );
            return Err(Error::BadBundle { found });
        }
        if shared > allowed {
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            unsafe { result::function::set_function_attribute(function, which, shared as i32) }
                .map_err(refused("give a kernel its shared memory"))?;
        }
        self.found.insert(launch.kernel.clone(), (function, allowed.max(shared)));
        let columns = if launch.in_turn {
            // Blocks in y share out the inputs of a panel; their number is the same in every step.
            let splits = launch.grid[1].times.max(1);
            Some((resident(function, launch, self.context)? / splits).max(1))
        } else {
            None
        };
        let (kernel, grid, threads) = (launch.kernel.clone(), launch.grid, launch.threads);
        let waits = launch.waits && self.waits;
        Ok(Launch { function, kernel, grid, threads, shared_bytes: shared, columns, waits })
    }

    fn find(&self, name: &str) -> Result<CUfunction> {
        let missing = || Error::BadBundle { found: format!("its machine code has no kernel {name}") };
        let spelled = CString::new(name).map_err(|_| missing())?;
        // SAFETY: the module is loaded.
        unsafe { result::module::get_function(self.module, spelled) }.map_err(|e| match e.0 {
            CUresult::CUDA_ERROR_NOT_FOUND => missing(),
            _ => refused("find a kernel")(e),
        })
    }
}

fn load(code: &[u8], of: &CudaModule) -> Result<sys::CUmodule> {
    // PTX must end with a zero byte, and a cubin be aligned, which it need not be in the bundle.
    let mut image = vec![0u64; code.len() / 8 + 1];
    // SAFETY: the words are at least one byte longer than the code.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), image.as_mut_ptr().cast(), code.len()) };
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [Jit::CU_JIT_ERROR_LOG_BUFFER, Jit::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the image is whole and ends with a zero; the options are as long as their count says.
    let done = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut module,
            image.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match done.result() {
        Ok(()) => Ok(module),
        Err(e) if is_too_new(e.0) => {
            Err(Error::DriverTooOld { found: version_text(), needed: needed(code, of) })
        }
        Err(e) => Err(with_log(refused("load the kernels")(e), &log)),
    }
}

/// Whether the driver's error means that the code is newer than the driver.
fn is_too_new(e: CUresult) -> bool {
    let such = [
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
        CUresult::CUDA_ERROR_INVALID_IMAGE,
    ];
    such.contains(&e)
}

/// CUDA version that a driver must have for this code, as far as the code says.
fn needed(code: &[u8], of: &CudaModule) -> String {
    let kind = if of.ptx { "PTX" } else { "machine code" };
    let version = if of.ptx { ptx_version(code) } else { None };
    match version {
        Some(version) => format!("PTX {version} for sm_{}", of.sm),
        None => format!("this executable's {kind} for sm_{}", of.sm),
    }
}

/// The version in the line `.version 9.0`.
fn ptx_version(code: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(code);
    let line = text.lines().find_map(|line| line.trim().strip_prefix(".version"))?;
    Some(line.trim().to_owned())
}

fn with_log(error: Error, log: &[u8]) -> Error {
    let text = log.split(|&b| b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text).trim().to_owned();
    match error {
        Error::Driver { action, name, meaning } if !text.is_empty() => {
            Error::Driver { action, name, meaning: format!("{meaning}: {text}") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(all: &[(u32, bool)], sm: u32) -> Option<(u32, bool)> {
        let module = |&(sm, ptx): &(u32, bool)| CudaModule { sm, ptx, offset: 0, bytes: 1 };
        let modules: Vec<CudaModule> = all.iter().map(module).collect();
        choose(&modules, sm).map(|m| (m.sm, m.ptx))
    }

    #[test]
    fn cubins_run_upwards_within_their_major_architecture() {
        let usual = [(80, false), (86, false), (89, false), (90, false), (120, false), (120, true)];
        assert_eq!(chosen(&usual, 80), Some((80, false)));
        assert_eq!(chosen(&usual, 87), Some((86, false)));
        assert_eq!(chosen(&usual, 89), Some((89, false)));
        assert_eq!(chosen(&usual, 90), Some((90, false)));
        assert_eq!(chosen(&usual, 121), Some((120, false)));
        assert_eq!(chosen(&usual, 130), Some((120, true)));
        assert_eq!(chosen(&usual, 100), None, "neither sm_90's cubin nor sm_120's PTX");
        assert_eq!(chosen(&usual, 75), None);
        assert_eq!(chosen(&[(80, true), (90, true), (100, false)], 103), Some((100, false)));
        assert_eq!(chosen(&[(80, true), (90, true), (86, false)], 90), Some((90, true)));
        assert_eq!(chosen(&[(86, false), (80, true)], 80), Some((80, true)));
    }

    #[test]
    fn messages_name_the_version_that_is_missing() {
        let module = |ptx| CudaModule { sm: 120, ptx, offset: 0, bytes: 1 };
        let text = b"//\n// made by NVRTC\n//\n.version 9.1\n.target sm_120\n";
        assert_eq!(needed(text, &module(true)), "PTX 9.1 for sm_120");
        assert_eq!(needed(b"\x7fELF", &module(false)), "this executable's machine code for sm_120");
    }
}
