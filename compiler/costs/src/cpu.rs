//! Sustained rates of CPUs.
//!
//! In: the name, features and cores of a CPU. Out: a [`Machine`]. Invariant: the rates are a table; of all classes the
//! first that fits counts.

use crate::machine::{Machine, Processor};

/// Share of a core's peak that a whole prefill sustains: tiles load, convert and join besides multiplying.
const SUSTAINED_DOT: f64 = 0.7;
/// Share of the read bandwidth that a decoded token sustains.
const SUSTAINED_READ: f64 = 0.9;
/// Cores of a CPU that is named and not the one at hand.
pub const ASSUMED_CORES: u32 = 8;

/// One core and its memory, by what its instructions can do.
struct Class {
    about: &'static str,
    /// Names that are of this class whatever their features; if there are none, `needs` decides.
    cpus: &'static [&'static str],
    /// Features it must have, spelled as `is_x86_feature_detected!` does.
    needs: &'static [&'static str],
    /// With all cores at work.
    ghz: f64,
    /// Multiplications and additions per cycle: instructions · lanes · 2.
    f32_ops: f64,
    bf16_ops: f64,
    int8_ops: f64,
    /// Plain reads by one core, by two, and by many.
    read_gb_s: [f64; 3],
    barrier_us: f64,
}

/// The first that fits.
///
/// Measured, on two cores of a Zen 5 server: per core 1.03 to 1.08 TOPS of `vpdpbusd`, 0.50 TFLOPS of
/// `vdpbf16ps` and 0.27 TFLOPS of f32, each two 512-bit instructions a cycle; 40 GB/s by one thread and 70 by
/// two. How much more threads read there was not measured, so it counts as two. A step of 26 kernels, nearly empty,
/// took two idle cores 17 µs.
///
/// All others are estimates: vector instructions a cycle times lanes; a clock, and memory of two channels (a
/// server's eight for the older AVX-512 with VNNI), as such machines usually have.
const CLASSES: [Class; 7] = [
    Class {
        about: "AVX-512 by halves, estimated",
        cpus: &["znver4"],
        needs: &[],
        ghz: 4.0,
        f32_ops: 32.0,
        bf16_ops: 64.0,
        int8_ops: 128.0,
        read_gb_s: [30.0, 45.0, 60.0],
        barrier_us: 2.0,
    },
    Class {
        about: "AVX-512 with VNNI and BF16, measured",
        cpus: &[],
        needs: &["avx512vnni", "avx512bf16"],
        ghz: 4.1,
        f32_ops: 64.0,
        bf16_ops: 122.0,
        int8_ops: 256.0,
        read_gb_s: [40.0, 70.0, 70.0],
        barrier_us: 0.5,
    },
    Class {
        about: "AVX-512 with VNNI, estimated",
        cpus: &[],
        needs: &["avx512vnni"],
        ghz: 2.8,
        f32_ops: 64.0,
        bf16_ops: 64.0,
        int8_ops: 256.0,
        read_gb_s: [13.0, 26.0, 100.0],
        barrier_us: 2.0,
    },
    Class {
        about: "AVX-512, estimated",
        cpus: &[],
        needs: &["avx512f"],
        ghz: 2.8,
        f32_ops: 64.0,
        bf16_ops: 64.0,
        int8_ops: 24.0,
        read_gb_s: [13.0, 26.0, 70.0],
        barrier_us: 2.0,
    },
    Class {
        about: "AVX2 with VNNI, estimated",
        cpus: &[],
        needs: &["avxvnni"],
        ghz: 4.0,
        f32_ops: 32.0,
        bf16_ops: 32.0,
        int8_ops: 128.0,
        read_gb_s: [25.0, 40.0, 55.0],
        barrier_us: 2.0,
    },
    Class {
        about: "AVX2, estimated",
        cpus: &[],
        needs: &["avx2"],
        ghz: 3.5,
        f32_ops: 32.0,
        bf16_ops: 32.0,
        int8_ops: 24.0,
        read_gb_s: [18.0, 30.0, 40.0],
        barrier_us: 2.0,
    },
    Class {
        about: "SSE2, estimated",
        cpus: &[],
        needs: &[],
        ghz: 3.0,
        f32_ops: 8.0,
        bf16_ops: 8.0,
        int8_ops: 8.0,
        read_gb_s: [10.0, 18.0, 20.0],
        barrier_us: 2.0,
    },
];

