//! A file written in whole huge pages, with holes where it is zero.
//!
//! In: bytes, in order. Out: a file. Invariant: all writes but those at the ends of a hole and of the file start and
//! end at multiples of [`BLOCK`]. Linux keeps what is written at once in one piece of memory, and maps a piece of that
//! size with one entry of the page table, where others take 512; that is most of what a process waits for before it
//! has seen every weight once.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// A huge page of x86-64.
pub(crate) const BLOCK: usize = 2 << 20;
/// Zeros are looked for in steps of this many bytes.
const HOLE: usize = 64 << 10;

/// Writes to a file from some position on.
pub(crate) struct BlockWriter<F = File> {
    file: F,
    /// Offset of `block` in the file.
    at: u64,
    /// Bytes that are not written yet, up to the next multiple of [`BLOCK`].
    block: Vec<u8>,
}

impl<F: FileExt> BlockWriter<F> {
    pub(crate) fn new(file: F, at: u64) -> BlockWriter<F> {
        BlockWriter { file, at, block: Vec::with_capacity(BLOCK) }
    }

    /// Bytes that the block still takes; at least one.
    fn room(&self) -> usize {
        BLOCK - (self.at as usize % BLOCK + self.block.len())
    }

    fn write_block(&mut self) -> io::Result<()> {
        let zero = |part: &[u8]| part.iter().all(|&byte| byte == 0);
        let mut rest = self.block.as_slice();
        while !rest.is_empty() {
            let hole = zero(&rest[..rest.len().min(HOLE)]);
            let same = rest.chunks(HOLE).take_while(|part| zero(part) == hole);
            let (run, after) = rest.split_at(same.map(<[u8]>::len).sum());
            if !hole {
                self.file.write_all_at(run, self.at)?;
            }
            self.at += run.len() as u64;
            rest = after;
        }
        self.block.clear();
        Ok(())
    }
}

impl BlockWriter<File> {
    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_block()?;
        // A file that ends in a hole needs its length set.
        self.file.set_len(self.at)
    }
}

impl<F: FileExt> Write for BlockWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room());
        self.block.extend_from_slice(&bytes[..n]);
        if self.at as usize % BLOCK + self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(n)
    }

    /// Nothing: what is left of a block waits for the rest of it, or for `finish`.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    /// Remembers where it was written to.
    #[derive(Default)]
    struct Written(RefCell<Vec<(u64, usize)>>);

    impl FileExt for Written {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
            self.0.borrow_mut().push((at, bytes.len()));
            Ok(bytes.len())
        }
    }

    /// Three blocks and a bit, zero in places.
    fn sample() -> Vec<u8> {
        let mut all: Vec<u8> = (0..3 * BLOCK + 5000).map(|i| (i % 251) as u8 + 1).collect();
        all[BLOCK - 100..BLOCK + 5 * HOLE].fill(0);
        all[2 * BLOCK + 7..2 * BLOCK + 9].fill(0);
        all
    }

    #[test]
    fn whole_blocks_are_written_at_once_and_zeros_not_at_all() {
        let mut out = BlockWriter::new(Written::default(), 4096);
        for piece in sample().chunks(100_001) {
            out.write_all(piece).unwrap();
        }
        out.write_block().unwrap();
        let block = BLOCK as u64;
        let hole = 4 * HOLE;
        let written = [
            (4096, BLOCK - 4096),
            // The zeros begin 4096 - 100 bytes after the block does.
            (block, HOLE),
            (block + HOLE as u64 + hole as u64, BLOCK - HOLE - hole),
            (2 * block, BLOCK),
            (3 * block, 4096 + 5000),
        ];
        assert_eq!(*out.file.0.borrow(), written);
    }

    #[test]
    fn the_file_has_the_bytes_however_they_came() {
        for (start, piece) in [(0, 1 << 16), (4096, 100_001), (12_288, 7 * BLOCK), (BLOCK as u64, 4095)] {
            let mut file = tempfile::tempfile().unwrap();
            let mut out = BlockWriter::new(file.try_clone().unwrap(), start);
            let mut all = sample();
            // A hole at the end, which only the length shows.
            all.resize(all.len() + 3 * BLOCK, 0);
            all.chunks(piece).for_each(|piece| out.write_all(piece).unwrap());
            out.finish().unwrap();
            let mut found = Vec::new();
            file.read_to_end(&mut found).unwrap();
            assert!(found[..start as usize].iter().all(|&byte| byte == 0));
            assert!(found[start as usize..] == all, "from {start} in pieces of {piece}");
            assert!(file.metadata().unwrap().blocks() * 512 < found.len() as u64);
        }
    }
}
