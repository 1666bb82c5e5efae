//! Bytes to the reader of `llama2c`. In: anything. Out: nothing; whatever panics is a finding.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    qwenc_models_fuzz::readers::llama2c(data);
});
