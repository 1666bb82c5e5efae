//! A tiny Qwen3 as text, and weights for it. In: nothing, or edits of the text. Out: graphs, and
//! random weights, none of them zero, since zeros hide everything.

#![allow(dead_code)] // Each test crate uses its part.

use std::borrow::Cow;

use qwenc_formats::{Tensor, WeightError};
use qwenc_ir::{parse, verify, Checked, Graph, WeightDecl, WeightSource};

/// Two layers, hidden 6, two heads of 4 on one kv head.
pub const QWEN3: &str = include_str!("qwen3.txt");

/// The graph after replacing parts of its text; each part must be there.
pub fn edited(edits: &[(&str, &str)]) -> Graph {
    let mut text = QWEN3.to_string();
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?} is not in the text");
        text = text.replace(from, to);
    }
    parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The same, checked.
pub fn model(edits: &[(&str, &str)]) -> Checked<Graph> {
    verify(edited(edits)).expect("the edited text is a model")
}

/// The same values for the same tensor name.
pub struct Random;

impl WeightSource for Random {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError> {
        let name = decl.tensor_name(layer);
        let (rows, cols) = match decl.shape[..] {
            [n] => (1, n as usize),
            [r, c] => (r as usize, c as usize),
            _ => unreachable!("weights have one or two axes"),
        };
        let mut state =
            name.bytes().fold(0x2545_f491_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_01b3));
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Of either sign, and between 0.1 and 1.1 in size.
            let size = 0.1 + (state >> 40) as f32 / (1u32 << 24) as f32;
            if state >> 39 & 1 == 0 {
                size
            } else {
                -size
            }
        };
        let bytes: Vec<u8> = (0..rows * cols).flat_map(|_| next().to_le_bytes()).collect();
        Tensor::new(&name, decl.dtype, (rows, cols), Cow::Owned(bytes), None)
    }
}
