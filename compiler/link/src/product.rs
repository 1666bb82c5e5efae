//! Object files, runtime and weights to an executable or a shared library, through the system's C compiler.
//!
//! In: objects or a bundle of CUDA kernels, and an image. Out: a file at the output path, with the image appended
//! or beside it, and beside a library its header. Invariant: a library offers nothing but what the header declares; everything is made in a temporary folder next to the output and renamed at the end.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_files::Scratch;

use crate::entry;
use crate::error::LinkError;
use crate::image::Image;

/// The runtime, built by the build script.
const RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runtime.a.zst"));
/// The runtime's C header, put there by the build script.
const HEADER: &str = include_str!(concat!(env!("OUT_DIR"), "/qwen.h"));
/// Its name.
const HEADER_NAME: &str = "qwen.h";
/// Of a library's symbols only the header's are seen.
const EXPORTS: &str = "{ global: qwen_*; local: *; };\n";
/// Names within the temporary folder: the weights image, and what the linker makes.
const IMAGE: &str = "weights";
const LINKED: &str = "linked";
/// No real archive is larger; guards the unpacking buffer.
const RUNTIME_LIMIT: usize = 1 << 30;

/// What is made of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program.
    Executable,
    /// A shared library, and its header beside it.
    Library,
}

/// Where the weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Appended to the executable or library.
    Embed,
    /// In `OUTPUT.weights`.
    External,
}

/// Where the external weights of an executable or library are.
pub fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".weights");
    name.into()
}

/// Where the header of a library is.
pub fn header(library: &Path) -> PathBuf {
    library.with_file_name(HEADER_NAME)
}

/// An executable or library in the making.
pub struct Product {
    form: Form,
    output: PathBuf,
    scratch: Scratch,
}

impl Product {
    /// Checks the output path and makes room beside it.
    pub fn new(output: &Path, form: Form) -> Result<Product, LinkError> {
        let refuse = |found| LinkError::Output { path: output.to_path_buf(), found };
        if output.is_dir() {
            return Err(refuse("a directory"));
        }
        if output.file_name().is_none() {
            return Err(refuse("no file name"));
        }
        if form == Form::Library {
            if output == header(output) {
                return Err(refuse("the name of the header that is written beside it"));
            }
            if header(output).is_dir() {
                return Err(LinkError::Output { path: header(output), found: "a directory" });
            }
        }
        let scratch = Scratch::beside(output)
            .map_err(LinkError::io(output, "creating a temporary folder beside it"))?;
        Ok(Product { form, output: output.to_path_buf(), scratch })
    }

    /// Where to write the weights image.
    pub fn image_path(&self) -> PathBuf {
        self.scratch.path().join(IMAGE)
    }

    /// Where the result will be.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
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
        let entry = match self.form {
            Form::Executable => entry::MAIN,
            Form::Library => entry::LOAD,
        };
        let files = [
            self.write("bundle.s", entry::assembly(&path, &image.identity).as_bytes())?,
            self.write("entry.c", entry.as_bytes())?,
        ];
        self.complete(&files, image, weights)
    }

    fn complete(self, files: &[PathBuf], image: &Image, weights: Weights) -> Result<(), LinkError> {
        let linked = self.temporary(LINKED);
        self.link(files, &linked)?;
        match weights {
            Weights::Embed => image.append_to(&linked).map_err(|e| e.at(&self.output))?,
            Weights::External => self.place(IMAGE, &beside(&self.output))?,
        }
        if self.form == Form::Library {
            self.write(HEADER_NAME, HEADER.as_bytes())?;
            self.place(HEADER_NAME, &header(&self.output))?;
        }
        self.place(LINKED, &self.output)
    }

    fn place(&self, name: &str, to: &Path) -> Result<(), LinkError> {
        self.scratch.place(name, to).map_err(LinkError::io(to, "moving the finished file to its place"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, LinkError> {
        let path = self.temporary(name);
        fs::write(&path, bytes).map_err(LinkError::io(&self.output, "writing a file for the linker"))?;
        Ok(path)
    }

    fn link(&self, files: &[PathBuf], output: &Path) -> Result<(), LinkError> {
        let archive = self.temporary("runtime.a");
        let unpacked = zstd::bulk::decompress(RUNTIME, RUNTIME_LIMIT)
            .map_err(LinkError::io(&self.output, "unpacking the runtime"))?;
        self.write("runtime.a", &unpacked)?;
        let mut command = Command::new(linker());
        command.args(files);
        // No build id and no symbols: the same input gives the same bytes.
        command.arg(&archive).arg("-o").arg(output).args(["-s", "-Wl,--gc-sections,--build-id=none"]);
        match self.form {
            Form::Executable => command.arg("-pie"),
            Form::Library => command.args(self.library_flags()?),
        };
        command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]);
        run(command)
    }

    fn library_flags(&self) -> Result<Vec<OsString>, LinkError> {
        let mut exports = OsString::from("-Wl,--version-script=");
        exports.push(self.write("exports", EXPORTS.as_bytes())?);
        let mut name = OsString::from("-Wl,-soname,");
        // `new` refused a path without one.
        name.push(self.output.file_name().unwrap_or_default());
        // Its threads' own data would outlive it in memory, so it stays there once loaded.
        let rest = ["-shared", "-fPIC", "-Wl,-Bsymbolic,-z,nodelete,-z,defs"].map(OsString::from);
        Ok(rest.into_iter().chain([exports, name]).collect())
    }
}

/// Refuses a machine without a C compiler: before the work is better than after it.
pub fn require_linker() -> Result<(), LinkError> {
    let mut command = Command::new(linker());
    command.arg("--version");
    run(command)
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
