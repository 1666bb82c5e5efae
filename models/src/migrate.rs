//! Old formats to model.bin and back, without rounding anything.
//!
//! In: an open model. Out: a model.bin, or an ajc1 with the files beside it, and a report. Invariant: integers and
//! scales are moved, never made again; what the other format cannot say is refused by name; all files appear when
//! all are written, the model last.

use std::path::{Path, PathBuf};

use qwenc_formats::{DType, ScaleType};
use qwenc_ir::Rope;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::export::{export, ExportReport, Progress};
use crate::family::Family;
use crate::import::ajc1::{self, EPS, HEADER_BYTES, THETA};
use crate::import::score_writer::side_file;
use crate::import::sequence::crossed;
use crate::named_tensors::Tensors;
use crate::old_template::Renderer;
use crate::origin::{Origin, TEMPLATES, TOKENIZER};
use crate::own_types::own_types;
use crate::side_files::SideFiles;
use crate::source::Source;
use crate::stored_types::{decode, float};
use crate::temporary::Temporary;
use crate::tensor_order::tensors_in_order;
use crate::tensor_spec::TensorSpec;

/// Report of a migration.
#[derive(Clone, Debug)]
pub struct MigrateReport {
    /// The model.
    pub path: PathBuf,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// The files beside it.
    pub beside: Vec<PathBuf>,
    /// Warnings for a person.
    pub warnings: Vec<String>,
}

/// An old file as a model.bin; one whose weights would have to be rounded is refused.
pub fn migrate(checkpoint: &Checkpoint, out: &Path, progress: Progress) -> Result<ExportReport> {
    let (_, notes) = own_types(checkpoint);
    match notes.into_iter().next() {
        None => export(checkpoint, out, None, progress),
        Some(note) => Err(Error::WouldRound { file: checkpoint.file().to_string(), note }),
    }
}

/// Contents of an ajc1 and of the files beside it.
struct Ajc1Content<'a> {
    config: &'a Config,
    tensors: &'a dyn Tensors,
    /// The type of every matrix.
    types: Vec<DType>,
    origin: Origin,
    side_files: &'a SideFiles,
}

