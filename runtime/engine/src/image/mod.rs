//! The weights image: at the end of the executable, beside it, or where `--weights` says.
//!
//! In: file names and the identity of the code. Out: mapped sections. Invariant: an `Image` belongs
//! to the code that opened it; its ranges were checked against the file before anything was read. This
//! reads what `compiler/link` writes; the footer that both know is in `qwenc-abi`.

pub mod metadata;
pub mod sampling;
mod unused;
pub mod warm;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};
use qwenc_abi::metadata::Metadata;
use qwenc_abi::{Footer, FooterError, Identity, Section, FOOTER_BYTES, PAGE};

use crate::error::{Error, Result};
use crate::image::warm::Warming;

/// An open image, mapped read-only.
pub struct Image {
    /// Before the map, which it uses: fields are dropped in this order.
    warming: Option<Warming>,
    path: PathBuf,
    map: Arc<Mmap>,
    footer: Footer,
    metadata: Metadata,
}

impl Image {
    /// Finds, maps and checks the image: `chosen` if given, else the end of `executable`, else
    /// `<executable>.weights`. Its weights must be `weights_bytes` long.
    pub fn find(
        chosen: Option<&Path>,
        executable: &Path,
        weights_bytes: u64,
        identity: &Identity,
    ) -> Result<Image> {
        let (path, file, footer) = locate(chosen, executable)?;
        check_identity(&path, &footer, identity)?;
        check_layout(&path, &footer, file.metadata().map_err(Error::file("read", &path))?.len())?;
        if footer.weights.bytes != weights_bytes {
            return Err(Error::Stranger {
                path,
                what: "the size of the weights",
                expected: format!("{weights_bytes} bytes"),
                found: format!("{} bytes", footer.weights.bytes),
            });
        }
        let map = map(&path, &file, &footer)?;
        let metadata = metadata::parse(slice(&map, footer.metadata))?;
        Ok(Image { warming: None, path, map: Arc::new(map), footer, metadata })
    }

    /// Starts to map the pages of the weights that every token reads, on a thread of its own; of all weights where the
    /// metadata does not say.
    pub fn warm(&mut self) {
        let weights = self.weights();
        let read = self.metadata.per_token.and_then(|per_token| per_token.weights.of(weights));
        // SAFETY: the map is dropped after it.
        self.warming = Some(unsafe { Warming::start(read.unwrap_or(weights)) });
    }

    /// Gives the memory back that the weights' pages take: they have been copied to where they are used.
    pub fn release_weights(&self) {
        let (start, bytes) = (self.footer.weights.offset as usize, self.footer.weights.bytes as usize);
        // Without it only memory is lost.
        // SAFETY: the map is read-only and of a file, so a page that is read again is read from it again.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) };
    }

    /// The file that holds the image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The packed weights; page-aligned.
    pub fn weights(&self) -> &[u8] {
        slice(&self.map, self.footer.weights)
    }

    /// Tokenizer section: tables or tokenizer.json; may be empty. It keeps the file mapped.
    pub fn tokenizer(&self) -> Bytes {
        let Section { offset, bytes } = self.footer.tokenizer;
        Bytes::from_owner(Mapped(Arc::clone(&self.map))).slice(offset as usize..(offset + bytes) as usize)
    }

    /// The metadata as it stands in the file.
    pub fn metadata_bytes(&self) -> &[u8] {
        slice(&self.map, self.footer.metadata)
    }

    /// Refuses bytes that no section has and that are not 0.
    pub fn check_unused(&self) -> Result<()> {
        match unused::first(&self.map, &self.footer) {
            None => Ok(()),
            Some((at, byte)) => Err(Error::BadImage {
                path: self.path.clone(),
                found: format!("its byte {at}, which is unused, is {byte} instead of 0"),
            }),
        }
    }

