//! The weight files of a checkpoint folder, one or many. In: a folder. Out: mapped files and one table of
//! tensors.
//!
//! Invariant: each tensor is in exactly one file, and where an index says which, it is in that one. Names
//! of shards come from a file, so none may lead out of the folder.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::{self, Bytes};
use crate::json_fields::{self, Fields};
use crate::payload::{self, Entry};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Weight files and their tensors.
pub(crate) struct Shards {
    /// File name and bytes.
    pub files: Vec<(String, Bytes)>,
    /// Name to (index in `files`, place).
    pub tensors: HashMap<String, (usize, Entry)>,
    /// The index file's text, where the checkpoint has one.
    pub index: Option<String>,
    /// Whether the names lacked the `model.` before each: the model was saved without its head.
    pub bare: bool,
}

/// Opens `model.safetensors`, or else the shards of the index.
pub(crate) fn open(dir: &Path) -> Result<Shards> {
    let single = dir.join(SINGLE);
    // A link to nothing counts: it is told apart from an absence when it is opened.
    if single.symlink_metadata().is_ok() {
        return Ok(read(dir, vec![(SINGLE.to_string(), Bytes::Mapped(files::map(&single)?))])?.with_prefix());
    }
    let index_path = dir.join(INDEX);
    let Some(text) = files::text_or_none(&index_path)? else {
        return Err(Error::NoWeights { path: dir.to_path_buf(), hint: weights_hint(dir) });
    };
    let placed = placement(&index_path, &text)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for shard in placed.values() {
        *counts.entry(shard).or_default() += 1;
    }
    let mut files = Vec::new();
    for (shard, &tensors) in &counts {
        let path = dir.join(shard);
        match files::map(&path) {
            Ok(map) => files.push((shard.to_string(), Bytes::Mapped(map))),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::MissingShard { shard: path, index: index_path, tensors });
            }
            Err(other) => return Err(other),
        }
    }
    let shards = read(dir, files)?;
    for (tensor, shard) in &placed {
        if shards.tensors.get(tensor).map(|(file, _)| &shards.files[*file].0) != Some(shard) {
            let (tensor, shard) = (tensor.clone(), dir.join(shard));
            return Err(Error::NotInShard { tensor, shard, index: index_path });
        }
    }
    Ok(Shards { index: Some(text), ..shards }.with_prefix())
}

/// The embedding of a model that was saved without its head, as embedding models are.
const BARE_EMBEDDING: &str = "embed_tokens.weight";

impl Shards {
    /// Names as a model with a head has them: one saved without it lacks the `model.` before each.
    /// Names of both kinds in one checkpoint stay as they are, and are told as unexpected.
    fn with_prefix(mut self) -> Shards {
        let twice = |name: &String| self.tensors.contains_key(&format!("model.{name}"));
        if self.tensors.contains_key(BARE_EMBEDDING) && !self.tensors.keys().any(twice) {
            let named = |(name, place): (String, _)| match name.starts_with("lm_head.")
                || name.starts_with("model.")
            {
                true => (name, place),
                false => (format!("model.{name}"), place),
            };
            self.tensors = self.tensors.into_iter().map(named).collect();
            self.bare = true;
        }
        self
    }
}

fn weights_hint(dir: &Path) -> String {
    for other in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        if dir.join(other).exists() {
            return format!("{other} is not read: save the model as safetensors");
        }
    }
    "give the folder of a Hugging Face checkpoint".to_string()
}

/// `weight_map` of the index: tensor to shard.
fn placement(path: &Path, text: &str) -> Result<BTreeMap<String, String>> {
    let file = path.display().to_string();
    let index = json_fields::object(&file, text)?;
    let index = Fields { file: &file, at: "", map: &index };
    let map = index.object("weight_map")?.ok_or_else(|| index.wrong("weight_map", "an object"))?;
    let placed = Fields { file: &file, at: "weight_map.", map };
    let mut out = BTreeMap::new();
    for tensor in map.keys() {
        let shard = placed.text(tensor)?.ok_or_else(|| placed.wrong(tensor, "a file name"))?;
        let plain = Path::new(shard).file_name().is_some_and(|n| n == shard);
        if !plain || !shard.ends_with(".safetensors") {
            return Err(Error::ShardName { index: path.to_path_buf(), shard: shard.to_string() });
        }
        out.insert(tensor.clone(), shard.to_string());
    }
    if out.is_empty() {
        return Err(index.wrong("weight_map", "at least one tensor"));
    }
    Ok(out)
}

/// The tensors of all files.
pub(crate) fn read(dir: &Path, files: Vec<(String, Bytes)>) -> Result<Shards> {
    let mut tensors: HashMap<String, (usize, Entry)> = HashMap::new();
    for (i, (name, bytes)) in files.iter().enumerate() {
        let file = dir.join(name).display().to_string();
        for (tensor, entry) in payload::read(&file, bytes, 0)?.entries {
            if let Some((earlier, _)) = tensors.insert(tensor.clone(), (i, entry)) {
                let (first, second) = (files[earlier].0.clone(), name.clone());
                return Err(Error::Duplicate { tensor, first, second });
            }
        }
    }
    Ok(Shards { files, tensors, index: None, bare: false })
}
