//! Results that must not depend on the order in which lanes, warps and blocks run.

use super::{random, shape, words};

const SEEDS: u64 = 20;

fn sums(input: &[u32], block: usize) -> Vec<u32> {
    let sum = |words: &[u32]| words.iter().fold(0u32, |a, b| a.wrapping_add(*b));
    input.chunks(block).flat_map(|words| vec![sum(words); block]).collect()
}

/// Under how many seeds a kernel writes something else, or is stopped.
fn wrong(name: &str, input: &[u32], expected: &[u32], shape: super::Shape) -> usize {
    let is_wrong = |seed: &u64| words(name, input, expected.len(), shape, *seed).as_deref() != Ok(expected);
    (0..SEEDS).filter(is_wrong).count()
}

#[test]
fn barriers_make_a_reduction_right_and_a_missing_one_shows() {
    let input = random(7 * 128, 1);
    let (expected, blocks) = (sums(&input, 128), shape(7, 128, 512));
    assert_eq!(wrong("reduce", &input, &expected, blocks), 0);
    assert!(wrong("reduce_without_barrier", &input, &expected, blocks) > SEEDS as usize / 2);
}

#[test]
fn memory_that_is_reused_needs_a_barrier_before() {
    let input = random(256, 2);
    let four: Vec<u32> = sums(&input, 256).iter().map(|sum| sum.wrapping_mul(4)).collect();
    assert_eq!(wrong("reduce_twice", &input, &four, shape(1, 256, 1024)), 0);
    assert!(wrong("reduce_twice_without_barrier", &input, &four, shape(1, 256, 1024)) > 3);
}

#[test]
fn lanes_of_a_warp_are_not_in_step() {
    let input = random(64, 3);
    let expected: Vec<u32> = (0..64).map(|lane| input[lane ^ 1]).collect();
    assert_eq!(wrong("exchange", &input, &expected, shape(1, 64, 256)), 0);
    assert!(wrong("exchange_without_syncwarp", &input, &expected, shape(1, 64, 256)) > SEEDS as usize / 2);
}

#[test]
fn blocks_run_in_every_order() {
    let input = random(40 * 64, 4);
    let all = input.iter().fold(0u32, |a, b| a.wrapping_add(*b));
    assert_eq!(wrong("last_block_sums", &input, &[all], shape(40, 64, 512)), 0);
    assert!(wrong("highest_block_sums", &input, &[all], shape(40, 64, 512)) > SEEDS as usize / 2);
}

#[test]
fn blocks_that_wait_for_each_other_must_all_be_there() {
    let input = random(24, 5);
    let blocks = super::Shape { is_cooperative: true, ..shape(24, 64, 0) };
    let expected: Vec<u32> = (0..72).map(|i| input[(i % 24 + 1) % 24].wrapping_add(i as u32 / 24)).collect();
    assert_eq!(wrong("grid_barrier", &input, &expected, blocks), 0);
    let error = words("grid_barrier", &input, 72, shape(24, 64, 0), 1).unwrap_err();
    assert!(error.contains("blocks have not started"), "{error}");
}

#[test]
fn copies_are_not_there_before_the_wait() {
    let input = random(256, 6);
    let valid = |word: usize| !(word / 4 % 32).is_multiple_of(3);
    let expected: Vec<u32> = (0..256).map(|i| if valid(i) { input[i] } else { 0 }).collect();
    for seed in 0..SEEDS {
        let run = |name| words(name, &input, 256, shape(1, 32, 1024), seed).unwrap();
        assert_eq!(run("copies"), expected);
        let but_one = run("copies_but_one");
        assert_eq!(but_one[..128], expected[..128]);
        assert_eq!(but_one[128..], [u32::MAX; 128]);
        assert_eq!(run("copies_without_wait"), [u32::MAX; 256]);
        assert_eq!(run("copies_without_commit")[..128], [u32::MAX; 128]);
    }
}

#[test]
fn a_lane_waits_for_its_own_copies_only() {
    let input = random(256, 7);
    let expected: Vec<u32> = (0..256).map(|i| input[((i / 4) ^ 33) * 4 + i % 4]).collect();
    assert!(wrong("copies_of_others", &input, &expected, shape(1, 64, 1024)) > SEEDS as usize / 2);
}
