//! Object files, runtime and weights to an executable, through the system's C compiler.
//!
//! In: objects or a bundle of CUDA kernels, and an image. Out: a file at the output path, with the image appended
//! or beside it. Invariant: everything is made in a temporary folder next to the output and renamed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::bundle;
use crate::error::LinkError;
use crate::image::Image;

/// The runtime, built by the build script.
const RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runtime.a.zst"));
/// No real archive is larger; guards the unpacking buffer.
const RUNTIME_LIMIT: usize = 1 << 30;

/// Where the weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Appended to the executable.
    Embed,
    /// In `OUTPUT.weights`.
    External,
}

/// Where the external weights of `executable` are.
pub fn beside(executable: &Path) -> PathBuf {
    let mut name = executable.as_os_str().to_owned();
    name.push(".weights");
    name.into()
}

/// An executable in the making.
pub struct Executable {
    output: PathBuf,
    folder: TempDir,
}

impl Executable {
    /// Checks the output path and makes room beside it.
    pub fn new(output: &Path) -> Result<Executable, LinkError> {
        let refuse = |found| LinkError::Output { path: output.to_path_buf(), found };
        if output.is_dir() {
            return Err(refuse("a directory"));
        }
        if output.file_name().is_none() {
            return Err(refuse("no file name"));
        }
        let parent = match output.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let folder = tempfile::Builder::new()
            .prefix(".qwenc-")
            .tempdir_in(parent)
            .map_err(LinkError::io(parent, "creating a temporary folder"))?;
        Ok(Executable { output: output.to_path_buf(), folder })
    }

    /// Where to write the weights image.
    pub fn image_path(&self) -> PathBuf {
        self.folder.path().join("weights")
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Links the objects, adds the image, and moves the result to the output path.
    pub fn finish(self, objects: &[&[u8]], image: &Image, weights: Weights) -> Result<(), LinkError> {
        let names = (0..objects.len()).map(|i| format!("{i}.o"));
        let files = names.zip(objects).map(|(name, object)| self.write(&name, object));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        self.complete(&files, image, weights)
    }

    /// The same of CUDA kernels, as `qwenc_abi` bundles them: the C compiler makes the objects too.
    pub fn finish_cuda(self, bundle: &[u8], image: &Image, weights: Weights) -> Result<(), LinkError> {
        let path = self.write("bundle", bundle)?;
        let files = [
            self.write("bundle.s", bundle::assembly(&path, &image.identity).as_bytes())?,
            self.write("main.c", bundle::MAIN.as_bytes())?,
        ];
        self.complete(&files, image, weights)
    }

    fn complete(self, files: &[PathBuf], image: &Image, weights: Weights) -> Result<(), LinkError> {
        let linked = self.temporary("executable");
        self.link(files, &linked)?;
        match weights {
            Weights::Embed => image.append_to(&linked)?,
            Weights::External => self.rename(&image.path, &beside(&self.output))?,
        }
        self.rename(&linked, &self.output)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), LinkError> {
        fs::rename(from, to).map_err(LinkError::io(to, "moving the finished file to its place"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, LinkError> {
        let path = self.temporary(name);
        fs::write(&path, bytes).map_err(LinkError::io(&path, "writing a file for the linker"))?;
        Ok(path)
    }

    fn link(&self, files: &[PathBuf], output: &Path) -> Result<(), LinkError> {
        let archive = self.temporary("runtime.a");
        let unpacked = zstd::bulk::decompress(RUNTIME, RUNTIME_LIMIT)
            .map_err(LinkError::io(&archive, "unpacking the runtime"))?;
        self.write("runtime.a", &unpacked)?;
        let mut command = Command::new(linker());
        command.args(files);
        // No build id and no symbols: the same input gives the same bytes.
        command.arg(&archive).arg("-o").arg(output).args(["-s", "-pie", "-Wl,--gc-sections,--build-id=none"]);
        command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]);
        run(command)
    }
}

fn linker() -> String {
    std::env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_string())
}

fn run(mut command: Command) -> Result<(), LinkError> {
    let linker = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(source) => return Err(LinkError::NoLinker { linker, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim_end().to_string();
    Err(LinkError::Linker { linker, status: output.status.to_string(), output: words })
}
