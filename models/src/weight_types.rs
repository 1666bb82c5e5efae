//! The type of each matrix of a model.
//!
//! In: a choice of types, or a model.bin's metadata. Out: the type of a matrix by its name, layers with the same types,
//! summaries. Invariant: every matrix of the config has one type, which kernels read; norms and biases have none here, since
//! they are f32 always.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use qwenc_formats::DType;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::error::Result;
use crate::group_rule::{group_rule, is_blocks};
use crate::json_fields::{self, Fields};
use crate::tensor_order::tensors_in_order;
use crate::tensor_spec::TensorSpec;
use crate::types_by_role::TypesByRole;

/// The type of each matrix of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightTypes {
    /// In the order of model.bin.
    matrices: Vec<Matrix>,
    /// Index in `matrices`, by name.
    by_name: HashMap<String, usize>,
}

/// A matrix and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Matrix {
    name: String,
    per_layer: bool,
    dtype: DType,
    /// Bytes, scales beside them included.
    bytes: u64,
}

/// The matrices of one type.
struct Share {
    dtype: DType,
    matrices: usize,
    bytes: u64,
}

impl WeightTypes {
    /// The types that `dtype` gives the matrices of a config.
    pub(crate) fn new(config: &Config, dtype: impl Fn(&str, &TensorSpec) -> DType) -> WeightTypes {
        let matrix = |(name, spec): (String, TensorSpec)| {
            let dtype = dtype(&name, &spec);
            let (rows, cols) = spec.extent();
            let bytes = rows.saturating_mul(dtype.matrix_bytes(1, cols));
            Matrix { name, per_layer: spec.per_layer(), dtype, bytes }
        };
        let matrices: Vec<Matrix> = matrices(config).map(matrix).collect();
        let by_name = matrices.iter().enumerate().map(|(i, m)| (m.name.clone(), i)).collect();
        WeightTypes { matrices, by_name }
    }

    /// One type for the layers' matrices, and one for embedding and LM head.
    pub(crate) fn by_role(config: &Config, types: TypesByRole) -> WeightTypes {
        WeightTypes::new(config, |_, spec| if spec.per_layer() { types.linears } else { types.embeddings })
    }

    /// The types that a model.bin's metadata states for the matrices of its config; `file` names the text in messages.
    pub(crate) fn parse(file: &str, text: &str, config: &Config) -> Result<WeightTypes> {
        let map = json_fields::object(file, text)?;
        let fields = Fields { file, at: "", map: &map };
        let mut stated = HashMap::new();
        for (name, spec) in matrices(config) {
            let dtype = stated_type(&fields, &name, &spec)?;
            stated.insert(name, dtype);
        }
        if let Some(other) = map.keys().find(|key| !stated.contains_key(*key)) {
            return Err(fields.wrong(other, "no entry, since the model has no matrix of this name"));
        }
        // Every matrix has been found above.
        Ok(WeightTypes::new(config, |name, _| stated.get(name).copied().unwrap_or(DType::F32)))
    }

    /// The metadata that [`WeightTypes::parse`] reads: a JSON object of names and formats.
    pub(crate) fn json(&self) -> String {
        let entry = |m: &Matrix| (m.name.clone(), Value::String(m.dtype.to_string()));
        Value::Object(self.matrices.iter().map(entry).collect::<Map<_, _>>()).to_string()
    }

    /// Type of a matrix, by its name in the checkpoint; none for norms and biases.
    pub fn of_tensor(&self, name: &str) -> Option<DType> {
        self.by_name.get(name).map(|&i| self.matrices[i].dtype)
    }

