//! The code of a CUDA executable: what its kernels are and the machine code for several architectures.
//!
//! In: the bytes that the linker put into the executable. Out: a [`Bundle`]. Invariant: counts, offsets and sizes
//! are hostile until checked here; after that a module lies within the code, no divisor is 0, a variant is found
//! for every number of rows, and no size overflows for a context that the model has.

use qwenc_abi::{CudaLaunch, CudaModel, CudaModule, CudaVariant, ABI_VERSION};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Bytes of the length before the JSON.
const LENGTH: usize = 8;
/// No device has more.
const MOST_THREADS: u32 = 1024;
/// No model has more of anything that is multiplied with other such numbers.
const MOST: u64 = 1 << 40;

/// Kernels and how they are launched.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    /// Sizes, launches and modules of the model.
    pub model: CudaModel,
    /// Machine code; `model.modules` says what stands where.
    code: &'a [u8],
    all: &'a [u8],
}

/// Read first: in another version the rest may be spelled differently.
#[derive(Deserialize)]
struct Version {
    abi_version: u32,
}

impl<'a> Bundle<'a> {
    /// Reads and checks `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Bundle<'a>> {
        let (json, code) = split(bytes).ok_or_else(|| damaged("it is shorter than it says"))?;
        let version: Version = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
        if version.abi_version != ABI_VERSION {
            return Err(Error::AbiVersion { expected: ABI_VERSION, found: version.abi_version });
        }
        let model: CudaModel = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
        check(&model, code.len() as u64).map_err(|found| damaged(&found))?;
        Ok(Bundle { model, code, all: bytes })
    }

    /// The bytes of one of `model.modules`.
    pub fn machine_code(&self, module: &CudaModule) -> &'a [u8] {
        // `check` saw that it lies within the code.
        &self.code[module.offset as usize..(module.offset + module.bytes) as usize]
    }

    /// All of it, as it stands in the executable.
    pub fn bytes(&self) -> &'a [u8] {
        self.all
    }

    /// Architectures with code, in words: `sm_80, sm_90, PTX for sm_90 and newer`.
    pub fn architectures(&self) -> String {
        let name = |m: &CudaModule| match m.ptx {
            true => format!("PTX for sm_{} and newer", m.sm),
            false => format!("sm_{}", m.sm),
        };
        self.model.modules.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

fn damaged(found: &str) -> Error {
    Error::BadBundle { found: found.to_owned() }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

fn check(model: &CudaModel, code_bytes: u64) -> Result<(), String> {
    let positive = [
        ("vocab_rows", u64::from(model.vocab_rows)),
        ("layers", u64::from(model.layers)),
        ("max_context", u64::from(model.max_context)),
        ("kv_heads", u64::from(model.kv_heads)),
        ("kv_head_dim", u64::from(model.kv_head_dim)),
        ("kv_positions", u64::from(model.kv_positions)),
        ("row_tile", u64::from(model.arena.row_tile)),
        ("weights_bytes", model.weights_bytes),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, n)| *n == 0) {
        return Err(format!("{name} is 0"));
    }
    if model.logits_stride < model.vocab_rows {
        return Err(format!(
            "logits_stride {} is below vocab_rows {}",
            model.logits_stride, model.vocab_rows
        ));
    }
    // Numbers that are used as i32 on the device.
    if model.vocab_rows > i32::MAX as u32 || model.kv_positions > 1 << 20 || model.arena.row_tile > 1 << 20 {
        return Err("vocab_rows, kv_positions or row_tile is beyond any model's".into());
    }
    let [a, b, c] = model.kv_bytes_per_position;
    let arena = &model.arena;
    let sizes = [model.weights_bytes, a, b, c, arena.fixed, arena.per_row, arena.per_position];
    if let Some(n) = sizes.iter().find(|&&n| n > MOST) {
        return Err(format!("a size is {n} bytes, beyond any model's"));
    }
    check_variants(model)?;
    check_modules(model, code_bytes)
}

fn check_variants(model: &CudaModel) -> Result<(), String> {
    let variants = &model.variants;
    if variants.last().is_none_or(|v| v.max_rows != u32::MAX) {
        return Err("no variant takes any number of rows".into());
    }
    if !variants.is_sorted_by_key(|v| v.max_rows) {
        return Err("variants are not in the order of their rows".into());
    }
    fn parts(v: &CudaVariant) -> impl Iterator<Item = &Vec<CudaLaunch>> {
        [&v.prologue, &v.head].into_iter().chain(&v.blocks)
    }
    if variants.iter().any(|v| parts(v).any(Vec::is_empty)) {
        return Err("a variant has no launches for a part of the step".into());
    }
    let groups = model.layer_groups.iter().max().map_or(0, |&last| last as usize + 1);
    if model.layer_groups.len() != model.layers as usize || variants.iter().any(|v| v.blocks.len() < groups) {
        return Err("layer_groups does not name a block for every layer".into());
    }
    let mut all = variants.iter().flat_map(parts).flatten().chain(&model.persistent);
    all.try_for_each(check_launch)
}

fn check_launch(launch: &CudaLaunch) -> Result<(), String> {
    let name = &launch.kernel;
    let spelled = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !spelled {
        return Err(format!("{name:?} is no name of a kernel"));
    }
    if !(1..=MOST_THREADS).contains(&launch.threads) {
        return Err(format!("{name} has {} threads, expected 1 to {MOST_THREADS}", launch.threads));
    }
    if launch.grid.iter().any(|blocks| blocks.tile == 0) {
        return Err(format!("{name} has a grid with a tile of 0"));
    }
    Ok(())
}

fn check_modules(model: &CudaModel, code_bytes: u64) -> Result<(), String> {
    if model.modules.is_empty() {
        return Err("there is no machine code".into());
    }
    let inside = |m: &CudaModule| m.offset.checked_add(m.bytes).is_some_and(|end| end <= code_bytes);
    match model.modules.iter().find(|m| m.bytes == 0 || !inside(m)) {
        Some(m) => Err(format!(
            "the code for sm_{} is {} bytes at {}, and there are {code_bytes}",
            m.sm, m.bytes, m.offset
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::cuda::sample::model;

    fn bytes(model: &CudaModel) -> Vec<u8> {
        let json = serde_json::to_vec(model).unwrap();
        [&(json.len() as u64).to_le_bytes()[..], &json, b"aaaabbbbcccc"].concat()
    }

    fn refused(change: impl FnOnce(&mut CudaModel)) -> String {
        let mut changed = model();
        change(&mut changed);
        Bundle::parse(&bytes(&changed)).unwrap_err().to_string()
    }

    #[test]
    fn a_bundle_gives_its_modules() {
        let bytes = bytes(&model());
        let bundle = Bundle::parse(&bytes).unwrap();
        assert_eq!(bundle.model, model());
        let codes: Vec<&[u8]> = bundle.model.modules.iter().map(|m| bundle.machine_code(m)).collect();
        assert_eq!(codes, [b"aaaa", b"bbbb", b"cccc"]);
        assert_eq!(bundle.architectures(), "sm_80, sm_90, PTX for sm_90 and newer");
    }

    #[test]
    fn what_is_cut_short_is_refused_anywhere() {
        let whole = bytes(&model());
        for len in 0..whole.len() {
            let said = Bundle::parse(&whole[..len]).unwrap_err().to_string();
            assert!(said.contains("damaged"), "{len}: {said}");
        }
        for length in [u64::MAX, u64::MAX - 7, whole.len() as u64] {
            let mut forged = whole.clone();
            forged[..8].copy_from_slice(&length.to_le_bytes());
            assert!(Bundle::parse(&forged).unwrap_err().to_string().contains("shorter"));
        }
    }

    #[test]
    fn hostile_numbers_are_refused() {
        type Change = fn(&mut CudaModel);
        let cases: [(Change, &str); 20] = [
            (|m| m.abi_version += 1, "interface version"),
            (|m| m.vocab_rows = 0, "vocab_rows is 0"),
            (|m| m.logits_stride = 19, "logits_stride 19"),
            (|m| m.kv_heads = 0, "kv_heads is 0"),
            (|m| m.kv_positions = 0, "kv_positions is 0"),
            (|m| m.arena.row_tile = 0, "row_tile is 0"),
            (|m| m.arena.per_row = u64::MAX, "beyond any model's"),
            (|m| m.kv_bytes_per_position[2] = u64::MAX, "beyond any model's"),
            (|m| m.variants.clear(), "no variant"),
            (|m| m.variants.truncate(1), "no variant"),
            (|m| m.variants.insert(0, m.variants[1].clone()), "order"),
            (|m| m.variants[0].head.clear(), "no launches"),
            (|m| m.variants[0].blocks[0].clear(), "no launches"),
            (|m| m.layer_groups[1] = 1, "layer_groups"),
            (|m| m.layer_groups.truncate(1), "layer_groups"),
            (|m| m.variants[0].blocks[0][0].kernel = "a b".into(), "no name"),
            (|m| m.variants[1].blocks[0][0].threads = 1025, "1025 threads"),
            (|m| m.variants[1].blocks[0][0].grid[2].tile = 0, "tile of 0"),
            (|m| m.modules[2].offset = u64::MAX, "at 18446744073709551615"),
            (|m| m.modules.clear(), "no machine code"),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected) && said.contains("compile again"), "{expected}: {said}");
        }
        assert!(refused(|m| m.modules[2].bytes = 5).contains("5 bytes at 8"));
        assert!(refused(|m| m.modules[0].bytes = 0).contains("sm_80"));
    }
}
