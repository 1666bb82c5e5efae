//! A lenient look at a model.bin or a checkpoint folder, for `qwenc inspect`.
//!
//! In: a path. Out: what could be read, and a list of what is wrong with it. Invariant: whatever
//! [`ModelFile::open`](crate::ModelFile::open) or [`Checkpoint::open`](crate::Checkpoint::open)
//! refuses has at least one entry in `problems`: a check added to them must be reached from here too.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use qwenc_formats::DType;
use safetensors::Dtype;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::checkpoint::{config_text, Checkpoint};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::facts;
use crate::files;
use crate::folder;
use crate::group_rule::is_blocks;
use crate::header::{hex, Header, HEADER_BYTES, TYPES_BY_ROLE};
use crate::import::{self, Hints};
use crate::inspection::{fact, Inspection, MetadataEntry, TypeSummary};
use crate::metadata::Parts;
use crate::model_file::check_size;
use crate::named_tensors::Tensors;
use crate::payload::{self, Entry};
use crate::payload_layout::key;
use crate::problem::{Check, Problem};
use crate::range_check;
use crate::shards;
use crate::tensor_check::{self, Look};
use crate::tensor_spec::TensorSpec;
use crate::tensor_stats::{blocks_of, summary, TensorSummary};
use crate::weights::Stored;

/// Longest metadata text that is shown whole, in bytes.
const SHORT_TEXT: usize = 100;

/// Tensors found; bytes are absent where the file ends early.
struct Found<'a> {
    place: &'a str,
    tensors: BTreeMap<&'a str, (&'a Entry, Option<&'a [u8]>)>,
}

impl Tensors for Found<'_> {
    fn file(&self) -> &str {
        self.place
    }

    fn find(&self, name: &str) -> Option<Stored<'_>> {
        let (entry, data) = self.tensors.get(name)?;
        Some(Stored::plain(entry, data.unwrap_or_default()))
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().copied().collect()
    }

    fn format(&self, _: &str) -> Option<DType> {
        None
    }
}

impl Inspection {
    /// Looks at all of a path. Fails only if nothing of it can be read, or it is no model at all.
    pub fn of(path: &Path) -> Result<Inspection> {
        Inspection::of_with(path, Hints::default(), Look::Values)
    }

    /// The same as far as told; `hints` say what some old files do not.
    pub fn of_with(path: &Path, hints: Hints, look: Look) -> Result<Inspection> {
        let mut out = match path.is_dir() {
            true => Inspection::of_folder(&folder::resolve(path)?, look),
            false => Inspection::of_file(path, hints, look)?,
        };
        out.add_types();
        Ok(out)
    }

    fn empty(path: &Path, kind: &'static str) -> Inspection {
        Inspection {
            path: path.display().to_string(),
            kind,
            file_bytes: 0,
            model: Vec::new(),
            header: Vec::new(),
            stated_hash: None,
            computed_hash: None,
            metadata: Vec::new(),
            parameters: 0,
            types: Vec::new(),
            tensors: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            config: None,
            largest_id: None,
        }
    }

    fn problem(&mut self, error: &Error) {
        self.problems.push(error.into());
    }

    /// Adds facts that are known once the config could be read.
    fn of_model(&mut self, config: Config, tokenizer: Option<&str>) {
        if let Some(tokenizer) = tokenizer {
            self.problems.extend(range_check::ids(tokenizer, config.dims.vocab_rows));
            self.largest_id = serde_json::from_str(tokenizer)
                .ok()
                .and_then(|json| range_check::largest_id(&json).map(|(id, _)| id));
        }
        self.config = Some(config);
    }

    /// Adds the facts that config.json and tokenizer.json state.
    fn add_facts(&mut self, config: Option<&Map<String, Value>>, tokenizer: Option<&str>) {
        if let Some(config) = config {
            self.model = facts::of_config(config);
            self.model.push(facts::of_tokenizer(tokenizer));
        }
    }

    fn add_types(&mut self) {
        for tensor in &self.tensors {
            match self.types.iter_mut().find(|t| t.dtype == tensor.dtype) {
                Some(kind) => {
                    kind.tensors += 1;
                    kind.bytes = kind.bytes.saturating_add(tensor.bytes);
                }
                None => {
                    let (dtype, bytes) = (tensor.dtype.clone(), tensor.bytes);
                    self.types.push(TypeSummary { dtype, tensors: 1, bytes });
                }
            }
        }
        self.types.sort_by(|a, b| (b.bytes, &a.dtype).cmp(&(a.bytes, &b.dtype)));
    }

