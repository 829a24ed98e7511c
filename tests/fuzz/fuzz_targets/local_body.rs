//! Any body at all: every call has an answer, and none a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallyhere_agent::io::local::trial::bodies;

fuzz_target!(|body: &[u8]| {
    let _takers = bodies(body);
});