    /// Declared type of a graph's weight in a layer: norms and biases are f32.
    pub(crate) fn declared(&self) -> impl Fn(&TensorSpec, u32) -> DType + '_ {
        |spec, layer| self.of_tensor(&spec.tensor_name(layer)).unwrap_or(DType::F32)
    }

    /// Names of the matrices, in the order of model.bin.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.matrices.iter().map(|m| m.name.as_str())
    }

    /// Bytes of all matrices of a type, scales beside them included.
    pub fn bytes_in(&self, dtype: DType) -> u64 {
        self.shares(|_| true).iter().filter(|s| s.dtype == dtype).map(|s| s.bytes).sum()
    }

    /// The types of these matrices, that of most bytes first.
    fn shares(&self, counts: impl Fn(&Matrix) -> bool) -> Vec<Share> {
        let mut by_type: BTreeMap<DType, (usize, u64)> = BTreeMap::new();
        for m in self.matrices.iter().filter(|m| counts(m)) {
            let (matrices, bytes) = by_type.entry(m.dtype).or_default();
            (*matrices, *bytes) = (*matrices + 1, bytes.saturating_add(m.bytes));
        }
        let share = |(dtype, (matrices, bytes))| Share { dtype, matrices, bytes };
        let mut shares: Vec<Share> = by_type.into_iter().map(share).collect();
        shares.sort_by_key(|share| Reverse(share.bytes));
        shares
    }

    /// The type of most bytes of the layers' matrices.
    fn usual(&self) -> DType {
        self.shares(|m| m.per_layer).first().map_or(DType::F32, |share| share.dtype)
    }

    /// The type of most bytes of the layers' matrices, in a word without sizes: `bf16`, `int8`, `q4_k`.
    pub fn name(&self) -> String {
        match self.usual() {
            DType::I8 { .. } => "int8".to_string(),
            DType::I4 { .. } => "int4".to_string(),
            other => other.to_string(),
        }
    }

    /// Inputs that share a scale in the type of [`WeightTypes::name`]; 0 where it has no scales beside the elements.
    pub fn group(&self) -> u32 {
        self.usual().group().unwrap_or(0)
    }

    /// Types of layers, and of embedding and LM head, where there are no more than these two.
    fn roles(&self) -> Option<TypesByRole> {
        let (linears, embeddings) = (self.shares(|m| m.per_layer), self.shares(|m| !m.per_layer));
        match (&linears[..], &embeddings[..]) {
            ([linears], [embeddings]) => {
                Some(TypesByRole { linears: linears.dtype, embeddings: embeddings.dtype })
            }
            _ => None,
        }
    }

    /// The types in a user's words, largest share first: `int8 in groups of 64`, or `Q4_K (57 matrices), Q6_K (10)`.
    pub fn words(&self) -> String {
        self.roles().map_or_else(|| self.mixture(DType::words), TypesByRole::words)
    }

    fn mixture(&self, name: impl Fn(DType) -> String) -> String {
        let shares = self.shares(|_| true).into_iter().enumerate();
        let shown = |(i, s): (usize, Share)| match (i, s.matrices) {
            (0, 1) => format!("{} (1 matrix)", name(s.dtype)),
            (0, many) => format!("{} ({many} matrices)", name(s.dtype)),
            (_, count) => format!("{} ({count})", name(s.dtype)),
        };
        shares.map(shown).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for WeightTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.roles() {
            Some(types) => types.fmt(f),
            None => f.write_str(&self.mixture(|dtype| dtype.to_string())),
        }
    }
}

/// Name and row of the tensor table of every matrix, in the order of model.bin.
fn matrices(config: &Config) -> impl Iterator<Item = (String, TensorSpec)> {
    tensors_in_order(config).into_iter().filter(|(_, spec)| spec.is_matrix())
}

/// The type that an entry of the metadata states, if a model.bin may have such a matrix.
fn stated_type(fields: &Fields, name: &str, spec: &TensorSpec) -> Result<DType> {
    let word = fields.text(name)?.ok_or_else(|| fields.wrong(name, "the name of a weight format"))?;
    let dtype: Option<DType> = word.parse().ok();
    // One name for one format.
    let Some(dtype) = dtype.filter(|dtype| dtype.to_string() == word) else {
        return Err(fields.wrong(name, "the name of a weight format"));
    };
    let (_, cols) = spec.extent();
    let (elements, _) = dtype.block();
    let cut = is_blocks(dtype) && !cols.is_multiple_of(elements);
    match group_rule(dtype) {
        Some(rule) => Err(fields.wrong(name, format!("groups of {rule}"))),
        None if dtype.operand().is_none() => Err(fields.wrong(name, "a format that kernels read")),
        None if cut => {
            let what = format!("a format whose blocks rows of {cols} are a whole number of");
            Err(fields.wrong(name, what))
        }
        None => Ok(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    /// The sample's four layers: o_proj is f32 in layers 1 and 3, and so is gate_proj in layer 3.
    fn types() -> WeightTypes {
        WeightTypes::new(Checkpoint::sample().config(), |name, _| match name {
            _ if name.contains("1.self_attn.o_proj") || name.contains("3.self_attn.o_proj") => DType::F32,
            _ if name.contains("3.mlp.gate_proj") => DType::F32,
            _ => DType::Bf16,
        })
    }

    #[test]
    fn shares_are_told_by_their_bytes() {
        let types = types();
        assert_eq!(types.words(), "bf16 (26 matrices), f32 (3)");
        assert_eq!((types.name(), types.group()), ("bf16".to_string(), 0));
        // Two o_proj of [128, 256] and a gate_proj of [384, 128].
        assert_eq!(types.bytes_in(DType::F32), 4 * (2 * 128 * 256 + 384 * 128));
        let sample = Checkpoint::sample();
        let config = sample.config();
        let int8 = crate::Quant::I8 { group: 64 }.types();
        let int4 = crate::Quant::I4 { group: 32, embeddings: false }.types();
        let words = "int4 in groups of 32, embedding and LM head int8 in groups of 64 with f16 scales";
        assert_eq!(WeightTypes::by_role(config, int4).words(), words);
        assert_eq!(WeightTypes::by_role(config, int8).name(), "int8");
        assert_eq!(WeightTypes::by_role(config, int8).group(), 64);
    }

    #[test]
    fn metadata_comes_back() {
        let sample = Checkpoint::sample();
        let types = types();
        let (text, config) = (types.json(), sample.config());
        assert!(text.starts_with(r#"{"model.layers.0.self_attn.q_proj.weight":"bf16","#), "{text}");
        assert_eq!(WeightTypes::parse("file", &text, config).unwrap(), types);
    }
}
