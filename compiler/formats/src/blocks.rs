//! Blocks of 256 elements, as GGUF's K formats have them: rounding and packing of rows, block by block.
//!
//! In: rows, and what a format does with one block. Out: bytes. Invariant: what a block holds is known to its format alone.

use crate::panel::Panel;

/// Elements of a block.
pub(crate) const ELEMENTS: usize = 256;

/// Appends rows of `cols` values to `data`, each in whole blocks that `rounded` makes; zeros pad the last one.
pub(crate) fn round<const BYTES: usize>(
    values: &[f32],
    cols: usize,
    data: &mut Vec<u8>,
    rounded: impl Fn(&[f32; ELEMENTS]) -> [u8; BYTES],
) {
    for values in values.chunks(cols).flat_map(|row| row.chunks(ELEMENTS)) {
        let mut padded = [0.0; ELEMENTS];
        padded[..values.len()].copy_from_slice(values);
        data.extend(rounded(&padded));
    }
}

/// Writes a panel block by block. `bytes` are those of a row's block and of a panel's; `pack(block, lane, out)` writes a row's
/// block to its lane of a panel's.
pub(crate) fn pack(
    panel: &Panel,
    (bytes, panel_bytes): (usize, u64),
    out: &mut [u8],
    pack: impl Fn(&[u8], usize, &mut [u8]),
) {
    out.fill(0);
    for (lane, row) in panel.stored().iter().enumerate() {
        let blocks = row.iter().flat_map(|row| row.chunks_exact(bytes));
        for (block, to) in blocks.zip(out.chunks_exact_mut(panel_bytes as usize)) {
            pack(block, lane, to);
        }
    }
}

/// The whole multiple of `step` nearest to `value`, within a range; 0 where the step is 0.
pub(crate) fn nearest(value: f32, step: f32, (least, most): (f32, f32)) -> f32 {
    match step == 0.0 {
        true => 0.0,
        false => (value / step).round().clamp(least, most),
    }
}
