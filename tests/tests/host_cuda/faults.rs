//! Faults that a device would not forgive, or would forgive now and then: reported, with the place.

use super::{random, shape, words};

/// Checks the error that stops a kernel under each seed.
fn refused(name: &str, shape: super::Shape, parts: &[&str]) {
    let input = random(256, 1);
    for seed in 0..8 {
        let error = words(name, &input, 256, shape, seed).expect_err(name);
        let place = format!("kernel {name}, block (");
        let is_said = error.contains(&place) && parts.iter().all(|part| error.contains(part));
        assert!(is_said, "{name}, seed {seed}: {error}");
    }
}

#[test]
fn writes_beside_shared_memory() {
    refused("write_behind_shared", shape(3, 128, 512), &["0 bytes behind its 512 bytes of shared memory"]);
    refused(
        "write_before_shared",
        shape(3, 128, 512),
        &["before the start of its 512 bytes of shared memory"],
    );
}

#[test]
fn lanes_that_do_not_meet() {
    refused("diverged_collectives", shape(1, 64, 0), &["__syncwarp", "__shfl_xor_sync", "of its warp"]);
    refused("lane_left", shape(1, 32, 0), &["__syncwarp", "returned"]);
    refused("barrier_or_collective", shape(1, 32, 0), &["__syncwarp", "__syncthreads"]);
    refused("waits_for_nobody", shape(1, 32, 0), &["waits for memory that nobody changes"]);
}

#[test]
fn addresses_that_are_wrong() {
    refused("reads_behind", shape(1, 256, 0), &["accesses memory that is not there"]);
    refused("misaligned", shape(1, 32, 0), &["address that its type may not have"]);
    refused("misaligned_load", shape(1, 32, 0), &["load_once", "not 16-byte aligned"]);
    refused("copies_elsewhere", shape(1, 32, 64), &["copy_async16", "outside its block's shared memory"]);
}

#[test]
fn a_kernel_runs_after_one_that_was_stopped() {
    let input = random(64, 1);
    words("reads_behind", &input, 1, shape(4, 256, 0), 1).unwrap_err();
    words("lane_left", &input, 1, shape(4, 64, 0), 2).unwrap_err();
    let sum = input.iter().fold(0u32, |a, b| a.wrapping_add(*b));
    assert_eq!(words("reduce", &input, 64, shape(1, 64, 256), 3).unwrap(), vec![sum; 64]);
}

#[test]
fn shared_memory_starts_as_garbage() {
    let start = |seed| words("shared_is_garbage", &[], 64, shape(1, 64, 256), seed).unwrap();
    let starts: Vec<_> = (0..20).map(start).collect();
    assert!(starts.iter().any(|words| words == &[u32::MAX; 64]));
    assert!(starts.iter().any(|words| words != &[u32::MAX; 64] && words != &[0; 64]));
}

#[test]
fn launches_that_cannot_be() {
    let error = words("reduce", &[], 1, shape(1, 48, 0), 1).unwrap_err();
    assert!(error.contains("48 threads"), "{error}");
    let error = words("reduce", &[], 1, shape(0, 64, 0), 1).unwrap_err();
    assert!(error.contains("0 blocks"), "{error}");
}