impl<'a> Ajc1Content<'a> {
    fn of(source: &'a Source) -> Ajc1Content<'a> {
        let origin = |text: Option<&str>| text.map(Origin::parse).unwrap_or_default();
        match source {
            Source::ModelFile(f) => Ajc1Content {
                config: f.config(),
                tensors: &**f,
                types: matrices(f.config())
                    .filter_map(|(name, _)| f.weight_types().of_tensor(&name))
                    .collect(),
                origin: origin(f.origin()),
                side_files: f.side_files(),
            },
            Source::Checkpoint(c) => Ajc1Content {
                config: c.config(),
                tensors: &**c,
                types: matrices(c.config()).map(|(name, _)| c.stored_type(&name)).collect(),
                origin: origin(c.origin()),
                side_files: c.side_files(),
            },
        }
    }

    fn unsupported(&self, what: String, supported: &str) -> Error {
        Error::Unsupported { file: self.tensors.file().to_string(), what, supported: supported.to_string() }
    }

    /// The group size of a model that the format can say.
    fn group(&self) -> Result<u32> {
        let c = self.config;
        let windows = c.windows.iter().any(Option::is_some);
        let refused = [
            (c.family != Family::Qwen3, c.family.architecture().to_string(), "Qwen3ForCausalLM"),
            (c.attention_bias, "attention_bias".to_string(), "models without biases"),
            (windows, "a sliding window".to_string(), "models without one"),
            (c.rope != Rope::new(THETA as f32), format!("this RoPE, {}", c.rope), "base 1000000, unscaled"),
            (c.eps.get() != EPS as f32, format!("rms_norm_eps {}", c.eps.get()), "1e-6"),
        ];
        if let Some((_, what, supported)) = refused.into_iter().find(|(bad, ..)| *bad) {
            return Err(self.unsupported(format!("{what} in ajc1"), supported));
        }
        let group = match self.types.first() {
            Some(&DType::I8 { group, scales: ScaleType::F32 }) => group,
            other => {
                let found = other.map_or(String::new(), |dtype| dtype.words());
                return Err(self.unsupported(format!("{found} weights in ajc1"), "int8 with f32 scales"));
            }
        };
        if let Some(other) = self.types.iter().find(|&&t| t != self.types[0]) {
            let what = format!("{} beside {} in ajc1", other.words(), self.types[0].words());
            return Err(self.unsupported(what, "one type for all matrices"));
        }
        match crossed(c, group) {
            None => Ok(group),
            Some(what) => Err(self.unsupported(format!("{what} in ajc1"), "groups that end with rows")),
        }
    }

    /// The vocabulary and the templates; what cannot be said in them is a warning.
    fn beside(&self) -> (Vec<(&'static str, Vec<u8>)>, Vec<String>) {
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        match (self.origin.files.get(TOKENIZER), &self.side_files.tokenizer_json) {
            (Some(kept), _) => files.push((TOKENIZER, kept.clone())),
            (None, Some(json)) => match side_file(json, self.config.dims.vocab_rows, self.ends(json)) {
                Ok(bytes) => files.push((TOKENIZER, bytes)),
                Err(reason) => warnings.push(format!("no {TOKENIZER} file is written: {reason}")),
            },
            (None, None) => {}
        }
        let kept = TEMPLATES.iter().filter_map(|&t| Some((t, self.origin.files.get(t)?.clone())));
        let kept: Vec<_> = kept.collect();
        match &self.side_files.chat_template {
            _ if !kept.is_empty() => files.extend(kept),
            None => {}
            Some(source) => {
                let (bos, eos) = (&self.side_files.bos_token, &self.side_files.eos_token);
                let renderer = Renderer::new(source, bos.as_deref(), eos.as_deref());
                for (i, suffix) in TEMPLATES.into_iter().enumerate() {
                    let text =
                        renderer.as_ref().map_err(String::clone).and_then(|r| r.slots(i >= 2, i % 2 == 1));
                    match text {
                        Ok(text) => files.push((suffix, text.into_bytes())),
                        Err(reason) => warnings.push(format!("no {suffix} file is written: {reason}")),
                    }
                }
            }
        }
        (files, warnings)
    }

    /// bos and eos: as config.json says, or the tokens that Qwen has for them.
    fn ends(&self, tokenizer: &str) -> (u32, u32) {
        let json: serde_json::Value = serde_json::from_str(tokenizer).unwrap_or_default();
        let of_text = |text: &str| {
            let all = json["added_tokens"].as_array()?;
            all.iter().find(|t| t["content"] == text)?["id"].as_u64().map(|id| id as u32)
        };
        let stated = |key: &str| self.config.raw.get(key)?.as_u64().map(|id| id as u32);
        let first_stop = self.side_files.stop_tokens.first().copied();
        let eos = stated("eos_token_id").or_else(|| of_text("<|im_end|>")).or(first_stop);
        let bos = stated("bos_token_id").or_else(|| of_text("<|endoftext|>")).or(eos);
        (bos.unwrap_or(0), eos.unwrap_or(0))
    }

    /// Header and tensors, in the order of the file.
    fn write(&self, group: u32, out: &mut Temporary) -> Result<u64> {
        let stored = self.origin.header.clone().filter(|h| ajc1::is_header(h, self.config, group));
        out.write(&stored.unwrap_or_else(|| ajc1::header(self.config, group)))?;
        let mut places: Vec<_> = ajc1::tensors(self.config, group).places().tensors.into_iter().collect();
        places.sort_by_key(|(_, place)| place.entry.range.start);
        let mut written = HEADER_BYTES as u64;
        for (name, place) in places {
            // `Ajc1Content::group` and the opening of the model have found every tensor in its type.
            let Some(stored) = self.tensors.find(&name) else { continue };
            let mut bytes = stored.bytes();
            if let (Some(dtype), [_]) = (float(stored.entry.dtype), &place.entry.shape[..]) {
                let mut values = Vec::new();
                decode(dtype, &bytes, &mut values);
                bytes = values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into();
            }
            out.write(&bytes)?;
            written += bytes.len() as u64;
        }
        Ok(written)
    }
}

fn matrices(config: &Config) -> impl Iterator<Item = (String, TensorSpec)> {
    tensors_in_order(config).into_iter().filter(|(_, spec)| spec.is_matrix())
}

/// A model as an ajc1 at `out`, with `out`.tokenizer and its templates.
pub fn to_ajc1(source: &Source, out: &Path) -> Result<MigrateReport> {
    let model = Ajc1Content::of(source);
    let group = model.group()?;
    let (files, mut warnings) = model.beside();
    let mut staged = Vec::new();
    for (suffix, bytes) in &files {
        let mut path = out.as_os_str().to_os_string();
        path.push(suffix);
        let mut file = Temporary::create(Path::new(&path))?;
        file.write(bytes)?;
        staged.push((PathBuf::from(path), file));
    }
    let mut file = Temporary::create(out)?;
    let file_bytes = model.write(group, &mut file)?;
    let mut beside = Vec::new();
    for (path, file) in staged {
        file.finish()?;
        beside.push(path);
    }
    file.finish()?;
    for suffix in TEMPLATES.into_iter().chain([TOKENIZER]) {
        let mut other = out.as_os_str().to_os_string();
        other.push(suffix);
        let other = PathBuf::from(other);
        if !beside.contains(&other) && other.exists() {
            let what = "stood there already and is not of this model: remove it";
            warnings.push(format!("{}: {what}", other.display()));
        }
    }
    Ok(MigrateReport { path: out.to_path_buf(), file_bytes, beside, warnings })
}
