//! A model.bin, opened and checked whole.
//!
//! In: a path. Out: config, texts, tensors by name, and the graph. Invariant: an open file has the
//! hash that its header states, its header agrees with its config.json, and its tensors are those of
//! that config in the stated types. The writing side is `export.rs`; both follow docs/model-bin.md.

use std::collections::HashMap;
use std::path::Path;

use memmap2::Mmap;
use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::{Graph, WeightDecl, WeightSource};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::decoder;
use crate::error::{Error, Result};
use crate::files;
use crate::header::{hex, Header, HEADER_BYTES};
use crate::metadata::Parts;
use crate::model_name;
use crate::named_tensors::{self, Tensors};
use crate::payload::{self, Entry, Payload};
use crate::payload_layout::key;
use crate::rope_override::RopeChoice;
use crate::side_files::SideFiles;
use crate::tensor_check::{self, Look};
use crate::tensor_spec::TensorSpec;
use crate::weight_types::WeightTypes;
use crate::weights::Stored;

/// An open model.bin.
pub struct ModelFile {
    place: String,
    name: Option<String>,
    map: Mmap,
    entries: HashMap<String, Entry>,
    types: WeightTypes,
    config: Config,
    side_files: SideFiles,
    sources: Option<String>,
    exporter: Option<String>,
    origin: Option<String>,
}

impl ModelFile {
    /// Opens and checks a file; its whole payload is read once, to hash it.
    pub fn open(path: &Path) -> Result<ModelFile> {
        let map = files::map(path)?;
        let header = Header::decode(path, &map)?;
        check_size(path, &header, map.len() as u64)?;
        let found = Sha256::digest(&map[HEADER_BYTES..]);
        if header.hash[..] != found[..] {
            let (expected, found) = (hex(&header.hash), hex(&found));
            return Err(Error::Hash { path: path.to_path_buf(), expected, found });
        }
        let place = path.display().to_string();
        let Payload { entries, mut metadata } = payload::read(&place, &map, HEADER_BYTES)?;
        let parts = Parts::read(path, &header, &mut metadata)?;
        if let Some(problem) = parts.disagreements(path, &header).into_iter().next() {
            return Err(problem);
        }
        let file = ModelFile {
            place,
            name: metadata.remove(key::NAME).and_then(|text| model_name::stated(&text)),
            map,
            entries: entries.into_iter().collect(),
            types: parts.types,
            config: parts.config,
            side_files: parts.side_files,
            sources: metadata.remove(key::SOURCES),
            exporter: metadata.remove(key::EXPORTER),
            origin: metadata.remove(key::ORIGIN),
        };
        let wanted = |name: &str, _: &TensorSpec| file.types.of_tensor(name);
        match tensor_check::problems(&file, &file.config, &wanted, Look::Values).into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(file),
        }
    }

    /// With another RoPE scaling and longest context than config.json's.
    pub fn with_rope(mut self, choice: &RopeChoice) -> Result<ModelFile> {
        let (config, notes) = choice.apply(&self.place, &self.config)?;
        self.config = config;
        self.side_files.warnings.extend(notes);
        Ok(self)
    }

    /// Name of the model.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// config.json.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Formats of the matrices.
    pub fn weight_types(&self) -> &WeightTypes {
        &self.types
    }

    /// The texts beside the weights, and what they say.
    pub fn side_files(&self) -> &SideFiles {
        &self.side_files
    }

    /// JSON object of source file names and their SHA-256, if the exporter stated them.
    pub fn sources(&self) -> Option<&str> {
        self.sources.as_deref()
    }

    /// Program and version that wrote the file, if stated.
    pub fn exporter(&self) -> Option<&str> {
        self.exporter.as_deref()
    }

    /// Origin that only the old format states.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The graph: matrices of the file's types, norms and biases f32.
    pub fn graph(&self) -> Result<Graph> {
        decoder::graph(&self.config, None, &self.types.declared())
    }
}

/// Whether the file is as long as its header says.
pub(crate) fn check_size(path: &Path, header: &Header, found: u64) -> Result<()> {
    let expected = header.payload_bytes.saturating_add(HEADER_BYTES as u64);
    match expected == found {
        true => Ok(()),
        false => Err(Error::FileSize { path: path.to_path_buf(), expected, found }),
    }
}

impl Tensors for ModelFile {
    fn file(&self) -> &str {
        &self.place
    }

    fn find(&self, name: &str) -> Option<Stored<'_>> {
        let entry = self.entries.get(name)?;
        Some(Stored::plain(entry, &self.map[entry.range.clone()]))
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn format(&self, name: &str) -> Option<DType> {
        self.types.of_tensor(name)
    }
}

impl WeightSource for ModelFile {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> std::result::Result<Tensor<'_>, WeightError> {
        named_tensors::tensor(self, decl, layer)
    }
}