    fn of_file(path: &Path, hints: Hints, look: Look) -> Result<Inspection> {
        let map = files::map(path)?;
        if let Some(kind) = import::format_name(&map) {
            return Inspection::of_import(path, kind, (map.len(), hints), look);
        }
        let header = Header::decode_leniently(path, &map)?;
        let kind = match header.version {
            TYPES_BY_ROLE => "model.bin version 2",
            _ => "model.bin version 3",
        };
        let mut out = Inspection::empty(path, kind);
        out.file_bytes = map.len() as u64;
        out.header = header.fields().into_iter().map(|(name, value)| fact(name, value)).collect();
        out.problems.extend(Header::decode(path, &map).err().as_ref().map(Problem::from));
        out.problems.extend(check_size(path, &header, out.file_bytes).err().as_ref().map(Problem::from));
        out.stated_hash = Some(hex(&header.hash));
        if look == Look::Values {
            out.check_hash(path, &header, &map);
        }
        let place = path.display().to_string();
        match payload::header(&place, &map, HEADER_BYTES) {
            Err(error) => out.problem(&error),
            Ok((mut payload, (expected, found))) => {
                if expected != found {
                    out.problem(&payload::wrong_length(&place, expected, found));
                }
                out.add_metadata(&payload.metadata);
                let text = |key: &str| payload.metadata.get(key).map(String::as_str);
                let config = text(key::CONFIG).and_then(|text| serde_json::from_str(text).ok());
                out.add_facts(config.as_ref(), text(key::TOKENIZER));
                let parts = Parts::read(path, &header, &mut payload.metadata);
                let types = parts.as_ref().ok().map(|parts| &parts.types);
                out.model.extend(types.map(|types| fact("weights", types.words())));
                let format = |name: &str| types.and_then(|types| types.of_tensor(name));
                let data = |e: &Entry| map.get(e.range.clone());
                let listed = payload.entries.iter().map(|(name, e)| (name.as_str(), e, data(e)));
                out.add_tensors(listed.clone(), &format, look);
                let tensors = listed.map(|(name, e, data)| (name, (e, data))).collect();
                out.check_model((path, &header), parts, &Found { place: &place, tensors }, look);
            }
        }
        Ok(out)
    }

    /// A file of another program: its tensors as they are stored, or with their values as `export` would read them.
    fn of_import(
        path: &Path,
        kind: &'static str,
        (bytes, hints): (usize, Hints),
        look: Look,
    ) -> Result<Inspection> {
        let mut out = Inspection::empty(path, kind);
        out.file_bytes = bytes as u64;
        let overview = import::overview(path)?;
        let opened = Checkpoint::look(path, hints, look);
        let (facts, listed) = overview.unzip();
        match (listed, &opened) {
            (listed, Ok(checkpoint)) if listed.is_none() || look == Look::Values => {
                out.add_read(checkpoint, look);
            }
            (listed, _) => {
                out.tensors = listed.unwrap_or_default();
                let values =
                    |t: &TensorSummary| t.shape.iter().fold(1u64, |n, &axis| n.saturating_mul(axis as u64));
                out.parameters = out.tensors.iter().map(values).fold(0, u64::saturating_add);
            }
        }
        match opened {
            Err(error) => out.problem(&error),
            Ok(checkpoint) => {
                out.warnings = checkpoint.side_files().warnings.clone();
                out.add_facts(
                    Some(&checkpoint.config().raw),
                    checkpoint.side_files().tokenizer_json.as_deref(),
                );
                out.of_model(checkpoint.config().clone(), checkpoint.side_files().tokenizer_json.as_deref());
            }
        }
        out.model = facts.unwrap_or(std::mem::take(&mut out.model));
        Ok(out)
    }

    /// The tensors as `export` reads them, each under the type that is stored.
    fn add_read(&mut self, checkpoint: &Checkpoint, look: Look) {
        let mut tensors: Vec<(&str, Stored)> =
            checkpoint.names().into_iter().filter_map(|n| Some((n, checkpoint.find(n)?))).collect();
        tensors.sort_by_key(|(name, t)| (t.entry.range.start, *name));
        for (name, stored) in tensors {
            let bytes = match look {
                Look::Headers => Default::default(),
                Look::Values => stored.bytes(),
            };
            let format = |name: &str| checkpoint.format(name);
            self.add_tensors([(name, stored.entry, Some(&*bytes))].into_iter(), &format, look);
            let packed = stored.form.packing.stored_name().map(str::to_string);
            let blocks = format(name).filter(|dtype| is_blocks(*dtype)).map(DType::words);
            if let (Some(kind), Some(last)) = (packed.or(blocks), self.tensors.last_mut()) {
                last.dtype = kind;
            }
        }
    }

    fn check_hash(&mut self, path: &Path, header: &Header, file: &[u8]) {
        let (expected, found) = (hex(&header.hash), hex(&Sha256::digest(&file[HEADER_BYTES..])));
        if expected != found {
            self.problem(&Error::Hash { path: path.to_path_buf(), expected, found: found.clone() });
        }
        self.computed_hash = Some(found);
    }

