//! NVIDIA's driver and the devices that it has.
//!
//! In: nothing, or the number of a device. Out: facts about devices, a [`Context`] with a stream. Invariant: the
//! driver's library is looked for before any of its functions is called, since calling one that is not there is a
//! panic; whatever fails is an error value that says what to do.

use std::rc::Rc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use crate::error::{Error, Result};

/// Oldest supported driver, CUDA 11.4: it has every driver function that is called but `cuLaunchKernelEx`.
const OLDEST: i32 = 11_040;
/// Oldest driver with programmatic dependent launch in graphs, where stream capture turns it into edges: CUDA 12.3.
const PROGRAMMATIC: i32 = 12_030;
/// Oldest driver whose stream capture is trusted with cooperative launches: CUDA 12.0.
const COOPERATIVE: i32 = 12_000;
/// Oldest architecture with programmatic dependent launch.
pub(super) const PROGRAMMATIC_SM: u32 = 90;

/// Says what was attempted when the driver refused.
pub(super) fn refused(action: &'static str) -> impl FnOnce(DriverError) -> Error {
    move |e| {
        let text = |text: Result<&std::ffi::CStr, DriverError>| {
            text.map_or_else(|_| "unknown".to_owned(), |t| t.to_string_lossy().into_owned())
        };
        Error::Driver { action, name: text(e.error_name()), meaning: text(e.error_string()) }
    }
}

/// A device, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number that `--device` takes.
    pub number: usize,
    /// NVIDIA's name.
    pub name: String,
    /// Compute capability, 10 times: 90 for 9.0.
    pub sm: u32,
    /// Its memory in bytes.
    pub memory: u64,
}

/// The version of CUDA that a driver knows, from its number.
fn version_name(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Which CUDA the driver knows, for people; it must be there.
pub(super) fn version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the pointer is to an integer of ours.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(refused("ask for its version"))?;
    Ok(version)
}

/// The version for people, or that it is unknown.
pub(super) fn version_text() -> String {
    version().map_or_else(|_| "an unknown version".to_owned(), version_name)
}

/// Loads and starts the driver.
fn start() -> Result<()> {
    // SAFETY: loading the driver's library runs its initialisers, as every CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    let found = version()?;
    if found < OLDEST {
        let needed = version_name(OLDEST);
        return Err(Error::DriverTooOld { found: version_name(found), needed: format!("CUDA {needed}") });
    }
    result::init().map_err(|e| match e.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => Error::NoGpu { reason: "the driver finds none".into() },
        CUresult::CUDA_ERROR_STUB_LIBRARY => Error::NoGpu {
            reason: "libcuda is the toolkit's stub, not the driver: take it out of LD_LIBRARY_PATH".into(),
        },
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            Error::NoGpu { reason: "the driver was updated since the system started: restart it".into() }
        }
        _ => refused("start")(e),
    })
}

/// All devices, by their numbers; at least one.
pub fn devices() -> Result<Vec<Device>> {
    start()?;
    let count = result::device::get_count().map_err(refused("count its devices"))?;
    if count < 1 {
        return Err(Error::NoGpu { reason: "the driver finds none".into() });
    }
    (0..count as usize).map(describe).collect()
}

fn describe(number: usize) -> Result<Device> {
    let ask = "describe a device";
    let handle = result::device::get(number as i32).map_err(refused(ask))?;
    let name = result::device::get_name(handle).map_err(refused(ask))?;
    // SAFETY: the handle came from `get`.
    let memory = unsafe { result::device::total_mem(handle) }.map_err(refused(ask))? as u64;
    let major = attribute(handle, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(handle, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Device { number, name, sm: major * 10 + minor, memory })
}

fn attribute(handle: sys::CUdevice, which: Attribute) -> Result<u32> {
    // SAFETY: the handle came from `get`.
    let value = unsafe { result::device::get_attribute(handle, which) };
    Ok(value.map_err(refused("describe a device"))?.max(0) as u32)
}

/// The device with this number.
pub fn device(number: usize) -> Result<Device> {
    let all = devices()?;
    let found = all.iter().find(|d| d.number == number).cloned();
    found.ok_or_else(|| {
        let list: Vec<String> = all.iter().map(|d| format!("{} ({})", d.number, d.name)).collect();
        Error::DeviceRange { wanted: number, devices: list.join(", ") }
    })
}

/// A device in use by this thread, and the one stream that everything is done on.
pub struct Context {
    device: Device,
    handle: sys::CUdevice,
    stream: sys::CUstream,
    /// CUDA version of the driver: 1000 * major + 10 * minor.
    version: i32,
}

impl Context {
    /// Takes `device` into use.
    pub fn new(device: Device) -> Result<Rc<Context>> {
        let action = "take the device into use";
        let handle = result::device::get(device.number as i32).map_err(refused(action))?;
        // SAFETY: the handle came from `get`; the context is released in `drop`.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(refused(action))?;
        let mut new = Context { device, handle, stream: std::ptr::null_mut(), version: version()? };
        // SAFETY: the context was just made.
        unsafe { result::ctx::set_current(context) }.map_err(refused(action))?;
        let kind = result::stream::StreamKind::NonBlocking;
        new.stream = result::stream::create(kind).map_err(refused("make a stream"))?;
        Ok(Rc::new(new))
    }

    /// Facts of the device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The one stream of all work.
    pub(super) fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Most shared memory that a block may have.
    pub(super) fn shared_bytes(&self) -> Result<u32> {
        attribute(self.handle, Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
    }

    /// Number of multiprocessors.
    pub(super) fn multiprocessors(&self) -> Result<u32> {
        attribute(self.handle, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// Whether device and driver have programmatic dependent launch, in streams and in graphs.
    pub(super) fn has_programmatic_launches(&self) -> bool {
        self.device.sm >= PROGRAMMATIC_SM && self.version >= PROGRAMMATIC
    }

    /// Whether cooperative launches can be recorded in a graph.
    pub(super) fn records_cooperative_launches(&self) -> bool {
        self.version >= COOPERATIVE
    }

    /// Free memory in bytes.
    pub fn free_memory(&self) -> Result<u64> {
        let (free, _) = result::mem_get_info().map_err(refused("ask for free memory"))?;
        Ok(free as u64)
    }

    /// Waits until everything is done.
    pub fn finish(&self) -> Result<()> {
        // SAFETY: the stream is ours.
        unsafe { result::stream::synchronize(self.stream) }.map_err(refused("run the model"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // After a failed kernel all of these fail too, and its error is the one to report.
        // SAFETY: stream and context are not used any more: their users hold this value.
        unsafe {
            if !self.stream.is_null() {
                let _ = result::stream::synchronize(self.stream);
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_spelled_as_nvidia_does() {
        assert_eq!([11_040, 12_080, 13_000].map(version_name), ["11.4", "12.8", "13.0"]);
    }
}
