//! Object files and weights to an executable or a shared library.
//!
//! In: objects or a bundle of CUDA kernels, and the content of an image. Out: a file at the output path, with the image behind
//! the program or beside it, and beside a library its header. Invariant: a library exports nothing but what the header declares;
//! everything is made in a temporary folder next to the output and renamed at the end. The program is linked first, with zeros
//! for the hash of its weights: so the image is written once, where it stays, and the hash is put in when it is known.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use qwenc_abi::{Identity, PAGE};
use qwenc_files::Scratch;

use crate::embedded;
use crate::entry;
use crate::error::LinkError;
use crate::image::Content;
use crate::linker::{self, Form, Job, Linker};

/// The runtime's C header, put there by the build script.
const HEADER: &str = include_str!(concat!(env!("OUT_DIR"), "/qwen.h"));
/// Its name.
const HEADER_NAME: &str = "qwen.h";
/// Names within the temporary folder: the weights image, and what the linker makes.
const IMAGE: &str = "weights";
const LINKED: &str = "linked";

/// Place of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Appended to the executable or library.
    Embed,
    /// In `OUTPUT.weights`.
    External,
}

/// Path of the external weights of an executable or library.
pub fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".weights");
    name.into()
}

/// Path of a library's header.
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

    /// Output path.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Links the objects, one of which has the [`Identity`] of code that is not packed yet.
    pub fn link(self, objects: &[&[u8]], code_id: [u8; 32]) -> Result<Linked, LinkError> {
        let named = objects.iter().enumerate().map(|(i, object)| (format!("{i}.o"), object.to_vec()));
        self.linked(named.collect(), code_id)
    }

    /// Links CUDA kernels, as `qwenc_abi` bundles them; an executable with the server or without it.
    pub fn link_cuda(self, bundle: &[u8], code_id: [u8; 32], serve: bool) -> Result<Linked, LinkError> {
        let data = ("bundle.o".to_string(), entry::data(bundle, &Identity::unpacked(code_id))?);
        let entry = match self.form {
            Form::Static | Form::Dynamic if serve => entry::MAIN,
            Form::Static | Form::Dynamic => entry::MAIN_WITHOUT_SERVE,
            Form::Library => entry::LOAD,
        };
        self.linked(vec![(entry.to_string(), embedded::unpacked(entry)?), data], code_id)
    }

    fn linked(self, objects: Vec<linker::Input>, code_id: [u8; 32]) -> Result<Linked, LinkError> {
        let linked = self.temporary(LINKED);
        // `new` refused a path without a name.
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        let job = Job { form: self.form, objects, name: &name, folder: self.scratch.path(), output: &linked };
        let other_linker = linker::link(&job, self.linker).map_err(|e| e.at(&self.output))?;
        Ok(Linked { product: self, code_id, other_linker })
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn place(&self, name: &str, to: &Path) -> Result<(), LinkError> {
        self.scratch.place(name, to).map_err(LinkError::io(to, "moving the finished file to its place"))
    }
}

/// A linked executable or library that has no weights yet.
pub struct Linked {
    product: Product,
    code_id: [u8; 32],
    other_linker: Option<String>,
}

impl Linked {
    /// The first linker's error, where another one was needed.
    pub fn other_linker(&self) -> Option<&str> {
        self.other_linker.as_deref()
    }

    /// Writes the weights image behind the linked file, or beside it, and moves the result to the output path. `progress` is
    /// told bytes of weights written. Gives the length of the image in bytes.
    pub fn finish(
        self,
        content: &Content,
        weights: Weights,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, LinkError> {
        let product = &self.product;
        let linked = product.temporary(LINKED);
        let program = fs::read(&linked).map_err(LinkError::io(&linked, "reading the linked file"));
        let program = program.map_err(|e| e.at(&product.output))?;
        let (path, start) = match weights {
            Weights::Embed => (linked.clone(), (program.len() as u64).next_multiple_of(PAGE)),
            Weights::External => (product.temporary(IMAGE), 0),
        };
        let failed = || LinkError::io(&product.output, "writing the weights image");
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed())?;
        let written = content.write((file, start), &path, self.code_id, progress);
        let (identity, bytes) = written.map_err(|e| e.at(&product.output))?;
        self.identify(&linked, &program, &identity)?;
        if weights == Weights::External {
            product.place(IMAGE, &beside(&product.output))?;
        }
        if product.form == Form::Library {
            let failed = LinkError::io(&product.output, "writing the header");
            fs::write(product.temporary(HEADER_NAME), HEADER).map_err(failed)?;
            product.place(HEADER_NAME, &header(&product.output))?;
        }
        product.place(LINKED, &product.output)?;
        Ok(bytes)
    }

    /// Writes the identity of the packed weights to the place that the linked program has for it.
    fn identify(&self, linked: &Path, program: &[u8], identity: &Identity) -> Result<(), LinkError> {
        let unpacked = Identity::unpacked(self.code_id).bytes();
        let mut places = memchr::memmem::find_iter(program, &unpacked);
        let (Some(place), None) = (places.next(), places.next()) else {
            return Err(LinkError::Identity { path: self.product.output.clone() });
        };
        let failed = LinkError::io(&self.product.output, "writing the identity of the weights");
        let file = File::options().write(true).open(linked);
        file.and_then(|file| file.write_all_at(&identity.bytes(), place as u64)).map_err(failed)
    }
}
