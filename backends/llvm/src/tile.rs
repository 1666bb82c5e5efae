//! What the inner loops of all weight types share: their result, and how far ahead they fetch.

use crate::builder::{Any, Vector};

/// How far ahead of the inner loop weights are fetched, in bytes: hardware prefetchers stop at the end
/// of a 4 KiB page.
pub(crate) const PREFETCH: u64 = 4096;
/// Largest tile that fetches ahead: with few tokens a panel comes from memory, with many from cache.
pub(crate) const PREFETCH_TILE: usize = 4;

/// A panel's two vectors of results for one token.
pub(crate) type Sums<'c> = [Vector<'c>; 2];

/// Carried values of a loop, all of which are vectors.
pub(crate) fn vectors<'c>(values: &[Any<'c>]) -> Vec<Vector<'c>> {
    values.iter().map(|v| v.into_vector_value()).collect()
}
