//! Bytes to the reader of `qwen_v1`. In: anything. Out: nothing; whatever panics is a finding.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    qwenc_models_fuzz::readers::qwen_v1(data);
});
