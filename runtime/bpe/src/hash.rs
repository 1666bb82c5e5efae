//! Hashes of texts and of pairs, and where to look for what has them.
//!
//! Invariant: they are part of the block's format: a change of them is a change of `block::MAGIC`.

/// Slots looked at before a table gives up: a file made to collide must not take forever.
const MOST_PROBES: usize = 256;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of a text.
pub fn of_text(text: &[u8]) -> u64 {
    let mut hash = text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
    mix(hash ^ rest)
}

/// Hash of two neighbouring tokens.
pub fn of_pair(left: u32, right: u32) -> u64 {
    mix(u64::from(left) << 32 | u64::from(right))
}

/// The slots that may have it, of `slots`, which is a power of two.
pub fn probes(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    (0..MOST_PROBES).map(move |i| (hash as usize).wrapping_add(i) & slots.saturating_sub(1))
}

fn mix(x: u64) -> u64 {
    let wide = u128::from(x ^ FACTOR) * u128::from(FACTOR);
    (wide >> 64) as u64 ^ wide as u64
}
