//! The keys denied most, of the whole server: what `RL.TOP` shows.

use super::space_saving::Sketch;
pub(crate) use super::space_saving::Slot;
use crate::server::{Guarded, Inside};

static TOP: Guarded<Option<Sketch>> = Guarded::new(None);

/// Starts afresh with room for `keys` keys.
pub(crate) fn resize(inside: Inside<'_>, keys: usize) {
    TOP.with(inside, |top| *top = Some(Sketch::new(keys)));
}

/// Forgets it all, and gives the memory back.
pub(crate) fn drop_all(inside: Inside<'_>) {
    TOP.with(inside, |top| *top = None);
}

/// Counts a denial.
pub(crate) fn count(inside: Inside<'_>, database: u32, key: &[u8]) {
    TOP.with(inside, |top| {
        if let Some(sketch) = top {
            sketch.count(database, key);
        }
    });
}

/// Hands the sketch to `look`; `None` before there is one.
pub(crate) fn with<R>(inside: Inside<'_>, look: impl FnOnce(&Sketch) -> R) -> Option<R> {
    TOP.with(inside, |top| top.as_ref().map(look)).flatten()
}
