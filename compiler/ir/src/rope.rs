//! Rotary embedding: theta and scaling rule to the table of inverse frequencies.
//!
//! In: the numbers of config.json. Out: `inv_freq` as f32 and the attention factor. Invariant: this
//! table is the semantics; every implementation computes `angle = f32(position) · inv_freq[i]`
//! rounded to f32, then an accurate cosine and sine, times the attention factor. The arithmetic follows
//! transformers to the rounding: a more precise formula here would be a wrong one.

/// Change of the base frequencies for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all (`rope_type: default`).
    None,
    /// All divided by `factor` (`linear`).
    Linear {
        /// Context multiplier.
        factor: f32,
    },
    /// The base multiplied by `factor ^ (head_dim / (head_dim - 2))` (NTK-aware, of older tools: `ntk`).
    Ntk {
        /// Context multiplier.
        factor: f32,
    },
    /// NTK by parts with an attention factor (`yarn`; Peng et al. 2023).
    Yarn {
        /// Context multiplier.
        factor: f32,
        /// Context of the original training.
        original_context: u32,
        /// Rotations above which a frequency is kept.
        beta_fast: f32,
        /// Rotations below which a frequency is divided.
        beta_slow: f32,
        /// Multiplies cosine and sine.
        attention_factor: f32,
    },
    /// Low frequencies divided, high kept, a ramp between (`llama3`).
    Llama3 {
        /// Context multiplier.
        factor: f32,
        /// Wavelengths above `original_context / low` are divided.
        low: f32,
        /// Wavelengths below `original_context / high` are kept.
        high: f32,
        /// Context of the original training.
        original_context: u32,
    },
}

/// A model's rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base.
    pub theta: f32,
    /// Scaling rule.
    pub scaling: Scaling,
}

impl Rope {
    /// Unscaled.
    pub fn new(theta: f32) -> Rope {
        Rope { theta, scaling: Scaling::None }
    }

    /// Multiplies cosine and sine: 1 except for YaRN.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// `[head_dim / 2]`: inverse frequencies in radians per position, as transformers computes them in
    /// float32.
    pub fn inv_freq(&self, head_dim: u32) -> Vec<f32> {
        let half = head_dim / 2;
        let theta = self.base(head_dim);
        (0..half).map(|i| self.scaled(i, theta.powf((2 * i) as f32 / head_dim as f32), head_dim)).collect()
    }

    /// The base that frequencies are powers of.
    fn base(&self, head_dim: u32) -> f32 {
        match self.scaling {
            Scaling::Ntk { factor } => {
                let dim = f64::from(head_dim);
                (f64::from(self.theta) * f64::from(factor).powf(dim / (dim - 2.0))) as f32
            }
            _ => self.theta,
        }
    }

    fn scaled(&self, i: u32, base: f32, head_dim: u32) -> f32 {
        let plain = 1.0 / base;
        match self.scaling {
            Scaling::None | Scaling::Ntk { .. } => plain,
            Scaling::Linear { factor } => plain / factor,
            Scaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                let dim = f64::from(head_dim);
                let theta = f64::from(self.theta);
                let at = |rotations: f32| {
                    let wave = f64::from(original_context) / (f64::from(rotations) * std::f64::consts::TAU);
                    dim * wave.ln() / (2.0 * theta.ln())
                };
                let low = at(beta_fast).floor().max(0.0);
                let high = at(beta_slow).ceil().min(dim - 1.0);
                let width = if low == high { 0.001 } else { high - low };
                let ramp = ((f64::from(i) - low) / width).clamp(0.0, 1.0) as f32;
                let interpolated = 1.0 / (factor * base);
                interpolated * ramp + plain * (1.0 - ramp)
            }
            Scaling::Llama3 { factor, low, high, original_context } => {
                let context = original_context as f32;
                let wavelength = std::f32::consts::TAU / plain;
                if wavelength > context / low {
                    plain / factor
                } else if wavelength < context / high {
                    plain
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    (1.0 - smooth) * plain / factor + smooth * plain
                }
            }
        }
    }
}
