//! Limits of a rendering: steps, memory, depth of the stack.
//!
//! In: `Limits`, when a thread of `own_thread` begins. Out: `Fault::Limit` from the call that goes beyond. Invariant:
//! every step of the interpreter is paid by `spend`, every text and container holds a `Charge` for its bytes, every
//! recursion passes `stack`. The counters belong to the thread, since a rendering has one of its own.

use std::cell::Cell;

use crate::error::{Fault, Outcome};

/// The limits of one rendering.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps: an expression is one, and so are 32 bytes that are copied.
    pub steps: u64,
    /// Bytes of all values that live at a time, and of the output.
    pub bytes: usize,
}

impl Limits {
    /// The limits for variables of `bytes`: long conversations may take longer.
    pub fn for_input(bytes: usize) -> Limits {
        Limits { steps: 5_000_000 + 64 * bytes as u64, bytes: (96 << 20) + 16 * bytes }
    }
}

/// The deepest nesting of lists, tuples and dicts.
pub(crate) const NESTING: u16 = 500;
/// The stack of the thread that parses and renders.
pub(crate) const STACK_BYTES: usize = 16 << 20;
/// The part of it that recursion may use; the rest is for what the deepest call does.
const STACK_ROOM: usize = 12 << 20;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
    static BASE: Cell<usize> = const { Cell::new(0) };
}

/// Starts counting on this thread.
pub(crate) fn begin(limits: Limits) {
    let here = 0u8;
    STEPS.set(limits.steps);
    LIVE.set(0);
    MOST.set(limits.bytes);
    BASE.set(&raw const here as usize);
}

/// Pays for steps.
pub(crate) fn spend(steps: usize) -> Outcome<()> {
    match STEPS.get().checked_sub(steps as u64) {
        Some(left) => {
            STEPS.set(left);
            Ok(())
        }
        None => Err(Fault::Limit("the template takes too many steps".into())),
    }
}

/// Pays for bytes that are copied or compared.
pub(crate) fn spend_bytes(bytes: usize) -> Outcome<()> {
    spend(bytes / 32 + 1)
}

/// Checks that so many bytes more would be within the limit.
pub(crate) fn room(bytes: usize) -> Outcome<()> {
    if LIVE.get().saturating_add(bytes) > MOST.get() {
        return Err(Fault::Limit(format!("the template takes more than {} MiB of memory", MOST.get() >> 20)));
    }
    Ok(())
}

/// Checks that the stack has room for one more level.
pub(crate) fn stack() -> Outcome<()> {
    let here = 0u8;
    if BASE.get().abs_diff(&raw const here as usize) > STACK_ROOM {
        return Err(Fault::Limit("the template nests too deeply".into()));
    }
    Ok(())
}

/// Bytes that are counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Charge(usize);

/// Counts bytes and pays for writing them.
pub(crate) fn charge(bytes: usize) -> Outcome<Charge> {
    spend_bytes(bytes)?;
    room(bytes)?;
    LIVE.set(LIVE.get() + bytes);
    Ok(Charge(bytes))
}

impl Drop for Charge {
    fn drop(&mut self) {
        LIVE.set(LIVE.get().saturating_sub(self.0));
    }
}

/// A text under construction, within the limits.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    /// The length up to which room has been checked.
    checked: usize,
}

impl Writer {
    /// Appends.
    pub fn push(&mut self, more: &str) -> Outcome<()> {
        let length = self.text.len() + more.len();
        if length > self.checked {
            let ahead = (length * 2).max(256);
            spend_bytes(ahead - self.checked)?;
            room(ahead)?;
            self.checked = ahead;
        }
        self.text.push_str(more);
        Ok(())
    }

    /// Appends a character.
    pub fn push_char(&mut self, c: char) -> Outcome<()> {
        self.push(c.encode_utf8(&mut [0; 4]))
    }

    /// Appends a text so many times.
    pub fn repeat(&mut self, text: &str, times: usize) -> Outcome<()> {
        let bytes = text.len().saturating_mul(times);
        room(self.text.len().saturating_add(bytes))?;
        spend_bytes(bytes)?;
        self.text.reserve(bytes);
        // By blocks: a copy for each of millions of blanks would take seconds.
        let block = text.repeat(times.min(1024));
        for _ in 0..times / 1024 {
            self.text.push_str(&block);
        }
        self.text.push_str(&block[..text.len() * if times < 1024 { times } else { times % 1024 }]);
        self.checked = self.checked.max(self.text.len());
        Ok(())
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.text
    }
}