    fn check_model(
        &mut self,
        (path, header): (&Path, &Header),
        parts: Result<Parts>,
        found: &Found,
        look: Look,
    ) {
        match parts {
            Err(error) => self.problem(&error),
            Ok(parts) => {
                let disagreements = parts.disagreements(path, header);
                let config = |e| Problem::new(Check::Config, Error::to_string(e));
                self.problems.extend(disagreements.iter().map(config));
                let wanted = |name: &str, _: &TensorSpec| parts.types.of_tensor(name);
                let wrong = tensor_check::problems(found, &parts.config, &wanted, look);
                self.problems.extend(wrong.iter().map(Problem::from));
                self.of_model(parts.config, parts.side_files.tokenizer_json.as_deref());
                self.warnings = parts.side_files.warnings;
            }
        }
    }

    fn of_folder(path: &Path, look: Look) -> Inspection {
        let mut out = Inspection::empty(path, "Hugging Face checkpoint");
        let text = config_text(path);
        let raw = text.as_ref().ok().and_then(|text| serde_json::from_str(text).ok());
        let tokenizer = files::text_or_none(&path.join("tokenizer.json")).ok().flatten();
        out.add_facts(raw.as_ref(), tokenizer.as_deref());
        let config =
            text.and_then(|text| Config::parse(&path.join("config.json").display().to_string(), &text));
        let shards = match shards::open(path) {
            Ok(shards) => shards,
            Err(error) => {
                out.problems.extend(config.err().as_ref().map(Problem::from));
                out.problem(&error);
                return out;
            }
        };
        out.file_bytes = shards.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let data = |file: usize, e: &Entry| shards.files[file].1.get(e.range.clone());
        let mut listed: Vec<_> = shards.tensors.iter().map(|(n, (file, e))| (*file, n.as_str(), e)).collect();
        listed.sort_by_key(|(file, name, e)| (*file, e.range.start, *name));
        out.add_tensors(listed.iter().map(|&(file, name, e)| (name, e, data(file, e))), &|_| None, look);
        match (config, Checkpoint::look(path, Hints::default(), look)) {
            (_, Ok(checkpoint)) => {
                out.warnings = checkpoint.side_files().warnings.clone();
                out.of_model(checkpoint.config().clone(), checkpoint.side_files().tokenizer_json.as_deref());
            }
            (Err(error), _) => out.problem(&error),
            (Ok(config), Err(error)) => {
                let tensors = listed.iter().map(|&(file, name, e)| (name, (e, data(file, e)))).collect();
                let found = Found { place: &out.path.clone(), tensors };
                let wrong = tensor_check::problems(&found, &config, &|_, _| None, look);
                match wrong.is_empty() {
                    true => out.problem(&error),
                    false => out.problems.extend(wrong.iter().map(Problem::from)),
                }
                out.of_model(config, tokenizer.as_deref());
            }
        }
        out
    }

    /// `data` is absent if the file ends early; `format` is the format of a tensor whose entry does not tell it.
    fn add_tensors<'a>(
        &mut self,
        tensors: impl Iterator<Item = (&'a str, &'a Entry, Option<&'a [u8]>)>,
        format: &dyn Fn(&str) -> Option<DType>,
        look: Look,
    ) {
        for (name, entry, data) in tensors {
            let blocks = blocks_of(entry, format(name));
            let (summary, odd) = match look {
                Look::Headers if data.is_some() => (TensorSummary::of_entry(name, entry, blocks), None),
                _ => summary(name, entry, (blocks, data)),
            };
            if !name.ends_with(".scales") {
                let values = summary.shape.iter().fold(1u64, |n, &axis| n.saturating_mul(axis as u64));
                let each = if entry.dtype == Dtype::U8 && blocks.is_none() { 2 } else { 1 };
                self.parameters = self.parameters.saturating_add(values.saturating_mul(each));
            }
            self.problems.extend(odd.map(|text| {
                let check = if data.is_none() { Check::File } else { Check::Values };
                Problem::new(check, text)
            }));
            self.problems.extend(range_check::sizes(&summary));
            self.tensors.push(summary);
        }
    }

    fn add_metadata(&mut self, metadata: &HashMap<String, String>) {
        let known = [
            key::EXPORTER,
            key::NAME,
            key::TYPES,
            key::WEIGHTS,
            key::SOURCES,
            key::CONFIG,
            key::GENERATION,
            key::CHAT_TEMPLATE,
            key::NAMED_TEMPLATES,
            key::BOS_TOKEN,
            key::EOS_TOKEN,
            key::TOKENIZER,
            key::ORIGIN,
            key::ADAPTERS,
        ];
        let sorted: BTreeMap<_, _> = metadata.iter().collect();
        for (key, text) in sorted {
            if !known.contains(&key.as_str()) {
                self.warnings.push(format!("metadata key {key:?} is not one that qwenc writes"));
            }
            let short = (text.len() <= SHORT_TEXT).then(|| text.clone());
            self.metadata.push(MetadataEntry { key: key.clone(), bytes: text.len(), text: short });
        }
    }
}
