//! A checkpoint: a Hugging Face folder, a file of another program, or the sample model built into this one.
//!
//! In: a path. Out: config, texts, tensors by name, and the graph. Invariant: an open checkpoint has
//! exactly the tensors of its config, each in f32, f16 or bf16, or as integers beside their scales. `ModelFile` has the same face for a
//! model.bin: what one learns to answer, the other should too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::{Graph, WeightDecl, WeightSource};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::adapter::{Adapter, AdapterProblem, AdapterSource, Delta, MergeReport};
use crate::config::Config;
use crate::decoder;
use crate::error::{Error, Result};
use crate::files::{self, Bytes};
use crate::folder;
use crate::folder_problem::FolderProblem;
use crate::header::hex;
use crate::named_tensors::{self, Tensors};
use crate::rope_override::RopeChoice;
use crate::shards::{self, Shards};
use crate::side_files::{Named, SideFiles, SideTexts, Template};
use crate::stored_types;
use crate::tensor_check::{self, Look};
use crate::tensor_names::LM_HEAD;
use crate::tensor_order::matrix_shapes;
use crate::tensor_spec::TensorSpec;
use crate::texts::Texts;
use crate::weights::{Place, Stored, Weights, PLAIN};

/// Bytes of a source that are hashed between two reports of progress.
const HASHED_AT_ONCE: usize = 8 << 20;

/// An open checkpoint.
pub struct Checkpoint {
    place: String,
    name: Option<String>,
    config_text: String,
    config: Config,
    side_files: SideFiles,
    origin: Option<String>,
    weights: Weights,
    adapters: Vec<Adapter>,
    /// Name and text of every text file read, for the source hashes.
    texts: Vec<(&'static str, String)>,
}

/// The length of the q_norm that is stored, where config.json has no head_dim and hidden / heads is
/// another: transformers' default for it is not hidden / heads.
fn stored_head_dim(config: &Config, shards: &Shards) -> Option<usize> {
    let given = config.raw.get("head_dim").is_some_and(|v| !v.is_null());
    let (_, entry) = shards.tensors.get("model.layers.0.self_attn.q_norm.weight")?;
    match entry.shape[..] {
        [n] if !given && n != config.dims.head_dim as usize => Some(n),
        _ => None,
    }
}

/// config.json of a folder.
pub(crate) fn config_text(dir: &Path) -> Result<String> {
    let text = files::text_or_none(&dir.join("config.json"))?;
    text.ok_or_else(|| {
        FolderProblem::NoConfig { path: dir.to_path_buf(), hint: folder::models_in(dir) }.into()
    })
}

impl Checkpoint {
    pub(crate) fn open_folder(dir: &Path, look: Look) -> Result<Checkpoint> {
        let texts = Texts::of_folder(dir, config_text(dir)?)?;
        // The config first: its refusal says more than the absence of weights.
        let place = dir.display().to_string();
        let file = format!("{place}/config.json");
        let config = Config::parse(&file, &texts.config)?;
        let shards = shards::open(dir)?;
        let other = ["tokenizer.model", "vocab.json"].into_iter().find(|name| dir.join(name).exists());
        let other = other.filter(|_| texts.tokenizer.is_none());
        let mut raw = config.raw.clone();
        raw.extend(stored_head_dim(&config, &shards).map(|n| ("head_dim".to_string(), n.into())));
        let headless = shards.bare && !config.tied && !shards.tensors.contains_key(LM_HEAD);
        raw.extend(headless.then(|| ("tie_word_embeddings".to_string(), true.into())));
        let mut checkpoint = match raw == config.raw {
            true => Checkpoint::of_folder((place, config), texts, shards, look)?,
            false => {
                let texts = Texts { config: Value::Object(raw).to_string(), ..texts };
                let config = Config::parse(&file, &texts.config)?;
                Checkpoint::of_folder((place, config), texts, shards, look)?
            }
        };
        checkpoint.side_files.warnings.extend(headless.then(|| {
            "no lm_head: the model can embed texts; the embedding stands in for it, so what it generates means nothing"
                .to_string()
        }));
        checkpoint.side_files.warnings.extend(other.map(|name| {
            format!("{name} is not read: AutoTokenizer of transformers makes a tokenizer.json of it (save_pretrained)")
        }));
        Ok(checkpoint)
    }

