//! Bytes to the reader of `chat_template`. In: anything. Out: nothing; whatever panics is a finding.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    qwenc_models_fuzz::readers::chat_template(data);
});
