//! Object files and weights to an executable or a shared library.
//!
//! In: objects or a bundle of CUDA kernels, and an image. Out: a file at the output path, with the image appended
//! or beside it, and beside a library its header. Invariant: a library offers nothing but what the header declares; everything is made in a temporary folder next to the output and renamed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use qwenc_files::Scratch;

use crate::embedded;
use crate::entry;
use crate::error::LinkError;
use crate::image::Image;
use crate::linker::{self, Form, Job, Linker};

/// The runtime's C header, put there by the build script.
const HEADER: &str = include_str!(concat!(env!("OUT_DIR"), "/qwen.h"));
/// Its name.
const HEADER_NAME: &str = "qwen.h";
/// Names within the temporary folder: the weights image, and what the linker makes.
const IMAGE: &str = "weights";
const LINKED: &str = "linked";

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
    linker: Linker,
    output: PathBuf,
    scratch: Scratch,
}

impl Product {
    /// Checks the output path and makes room beside it.
    pub fn new(output: &Path, form: Form, linker: Linker) -> Result<Product, LinkError> {
        if !embedded::has_runtime() {
            return Err(LinkError::NoRuntime);
        }
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
        Ok(Product { form, linker, output: output.to_path_buf(), scratch })
    }

    /// Where to write the weights image.
    pub fn image_path(&self) -> PathBuf {
        self.scratch.path().join(IMAGE)
    }

    /// Output path.
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

    /// Links the objects, adds the image, and moves the result to the output path. Gives why another linker than the first
    /// was needed.
    pub fn finish(
        self,
        objects: &[&[u8]],
        image: &Image,
        weights: Weights,
    ) -> Result<Option<String>, LinkError> {
        let named = objects.iter().enumerate().map(|(i, object)| (format!("{i}.o"), object.to_vec()));
        self.complete(named.collect(), image, weights)
    }

    /// The same of CUDA kernels, as `qwenc_abi` bundles them.
    pub fn finish_cuda(
        self,
        bundle: &[u8],
        image: &Image,
        weights: Weights,
    ) -> Result<Option<String>, LinkError> {
        let data = ("bundle.o".to_string(), entry::data(bundle, &image.identity)?);
        let entry = match self.form {
            Form::Static | Form::Dynamic => entry::MAIN,
            Form::Library => entry::LOAD,
        };
        self.complete(vec![(entry.to_string(), embedded::unpacked(entry)?), data], image, weights)
    }

    fn complete(
        self,
        objects: Vec<linker::Input>,
        image: &Image,
        weights: Weights,
    ) -> Result<Option<String>, LinkError> {
        let linked = self.temporary(LINKED);
        // `new` refused a path without a name.
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        let job = Job { form: self.form, objects, name: &name, folder: self.scratch.path(), output: &linked };
        let reason = linker::link(&job, self.linker).map_err(|e| e.at(&self.output))?;
        match weights {
            Weights::Embed => image.append_to(&linked).map_err(|e| e.at(&self.output))?,
            Weights::External => self.place(IMAGE, &beside(&self.output))?,
        }
        if self.form == Form::Library {
            self.write(HEADER_NAME, HEADER.as_bytes())?;
            self.place(HEADER_NAME, &header(&self.output))?;
        }
        self.place(LINKED, &self.output)?;
        Ok(reason)
    }

    fn place(&self, name: &str, to: &Path) -> Result<(), LinkError> {
        self.scratch.place(name, to).map_err(LinkError::io(to, "moving the finished file to its place"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, LinkError> {
        let path = self.temporary(name);
        fs::write(&path, bytes).map_err(LinkError::io(&self.output, "writing a file for the linker"))?;
        Ok(path)
    }
}
