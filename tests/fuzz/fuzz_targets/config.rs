//! What must hold stands in ../rules/config.rs, where the test reads it too.
#![no_main]

#[path = "../rules/config.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _seen = rules::hold(input);
});
