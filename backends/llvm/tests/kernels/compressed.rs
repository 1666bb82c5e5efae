//! Weights of bf16 in 12 bits against plain ones, and damaged: the same bits, and nothing beyond a panel.

use qwenc_abi::KvType;
use qwenc_formats::{Bf12, DType, Operand};
use qwenc_ir::Checked;
use qwenc_llvm::{emit, Cpu};
use qwenc_plan::{Activations, Plan};

use crate::loaded::Loaded;
use crate::{assert_same, cpus, logits, tokens, Case, LONG};
use qwenc_testing::shapes::{Random, ODD, ODDER};

/// CPUs that this machine runs and whose kernels read compressed weights.
fn compressing_cpus() -> Vec<&'static str> {
    let all = cpus().into_iter().filter(|&cpu| cpu == "x86-64-v3").chain(["native"]);
    all.filter(|cpu| Cpu::named(cpu).unwrap().reads(Operand::Bf12)).collect()
}

/// The panels of a plan's compressed segments in the image, of each span: where they begin, their bytes and columns.
fn compressed_panels(plan: &Checked<Plan>) -> Vec<(usize, u64, u32)> {
    let mut all = Vec::new();
    for s in plan.segments.iter().filter(|s| s.format == Operand::Bf12) {
        let of_group = |group: u32| plan.layer_groups().into_iter().map(move |of| of == group);
        let records = |group| plan.layer_offsets().into_iter().zip(of_group(group)).filter(|(_, own)| *own);
        let bases = match s.home.group() {
            Some(group) => records(group).map(|(base, _)| base).collect(),
            None => vec![0],
        };
        for base in bases {
            for span in s.spans() {
                let panel = |i: u32| (base + s.offset + s.panel_offset(&span, i)) as usize;
                let cols = span.columns.len() as u32;
                all.extend((0..s.panels()).map(|i| (panel(i), span.panel_bytes, cols)));
            }
        }
    }
    all
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// In chunks below and above the number from which on weights are copied first; rows of several ranges, and exceptions
/// in the shorter last step too.
#[test]
fn compressed_weights_give_the_same_bits_as_plain_ones() {
    let chunks = [1, 3, 11, 34, 1];
    for shape in [ODD, ODDER, LONG] {
        let tokens = tokens(chunks.iter().sum(), shape.vocab);
        for activations in [Activations::Default, Activations::Bf16] {
            let of = |compressed| Case::of((DType::Bf16, activations, compressed), 0.0).plan(shape);
            for cpu in compressing_cpus() {
                let (plain, compressed) = (Loaded::of(&of(false), cpu, &Random), of(true));
                let mut loaded = Loaded::of(&compressed, cpu, &Random);
                let [plain, found] = [&plain, &loaded].map(|l| logits(l, KvType::F32, &tokens, &chunks, 2));
                assert_same(&format!("{cpu} {activations:?}"), &plain, &found);

                let image = loaded.weights_mut();
                let (mut some, mut last) = (0, 0);
                for (start, _, cols) in compressed_panels(&compressed) {
                    let count = u32_at(image, start + Bf12::COUNT as usize);
                    let place = |i: u32| {
                        u32_at(image, start + (Bf12::exceptions_at(cols) + 8 * u64::from(i)) as usize)
                    };
                    some += count;
                    last += (0..count).filter(|&i| place(i) / 32 >= cols / 8 * 8).count();
                }
                assert!(
                    some > 0 && (last > 0 || shape.hidden % 8 == 0),
                    "{some} exceptions, {last} in last steps"
                );
            }
        }
    }
}

/// Exceptions that say anything at all: answers are wrong, and that is all.
#[test]
fn damaged_exceptions_are_kept_within_their_panels() {
    for shape in [ODDER, LONG] {
        let plan = Case::of((DType::Bf16, Activations::Default, true), 0.0).plan(shape);
        for cpu in compressing_cpus() {
            let mut loaded = Loaded::of(&plan, cpu, &Random);
            let image = loaded.weights_mut();
            let mut noise = 88172645463325252u64;
            for (start, bytes, cols) in compressed_panels(&plan) {
                image[start + Bf12::COUNT as usize..][..4].fill(0xFF);
                let exceptions = start + Bf12::exceptions_at(cols) as usize;
                for place in image[exceptions..start + bytes as usize].chunks_exact_mut(8) {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    // Elements stay small.
                    place[..4].copy_from_slice(&(noise as u32 >> (noise >> 59)).to_le_bytes());
                    place[4..].fill(0);
                }
            }
            let tokens = tokens(50, shape.vocab);
            let found = logits(&loaded, KvType::F32, &tokens, &[1, 3, 11, 34, 1], 2);
            assert!(found.iter().all(|logit| logit.is_finite()), "{cpu}");
        }
    }
}

#[test]
fn compressed_weights_are_refused_where_nothing_reads_them() {
    let plan = Case::of((DType::Bf16, Activations::Default, true), 0.0).plan(ODD);
    let e = emit(&plan, &Cpu::named("x86-64-v2").unwrap()).unwrap_err();
    assert_eq!(e.to_string(), "w0 is in bf12, which code for x86-64-v2 does not read; plan it as bf16");
}
