//! Memory follows use. A process of its own: others' memory would be counted too.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{bytes_of, free, model, KNOWN, ROWS};
use qwenc_abi::KvType;
use qwenc_rt::inference::engine::Engine;
use qwenc_rt::inference::session::Session;
use qwenc_rt::inference::step::Wanted;

#[test]
fn an_emptied_sequence_needs_no_memory() {
    let (mut model, weights) = (model(), bytes_of(&free(ROWS)));
    model.max_context = 1 << 18;
    // SAFETY: the mock keeps to the contract.
    let mut engine = unsafe { Engine::new(&model, &weights, 1, 512) }.unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = status.lines().find(|l| l.starts_with("Private_Dirty:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut session = Session::new(&engine, None, KvType::F32).unwrap();
    let text: Vec<u32> = (0..200_000).map(|i| i % KNOWN as u32).collect();
    let before = resident();
    let nothing = |_: usize, _: &[f32]| Ok(());
    session.feed(&mut engine, &text, Wanted::Nothing, nothing).unwrap();
    let used = resident();
    assert!(used > before + 11_000, "64 bytes for each of 200,000 positions: {before} {used} kB");
    session.truncate(1000);
    session.give_back();
    let kept = resident();
    assert!(kept < before + 2_500, "1000 positions are kept: {before} {used} {kept} kB");
}
