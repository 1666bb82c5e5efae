//! Values to int4.
//!
//! In: finite rows of f32 within the reach of f16 scales. Out: bytes of two values each, and scales.
//! Invariant: groups never cross rows; the scale is rounded to f16 before the integers are chosen for it;
//! no group has a larger error than with its largest value at -8; the same rows give the same bytes
//! whatever the number of threads. Goldens do not hold these bytes: a better search may replace this one.

use half::f16;

/// Threads that round; beside them one hashes and writes.
const THREADS: usize = 2;
/// Values treated alike side by side, so that compilers use vectors.
const LANES: usize = 8;

/// Appends rows of `cols` values in groups of `group` to `data`, and their scales to `scales`.
pub(super) fn rows(values: &[f32], (cols, group): (usize, usize), data: &mut Vec<u8>, scales: &mut Vec<u8>) {
    let share = (values.len() / cols).div_ceil(THREADS).max(1) * cols;
    std::thread::scope(|scope| {
        let parts = values.chunks(share).map(|part| scope.spawn(move || some_rows(part, (cols, group))));
        for part in parts.collect::<Vec<_>>() {
            let done = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            data.extend(done.0);
            scales.extend(done.1);
        }
    });
}

fn some_rows(values: &[f32], (cols, group): (usize, usize)) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut scales) = (Vec::with_capacity(values.len() / 2), Vec::new());
    let (mut search, mut halves) = (Group::default(), Vec::with_capacity(cols + 1));
    for row in values.chunks(cols) {
        halves.clear();
        for values in row.chunks(group) {
            let scale = search.scale(values);
            scales.extend(scale.to_le_bytes());
            halves.extend(search.halves(scale).take(values.len()));
        }
        // Zero in the spare half of an odd row.
        halves.push(8);
        data.extend(halves.chunks_exact(2).map(|h| h[0] | h[1] << 4));
    }
    (data, scales)
}

/// A group, padded with zeros.
#[derive(Default)]
struct Group {
    values: Vec<[f32; LANES]>,
    /// Weight of a value's squared error: its own square, as large weights matter more, and the mean
    /// square, so that small ones matter too.
    weights: Vec<[f32; LANES]>,
    /// Their products.
    weighted: Vec<[f32; LANES]>,
}

impl Group {
    /// A scale for these values: the one with the least weighted squared error among those tried, and 0 for
    /// a group that f16 cannot tell from zeros.
    fn scale(&mut self, values: &[f32]) -> f16 {
        self.load(values);
        // The first of equals, whose sign decides.
        let largest = values.iter().fold(0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
        let plain = f16::from_f32(largest / -8.0);
        if plain.to_f32() == 0.0 {
            return f16::ZERO;
        }
        let mut fitted = Fit { gain: 0.0, scale: plain.to_f32() };
        // The largest value to -9 .. -5.5 and 5.5 .. 9; -8 and 7 are as far as integers go.
        for divisor in (11..=18).map(|halves| halves as f32 / 2.0) {
            for scale in [largest / -divisor, largest / divisor] {
                let fit = self.fit(scale);
                if fit.gain > fitted.gain {
                    fitted = fit;
                }
            }
        }
        let again = self.fit(fitted.scale);
        let mut best = (plain, self.error(plain.to_f32()));
        for scale in [fitted.scale, again.scale].map(f16::from_f32) {
            let error = self.error(scale.to_f32());
            if scale.is_finite() && error < best.1 {
                best = (scale, error);
            }
        }
        best.0
    }

    fn load(&mut self, values: &[f32]) {
        let padded = |chunk: &[f32]| std::array::from_fn(|i| chunk.get(i).copied().unwrap_or(0.0));
        self.values.clear();
        self.values.extend(values.chunks(LANES).map(padded));
        let squares = values.iter().map(|v| v * v);
        let mean = squares.sum::<f32>() / values.len() as f32;
        self.weights.clear();
        self.weights.extend(self.values.iter().map(|v| v.map(|v| v * v + mean)));
        let product = |(v, w): (&[f32; LANES], &[f32; LANES])| std::array::from_fn(|i| v[i] * w[i]);
        self.weighted.clear();
        self.weighted.extend(self.values.iter().zip(&self.weights).map(product));
    }

    /// The best scale for the integers that `scale` gives: `Σ w·v·q / Σ w·q²`.
    fn fit(&self, scale: f32) -> Fit {
        let inverse = 1.0 / scale;
        let (mut products, mut squares) = ([0f32; LANES], [0f32; LANES]);
        for ((v, w), wv) in self.values.iter().zip(&self.weights).zip(&self.weighted) {
            for i in 0..LANES {
                let q = rounded(v[i] * inverse);
                products[i] += wv[i] * q;
                squares[i] += w[i] * (q * q);
            }
        }
        let [products, squares] = [products, squares].map(|lanes| f64::from(sum(lanes)));
        Fit { gain: products * products / squares, scale: (products / squares) as f32 }
    }

    /// Weighted squared error with this scale.
    fn error(&self, scale: f32) -> f32 {
        let inverse = 1.0 / scale;
        let mut errors = [0f32; LANES];
        for (v, w) in self.values.iter().zip(&self.weights) {
            for i in 0..LANES {
                let off = v[i] - scale * rounded(v[i] * inverse);
                errors[i] += w[i] * off * off;
            }
        }
        sum(errors)
    }

    /// `q + 8` of each value, padding included.
    fn halves(&self, scale: f16) -> impl Iterator<Item = u8> + '_ {
        let inverse = if scale.to_f32() == 0.0 { 0.0 } else { 1.0 / scale.to_f32() };
        self.values.as_flattened().iter().map(move |v| (rounded(v * inverse) + 8.0) as u8)
    }
}

