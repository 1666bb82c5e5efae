//! The sizes of a model: the letters D, F, H, K, h and V of every shape law. In: the numbers of
//! config.json or of the text form's `dims` line. Out: the same, by name.
//!
//! Invariant: plain numbers; that they fit each other is for [`verify`](crate::verify) to check. A new
//! size needs the text form (`text/`) and that check too.

/// The sizes that shape laws refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream, D.
    pub hidden: u32,
    /// Width inside the MLP, F.
    pub intermediate: u32,
    /// Query heads, H.
    pub heads: u32,
    /// Key and value heads, K; divides H.
    pub kv_heads: u32,
    /// Width of one head, h; even. Not always hidden / heads.
    pub head_dim: u32,
    /// Rows of the embedding, V; may exceed the tokenizer's size.
    pub vocab_rows: u32,
    /// Longest context trained for, in tokens.
    pub context: u32,
}

impl Dims {
    /// `H · h`.
    pub fn q_width(&self) -> u32 {
        self.heads * self.head_dim
    }

    /// `K · h`.
    pub fn kv_width(&self) -> u32 {
        self.kv_heads * self.head_dim
    }
}
