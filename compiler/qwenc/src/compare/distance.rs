//! Distances between two lists of values. In: values of the same tokens, row by row. Out: relative errors, cosines;
//! for logits also divergence and agreement. Invariant: sums are in f64; what is no number makes a distance that is none
//! either, never a small one.

use std::fmt;

/// Between two activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// `|b - a| / |a|`.
    pub relative: f64,
    /// `a · b / (|a| |b|)`.
    pub cosine: f64,
    /// The largest relative error of a token's values.
    pub worst: f64,
    /// Which token that is.
    pub token: usize,
}

/// Sums over values.
#[derive(Clone, Copy, Default)]
struct Sums {
    aa: f64,
    bb: f64,
    ab: f64,
    error: f64,
}

impl Sums {
    fn of(a: &[f32], b: &[f32]) -> Sums {
        a.iter().zip(b).fold(Sums::default(), |s, (&a, &b)| {
            let (a, b) = (f64::from(a), f64::from(b));
            s.plus(Sums { aa: a * a, bb: b * b, ab: a * b, error: (b - a) * (b - a) })
        })
    }

    fn plus(self, o: Sums) -> Sums {
        Sums { aa: self.aa + o.aa, bb: self.bb + o.bb, ab: self.ab + o.ab, error: self.error + o.error }
    }

    fn relative(&self) -> f64 {
        // Two zeros are equal.
        if self.error == 0.0 {
            return 0.0;
        }
        (self.error / self.aa).sqrt()
    }

    fn cosine(&self) -> f64 {
        if self.aa == 0.0 && self.bb == 0.0 {
            return 1.0;
        }
        self.ab / (self.aa * self.bb).sqrt()
    }
}

impl Distance {
    /// Distance of values of `tokens` tokens; as many on either side.
    pub fn between(a: &[f32], b: &[f32], tokens: usize) -> Distance {
        let width = (a.len() / tokens.max(1)).max(1);
        let (mut all, mut worst, mut token) = (Sums::default(), 0.0, 0);
        for (row, (a, b)) in a.chunks(width).zip(b.chunks(width)).enumerate() {
            let sums = Sums::of(a, b);
            let relative = sums.relative();
            // Also a first one that is no number.
            if relative > worst || (relative.is_nan() && !f64::is_nan(worst)) {
                (worst, token) = (relative, row);
            }
            all = all.plus(sums);
        }
        Distance { relative: all.relative(), cosine: all.cosine(), worst, token }
    }
}

/// Between the logits of two models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logits {
    /// Squared error over squared size.
    pub nmse: f64,
    /// Mean divergence of B's distribution from A's, in nats.
    pub divergence: f64,
    /// Positions at which both think the same token the likeliest.
    pub agreeing: usize,
    /// Positions.
    pub tokens: usize,
}

impl Logits {
    /// Distance of the logits of `tokens` positions.
    pub fn between(a: &[f32], b: &[f32], tokens: usize) -> Logits {
        let width = (a.len() / tokens.max(1)).max(1);
        let rows = || a.chunks(width).zip(b.chunks(width));
        let sums = Sums::of(a, b);
        Logits {
            nmse: sums.relative().powi(2),
            divergence: rows().map(|(a, b)| divergence(a, b)).sum::<f64>() / tokens as f64,
            agreeing: rows().filter(|(a, b)| likeliest(a) == likeliest(b)).count(),
            tokens,
        }
    }
}

/// `Σ p · (ln p - ln q)` of two distributions as logits.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p_total, q_total) = (log_sum(p), log_sum(q));
    let one = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p) - p_total, f64::from(q) - q_total);
        if p == f64::NEG_INFINITY {
            return 0.0;
        }
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(one).sum()
}

fn log_sum(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum::<f64>().ln() + largest
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}

impl fmt::Display for Logits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.agreeing as f64 / self.tokens as f64;
        write!(
            f,
            "logits: NMSE {:.3e}, KL {:.3e} nats, top-1 agreement {} of {} ({percent:.1}%)",
            self.nmse, self.divergence, self.agreeing, self.tokens
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_cosines_of_rows() {
        let d = Distance::between(&[3.0, 4.0, 0.0, 2.0], &[3.0, 4.0, 0.0, 1.0], 2);
        assert!((d.relative - 1.0 / 29f64.sqrt()).abs() < 1e-12);
        assert_eq!((d.worst, d.token), (0.5, 1));
        let turned = Distance::between(&[1.0, 0.0], &[0.0, 1.0], 1);
        assert_eq!(turned.cosine, 0.0);
        let zeros = Distance::between(&[0.0], &[0.0], 1);
        assert_eq!((zeros.relative, zeros.cosine), (0.0, 1.0));
        assert!(Distance::between(&[0.0], &[1.0], 1).relative.is_infinite());
        let broken = Distance::between(&[1.0, 1.0, 1.0], &[1.0, f32::NAN, 2.0], 3);
        assert!(broken.relative.is_nan() && broken.worst.is_nan());
        assert_eq!(broken.token, 1);
    }

    #[test]
    fn divergence_of_two_distributions() {
        // Probabilities 1/4, 3/4 and 1/2, 1/2; a constant added to all logits changes nothing.
        let (p, q) = ([0.0, 3f32.ln()], [100.0, 100.0]);
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        let l = Logits::between(&p, &q, 1);
        assert!((l.divergence - expected).abs() < 1e-6, "{l:?}");
        assert_eq!(l.agreeing, 0);
        let same = Logits::between(&p, &p, 1);
        assert_eq!((same.nmse, same.divergence, same.agreeing), (0.0, 0.0, 1));
    }
}
