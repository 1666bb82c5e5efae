//! LoRA adapters: merged into a checkpoint's weights, or chosen while the model runs.
//!
//! In: PEFT folders (adapter_config.json, adapter_model.safetensors), each with a scale. Out: for every matrix the
//! deltas that are added to its rows in f32. Invariant: every tensor of an adapter becomes part of exactly one delta
//! of a matrix that the model has, or the adapter is refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, Bytes};
use crate::payload::{self, Entry};
use crate::runtime_lora::TARGETS;
use crate::stored_types::{decode, float};

pub(crate) mod problem;
mod runtime;
mod settings;

pub use problem::AdapterProblem;
pub(crate) use runtime::RuntimeAdapters;
use settings::Settings;

/// The two files of a folder.
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// An adapter that a command names: `DIR` or `DIR:SCALE`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSource {
    /// The folder.
    pub folder: PathBuf,
    /// Multiplies all of its deltas.
    pub scale: f32,
}

/// Report of a merged adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeReport {
    /// The adapter.
    pub source: AdapterSource,
    /// Deltas by projection, such as `q_proj`, where there are any.
    pub deltas: Vec<(&'static str, usize)>,
}

/// `scale · B · A`, added to a matrix.
pub(crate) struct Delta {
    /// `[rank, in]`.
    a: Vec<f32>,
    /// `[out, rank]`.
    b: Vec<f32>,
    rank: usize,
    scale: f32,
}

/// An open adapter.
pub(crate) struct Adapter {
    pub source: AdapterSource,
    /// By the name of the matrix, and the key of one of its tensors, for messages.
    pub deltas: BTreeMap<String, (Delta, String)>,
    pub files: Vec<(String, Bytes)>,
}

/// Both halves of a delta: key and place in the file.
type Halves = [Option<(String, Entry)>; 2];

impl AdapterSource {
    /// A folder, or a folder, a colon and a scale.
    pub fn of_word(word: &str) -> AdapterSource {
        let scaled = word.rsplit_once(':').filter(|_| !Path::new(word).is_dir());
        let scaled = scaled.and_then(|(folder, scale)| Some((folder, scale.parse().ok()?)));
        match scaled.filter(|(_, scale): &(_, f32)| scale.is_finite()) {
            Some((folder, scale)) => AdapterSource { folder: folder.into(), scale },
            None => AdapterSource { folder: word.into(), scale: 1.0 },
        }
    }
}

impl fmt::Display for MergeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.deltas.iter().map(|(_, n)| n).sum();
        let each: Vec<String> = self.deltas.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let (folder, scale) = (self.source.folder.display(), self.source.scale);
        write!(f, "{folder}: {total} deltas merged, times {scale}: {}", each.join(", "))
    }
}

impl Delta {
    /// Adds to the rows from `from` on, of `cols` values each.
    pub fn add(&self, from: usize, cols: usize, values: &mut [f32]) {
        let mut sum = vec![0f32; cols];
        for (i, row) in values.chunks_mut(cols).enumerate() {
            sum.fill(0.0);
            let b = &self.b[(from + i) * self.rank..][..self.rank];
            for (b, a) in b.iter().zip(self.a.chunks(cols)) {
                sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(&sum).for_each(|(w, sum)| *w += self.scale * sum);
        }
    }
}

impl Adapter {
    /// Opens a folder; `shape` tells that of a matrix, `[out, in]`, or none if the model has no such one.
    pub fn open(source: &AdapterSource, shape: &dyn Fn(&str) -> Option<[usize; 2]>) -> Result<Adapter> {
        let folder = &source.folder;
        if !folder.is_dir() {
            return Err(unfit(&folder.display().to_string(), AdapterProblem::NoFolder));
        }
        let [config, weights] = FILES.map(|name| folder.join(name));
        let place = weights.display().to_string();
        let text = files::text(&config)?;
        let settings = Settings::parse(&config.display().to_string(), &text)?;
        if !weights.exists() && folder.join("adapter_model.bin").exists() {
            let what = "adapter_model.bin (a pickle, which can run code)".to_string();
            let file = folder.display().to_string();
            return Err(Error::Unsupported { file, what, supported: FILES[1].to_string() });
        }
        let map = files::map(&weights)?;
        let mut halves: BTreeMap<String, Halves> = BTreeMap::new();
        for (key, entry) in payload::read(&place, &map, 0)?.entries {
            let (module, half) = module_of(&place, &key)?;
            let earlier = halves.entry(module).or_default()[half].replace((key.clone(), entry));
            if let Some((earlier, _)) = earlier {
                return Err(unfit(&place, AdapterProblem::Two { first: earlier, second: key }));
            }
        }
        if halves.is_empty() {
            return Err(unfit(&place, AdapterProblem::NoDeltas));
        }
        let mut deltas = BTreeMap::new();
        for (module, halves) in halves {
            let (delta, key) = delta(&place, (&module, halves), &settings, (source.scale, &map), shape)?;
            deltas.insert(format!("{module}.weight"), (delta, key));
        }
        let files = vec![
            (FILES[0].to_string(), Bytes::Mapped(files::map(&config)?)),
            (FILES[1].to_string(), Bytes::Mapped(map)),
        ];
        Ok(Adapter { source: source.clone(), deltas, files })
    }