    /// The metadata, read.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// One of the owners of a map.
struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn slice(map: &Mmap, section: Section) -> &[u8] {
    // Footer::decode checked that offset + bytes lies within the image, whose length is the map's.
    &map[section.offset as usize..(section.offset + section.bytes) as usize]
}

fn locate(chosen: Option<&Path>, executable: &Path) -> Result<(PathBuf, File, Footer)> {
    if let Some(path) = chosen {
        return open(path)?.ok_or_else(|| Error::BadImage {
            path: path.into(),
            found: "it does not end with an image footer (another kind of file, or cut short)".into(),
        });
    }
    if let Some(found) = open(executable)? {
        return Ok(found);
    }
    let mut beside = executable.as_os_str().to_owned();
    beside.push(".weights");
    let beside = PathBuf::from(beside);
    if !beside.exists() {
        return Err(Error::NoImage { executable: executable.into(), beside });
    }
    locate(Some(&beside), executable)
}

/// `None` if the file does not end with a footer.
fn open(path: &Path) -> Result<Option<(PathBuf, File, Footer)>> {
    let file = qwenc_files::regular(path).map_err(Error::file("open", path))?;
    let bytes = file.metadata().map_err(Error::file("read", path))?.len();
    let Some(tail_at) = bytes.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
    let mut tail = [0; FOOTER_BYTES];
    file.read_exact_at(&mut tail, tail_at).map_err(Error::file("read", path))?;
    let found = match Footer::decode(&tail, bytes) {
        Ok(footer) => return Ok(Some((path.into(), file, footer))),
        Err(FooterError::Missing) => return Ok(None),
        Err(FooterError::Version(v)) => format!("its format version {v} is not known to this executable"),
        Err(FooterError::OutOfBounds) => {
            "its footer points outside the file (its beginning was cut off)".into()
        }
    };
    Err(Error::BadImage { path: path.into(), found })
}

fn check_identity(path: &Path, footer: &Footer, code: &Identity) -> Result<()> {
    let sides = [
        ("the code's SHA-256", &code.code_id, &footer.identity.code_id),
        ("the weights' SHA-256", &code.weights_id, &footer.identity.weights_id),
    ];
    for (what, expected, found) in sides {
        if expected != found {
            let (expected, found) = (hex(expected), hex(found));
            return Err(Error::Stranger { path: path.into(), what, expected, found });
        }
    }
    Ok(())
}

fn check_layout(path: &Path, footer: &Footer, file_bytes: u64) -> Result<()> {
    let start = file_bytes.checked_sub(footer.image_bytes);
    let aligned = start.is_some_and(|s| s.is_multiple_of(PAGE)) && footer.weights.offset.is_multiple_of(PAGE);
    if aligned {
        return Ok(());
    }
    let found = format!(
        "it starts at byte {} and its weights {} bytes further, which should both be multiples of {PAGE}",
        file_bytes.wrapping_sub(footer.image_bytes),
        footer.weights.offset
    );
    Err(Error::BadImage { path: path.into(), found })
}

fn map(path: &Path, file: &File, footer: &Footer) -> Result<Mmap> {
    let file_bytes = file.metadata().map_err(Error::file("read", path))?.len();
    let start = file_bytes.saturating_sub(footer.image_bytes);
    // SAFETY: the map is private and read-only. That no process truncates or rewrites a program's file
    // while it runs is what every mapped executable relies on.
    let map = unsafe { MmapOptions::new().offset(start).len(footer.image_bytes as usize).map(file) }
        .map_err(Error::file("map", path))?;
    // Parts that have to be read from the file come in huge pages, like those that the compiler has just written, which are in
    // memory. A system without them is slower, not wrong.
    let _ = map.advise(Advice::HugePage);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_mapped_with_huge_pages_where_the_system_has_them() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * PAGE).unwrap();
        let none = Section { offset: 0, bytes: 0 };
        let identity = Identity { code_id: [0; 32], weights_id: [0; 32] };
        let (weights, tokenizer, metadata) = (none, none, none);
        let footer = Footer { image_bytes: 2 * PAGE, weights, tokenizer, metadata, identity };
        let map = map(Path::new("test"), &file, &footer).unwrap();
        assert_eq!(map.len(), 2 * PAGE as usize);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", map.as_ptr() as usize);
        let mut ours = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = ours.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        let huge = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert_eq!(flags.split_whitespace().any(|flag| flag == "hg"), huge, "{flags}");
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0, 0xab, 255]), "00abff");
    }
}
