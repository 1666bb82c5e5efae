//! Element type of a sequence's KV cache: that of a flag, that which the model was compiled with, or the compiler's default
//! for such weights.
//!
//! In: the flag's value if given, the metadata. Out: a [`KvType`]. Invariant: sizes are those of `ModelInfo`.

use qwenc_abi::metadata::Metadata;
use qwenc_abi::KvType;

use crate::error::{Error, Result};

/// The type to use: the flag's, else that of `--kv-type` when it was compiled, else the default for such weights; f32 where
/// the metadata has none.
pub fn chosen(flag: Option<KvType>, metadata: &Metadata) -> Result<KvType> {
    match (flag, metadata.kv_type.as_ref().or(metadata.default_kv_type.as_ref())) {
        (Some(ty), _) => Ok(ty),
        (None, Some(name)) => KvType::named(name).ok_or_else(|| Error::KvType { found: name.clone() }),
        (None, None) => Ok(KvType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_metadata_and_both_before_the_default() {
        let says = |kv: &str| Metadata {
            kv_type: Some(kv.into()),
            default_kv_type: Some("int8".into()),
            ..Metadata::default()
        };
        for ty in KvType::ALL {
            assert_eq!(chosen(None, &says(ty.name())).unwrap(), ty);
            assert_eq!(chosen(Some(ty), &says("bf16")).unwrap(), ty);
        }
        assert_eq!(chosen(None, &Metadata { kv_type: None, ..says("") }).unwrap(), KvType::I8);
        assert_eq!(chosen(None, &Metadata::default()).unwrap(), KvType::F32);
        let said = chosen(None, &says("f8")).unwrap_err().to_string();
        assert!(said.contains("f8") && said.contains("--kv-type"), "{said}");
    }
}