    /// The model built into the program (`models/sample`).
    pub fn sample() -> Checkpoint {
        // Cannot fail: its input is part of the program, and a test opens it.
        Checkpoint::embedded().expect("the embedded sample is a valid checkpoint")
    }

    fn embedded() -> Result<Checkpoint> {
        let text = |s: &str| Some(s.to_string());
        let texts = Texts {
            config: include_str!("../sample/config.json").to_string(),
            tokenizer: text(include_str!("../sample/tokenizer.json")),
            tokenizer_config: text(include_str!("../sample/tokenizer_config.json")),
            chat_template: None,
            named_templates: Named::new(),
            generation: text(include_str!("../sample/generation_config.json")),
            ..Texts::default()
        };
        let weights = Bytes::Static(include_bytes!("../sample/model.safetensors"));
        let place = "sample".to_string();
        let config = Config::parse("sample/config.json", &texts.config)?;
        let shards = shards::read(Path::new("sample"), vec![("model.safetensors".to_string(), weights)])?;
        Checkpoint::of_folder((place, config), texts, shards, Look::Values)
    }

    fn of_folder(
        model: (String, Config),
        mut texts: Texts,
        shards: Shards,
        look: Look,
    ) -> Result<Checkpoint> {
        let more = texts.named_templates.iter().map(|(name, text)| format!("{name}\n{text}\n"));
        let sources = [
            ("added_tokens.json", texts.added_tokens.clone()),
            ("additional_chat_templates", Some(more.collect::<String>()).filter(|all| !all.is_empty())),
            ("chat_template.jinja", texts.chat_template.clone()),
            ("config.json", Some(texts.config.clone())),
            ("generation_config.json", texts.generation.clone()),
            ("model.safetensors.index.json", shards.index),
            ("special_tokens_map.json", texts.special_tokens_map.clone()),
            ("tokenizer.json", texts.tokenizer.clone()),
            ("tokenizer_config.json", texts.tokenizer_config.clone()),
        ];
        let sources = sources.into_iter().filter_map(|(name, text)| text.map(|t| (name, t))).collect();
        texts.read_tokens(&model.0)?;
        let placed = |(name, (file, entry))| (name, Place { file, entry, form: PLAIN, format: None });
        let tensors = shards.tensors.into_iter().map(placed).collect();
        let weights = Weights { files: shards.files, tensors };
        Checkpoint::assemble(model, texts, (weights, sources), look)
    }

