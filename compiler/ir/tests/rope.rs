//! Tables of inverse frequencies against values worked out by hand from the papers' formulas.

use qwenc_ir::{Rope, Scaling};

fn check(rope: Rope, head_dim: u32, expected: &[f64]) {
    let found = rope.inv_freq(head_dim);
    assert_eq!(found.len(), expected.len(), "{rope:?}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs() / expected;
        assert!(off < 1e-6, "{rope:?}, frequency {i}: expected {expected}, found {found}");
    }
}

fn scaled(theta: f32, scaling: Scaling) -> Rope {
    Rope { theta, scaling }
}

#[test]
fn default_is_powers_of_theta() {
    check(Rope::new(10_000.0), 8, &[1.0, 0.1, 0.01, 0.001]);
    check(Rope::new(1_000_000.0), 4, &[1.0, 0.001]);
    check(Rope::new(81.0), 8, &[1.0, 1.0 / 3.0, 1.0 / 9.0, 1.0 / 27.0]);
    assert_eq!(Rope::new(10_000.0).attention_factor(), 1.0);
}

#[test]
fn linear_divides_all() {
    let rope = scaled(10_000.0, Scaling::Linear { factor: 4.0 });
    check(rope, 8, &[0.25, 0.025, 0.0025, 0.000_25]);
    assert_eq!(rope.attention_factor(), 1.0);
}

/// `4 ^ (8 / 6)` is 6.3496, so the base is 63496: for the slowest frequency, `base ^ (6 / 8)`, that is 4 times the
/// period, and the fastest stays.
#[test]
fn ntk_divides_the_slowest_and_keeps_the_fastest() {
    let rope = scaled(10_000.0, Scaling::Ntk { factor: 4.0 });
    let step = 10.0 * 4f64.powf(1.0 / 3.0);
    check(rope, 8, &[1.0, 1.0 / step, 1.0 / (step * step), 0.000_25]);
    assert_eq!(rope.attention_factor(), 1.0);
    check(scaled(10_000.0, Scaling::Ntk { factor: 4.0 }), 2, &[1.0]);
}

/// `8 · ln(1024 / (r · 2π)) / (2 · ln 10000)` is 0.707 for r = 32 and 2.21 for r = 1, so the ramp runs
/// from 0 to 3: weights 0, 1/3, 2/3, 1 of the divided frequency.
#[test]
fn yarn_ramps_between_its_betas() {
    let yarn = Scaling::Yarn {
        factor: 4.0,
        original_context: 1024,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.138_629_4,
    };
    let rope = scaled(10_000.0, yarn);
    check(rope, 8, &[1.0, 0.075, 0.005, 0.000_25]);
    assert_eq!(rope.attention_factor(), 1.138_629_4);
}

/// Both bounds are 0 for a context this short: a step, not 0 / 0.
#[test]
fn yarn_with_an_empty_ramp_is_a_step() {
    let yarn = Scaling::Yarn {
        factor: 2.0,
        original_context: 1,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.0,
    };
    check(scaled(10_000.0, yarn), 8, &[1.0, 0.05, 0.005, 0.000_5]);
}

/// Wavelengths 6.28, 62.8, 628.3, 6283 with bounds 1024 / 4 = 256 and 1024 / 1: two kept, one between
/// (smooth = (1024 / 628.3185 - 1) / 3 = 0.209915), one divided by 8.
#[test]
fn llama3_keeps_mixes_and_divides() {
    let llama3 = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 1024 };
    let smooth = (1024.0 / 628.318_530_717_958_6 - 1.0) / 3.0;
    let mixed = (1.0 - smooth) * 0.01 / 8.0 + smooth * 0.01;
    check(scaled(10_000.0, llama3), 8, &[1.0, 0.1, mixed, 0.000_125]);
    assert_eq!(scaled(10_000.0, llama3).attention_factor(), 1.0);
}
