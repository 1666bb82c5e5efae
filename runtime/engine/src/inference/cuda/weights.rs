//! The weights on their way to the device, or made up there.
//!
//! In: the mapped weights. Out: the same bytes in a buffer of the device, zeros behind them. Invariant: while one
//! piece is copied to the device the next is read from the file; every piece passes through one of two pinned
//! buffers, which is not written before its copy is done.

use std::rc::Rc;

use qwenc_abi::CUDA_SLACK;

use super::driver::Context;
use super::event::Event;
use super::memory::{Buffer, Pinned};
use crate::error::Result;

/// Bytes of a piece: pinning more takes longer than copying a small model.
const PIECE: usize = 16 << 20;
/// Threads that read a piece: one alone is slower than the bus.
const READERS: usize = 4;
/// Not worth a thread.
const SHARE: usize = 1 << 20;

/// Source of the weights.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// These, packed.
    Packed(&'a [u8]),
    /// Small made-up numbers, to measure speed.
    Synthetic,
}

/// A buffer of the device with `bytes` bytes of weights.
pub(super) fn place(context: &Rc<Context>, weights: Weights, bytes: u64) -> Result<Buffer> {
    let buffer = Buffer::new(context, bytes + CUDA_SLACK, "weights")?;
    match weights {
        Weights::Packed(packed) => copy(context, packed, &buffer)?,
        Weights::Synthetic => synthesise(context, &buffer, bytes)?,
    }
    buffer.zero(bytes, CUDA_SLACK)?;
    context.finish()?;
    Ok(buffer)
}

/// A pinned buffer and the end of its last copy.
struct Lane {
    pinned: Pinned,
    copied: Event,
}

fn copy(context: &Rc<Context>, packed: &[u8], buffer: &Buffer) -> Result<()> {
    let piece = PIECE.min(packed.len());
    let lane = || Ok(Lane { pinned: Pinned::zeroed(context, piece)?, copied: Event::new()? });
    let mut lanes: [Lane; 2] = [lane()?, lane()?];
    for (i, piece) in packed.chunks(piece.max(1)).enumerate() {
        let lane = &mut lanes[i % 2];
        lane.copied.wait("copy the weights")?;
        read(piece, lane.pinned.bytes_mut());
        // SAFETY: the lane is written again only after its event.
        unsafe { buffer.upload((i * PIECE) as u64, &lane.pinned, piece.len())? };
        lane.copied.record(context)?;
    }
    Ok(())
}

/// Copies `from` to the beginning of `to`, on several threads.
fn read(from: &[u8], to: &mut [u8]) {
    let share = from.len().div_ceil(READERS).max(SHARE);
    std::thread::scope(|scope| {
        let mut parts = from.chunks(share).zip(to.chunks_mut(share));
        let first = parts.next();
        for (from, to) in parts {
            scope.spawn(move || to[..from.len()].copy_from_slice(from));
        }
        if let Some((from, to)) = first {
            to[..from.len()].copy_from_slice(from);
        }
    });
}

/// Fills the first `bytes` bytes of `buffer` with one piece, over and over.
fn synthesise(context: &Rc<Context>, buffer: &Buffer, bytes: u64) -> Result<()> {
    let len = (bytes as usize).min(PIECE);
    let mut pinned = Pinned::zeroed(context, len)?;
    made_up(&mut pinned.bytes_mut()[..len]);
    // SAFETY: it is not written again.
    unsafe { buffer.upload(0, &pinned, len)? };
    let mut done = len as u64;
    while done < bytes {
        // Bytes that are there already are copied behind themselves, so that a few copies are enough.
        let next = done.min(bytes - done);
        buffer.copy(done, buffer, next)?;
        done += next;
    }
    context.finish()
}

/// Words of 16 bits that are small finite numbers as f32, bf16 and f16 and look like weights as int8 and int4: any
/// sign, and high bytes of 0x38 to 0x3b. As varied as real weights, which matters for how fast a device is allowed
/// to run.
fn made_up(bytes: &mut [u8]) {
    let mut state = 1u64;
    for word in bytes.chunks_mut(2) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let random = (state >> 40) as u16;
        let value = (random & 0x80ff) | 0x3800 | (random & 0x0300);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_weights_are_finite_and_small_as_any_type() {
        let mut bytes = vec![0; 1 << 16];
        made_up(&mut bytes);
        let bf16 = |b: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
        let f32s = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        // The exponent of an f16 below 15 is a number below 1.
        let f16 = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) >> 10 & 31;
        assert!(bytes.chunks(2).map(bf16).all(|x| x.abs() > 1e-5 && x.abs() < 0.01));
        assert!(bytes.chunks(4).map(f32s).all(|x| x.abs() > 1e-5 && x.abs() < 0.01));
        assert!(bytes.chunks(2).map(f16).all(|exponent| exponent == 14));
        let negative = bytes.chunks(2).map(bf16).filter(|x| *x < 0.0).count();
        assert!((1 << 13..3 << 13).contains(&negative), "{negative} of 32768");
        let different: std::collections::HashSet<&[u8]> = bytes.chunks(2).collect();
        assert!(different.len() > 1900, "{}", different.len());
    }

    #[test]
    fn pieces_are_read_whole_whatever_their_length() {
        for len in [0, 1, SHARE - 1, SHARE, 3 * SHARE + 7] {
            let from: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let mut to = vec![255; len + 9];
            read(&from, &mut to);
            assert!(to[..len] == from && to[len..].iter().all(|&b| b == 255), "{len}");
        }
    }
}
