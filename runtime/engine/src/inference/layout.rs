//! Layout of a CPU's KV cache: ranges of bytes of the first positions.
//!
//! In: the model's sizes, the cache's type and capacity, a number of positions. Out: pieces of memory, ascending.
//! Invariant: the order of `runtime/abi/src/step.rs`; within a tile positions are interleaved, keys always and values
//! of some types, so both are counted in whole tiles.

use std::ops::Range;

use qwenc_abi::KvType;

use crate::program::Sizes;

/// Positions of a tile: no position's key or value is in another tile's memory.
const TILE: usize = 16;

/// Sizes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    layers: usize,
    kv_heads: usize,
    /// Bytes of one position's key, or value, of one head.
    row_bytes: usize,
    /// Bytes of one position's scale: 0 where there is none.
    scale_bytes: usize,
    capacity: usize,
}

impl Layout {
    /// Sizes of a cache of `kv` with `capacity` positions.
    pub fn new(sizes: &Sizes, kv: KvType, capacity: usize) -> Layout {
        Layout {
            layers: sizes.layers as usize,
            kv_heads: sizes.kv_heads as usize,
            row_bytes: sizes.kv_head_dim as usize * kv.element_bytes() as usize,
            scale_bytes: kv.scale_bytes() as usize,
            capacity,
        }
    }

    /// The memory of positions `0..len`, tiles that begin below `len` whole.
    pub fn pieces(&self, len: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let tiled = len.next_multiple_of(TILE).min(self.capacity);
        let kept = [
            (self.row_bytes, tiled),
            (self.row_bytes, tiled),
            (self.scale_bytes, len),
            (self.scale_bytes, len),
        ];
        // A record's parts are of equal strides for keys and values, and again for both scales.
        let mut start = 0;
        (0..self.layers * kept.len() * self.kv_heads).filter_map(move |i| {
            let (bytes, positions) = kept[i / self.kv_heads % kept.len()];
            let piece = start..start + bytes * positions;
            start += bytes * self.capacity;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 layers, 2 heads of 8.
    fn sizes() -> Sizes {
        let kv_bytes_per_position = [3 * 2 * 64, 3 * 2 * 32, 3 * 2 * 24];
        Sizes {
            vocab_rows: 1,
            layers: 3,
            max_context: 64,
            kv_heads: 2,
            kv_head_dim: 8,
            weights_bytes: 0,
            kv_bytes_per_position,
            kv_positions: 32,
        }
    }

    #[test]
    fn pieces_are_where_the_interface_says() {
        let f32s: Vec<_> = Layout::new(&sizes(), KvType::F32, 64).pieces(3).take(6).collect();
        let head = 64 * 8 * 4;
        // Keys of two heads, values of two heads, then the next layer.
        let keys = [0..16 * 32, head..head + 16 * 32];
        let values = [2 * head..2 * head + 16 * 32, 3 * head..3 * head + 16 * 32];
        assert_eq!(f32s[..2], keys);
        assert_eq!(f32s[2..4], values);
        assert_eq!(f32s[4..], [4 * head..4 * head + 16 * 32, 5 * head..5 * head + 16 * 32]);
        let int8: Vec<_> = Layout::new(&sizes(), KvType::I8, 64).pieces(17).take(9).collect();
        let scales = 4 * 512;
        assert_eq!(int8[0], 0..32 * 8);
        assert_eq!(int8[3], 3 * 512..3 * 512 + 32 * 8);
        assert_eq!(int8[4], scales..scales + 17 * 4);
        assert_eq!(int8[7], scales + 3 * 256..scales + 3 * 256 + 17 * 4);
        assert_eq!(int8[8].start, 2 * 64 * 24, "the next layer");
    }

    #[test]
    fn nothing_and_everything() {
        for kv in KvType::ALL {
            let layout = Layout::new(&sizes(), kv, 64);
            assert_eq!(layout.pieces(0).count(), 0);
            let all = sizes().kv_bytes(kv, 64) as usize;
            assert_eq!(layout.pieces(64).map(|p| p.len()).sum::<usize>(), all);
            assert_eq!(layout.pieces(64).last().unwrap().end, all);
        }
    }
}