/// A scale and how much it takes from `Σ w·v²`, the error of all zeros.
struct Fit {
    gain: f64,
    scale: f32,
}

/// The sum over all lanes.
fn sum(lanes: [f32; LANES]) -> f32 {
    let half: [f32; LANES / 2] = std::array::from_fn(|i| lanes[i] + lanes[i + LANES / 2]);
    (half[0] + half[2]) + (half[1] + half[3])
}

/// Half to even, within -8 to 7. The sum with 1.5 · 2^23 has no bits for a fraction, so it rounds.
fn rounded(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    (x.clamp(-8.0, 7.0) + ROUNDER) - ROUNDER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of all sizes within a group, of either sign.
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next() * next() * next() * 0.1).collect()
    }

    fn bytes(values: &[f32], cols: usize, group: usize) -> (Vec<u8>, Vec<f32>) {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        rows(values, (cols, group), &mut data, &mut scales);
        (data, scales.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
    }

    /// By the definition, in f64: each value's distance to the nearest multiple of the scale that there is.
    fn error(values: &[f32], scale: f32) -> f64 {
        let square = |v: &f32| f64::from(*v) * f64::from(*v);
        let mean = values.iter().map(square).sum::<f64>() / values.len() as f64;
        let one = |v: &f32| {
            let nearest = (-8..=7).map(|q| (f64::from(*v) - f64::from(q) * f64::from(scale)).powi(2));
            (square(v) + mean) * nearest.fold(f64::MAX, f64::min)
        };
        values.iter().map(one).sum()
    }

    #[test]
    fn the_search_is_never_worse_than_the_largest_value_at_minus_eight() {
        let (mut better, mut before, mut after) = (0, 0.0, 0.0);
        for seed in 0..2000 {
            let values = noise(1 + seed as usize % 64, seed);
            let largest = values.iter().fold(0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
            let plain = error(&values, f16::from_f32(largest / -8.0).to_f32());
            let found = error(&values, Group::default().scale(&values).to_f32());
            assert!(found <= plain * (1.0 + 1e-5), "{seed}: {found:e} > {plain:e}");
            (better, before, after) = (better + u32::from(found < plain), before + plain, after + found);
        }
        assert!(better > 1800 && after < 0.9 * before, "{better} better, {before:e} to {after:e}");
    }

    #[test]
    fn each_value_is_at_its_nearest_multiple() {
        let values = noise(24, 7);
        let (data, scales) = bytes(&values, 24, 8);
        for (i, v) in values.iter().enumerate() {
            let q = f32::from(data[i / 2] >> (4 * (i % 2)) & 15) - 8.0;
            let off = |q: f32| (v - q * scales[i / 8]).abs();
            let nearest = (-8..=7).map(|q| off(q as f32)).fold(f32::MAX, f32::min);
            assert!(off(q) <= nearest * 1.0001, "{i}: {v} as {q} x {}", scales[i / 8]);
        }
    }

    #[test]
    fn a_group_of_one_value_is_nearly_exact() {
        for v in [1.0f32, -1.0, 0.3, -0.007, 524_032.0, -524_032.0] {
            let (data, scales) = bytes(&[v], 1, 8);
            let found = (f32::from(data[0] & 15) - 8.0) * scales[0];
            assert!((found / v - 1.0).abs() < 1e-3, "{v}: {found}");
            assert_eq!(data[0] >> 4, 8);
        }
    }

    #[test]
    fn zeros_and_what_f16_cannot_tell_from_them_have_scale_zero() {
        for values in [[0.0f32; 3], [1e-9, -1e-8, 0.0], [f32::MIN_POSITIVE; 3], [f32::from_bits(1); 3]] {
            assert_eq!(bytes(&values, 3, 8), (vec![0x88, 0x88], vec![0.0]));
        }
    }

    /// Rows of 13: groups of 8 and 5, and a spare half. Each group is rounded as if it stood alone.
    #[test]
    fn odd_rows_and_short_last_groups() {
        let values = noise(3 * 13, 3);
        let (data, scales) = bytes(&values, 13, 8);
        assert_eq!((data.len(), scales.len()), (3 * 7, 3 * 2));
        for (r, row) in values.chunks(13).enumerate() {
            let (first, last) = (bytes(&row[..8], 8, 8), bytes(&row[8..], 5, 8));
            assert_eq!(data[7 * r..7 * r + 7], [first.0, last.0].concat());
            assert_eq!(scales[2 * r..2 * r + 2], [first.1, last.1].concat());
            assert_eq!(data[7 * r + 6] >> 4, 8);
        }
    }

    /// Rows are shared out among threads.
    #[test]
    fn rows_do_not_depend_on_their_neighbours() {
        let values = noise(7 * 40, 11);
        let alone: Vec<u8> = values.chunks(40).flat_map(|row| bytes(row, 40, 16).0).collect();
        assert_eq!(bytes(&values, 40, 16).0, alone);
    }
}
