//! Memory of the device, and memory of the host that it can read and write on its own.
//!
//! In: sizes, bytes. Out: buffers that are released exactly once. Invariant: everything is done on the context's
//! stream, in order; what a copy still reads or writes is not touched before the stream has been waited for, for
//! which the caller answers.

use std::ffi::c_void;
use std::rc::Rc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult};

use super::driver::{refused, Context};
use crate::error::{Error, Result};

/// Memory of the device; at least one byte.
pub struct Buffer {
    address: u64,
    bytes: u64,
    context: Rc<Context>,
}

impl Buffer {
    /// `bytes` bytes of anything; `what` is for the message if that fails.
    pub(super) fn new(context: &Rc<Context>, bytes: u64, what: &'static str) -> Result<Buffer> {
        let bytes = bytes.max(1);
        let len = usize::try_from(bytes).map_err(|_| full(context, bytes, what))?;
        // SAFETY: the context is current; the memory is freed in `drop`.
        let address = unsafe { result::malloc_sync(len) }.map_err(|e| match e {
            DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => full(context, bytes, what),
            other => refused("allocate memory")(other),
        })?;
        Ok(Buffer { address, bytes, context: Rc::clone(context) })
    }

    /// The same, zeroed.
    pub(super) fn zeroed(context: &Rc<Context>, bytes: u64, what: &'static str) -> Result<Buffer> {
        let buffer = Buffer::new(context, bytes, what)?;
        buffer.zero(0, buffer.bytes)?;
        Ok(buffer)
    }

    /// Address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Zeroes a part.
    pub(super) fn zero(&self, offset: u64, bytes: u64) -> Result<()> {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "a part of the buffer");
        let (at, len) = (self.address + offset, bytes as usize);
        // SAFETY: within the buffer.
        unsafe { result::memset_d8_async(at, 0, len, self.context.stream()) }.map_err(refused("clear memory"))
    }

    /// Starts to copy the first `bytes` of `from` to `offset`.
    ///
    /// # Safety
    /// They must not be written until the stream has been waited for.
    pub(super) unsafe fn upload(&self, offset: u64, from: &Pinned, bytes: usize) -> Result<()> {
        let inside = offset.checked_add(bytes as u64).is_some_and(|end| end <= self.bytes);
        assert!(inside && bytes <= from.bytes, "parts of the buffers");
        // SAFETY: within both buffers.
        let done = unsafe {
            sys::cuMemcpyHtoDAsync_v2(self.address + offset, from.start, bytes, self.context.stream())
        };
        done.result().map_err(refused("copy to the device"))
    }

    /// Starts to copy `bytes` at `offset` to the beginning of `to`.
    ///
    /// # Safety
    /// It must not be touched until the stream has been waited for.
    pub(super) unsafe fn download(&self, offset: u64, to: &Pinned, bytes: usize) -> Result<()> {
        let inside = offset.checked_add(bytes as u64).is_some_and(|end| end <= self.bytes);
        assert!(inside && bytes <= to.bytes, "parts of the buffers");
        // SAFETY: within both buffers.
        let done = unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.start, self.address + offset, bytes, self.context.stream())
        };
        done.result().map_err(refused("copy from the device"))
    }

    /// Starts to copy the first `bytes` of `from` to `offset`; the two parts do not overlap.
    pub(crate) fn copy(&self, offset: u64, from: &Buffer, bytes: u64) -> Result<()> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        let apart = self.address != from.address || bytes <= offset;
        assert!(inside && bytes <= from.bytes && apart, "parts of the buffers");
        let (at, len) = (self.address + offset, bytes as usize);
        // SAFETY: within both buffers.
        unsafe { result::memcpy_dtod_async(at, from.address, len, self.context.stream()) }
            .map_err(refused("copy on the device"))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Freeing waits for what is under way. After a failed kernel it fails too; that error was reported.
        // SAFETY: allocated by `new`, and no other code has the address any more.
        let _ = unsafe { result::memory_free(self.address) };
    }
}

fn full(context: &Context, bytes: u64, what: &'static str) -> Error {
    let device = context.device();
    let free = context.free_memory().unwrap_or_default();
    Error::GpuMemory {
        what: what.to_owned(),
        device: device.name.clone(),
        needed: super::mebibytes::mebibytes(bytes),
        free: super::mebibytes::mebibytes(free),
        all: super::mebibytes::mebibytes(device.memory),
    }
}

/// Memory of the host that the device reads and writes itself; at least 8 bytes, 8-byte aligned.
pub(super) struct Pinned {
    start: *mut c_void,
    bytes: usize,
    context: Rc<Context>,
}

impl Pinned {
    /// `bytes` zero bytes.
    pub(super) fn zeroed(context: &Rc<Context>, bytes: usize) -> Result<Pinned> {
        let bytes = bytes.max(8);
        // SAFETY: the context is current; the memory is freed in `drop`.
        let start = unsafe { result::malloc_host(bytes, 0) };
        let start = start.map_err(refused("reserve host memory for copies"))?;
        // SAFETY: just allocated.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned { start, bytes, context: Rc::clone(context) })
    }

    /// Address, the same for host and device.
    pub(super) fn address(&self) -> u64 {
        self.start as u64
    }

    /// Content. No work that was started may still write it.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised by `zeroed`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes) }
    }

    /// Content, to be written. No work that was started may still read or write it.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated and initialised by `zeroed`.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.bytes) }
    }

    /// The first `count` floats of it.
    pub(super) fn floats(&self, count: usize) -> &[f32] {
        assert!(count * size_of::<f32>() <= self.bytes);
        // SAFETY: allocated and initialised by `zeroed`, aligned to pages; every bit pattern is a float.
        unsafe { std::slice::from_raw_parts(self.start.cast(), count) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Copies may be under way after an error, which is the one to report.
        let _ = self.context.finish();
        // SAFETY: allocated by `zeroed`, and no other code has the address any more.
        let _ = unsafe { result::free_host(self.start) };
    }
}
