//! The order of activations, and which is the first that is out of line.
//!
//! In: names and distances in that order. Out: a verdict. Invariant: rounding that weights' types explain is in line;
//! so is an error that only grew out of those before it.

use qwenc_formats::DType;

use super::distance::Distance;

/// Values that models compute within a layer, in this order.
const LAYER: [&str; 15] = [
    "attn_norm",
    "q_proj",
    "k_proj",
    "v_proj",
    "q_norm",
    "k_norm",
    "q_rope",
    "k_rope",
    "attn",
    "o_proj",
    "ffn_norm",
    "gate",
    "up",
    "down",
    "out",
];

/// Sorts names as a model computes them: embedding, layers, head. What is unknown comes last in its layer.
pub fn rank(name: &str) -> (u32, u64, usize, String) {
    let within = |part: &str| LAYER.iter().position(|l| *l == part).unwrap_or(LAYER.len());
    let of_layer = name.strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
    match (name, of_layer) {
        ("embed", _) => (0, 0, 0, String::new()),
        (_, Some((layer, part))) => (1, layer.parse().unwrap_or(u64::MAX), within(part), name.to_string()),
        ("final_norm", _) => (2, 0, 0, String::new()),
        ("logits", _) => (4, 0, 0, String::new()),
        _ => (3, 0, 0, name.to_string()),
    }
}

/// Formats of a side's weights, as far as is known; transformers' values are those of any float type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// Floats of these bits a weight, inputs as computed.
    Float(u32),
    /// Floats, and inputs rounded to bf16.
    Rounded,
    /// Integers with scales.
    Int8,
    /// Integers with scales.
    Int4,
    /// Unknown.
    Unknown,
}

impl Types {
    /// Class of a storage format, by the bits of an element.
    pub fn of(dtype: DType) -> Types {
        let (elements, bytes) = dtype.block();
        // Bits of an element, scales beside it not counted.
        match 8 * bytes / elements {
            bits @ (16 | 32) => Types::Float(bits as u32),
            6.. => Types::Int8,
            _ => Types::Int4,
        }
    }
}

/// The error that two sides' types explain, in the first matrices that differ.
pub fn noise(a: Types, b: Types) -> f64 {
    let differ = matches!((a, b), (Types::Float(a), Types::Float(b)) if a != b);
    let has = |ty: Types| a == ty || b == ty;
    match () {
        () if has(Types::Int4) => 0.3,
        () if has(Types::Int8) => 3e-2,
        () if has(Types::Rounded) => 2e-2,
        () if differ => 5e-3,
        () => 1e-4,
    }
}

/// Factor by which an error exceeds every one before it if it is no consequence of them.
const JUMP: f64 = 4.0;

/// Looks at activations in order.
pub struct Judge {
    noise: f64,
    /// Largest error so far.
    largest: f64,
    first: Option<(String, f64, f64)>,
}

impl Judge {
    /// Errors up to `noise` are in line.
    pub fn new(noise: f64) -> Judge {
        Judge { noise, largest: 0.0, first: None }
    }

    /// Whether the next activation is the first that is out of line.
    pub fn out_of_line(&mut self, name: &str, d: &Distance) -> bool {
        let limit = self.noise.max(JUMP * self.largest);
        // Also an error that is no number.
        let out = self.first.is_none() && (d.relative > limit || d.relative.is_nan());
        if out {
            self.first = Some((name.to_string(), d.relative, self.largest));
        }
        self.largest = self.largest.max(d.relative);
        out
    }

    /// The first that is out of line.
    pub fn first(&self) -> Option<&str> {
        self.first.as_ref().map(|(name, ..)| name.as_str())
    }

    /// In words.
    pub fn verdict(&self) -> String {
        match &self.first {
            None => format!("no activation is out of line (errors up to {:.0e} are in line)", self.noise),
            Some((name, error, before)) => {
                format!("first out of line: {name} (error {error:.3e}; before it at most {before:.3e})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(relative: f64) -> Distance {
        Distance { relative, cosine: 1.0, worst: relative, token: 0 }
    }

    #[test]
    fn names_sort_as_models_compute() {
        let mut names =
            vec!["logits", "layer.10.out", "layer.2.out", "layer.2.q_proj", "final_norm", "embed"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["embed", "layer.2.q_proj", "layer.2.out", "layer.10.out", "final_norm", "logits"]);
    }

    #[test]
    fn the_first_jump_is_told_and_its_consequences_are_not() {
        let mut judge = Judge::new(1e-4);
        let marks = [0.0, 1e-7, 3e-5, 0.2, 0.4, 5.0].map(|e| judge.out_of_line(&format!("{e}"), &at(e)));
        assert_eq!(marks, [false, false, false, true, false, false]);
        assert_eq!(judge.first(), Some("0.2"));
    }

    #[test]
    fn what_rounding_explains_is_in_line() {
        let mut judge = Judge::new(noise(Types::Int8, Types::Float(16)));
        assert!([6e-3, 2e-2, 2.8e-2, 0.1, 0.3].iter().all(|&e| !judge.out_of_line("x", &at(e))));
        assert_eq!(judge.first(), None);
        let mut broken = Judge::new(1.0);
        assert!(broken.out_of_line("nan", &at(f64::NAN)));
        assert_eq!(noise(Types::Float(16), Types::Unknown), 1e-4);
        assert!(noise(Types::Float(16), Types::Float(32)) > 1e-4);
    }
}
