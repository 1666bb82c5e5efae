//! A text as a vector: the last hidden state of its last token, scaled to length 1.
//!
//! In: the hidden state, not yet normalised, and the gain of the final norm. Out: what transformers' `last_hidden_state`
//! is, divided by its length. Invariant: what is not a direction (zeros, overflow) is an error.

use crate::error::{Error, Result};

/// `state · gain / |state · gain|`. RMSNorm divides all elements by the same number, which the length takes out again.
pub fn embedding(state: &[f32], gain: Option<&[f32]>) -> Result<Vec<f32>> {
    let mut scaled = state.to_vec();
    if let Some(gain) = gain {
        scaled.iter_mut().zip(gain).for_each(|(value, gain)| *value *= gain);
    }
    let length = scaled.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length == 0.0 || !length.is_finite() {
        return Err(Error::BadState { length });
    }
    scaled.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    Ok(scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gain_counts_and_the_size_does_not() {
        let expected = [0.6, -0.8, 0.0];
        for scale in [1e-20f32, 1.0, 1e20] {
            let state = [6.0 * scale, -2.0 * scale, 0.0];
            assert_eq!(embedding(&state, Some(&[1.0, 4.0, 9.0])).unwrap(), expected);
            assert_eq!(embedding(&[3.0 * scale, -4.0 * scale, 0.0], None).unwrap(), expected);
        }
    }

    #[test]
    fn no_direction_is_an_error() {
        for state in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert!(embedding(&state, None).unwrap_err().to_string().contains("run `verify`"));
        }
    }
}
