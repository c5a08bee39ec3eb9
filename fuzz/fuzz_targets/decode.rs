//! Any bytes are refused, or are the only spelling of a state; and a state can be looked at, at any time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_ratelimit_fuzz::key::{assert_canonical, written};
use redis_ratelimit_fuzz::limiter::{AnyLimiter, Timestamp, Units};

fuzz_target!(|bytes: &[u8]| {
    assert_canonical(bytes);
    let at = written(bytes);
    let first = AnyLimiter::read(bytes, Timestamp::MAX).err();
    for now in [0, at.saturating_sub(1), at, at + 1, at + 1_000_000_000] {
        let read = AnyLimiter::read(bytes, Timestamp::from_micros(now));
        assert_eq!(
            read.as_ref().err().copied(),
            first,
            "what is refused is refused at all times"
        );
        match read {
            Ok(AnyLimiter::SlidingWindow(limiter)) => drop(limiter.peek(Units::ONE)),
            Ok(AnyLimiter::Gcra(limiter)) => drop(limiter.peek(Units::ONE)),
            Err(_) => {}
        }
    }
});
