//! Sets of layers: ascending numbers, written as ranges.
//!
//! In: layer numbers, or their text form. Out: the set. Invariant: `0-2 5` is the only spelling of layers 0, 1, 2 and 5.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Numbers of layers, in ascending order and each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layers(Vec<u32>);

impl Layers {
    /// Layers 0 to `count - 1`.
    pub fn first(count: u32) -> Layers {
        Layers((0..count).collect())
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Number of layers.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// Whether the layer is one of the set.
    pub fn has(&self, layer: u32) -> bool {
        self.0.binary_search(&layer).is_ok()
    }
}

impl FromIterator<u32> for Layers {
    fn from_iter<T: IntoIterator<Item = u32>>(layers: T) -> Layers {
        let mut layers: Vec<u32> = layers.into_iter().collect();
        layers.sort_unstable();
        layers.dedup();
        Layers(layers)
    }
}

impl Display for Layers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        let text: Vec<String> = runs
            .map(|run| match run {
                [one] => one.to_string(),
                // A chunk has at least one element.
                _ => format!("{}-{}", run[0], run[run.len() - 1]),
            })
            .collect();
        f.write_str(&text.join(" "))
    }
}

/// Most layers that a text may name; no model comes near it.
const MOST: u32 = 1 << 16;

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Layers, String> {
        let number = |n: &str| match n.parse::<u32>() {
            Ok(n) if n < MOST => Ok(n),
            _ => Err(format!("expected a layer below {MOST}, found {n:?}")),
        };
        let mut all = Vec::new();
        for word in text.split_whitespace() {
            match word.split_once('-') {
                None => all.push(number(word)?),
                Some((first, last)) => all.extend(number(first)?..=number(last)?),
            }
        }
        let layers = all.into_iter().collect::<Layers>();
        match layers.to_string() == text {
            true => Ok(layers),
            false => Err(format!("expected layers as ascending ranges, such as {layers}, found {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_spelling() {
        for text in ["", "0", "0-3", "0 2", "0-2 5 7-8"] {
            assert_eq!(text.parse::<Layers>().unwrap().to_string(), text);
        }
        for text in ["0-0", "1 0", "0-1 2", "0 0", "2-1", "-", "a", "0-70000", "99999999999"] {
            assert!(text.parse::<Layers>().is_err(), "{text}");
        }
    }

    #[test]
    fn layers_are_found() {
        let layers: Layers = [7, 0, 1, 7].into_iter().collect();
        assert_eq!((layers.count(), layers.iter().collect::<Vec<_>>()), (3, vec![0, 1, 7]));
        assert!(layers.has(7) && !layers.has(2));
        assert_eq!(Layers::first(3).to_string(), "0-2");
    }
}
