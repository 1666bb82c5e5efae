//! A model.bin, opened and checked whole.
//!
//! In: a path. Out: config, texts, tensors by name, and the graph. Invariant: an open file has the
//! hash that its header states, its header agrees with its config.json, and its tensors are those of
//! that config in the stated types. The writing side is `export.rs`; both follow docs/model-bin.md.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use memmap2::Mmap;
use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::{Graph, WeightDecl, WeightSource};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::adapter::{AdapterSource, Beside, MergeReport};
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
use crate::sampling::Sampling;
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
    header: Header,
    types: WeightTypes,
    config: Config,
    side_files: SideFiles,
    sources: Option<String>,
    exporter: Option<String>,
    origin: Option<String>,
    adapters: Option<Beside>,
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
            header,
            types: parts.types,
            config: parts.config,
            side_files: parts.side_files,
            sources: metadata.remove(key::SOURCES),
            exporter: metadata.remove(key::EXPORTER),
            origin: metadata.remove(key::ORIGIN),
            adapters: None,
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

    /// With adapters, by name, to choose from while the model runs; says what each of them changes.
    pub fn with_adapters(
        mut self,
        named: &[(String, AdapterSource)],
    ) -> Result<(ModelFile, Vec<MergeReport>)> {
        let adapters = Beside::open(&self.config, named)?;
        let reports = adapters.reports();
        self.adapters = (!named.is_empty()).then_some(adapters);
        Ok((self, reports))
    }

    /// Names of the adapters to choose from, in the order of their numbers, which begin with 1.
    pub fn adapters(&self) -> Vec<&str> {
        self.adapters.as_ref().map(Beside::names).unwrap_or_default()
    }

    /// Whether a weight of the graph is an adapter's.
    pub fn is_of_adapter(decl: &WeightDecl) -> bool {
        Beside::has(&decl.name)
    }

    /// Name of the model.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// config.json.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How matrices are stored.
    pub fn weight_types(&self) -> &WeightTypes {
        &self.types
    }

    /// tokenizer.json to the byte.
    pub fn tokenizer_json(&self) -> Option<&str> {
        self.side_files.tokenizer.as_deref()
    }

    /// The chat template's Jinja source.
    pub fn chat_template(&self) -> Option<&str> {
        self.side_files.chat_template.as_deref()
    }

    /// Jinja sources of further templates, by name.
    pub fn named_templates(&self) -> &BTreeMap<String, String> {
        &self.side_files.named_templates
    }

    /// generation_config.json.
    pub fn generation_config(&self) -> Option<&Value> {
        self.side_files.generation.as_ref().map(|(_, value)| value)
    }

    /// Sampling defaults; flags and requests override them.
    pub fn sampling(&self) -> &Sampling {
        &self.side_files.sampling
    }

    /// The text that the template's `bos_token` stands for, if the template names it.
    pub fn bos_token(&self) -> Option<&str> {
        self.side_files.bos_token.as_deref()
    }

    /// The text that the template's `eos_token` stands for, if the template names it.
    pub fn eos_token(&self) -> Option<&str> {
        self.side_files.eos_token.as_deref()
    }

    /// Token ids that end generation: of config and generation config, ascending.
    pub fn stop_tokens(&self) -> Vec<u32> {
        self.side_files.stop_tokens.clone()
    }

    /// SHA-256 of all bytes after the header.
    pub fn payload_hash(&self) -> [u8; 32] {
        self.header.hash
    }

    /// What a person should know before relying on this file.
    pub fn warnings(&self) -> &[String] {
        &self.side_files.warnings
    }

    /// JSON object of source file names and their SHA-256, if the exporter stated them.
    pub fn sources(&self) -> Option<&str> {
        self.sources.as_deref()
    }

    /// Program and version that wrote the file, if stated.
    pub fn exporter(&self) -> Option<&str> {
        self.exporter.as_deref()
    }

    /// What only the old format said that it was made from.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The graph: matrices of the file's types, norms, biases and adapters f32.
    pub fn graph(&self) -> Result<Graph> {
        let type_of =
            |spec: &TensorSpec, layer| self.types.of_tensor(&spec.tensor_name(layer)).unwrap_or(DType::F32);
        decoder::graph(&self.config, self.adapters.as_ref(), &type_of)
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
        match self.adapters.as_ref().and_then(|adapters| adapters.tensor(decl, layer)) {
            Some(tensor) => tensor,
            None => named_tensors::tensor(self, decl, layer),
        }
    }
}
