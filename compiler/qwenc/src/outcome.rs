//! Values that a model computed for some tokens: logits and activations by name.
//!
//! In: a safetensors file. Out: its values as f32. Invariant: `logits` and `tokens` are among them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{anyhow, bail, Context, Result};
use safetensors::{Dtype, SafeTensors};

/// Values by name.
pub struct Outcome {
    /// Tokens that the model was fed.
    pub tokens: Vec<u32>,
    /// Values by name, row by row; `logits` among them.
    pub values: BTreeMap<String, Vec<f32>>,
}

impl Outcome {
    /// Reads a safetensors file: `tokens`, `logits` and activations.
    pub fn read(path: &Path) -> Result<Outcome> {
        let read = |mut file: std::fs::File| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).map(|_| bytes)
        };
        let bytes = qwenc_files::regular(path)
            .and_then(read)
            .with_context(|| format!("{}: reading", path.display()))?;
        Outcome::parse(&bytes).with_context(|| format!("{}: no file of activations", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Outcome> {
        let file = SafeTensors::deserialize(bytes)?;
        let tokens = file.tensor("tokens").map_err(|_| anyhow!("expected a tensor `tokens`, found none"))?;
        if tokens.dtype() != Dtype::I32 {
            bail!("tokens: expected I32, found {:?}", tokens.dtype());
        }
        let tokens: Vec<u32> = words(tokens.data()).map(u32::from_le_bytes).collect();
        let mut values = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            if tensor.dtype() == Dtype::F32 && tensor.shape().first() == Some(&tokens.len()) {
                values.insert(name, words(tensor.data()).map(f32::from_le_bytes).collect());
            }
        }
        Ok(Outcome { tokens, values })
    }
}

fn words(data: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    data.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]])
}