    pub fn report(&self) -> MergeReport {
        let deltas = TARGETS.iter().map(|target| {
            let kind = target.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default();
            let end = format!(".{kind}.weight");
            (kind, self.deltas.keys().filter(|name| name.ends_with(&end)).count())
        });
        MergeReport { source: self.source.clone(), deltas: deltas.filter(|(_, n)| *n > 0).collect() }
    }
}

/// Module and half, 0 for A and 1 for B, of a key such as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
fn module_of(file: &str, key: &str) -> Result<(String, usize)> {
    let refused = |what: String| {
        let supported = "lora_A and lora_B of q, k, v, o, gate, up and down projections".to_string();
        Err(Error::Unsupported { file: file.to_string(), what, supported })
    };
    if key.contains("lora_magnitude_vector") {
        return refused(format!("tensor {key} (DoRA)"));
    }
    let path = key.strip_prefix("base_model.model.").unwrap_or(key);
    // Of a model without an LM head the modules are those inside `model`.
    let path = if path.starts_with("layers.") { format!("model.{path}") } else { path.to_string() };
    let stem = path.strip_suffix(".weight").map(|s| s.strip_suffix(".default").unwrap_or(s));
    let half = stem.and_then(|s| {
        s.strip_suffix(".lora_A").map(|m| (m, 0)).or(s.strip_suffix(".lora_B").map(|m| (m, 1)))
    });
    let Some((module, half)) = half else { return refused(format!("tensor {key}")) };
    let known = TARGETS.iter().any(|target| {
        let (before, after) = target.split_once('*').unwrap_or((target, ""));
        let layer =
            module.strip_prefix(before).and_then(|m| m.strip_suffix(after.trim_end_matches(".weight")));
        layer.is_some_and(|n| n.parse::<u32>().is_ok_and(|i| i.to_string() == n))
    });
    match known {
        true => Ok((module.to_string(), half)),
        false => refused(format!("tensor {key}")),
    }
}

fn unfit(file: &str, problem: AdapterProblem) -> Error {
    Error::Adapter { file: file.to_string(), problem }
}

/// A matrix's delta, if both halves are there and fit it.
fn delta(
    file: &str,
    (module, halves): (&str, Halves),
    settings: &Settings,
    (scale, map): (f32, &[u8]),
    shape: &dyn Fn(&str) -> Option<[usize; 2]>,
) -> Result<(Delta, String)> {
    let [a, b] = match halves {
        [Some(a), Some(b)] => [a, b],
        [Some((key, _)), None] | [None, Some((key, _))] => {
            return Err(unfit(file, AdapterProblem::Half { found: key }));
        }
        [None, None] => return Err(unfit(file, AdapterProblem::NoDeltas)),
    };
    let tensor = format!("{module}.weight");
    let Some([out, cols]) = shape(&tensor) else {
        return Err(unfit(file, AdapterProblem::NoWeight { delta: a.0, tensor }));
    };
    let rank = settings.rank(module) as usize;
    let (from, to) = if settings.transposed { (out, cols) } else { (cols, out) };
    let [a_values, b_values] = [(&a, [rank, from]), (&b, [to, rank])].map(|((key, entry), expected)| {
        let right = float(entry.dtype).filter(|_| entry.shape == expected);
        let dtype = right.ok_or_else(|| {
            let (tensor, of, found) = (key.clone(), [out, cols], entry.describe());
            unfit(file, AdapterProblem::Shape { tensor, expected, of, found })
        })?;
        let mut values = Vec::new();
        decode(dtype, &map[entry.range.clone()], &mut values);
        match crate::quant::not_finite(&values) {
            None => Ok(values),
            Some((at, found)) => {
                let (file, tensor, row) = (file.to_string(), key.clone(), (at / expected[1]) as u64);
                Err(Error::NotFinite { file, tensor, row, found })
            }
        }
    });
    let (mut a_values, mut b_values) = (a_values?, b_values?);
    if settings.transposed {
        // (B · A)ᵀ = Aᵀ · Bᵀ.
        (a_values, b_values) = (transposed(&b_values, rank), transposed(&a_values, out));
    }
    let scale = (settings.scale(module) * f64::from(scale)) as f32;
    Ok((Delta { a: a_values, b: b_values, rank, scale }, a.0))
}

/// Transpose of rows of `cols` values.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|c| values.iter().skip(c).step_by(cols).copied()).collect()
}
