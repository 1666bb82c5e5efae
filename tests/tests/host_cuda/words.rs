//! Functions that lanes of a warp compute together, against plain loops.

use super::{random, shape, words};

#[test]
fn shuffles_and_votes() {
    let input = random(32, 1);
    let from = |of: &dyn Fn(usize) -> usize| (0..32).map(|lane| input[of(lane)]).collect::<Vec<u32>>();
    let odd = (0..32).fold(0, |set, lane| set | (input[lane] & 1) << lane);
    let floats = (0..32).map(|lane| ((input[lane ^ 16] & 0xFFFF) as f32).to_bits());
    let expected = [
        from(&|_| 5),
        from(&|lane| lane ^ 9),
        from(&|lane| if lane + 3 < 32 { lane + 3 } else { lane }),
        from(&|lane| lane.checked_sub(4).unwrap_or(lane)),
        from(&|lane| if lane % 8 + 3 < 8 { lane + 3 } else { lane }),
        from(&|lane| lane / 8 * 8 + 3),
        vec![odd; 32],
        vec![1; 32],
        floats.collect(),
        from(&|lane| if lane < 16 { lane ^ 1 } else { lane ^ 2 }),
    ];
    for seed in 0..20 {
        assert_eq!(words("shuffles", &input, 320, shape(1, 32, 0), seed).unwrap(), expected.concat());
    }
}

#[test]
fn a_product_of_bf16_tiles() {
    for seed in 0..20 {
        // Exponents near that of 1, so that neither sum nor product leaves the floats.
        let half = |word: &u32| (word & 0x80FF) | 0x3F00 | (word >> 8 & 0x80);
        let input = random(256 + 128, seed + 1).iter().map(half).collect::<Vec<u32>>();
        let start = random(128, seed + 50).into_iter().map(|word| (word as i32 as f32 * 1e-9).to_bits());
        let input = [input, start.collect()].concat();
        let float = |word: u32| f32::from_bits(word << 16);
        let mut expected = Vec::new();
        for (row, column) in (0..16).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let start = f32::from_bits(input[384 + row * 8 + column]);
            let product = |k: usize| float(input[row * 16 + k]) * float(input[256 + k * 8 + column]);
            expected.push((0..16).fold(start, |sum, k| sum + product(k)).to_bits());
        }
        assert_eq!(words("multiply_bf16", &input, 128, shape(1, 32, 0), seed).unwrap(), expected);
    }
}

#[test]
fn a_product_of_byte_tiles() {
    for seed in 0..20 {
        let bytes = random(512 + 256, seed + 1).iter().map(|word| word & 0xFF).collect::<Vec<u32>>();
        let input = [bytes, random(128, seed + 50)].concat();
        let mut expected = Vec::new();
        for (row, column) in (0..16).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let product = |k: usize| {
                let (a, b) = (input[row * 32 + k] as i32, i32::from(input[512 + k * 8 + column] as i8));
                (a * b) as u32
            };
            let start = input[768 + row * 8 + column];
            expected.push((0..32).fold(start, |sum, k| sum.wrapping_add(product(k))));
        }
        assert_eq!(words("multiply_bytes", &input, 128, shape(1, 32, 0), seed).unwrap(), expected);
    }
}
