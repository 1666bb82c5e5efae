//! The rows of a step and which of them want results, on the device.
//!
//! In: rows and outputs of the next step. Out: the same on the device; nothing is copied where they are there
//! already, as when the last step moved its rows on by itself. Invariant: what is known to be on the device is what
//! is there, or it is not known. The caller has waited for the stream before it brings anything.

use std::rc::Rc;

use qwenc_abi::Row;

use super::driver::Context;
use super::memory::{Buffer, Pinned};
use super::memory_requirement::Capacity;
use crate::error::Result;

/// A row as it is compared: token, position, cache and adapter.
type Known = (i32, u32, (usize, u32));

/// Rows and outputs, here and there.
pub(super) struct Uploads {
    rows: Buffer,
    outputs: Buffer,
    host_rows: Pinned,
    host_outputs: Pinned,
    /// Rows on the device; empty where they are not known.
    rows_there: Vec<Known>,
    outputs_there: Vec<u32>,
    /// Rows that the step under way moves on.
    advancing: usize,
}

impl Uploads {
    /// Nothing yet.
    pub(super) fn new(context: &Rc<Context>, room: &Capacity) -> Result<Uploads> {
        let (rows, outputs) = (room.rows * size_of::<Row>(), 4 * room.outputs.max(1));
        Ok(Uploads {
            rows: Buffer::new(context, rows as u64, "rows")?,
            outputs: Buffer::new(context, outputs as u64, "outputs")?,
            host_rows: Pinned::zeroed(context, rows)?,
            host_outputs: Pinned::zeroed(context, outputs)?,
            rows_there: Vec::new(),
            outputs_there: Vec::new(),
            advancing: 0,
        })
    }

    /// Device address of the rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows.address()
    }

    /// Device address of the outputs.
    pub(super) fn outputs(&self) -> u64 {
        self.outputs.address()
    }

    /// Whether the rows and outputs on the device are these.
    pub(super) fn has(&self, rows: &[Row], outputs: &[u32]) -> bool {
        self.rows_there.iter().copied().eq(rows.iter().map(known))
            && self.outputs_there.get(..outputs.len()) == Some(outputs)
    }

    /// Has the device know these rows and outputs. Nothing may be under way.
    pub(super) fn bring(&mut self, rows: &[Row], outputs: &[u32]) -> Result<()> {
        let known: Vec<Known> = rows.iter().map(known).collect();
        if self.rows_there.get(..known.len()) != Some(&known[..]) {
            self.rows_there.clear();
            for (row, to) in rows.iter().zip(self.host_rows.bytes_mut().chunks_mut(size_of::<Row>())) {
                to.copy_from_slice(&row_bytes(row));
            }
            // SAFETY: written again only when nothing is under way.
            unsafe { self.rows.upload(0, &self.host_rows, size_of_val(rows))? };
            self.rows_there = known;
        }
        self.rows_there.truncate(rows.len());
        if !outputs.is_empty() && self.outputs_there.get(..outputs.len()) != Some(outputs) {
            self.outputs_there.clear();
            for (output, to) in outputs.iter().zip(self.host_outputs.bytes_mut().chunks_mut(4)) {
                to.copy_from_slice(&output.to_le_bytes());
            }
            // SAFETY: written again only when nothing is under way.
            unsafe { self.outputs.upload(0, &self.host_outputs, size_of_val(outputs))? };
            self.outputs_there = outputs.to_vec();
        }
        Ok(())
    }

    /// Forgets which rows are on the device.
    pub(super) fn forget(&mut self) {
        self.rows_there.clear();
        self.outputs_there.clear();
    }

    /// The step under way moves its rows on.
    pub(super) fn advances(&mut self) {
        self.advancing = self.rows_there.len();
    }

    /// Rows that it moves.
    pub(super) fn advancing(&self) -> usize {
        self.advancing
    }

    /// It has moved them on, to these tokens.
    pub(super) fn advanced(&mut self, picks: &[u32]) {
        advance(&mut self.rows_there, picks);
        self.advancing = 0;
    }
}

/// Whether the step's head may move its rows on: all want results, and each is of a sequence of its own.
pub(super) fn can_advance(rows: &[Row], outputs: &[u32]) -> bool {
    let own = |i: usize| rows[..i].iter().all(|other| other.kv != rows[i].kv);
    outputs.len() == rows.len() && (0..rows.len()).all(own)
}

fn advance(rows: &mut [Known], picks: &[u32]) {
    for ((token, position, _), pick) in rows.iter_mut().zip(picks) {
        *token = *pick as i32;
        *position += 1;
    }
}

fn known(row: &Row) -> Known {
    (row.token, row.position, (row.kv as usize, row.adapter))
}

/// Bytes of a row as they lie in memory.
fn row_bytes(row: &Row) -> [u8; size_of::<Row>()] {
    let mut bytes = [0; size_of::<Row>()];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(std::mem::offset_of!(Row, token), &row.token.to_ne_bytes());
    put(std::mem::offset_of!(Row, position), &row.position.to_ne_bytes());
    put(std::mem::offset_of!(Row, kv), &(row.kv as usize).to_ne_bytes());
    put(std::mem::offset_of!(Row, adapter), &row.adapter.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(token: i32, position: u32, kv: usize) -> Row {
        Row { token, position, kv: kv as *mut u8, adapter: 6, reserved: 0 }
    }

    #[test]
    fn only_whole_steps_of_single_rows_advance() {
        let together = [row(1, 4, 64), row(2, 9, 128)];
        assert!(can_advance(&together, &[0, 1]));
        assert!(!can_advance(&together, &[1]));
        assert!(!can_advance(&[row(1, 4, 64), row(2, 5, 64)], &[0, 1]), "a guess of one sequence");
        assert!(can_advance(&together[..1], &[0]));
    }

    #[test]
    fn rows_move_on_to_their_picks() {
        let mut there = [(1, 4, (64, 0)), (2, 9, (128, 1))];
        advance(&mut there, &[7, 8]);
        assert_eq!(there, [(7, 5, (64, 0)), (8, 10, (128, 1))]);
        // A pick that is no token is no row's token either.
        advance(&mut there, &[u32::MAX, 3]);
        assert_eq!(there, [(-1, 6, (64, 0)), (3, 11, (128, 1))]);
    }

    #[test]
    fn rows_are_laid_out_as_kernels_read_them() {
        let bytes = row_bytes(&row(0x0102_0304, 5, 0x0a0b_0c0d_0e0f));
        let kv = [0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0, 0];
        assert_eq!(bytes[..], [&[4, 3, 2, 1, 5, 0, 0, 0][..], &kv, &[6, 0, 0, 0, 0, 0, 0, 0]].concat());
    }
}