impl Class {
    fn of(name: &str, features: &[&str]) -> &'static Class {
        let fits = |c: &&Class| match c.cpus {
            [] => c.needs.iter().all(|f| features.contains(f)),
            names => names.contains(&name),
        };
        let last = &CLASSES[CLASSES.len() - 1];
        CLASSES.iter().find(fits).unwrap_or(last)
    }

    fn read_gb_s(&self, cores: u32) -> f64 {
        let [one, two, many] = self.read_gb_s;
        match cores {
            0 | 1 => one,
            n => (two * f64::from(n) / 2.0).min(many),
        }
    }
}

impl Machine {
    /// The CPU of this name, with these features and this many cores.
    pub fn of_cpu(name: &str, features: &[&str], cores: u32) -> Machine {
        let (class, cores) = (Class::of(name, features), cores.max(1));
        let giga = |per_cycle: f64| per_cycle * class.ghz * f64::from(cores) * SUSTAINED_DOT;
        Machine {
            name: name.to_string(),
            processor: Processor::Cpu,
            class: class.about,
            cores,
            read_gb_s: class.read_gb_s(cores) * SUSTAINED_READ,
            f32_gflops: giga(class.f32_ops),
            bf16_gflops: giga(class.bf16_ops),
            int8_gops: giga(class.int8_ops),
            barrier_us: class.barrier_us,
        }
    }

    /// A desktop CPU with AVX2, where no CPU is named. The order of alternatives hardly depends on the
    /// numbers: fewer bytes and fewer launches win on every CPU.
    pub fn cpu_default() -> Machine {
        Machine::of_cpu("x86-64-v3", &["avx2", "fma"], ASSUMED_CORES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEN5: [&str; 4] = ["avx2", "avx512f", "avx512vnni", "avx512bf16"];

    /// The measurements that the table's comment states, per core.
    #[test]
    fn the_measured_class_is_what_was_measured() {
        let peak = |rate: f64| rate / SUSTAINED_DOT;
        let one = Machine::of_cpu("znver5", &ZEN5, 1);
        assert!((1030.0..=1080.0).contains(&peak(one.int8_gops)), "{one}");
        assert!((495.0..=505.0).contains(&peak(one.bf16_gflops)), "{one}");
        assert!((260.0..=275.0).contains(&peak(one.f32_gflops)), "{one}");
        let two = Machine::of_cpu("znver5", &ZEN5, 2);
        assert_eq!([&one, &two].map(|m| (m.read_gb_s / SUSTAINED_READ).round()), [40.0, 70.0]);
        assert!((two.int8_gops / one.int8_gops - 2.0).abs() < 1e-9);
    }

    #[test]
    fn more_cores_and_more_instructions_are_never_slower() {
        let sets: [&[&str]; 4] = [&[], &["avx2"], &["avx2", "avxvnni"], &ZEN5];
        let rates = |m: &Machine| [m.read_gb_s, m.f32_gflops, m.bf16_gflops, m.int8_gops];
        let machines = sets.map(|f| [1, 2, 3, 8, 64].map(|cores| Machine::of_cpu("x", f, cores)));
        for of_set in &machines {
            for pair in of_set.windows(2) {
                assert!(rates(&pair[0]).iter().zip(rates(&pair[1])).all(|(a, b)| *a <= b), "{pair:?}");
            }
        }
        for pair in machines.windows(2) {
            let (less, more) = (rates(&pair[0][0]), rates(&pair[1][0]));
            assert!(less.iter().zip(more).all(|(a, b)| *a <= b), "{pair:?}");
        }
        assert_eq!(Machine::of_cpu("x", &[], 0), Machine::of_cpu("x", &[], 1));
        assert!(Machine::of_cpu("znver4", &ZEN5, 1).int8_gops < Machine::of_cpu("x", &ZEN5, 1).int8_gops);
    }
}
