//! A bundle of CUDA kernels as an object file, beside the entry points that hand it to the runtime.
//!
//! In: a bundle, an identity. Out: an object with both as constants. Invariant: written here, by no assembler; the bundle
//! starts at a multiple of 64 bytes, which its own offsets count on.

use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};

use qwenc_abi::Identity;

use crate::error::LinkError;

/// The object whose `main` hands bundle and identity to the runtime.
pub(crate) const MAIN: &str = "cuda_main.o";
/// The same without a server.
pub(crate) const MAIN_WITHOUT_SERVE: &str = "cuda_main_without_serve.o";
/// The same of a library.
pub(crate) const LOAD: &str = "cuda_load.o";

/// Alignment of every constant, in bytes.
const ALIGNMENT: u64 = 64;
/// The processor of this machine, for which the runtime inside qwenc is.
const ARCHITECTURE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

/// Object file with the symbols that the entry points refer to: the bundle and the identity.
pub(crate) fn data(bundle: &[u8], identity: &Identity) -> Result<Vec<u8>, LinkError> {
    let mut object = Object::new(BinaryFormat::Elf, ARCHITECTURE, Endianness::Little);
    let section = object.section_id(StandardSection::ReadOnlyData);
    let ids = [identity.code_id, identity.weights_id].concat();
    let length = (bundle.len() as u64).to_le_bytes();
    for (name, bytes) in [("qwenc_bundle", bundle), ("qwenc_bundle_bytes", &length), ("qwenc_identity", &ids)]
    {
        let symbol = object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value: 0,
            size: 0,
            kind: SymbolKind::Data,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        object.add_symbol_data(symbol, section, bytes, ALIGNMENT);
    }
    // Without it linkers make the stack executable.
    object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), object::SectionKind::Other);
    object.write().map_err(LinkError::Object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSection, ObjectSymbol};

    #[test]
    fn constants_are_aligned_and_whole() {
        let identity = Identity { code_id: [7; 32], weights_id: [255; 32] };
        let bytes = data(b"kernels", &identity).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let content = |name: &str| {
            let symbol = file.symbols().find(|s| s.name() == Ok(name)).unwrap();
            let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
            assert!(section.align() >= ALIGNMENT && symbol.address() % ALIGNMENT == 0 && symbol.is_global());
            section.data().unwrap()[symbol.address() as usize..][..symbol.size() as usize].to_vec()
        };
        assert_eq!(content("qwenc_bundle"), b"kernels");
        assert_eq!(content("qwenc_bundle_bytes"), 7u64.to_le_bytes());
        assert_eq!(content("qwenc_identity"), [[7; 32], [255; 32]].concat());
    }
}
