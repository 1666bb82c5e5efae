//! What a sequence's KV cache stores: chosen by a flag, by the image's metadata, or by the type of the weights.
//!
//! In: the flag's value if given, the metadata. Out: a [`KvType`]. Invariant: this is the only place that knows
//! what is used when nobody says; sizes are those of `ModelInfo`.

use qwenc_abi::KvType;

use crate::error::{Error, Result};
use crate::image::metadata::Metadata;

/// The type to use: the flag's, else the metadata's, else [`usual`].
pub fn chosen(flag: Option<KvType>, metadata: &Metadata) -> Result<KvType> {
    match (flag, &metadata.kv_type) {
        (Some(ty), _) => Ok(ty),
        (None, Some(name)) => named(name),
        (None, None) => Ok(usual(&metadata.model.weight_type)),
    }
}

/// What a model with weights of this type uses when nobody says: a rounded cache where the weights are more
/// rounded still, so that exact weights keep their exact answers.
fn usual(weight_type: &str) -> KvType {
    match weight_type {
        "int8" | "int4" => KvType::Bf16,
        _ => KvType::F32,
    }
}

fn named(name: &str) -> Result<KvType> {
    let found = KvType::ALL.into_iter().find(|ty| ty.name() == name);
    found.ok_or_else(|| Error::KvType { found: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_metadata_and_both_before_the_weights() {
        let says = |kv: &str| Metadata { kv_type: Some(kv.into()), ..Metadata::default() };
        for ty in KvType::ALL {
            assert_eq!(chosen(None, &says(ty.name())).unwrap(), ty);
            assert_eq!(chosen(Some(ty), &says("bf16")).unwrap(), ty);
        }
        assert_eq!(chosen(None, &Metadata::default()).unwrap(), usual(""));
        let said = chosen(None, &says("f8")).unwrap_err().to_string();
        assert!(said.contains("f8") && said.contains("--kv-type"), "{said}");
    }
}
