//! Files changed on purpose. In: a good model.bin or checkpoint folder. Out: a bad one, wrong in one
//! place only: sizes and hashes are made right again.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::variants;

/// Bytes of a model.bin before its payload.
const HEADER_BYTES: usize = 256;

/// A model.bin whose header states its payload's size and hash.
pub fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let payload_bytes = (file.len() - HEADER_BYTES) as u64;
    file[60..68].copy_from_slice(&payload_bytes.to_le_bytes());
    let hash = Sha256::digest(&file[HEADER_BYTES..]);
    file[68..100].copy_from_slice(&hash);
    file
}

/// A model.bin with bytes changed at an offset, not sealed.
pub fn with_bytes(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = file.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

/// A sealed model.bin with another safetensors header before the same data.
pub fn with_image_header(file: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let (text, data) = split_image(&file[HEADER_BYTES..]);
    let image = joined_image(&changed(text, change), data);
    sealed([&file[..HEADER_BYTES], &image].concat())
}

/// The JSON and the data of a safetensors image.
fn split_image(image: &[u8]) -> (&str, &[u8]) {
    let length = u64::from_le_bytes(image[..8].try_into().unwrap()) as usize;
    let (text, data) = image[8..].split_at(length);
    (std::str::from_utf8(text).unwrap(), data)
}

fn joined_image(text: &str, data: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

fn changed(text: &str, change: impl Fn(&mut Value)) -> String {
    let mut value = serde_json::from_str(text).unwrap();
    change(&mut value);
    value.to_string()
}

/// A sealed model.bin with the bytes of one tensor changed.
pub fn with_tensor(file: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let image = changed_tensor(&file[HEADER_BYTES..], name, change);
    sealed([&file[..HEADER_BYTES], &image].concat())
}

/// A copy of a checkpoint folder of one file with the bytes of one tensor changed.
pub fn with_weights(from: &Path, name: &str, change: impl Fn(&mut [u8])) -> PathBuf {
    let to = copy(from);
    let weights = to.join("model.safetensors");
    std::fs::write(&weights, changed_tensor(&std::fs::read(&weights).unwrap(), name, change)).unwrap();
    to
}

fn changed_tensor(image: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let (text, data) = split_image(image);
    let header: Value = serde_json::from_str(text).unwrap();
    let offset = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    let mut data = data.to_vec();
    change(&mut data[offset(0)..offset(1)]);
    joined_image(text, &data)
}

/// A copy of a checkpoint folder.
pub fn copy(from: &Path) -> PathBuf {
    let to = variants::folder();
    for name in variants::listing(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
    to
}

/// A copy of a checkpoint folder with another config.json.
pub fn with_config(from: &Path, change: impl Fn(&mut Value)) -> PathBuf {
    let to = copy(from);
    let config = to.join("config.json");
    std::fs::write(&config, changed(&std::fs::read_to_string(&config).unwrap(), change)).unwrap();
    to
}

/// A copy of a checkpoint folder whose last tensor is gone, its bytes too; with the tensor's name.
pub fn without_last_tensor(from: &Path) -> (PathBuf, String) {
    let to = copy(from);
    let weights = to.join("model.safetensors");
    let image = std::fs::read(&weights).unwrap();
    let (text, data) = split_image(&image);
    let mut header: Value = serde_json::from_str(text).unwrap();
    let start = |info: &Value| info["data_offsets"][0].as_u64();
    let tensors = header.as_object().unwrap().iter().filter(|(_, info)| start(info).is_some());
    let (name, info) = tensors.max_by_key(|(_, info)| start(info)).unwrap();
    let (name, end) = (name.clone(), start(info).unwrap() as usize);
    header.as_object_mut().unwrap().remove(&name);
    std::fs::write(&weights, joined_image(&header.to_string(), &data[..end])).unwrap();
    (to, name)
}
