//! Sustained rates of GPUs.
//!
//! In: an architecture. Out: a [`Machine`]. Invariant: the rates are a table, so the same architecture gives the
//! same prediction anywhere. An architecture says little about a card's memory: the card that stands for it
//! does, and the prediction names it.

use crate::machine::{Machine, Processor};

/// Share of the published memory bandwidth that a decoded token is expected to sustain.
const SUSTAINED_READ: f64 = 0.8;
/// Share of the published peak that a whole prefill is expected to sustain.
const SUSTAINED_DOT: f64 = 0.5;
/// From the start of one nearly empty kernel of a graph to that of the next, µs.
const LAUNCH_US: f64 = 1.3;

/// The card that stands for an architecture.
struct Card {
    sm: u32,
    about: &'static str,
    multiprocessors: u32,
    read_gb_s: f64,
    /// 1e12 multiplications and additions per second, none of them skipped: f32 outside of tensor cores, bf16 with
    /// sums in f32, int8.
    f32_tops: f64,
    bf16_tops: f64,
    int8_tops: f64,
}

/// By ascending architecture. Published numbers; nothing here is measured.
const CARDS: [Card; 6] = [
    Card {
        sm: 80,
        about: "A100 80 GB, published",
        multiprocessors: 108,
        read_gb_s: 2039.0,
        f32_tops: 19.5,
        bf16_tops: 312.0,
        int8_tops: 624.0,
    },
    Card {
        sm: 86,
        about: "RTX 3090, published",
        multiprocessors: 82,
        read_gb_s: 936.0,
        f32_tops: 35.6,
        bf16_tops: 71.0,
        int8_tops: 284.0,
    },
    Card {
        sm: 89,
        about: "RTX 4090, published",
        multiprocessors: 128,
        read_gb_s: 1008.0,
        f32_tops: 82.6,
        bf16_tops: 165.2,
        int8_tops: 660.6,
    },
    Card {
        sm: 90,
        about: "H100 SXM, published",
        multiprocessors: 132,
        read_gb_s: 3350.0,
        f32_tops: 67.0,
        bf16_tops: 989.0,
        int8_tops: 1979.0,
    },
    Card {
        sm: 100,
        about: "B200, published",
        multiprocessors: 148,
        read_gb_s: 8000.0,
        f32_tops: 75.0,
        bf16_tops: 2250.0,
        int8_tops: 4500.0,
    },
    Card {
        sm: 120,
        about: "RTX 5090, published",
        multiprocessors: 170,
        read_gb_s: 1792.0,
        f32_tops: 104.8,
        bf16_tops: 209.5,
        int8_tops: 838.0,
    },
];

impl Card {
    /// The last that is no newer, or the oldest.
    fn of(sm: u32) -> &'static Card {
        CARDS.iter().rev().find(|c| c.sm <= sm).unwrap_or(&CARDS[0])
    }
}

impl Machine {
    /// A GPU of this architecture: 90 for compute capability 9.0.
    pub fn of_gpu(sm: u32) -> Machine {
        let card = Card::of(sm);
        let giga = |tera: f64| tera * 1e3 * SUSTAINED_DOT;
        Machine {
            name: format!("sm_{sm}"),
            processor: Processor::Gpu,
            class: card.about,
            cores: card.multiprocessors,
            read_gb_s: card.read_gb_s * SUSTAINED_READ,
            // f32 inputs meet bf16 weights as the sum of two bf16, on the tensor cores.
            f32_gflops: giga(card.f32_tops.max(card.bf16_tops / 2.0)),
            bf16_gflops: giga(card.bf16_tops),
            int8_gops: giga(card.int8_tops),
            barrier_us: LAUNCH_US,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_the_card_that_it_names() {
        let cards: Vec<&str> = [80, 86, 87, 89, 90, 100, 103, 120, 121].map(|sm| Card::of(sm).about).into();
        let short: Vec<&str> = cards.iter().filter_map(|about| about.split([' ', ',']).next()).collect();
        assert_eq!(short, ["A100", "RTX", "RTX", "RTX", "H100", "B200", "B200", "RTX", "RTX"]);
        assert_eq!(Card::of(87).about, Card::of(86).about);
        assert_eq!(Card::of(1).about, Card::of(80).about);
        assert!(CARDS.windows(2).all(|c| c[0].sm < c[1].sm));
    }

    #[test]
    fn a_gpu_prints_as_one() {
        let text = Machine::of_gpu(90).to_string();
        let expected = "sm_90, 132 multiprocessors (H100 SXM, published): 2680.0 GB/s, \
                        247250 f32 and 494500 bf16 GFLOPS, 989500 int8 GOPS, 1.3 us per launch";
        assert_eq!(text, expected);
    }
}
