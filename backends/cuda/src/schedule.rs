//! The CUDA schedule: how many threads, rows, positions and stages kernels take at a time.
//!
//! In: a model's dimensions. Out: numbers for launches and scratch memory, and the same numbers as constants of the device
//! code. Invariant: device code has each of them from here alone.

use qwenc_abi::KvType;
use qwenc_ir::Dims;

/// Warps of a block of few tokens, and so the chains it takes.
pub(crate) const WARPS: u32 = 8;
/// Threads of nearly every block.
pub(crate) const THREADS: u32 = 32 * WARPS;
/// Rows are reserved in multiples of this: the tokens of the largest tile.
pub(crate) const ROW_TILE: u32 = 128;
/// Most rows of a step that decodes; more are a prompt.
pub(crate) const DECODE_ROWS: u32 = 16;
/// Tokens of a block of f32 weights.
pub(crate) const EXACT_TOKENS: u32 = 8;
/// Panels of a block of many tokens.
pub(crate) const TILE_PANELS: u32 = 4;
/// Copies of a block of many tokens that are under way or in use, and steps of each.
pub(crate) const STAGES: u32 = 4;
/// See [`STAGES`].
pub(crate) const STAGE_STEPS: u32 = 2;
/// Positions of an attention part.
pub(crate) const PART: u32 = 64;
/// Parts of attention that are joined at a time, a lane each.
pub(crate) const JOINED: u32 = 32;
/// Bytes of what the warps of a block share of one attention part.
pub(crate) const PART_TOGETHER_BYTES: u32 = 512 + 4096;
/// Bytes of a buffer for keys or values of attention for many tokens.
pub(crate) const PIECE_BYTES: u32 = 17 << 10;
/// Blocks that share out a search for the likeliest token.
pub(crate) const PICK_BLOCKS: u32 = 64;
/// Barriers in one launch of the barrier probe.
pub(crate) const PROBED_BARRIERS: u32 = 64;

/// Dimensions of a head in the cache.
pub(crate) fn padded_head_dim(head_dim: u32) -> u32 {
    head_dim.next_multiple_of(32)
}

/// Attention of a model: tiles of 16 queries that share a kv head.
pub(crate) struct Attention {
    /// Query heads of a kv head.
    pub group: u32,
    /// Query heads of a tile.
    pub tile_heads: u32,
    /// Tiles of a kv head's group.
    pub head_tiles: u32,
    /// Tokens of a tile.
    pub tile_tokens: u32,
    /// Blocks that share out the positions of one token and kv head: together as many as keep a large device busy.
    pub blocks: u32,
    /// Warps of a block of many tokens: weighted values of large heads stand in shared memory, not in registers.
    pub prefill_warps: u32,
    /// Heads that a block's threads have dimensions of at a time when parts are joined.
    pub joined_heads: u32,
}

impl Attention {
    /// For these dimensions.
    pub(crate) fn of(d: &Dims) -> Attention {
        let group = d.heads / d.kv_heads;
        let (tile_heads, head_tiles) = (group.min(16), group.div_ceil(16));
        Attention {
            group,
            tile_heads,
            head_tiles,
            tile_tokens: 16 / tile_heads,
            blocks: (128 / (d.kv_heads * head_tiles)).clamp(8, 64),
            prefill_warps: if padded_head_dim(d.head_dim) <= 128 { 4 } else { 2 },
            joined_heads: tile_heads.min(THREADS / d.head_dim + 2),
        }
    }
}

/// The constants of the device code, by name.
pub(crate) fn constants(d: &Dims) -> Vec<(&'static str, u32)> {
    let attention = Attention::of(d);
    vec![
        ("THREADS", THREADS),
        ("ROW_TILE", ROW_TILE),
        ("DECODE_ROWS", DECODE_ROWS),
        ("EXACT_TOKENS", EXACT_TOKENS),
        ("TILE_PANELS", TILE_PANELS),
        ("STAGES", STAGES),
        ("STAGE_STEPS", STAGE_STEPS),
        ("PART", PART),
        ("GROUP", attention.group),
        ("TILE_HEADS", attention.tile_heads),
        ("HEAD_TILES", attention.head_tiles),
        ("TILE_TOKENS", attention.tile_tokens),
        ("ATTENTION_BLOCKS", attention.blocks),
        ("PREFILL_WARPS", attention.prefill_warps),
        ("PART_TOGETHER_BYTES", PART_TOGETHER_BYTES),
        ("PIECE_BYTES", PIECE_BYTES),
        ("JOINED", JOINED),
        ("JOINED_HEADS", attention.joined_heads),
        ("PICK_BLOCKS", PICK_BLOCKS),
        ("PROBED_BARRIERS", PROBED_BARRIERS),
    ]
}

/// Types of the KV cache as an enum of the device code.
pub(crate) fn kv_types() -> String {
    let all = KvType::ALL.map(|ty| format!("KV_{} = {}", ty.name().to_uppercase(), ty as u32));
    format!("enum KvType {{ {} }};", all.join(", "))
}