    /// `sources` are the text files among the sources.
    pub(crate) fn assemble(
        (place, config): (String, Config),
        texts: Texts,
        (weights, sources): (Weights, Vec<(&'static str, String)>),
        look: Look,
    ) -> Result<Checkpoint> {
        let templates = (texts.chat_template, texts.named_templates);
        let mut side_files = SideFiles::new(
            &place,
            &config,
            SideTexts {
                tokenizer: texts.tokenizer,
                template: Template::of(&place, templates, texts.tokenizer_config.as_deref())?,
                generation: texts.generation,
            },
        )?;
        side_files.warnings.extend(texts.warnings);
        let (config_text, origin) = (texts.config, texts.origin);
        let checkpoint = Checkpoint {
            place,
            name: texts.name,
            config_text,
            config,
            side_files,
            origin,
            weights,
            adapters: Vec::new(),
            texts: sources,
        };
        let wanted = |name: &str, _: &TensorSpec| checkpoint.format(name);
        match tensor_check::problems(&checkpoint, &checkpoint.config, &wanted, look).into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(checkpoint),
        }
    }

    /// Adds an adapter's deltas to the weights; they are merged in f32 whenever a weight is read.
    pub fn merge(&mut self, source: &AdapterSource) -> Result<MergeReport> {
        let same = |a: &Adapter| a.source.folder.canonicalize().ok() == source.folder.canonicalize().ok();
        if self.adapters.iter().any(same) {
            let file = source.folder.display().to_string();
            return Err(Error::Adapter { file, problem: AdapterProblem::Twice });
        }
        let shapes = matrix_shapes(&self.config);
        let adapter = Adapter::open(source, &|name| shapes.get(name).copied())?;
        let report = adapter.report();
        self.adapters.push(adapter);
        Ok(report)
    }

    /// Deltas of a matrix, in order.
    pub(crate) fn deltas(&self, name: &str) -> Vec<&Delta> {
        self.adapters.iter().filter_map(|a| a.deltas.get(name)).map(|(delta, _)| delta).collect()
    }

    /// List of merged adapters, for the metadata.
    pub(crate) fn merged(&self) -> Option<Value> {
        let one = |a: &Adapter| {
            let name = a.source.folder.file_name().unwrap_or_default().to_string_lossy();
            serde_json::json!({"folder": name, "scale": a.source.scale, "deltas": a.deltas.len()})
        };
        (!self.adapters.is_empty()).then(|| self.adapters.iter().map(one).collect())
    }

    /// With another RoPE scaling and longest context than config.json's.
    pub fn with_rope(mut self, choice: &RopeChoice) -> Result<Checkpoint> {
        let (config, notes) = choice.apply(&self.place, &self.config)?;
        self.config_text = Value::Object(config.raw.clone()).to_string();
        self.config = config;
        self.side_files.warnings.extend(notes);
        Ok(self)
    }

    /// Name of the model, if its GGUF file has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// config.json.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// config.json to the byte.
    pub fn config_text(&self) -> &str {
        &self.config_text
    }

    /// The texts beside the weights, and what they say.
    pub fn side_files(&self) -> &SideFiles {
        &self.side_files
    }

    /// Origin that only the old format states.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The graph with weights of the checkpoint's own types; a weight whose layers differ in type is
    /// declared f32 and widened exactly when read.
    pub fn graph(&self) -> Result<Graph> {
        decoder::graph(&self.config, None, &|spec, layer| self.type_read(&spec.tensor_name(layer)))
    }

    /// The type in which a tensor is read: the stored one, or f32 where adapters change it.
    pub(crate) fn type_read(&self, name: &str) -> DType {
        match self.deltas(name).is_empty() {
            true => self.stored_type(name),
            false => DType::F32,
        }
    }

    /// The type of a tensor that `assemble` has checked.
    pub(crate) fn stored_type(&self, name: &str) -> DType {
        let float = || self.find(name).and_then(|t| stored_types::float(t.entry.dtype));
        self.format(name).or_else(float).unwrap_or(DType::F32)
    }

    /// SHA-256, in hexadecimal, of every file that this checkpoint was read from, by name; `progress` is told of bytes as they
    /// are hashed.
    pub(crate) fn source_hashes(&self, progress: &mut dyn FnMut(usize)) -> BTreeMap<String, String> {
        let hash = |(name, bytes): (Cow<str>, &[u8])| {
            let mut hasher = Sha256::new();
            for chunk in bytes.chunks(HASHED_AT_ONCE) {
                hasher.update(chunk);
                progress(chunk.len());
            }
            (name.into_owned(), hex(&hasher.finalize()))
        };
        self.sources().into_iter().map(hash).collect()
    }

    /// Name and bytes of every file that this checkpoint was read from, by name.
    pub(crate) fn sources(&self) -> Vec<(Cow<'_, str>, &[u8])> {
        let texts = self.texts.iter().map(|(name, text)| (*name, text.as_bytes()));
        let weights = self.weights.files.iter().map(|(name, bytes)| (name.as_str(), &**bytes));
        let mut all: Vec<(Cow<str>, &[u8])> =
            texts.chain(weights).map(|(n, b)| (Cow::Borrowed(n), b)).collect();
        for (i, adapter) in self.adapters.iter().enumerate() {
            all.extend(
                adapter.files.iter().map(|(n, bytes)| (Cow::Owned(format!("lora.{i}/{n}")), &**bytes)),
            );
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl Tensors for Checkpoint {
    fn file(&self) -> &str {
        &self.place
    }

    fn find(&self, name: &str) -> Option<Stored<'_>> {
        self.weights.find(name)
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.weights.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn format(&self, name: &str) -> Option<DType> {
        self.weights.tensors.get(name)?.format
    }
}

impl WeightSource for Checkpoint {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> std::result::Result<Tensor<'_>, WeightError> {
        let name = decl.tensor_name(layer);
        let deltas = self.deltas(&name);
        if deltas.is_empty() {
            return named_tensors::tensor(self, decl, layer);
        }
        let base = named_tensors::tensor(self, &WeightDecl { dtype: DType::F32, ..decl.clone() }, layer)?;
        let (rows, cols) = (base.rows(), base.cols());
        let mut values = base.to_f32();
        deltas.iter().for_each(|delta| delta.add(0, cols, &mut values));
        Tensor::from_f32(&name, (rows, cols), &values)
    }
}
