//! Files that are one tensor after the other. In: names and shapes in the order of the file. Out: where each lies.
//! Invariant: nothing is believed until the sum of all sizes is the size of the file.

use std::path::Path;

use qwenc_formats::{DType, ScaleType};
use safetensors::Dtype;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::packing::Packing;
use crate::payload::Entry;
use crate::tensor_names::{ATTN_NORM, DOWN, FFN_NORM, GATE, K, O, Q, UP, V};
use crate::tensor_names::{EMBEDDING, LM_HEAD};
use crate::weights::{Form, Order, Weights};

/// Storage of the file's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrices {
    F32,
    /// All integers of a tensor, then an f32 scale for every `group` of them.
    Int8 {
        group: u32,
    },
}

/// A walk through the file; sizes are those of a [`Config`], so that sums stay far below 2^63.
pub(crate) struct Sequence<'a> {
    config: &'a Config,
    matrices: Matrices,
    /// The order of rows of q and k.
    rotated: Order,
    at: u64,
    weights: Weights,
}

impl<'a> Sequence<'a> {
    pub fn new(config: &'a Config, matrices: Matrices, rotated: Order, body: u64) -> Sequence<'a> {
        Sequence { config, matrices, rotated, at: body, weights: Weights::default() }
    }

    fn entry(&mut self, dtype: Dtype, shape: &[u32], bytes_each: u64) -> Entry {
        let bytes = shape.iter().map(|&n| u64::from(n)).product::<u64>() * bytes_each;
        let range = self.at as usize..(self.at + bytes) as usize;
        self.at += bytes;
        Entry { dtype, shape: shape.iter().map(|&n| n as usize).collect(), range }
    }

    /// A vector, in f32.
    pub fn vector(&mut self, name: &str, length: u32) {
        let entry = self.entry(Dtype::F32, &[length], 4);
        self.weights.add(name, entry, Form { packing: Packing::Plain, order: Order::Usual });
    }

    /// The same vector of every layer.
    pub fn vectors(&mut self, name: &str, length: u32) {
        for layer in 0..self.config.dims.layers {
            self.vector(&name.replace('*', &layer.to_string()), length);
        }
    }

    pub fn matrix(&mut self, name: &str, layer: u32) {
        let (d, spec) = (self.config.dims, name);
        let (rows, cols) = match spec {
            Q => (d.q_width(), d.hidden),
            K | V => (d.kv_width(), d.hidden),
            O => (d.hidden, d.q_width()),
            GATE | UP => (d.intermediate, d.hidden),
            DOWN => (d.hidden, d.intermediate),
            _ => (d.vocab_rows, d.hidden),
        };
        let order = if [Q, K].contains(&spec) { self.rotated } else { Order::Usual };
        let (name, form) = (name.replace('*', &layer.to_string()), Form { packing: Packing::Plain, order });
        match self.matrices {
            Matrices::F32 => {
                let entry = self.entry(Dtype::F32, &[rows, cols], 4);
                self.weights.add(&name, entry, form);
            }
            Matrices::Int8 { group } => {
                let integers = self.entry(Dtype::I8, &[rows, cols], 1);
                let scales = self.entry(Dtype::F32, &[rows, cols / group], 4);
                let dtype = DType::I8 { group, scales: ScaleType::F32 };
                self.weights.add_quantised(&name, dtype, (integers, form), (scales, form));
            }
        }
    }

    /// The same matrix of every layer.
    pub fn matrices(&mut self, name: &str) {
        (0..self.config.dims.layers).for_each(|layer| self.matrix(name, layer));
    }

    /// Both norms of every layer, all of the one and then all of the other.
    pub fn layer_norms(&mut self) {
        let hidden = self.config.dims.hidden;
        self.vectors(ATTN_NORM, hidden);
        self.vectors(FFN_NORM, hidden);
    }

    /// Embedding, then each kind of matrix through all layers, then the LM head where it is another.
    pub fn by_kind(&mut self) {
        self.matrix(EMBEDDING, 0);
        [Q, K, V, O, GATE, DOWN, UP].iter().for_each(|name| self.matrices(name));
        self.own_head();
    }

    pub fn own_head(&mut self) {
        if !self.config.tied {
            self.matrix(LM_HEAD, 0);
        }
    }

    /// Unused bytes.
    pub fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Places of the tensors.
    pub fn places(self) -> Weights {
        self.weights
    }

    /// End of the last tensor.
    pub fn end(&self) -> u64 {
        self.at
    }

    /// The places, if the file is exactly as long as they are.
    pub fn finish(self, path: &Path, found: usize) -> Result<Weights> {
        match self.at == found as u64 {
            true => Ok(self.weights),
            false => {
                Err(Error::FileSize { path: path.to_path_buf(), expected: self.at, found: found as u64 })
            }
        }
    }
}

/// The width whose rows groups of this size would cross, if there is one.
pub(crate) fn crossed(config: &Config, group: u32) -> Option<String> {
    let d = config.dims;
    let widths = [("dim", d.hidden), ("hidden_dim", d.intermediate), ("heads times head_dim", d.q_width())];
    let crossed = widths.iter().find(|(_, n)| n % group != 0);
    crossed.map(|(name, n)| format!("groups of {group} that cross rows ({name} is {n})"))
}
