//! Bandwidth of the device's memory, measured by copies: the bound of decode, which reads every weight once per token.
//!
//! In: a context. Out: GB/s, read and written bytes together. Invariant: the copied parts are larger than any
//! cache of a device, where memory allows.

use std::rc::Rc;
use std::time::Instant;

use super::driver::Context;
use super::memory::Buffer;
use crate::error::Result;

/// Bytes of each buffer, where there is room: several times the largest second-level cache.
const BYTES: u64 = 1 << 30;
/// Times that they are copied in one measurement.
const PASSES: u32 = 8;

/// Two buffers to be copied from one to the other.
pub struct CopyBandwidth {
    from: Buffer,
    to: Buffer,
    context: Rc<Context>,
}

impl CopyBandwidth {
    /// Takes at most half of the free memory.
    pub fn new(context: &Rc<Context>) -> Result<CopyBandwidth> {
        let bytes = BYTES.min(context.free_memory()? / 4).max(1 << 12);
        let buffer = || Buffer::zeroed(context, bytes, "bandwidth probe");
        Ok(CopyBandwidth { from: buffer()?, to: buffer()?, context: Rc::clone(context) })
    }

    /// Copies several times; GB/s of reading and writing together.
    pub fn measure(&self) -> Result<f64> {
        self.context.finish()?;
        let start = Instant::now();
        for _ in 0..PASSES {
            self.to.copy(0, &self.from, self.from.bytes())?;
        }
        self.context.finish()?;
        let bytes = 2.0 * f64::from(PASSES) * self.from.bytes() as f64;
        Ok(bytes / start.elapsed().as_secs_f64().max(1e-9) / 1e9)
    }
}
