//! The keys denied most lately, of the whole server: what `RL.TOP` shows.

use std::ops::RangeInclusive;

pub(crate) use super::space_saving::Denied;
use super::space_saving::Sketch;
use crate::limiter::Timestamp;
use crate::server::{MainThread, MainThreadCell};

/// The most keys that can be kept, and so shown. With more of them one `RL.TOP` would keep the server for a millisecond.
pub(crate) const MAX_KEYS: u64 = 1_000;

/// The half-lives that counts can have, in seconds: up to 30 days. 0 is none: nothing fades.
pub(crate) const HALF_LIVES: RangeInclusive<u64> = 0..=30 * 24 * 60 * 60;

static DENIED_KEYS: MainThreadCell<Option<Sketch>> = MainThreadCell::new(None);

/// Starts anew with room for `keys` keys, whose counts have a half-life of `half_life` seconds.
pub(crate) fn start(main_thread: MainThread<'_>, keys: u64, half_life: u64) {
    DENIED_KEYS.with(main_thread, |sketch| {
        *sketch = Some(Sketch::new(keys.min(MAX_KEYS) as usize, half_life))
    });
}

/// Changes the half-life from now on; does nothing before the start.
pub(crate) fn set_half_life(main_thread: MainThread<'_>, now: Timestamp, half_life: u64) {
    DENIED_KEYS.with(main_thread, |sketch| {
        if let Some(sketch) = sketch {
            sketch.set_half_life(now, half_life);
        }
    });
}

/// Forgets it all, and gives the memory back.
pub(crate) fn drop_all(main_thread: MainThread<'_>) {
    DENIED_KEYS.with(main_thread, |sketch| *sketch = None);
}

/// Counts a denial.
pub(crate) fn count(main_thread: MainThread<'_>, now: Timestamp, database: u32, key: &[u8]) {
    DENIED_KEYS.with(main_thread, |sketch| {
        if let Some(sketch) = sketch {
            sketch.count(now, database, key);
        }
    });
}

/// Hands the keys to `look`, those denied most first; none before the start.
pub(crate) fn with_ranking<R>(
    main_thread: MainThread<'_>,
    now: Timestamp,
    look: impl FnOnce(&mut dyn Iterator<Item = Denied<'_>>) -> R,
) -> Option<R> {
    DENIED_KEYS
        .with(main_thread, |sketch| {
            sketch.as_mut().map(|sketch| look(&mut sketch.ranking(now)))
        })
        .flatten()
}
