//! A bundle of CUDA kernels, and what hands it to the runtime, as what a C compiler reads.
//!
//! In: the path of a bundle, an identity. Out: assembly with both as data, and a C file with `main` or `qwen_load`. Invariant:
//! nothing in either depends on the processor, and the executable holds the bundle's bytes, not its path.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use qwenc_abi::Identity;

/// Hands bundle and identity to the runtime.
pub(crate) const MAIN: &str = r"extern const unsigned char qwenc_bundle[], qwenc_bundle_end[], qwenc_identity[];
int qwenc_main_cuda(int argc, char **argv, const unsigned char *bundle, unsigned long bundle_bytes,
                    const void *identity);

int main(int argc, char **argv) {
    return qwenc_main_cuda(argc, argv, qwenc_bundle, (unsigned long)(qwenc_bundle_end - qwenc_bundle),
                           qwenc_identity);
}
";

/// The same for a library.
pub(crate) const LOAD: &str = r"extern const unsigned char qwenc_bundle[], qwenc_bundle_end[], qwenc_identity[];
void *qwenc_load_cuda(const void *options, const unsigned char *bundle, unsigned long bundle_bytes,
                      const void *identity);

void *qwen_load(const void *options) {
    return qwenc_load_cuda(options, qwenc_bundle, (unsigned long)(qwenc_bundle_end - qwenc_bundle),
                           qwenc_identity);
}
";

/// What [`MAIN`] and [`LOAD`] name. The bundle starts at a multiple of 64 bytes, which its own offsets count on.
pub(crate) fn assembly(bundle: &Path, identity: &Identity) -> String {
    // A string of the assembler's: whatever is not plain, quotes and backslashes too, is its number in octal.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let path = bundle.as_os_str().as_bytes().iter().map(|&b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("\\{b:03o}"),
    });
    let path: String = path.collect();
    let ids = [identity.code_id, identity.weights_id].concat();
    let ids: Vec<String> = ids.iter().map(u8::to_string).collect();
    let mut text = String::from("\t.section .rodata\n");
    for (name, directives) in [
        ("qwenc_bundle", format!("\t.incbin \"{path}\"\n\t.globl qwenc_bundle_end\nqwenc_bundle_end:\n")),
        ("qwenc_identity", format!("\t.byte {}\n", ids.join(", "))),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(text, "\t.balign 64\n\t.globl {name}\n{name}:\n{directives}");
    }
    // Without it linkers make the stack executable.
    text + "\t.section .note.GNU-stack, \"\", %progbits\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_a_string_of_the_assembler() {
        let identity = Identity { code_id: [7; 32], weights_id: [255; 32] };
        let text = assembly(Path::new("/tmp/a \"b\\é/bundle"), &identity);
        assert!(text.contains("\t.incbin \"/tmp/a\\040\\042b\\134\\303\\251/bundle\"\n"), "{text}");
        assert!(
            text.contains(&format!("\t.byte {}{}\n", "7, ".repeat(32), ["255"; 32].join(", "))),
            "{text}"
        );
    }
}
