//! Any commands on whatever decodes. The first byte is the algorithm; then the state (its length in two bytes), parameters,
//! and commands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_ratelimit_fuzz::input::Input;
use redis_ratelimit_fuzz::{bucket, windows};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let is_gcra = input.byte() & 1 != 0;
    let stored = input.bytes();
    if is_gcra {
        bucket::fuzz(stored, &mut input);
    } else {
        windows::fuzz(stored, &mut input);
    }
});
