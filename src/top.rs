//! The keys denied most, of the whole server: what `RL.TOP` shows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::heavy_hitters::Sketch;

/// Only the server's main thread comes here, so nobody ever waits.
static TOP: Mutex<Option<Sketch>> = Mutex::new(None);

fn top() -> MutexGuard<'static, Option<Sketch>> {
    TOP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts afresh with room for `keys` keys.
pub(crate) fn resize(keys: usize) {
    *top() = Some(Sketch::new(keys));
}

/// Forgets it all, and gives the memory back.
pub(crate) fn drop_all() {
    *top() = None;
}

/// Counts a denial.
pub(crate) fn count(database: u32, key: &[u8]) {
    if let Some(sketch) = top().as_mut() {
        sketch.count(database, key);
    }
}

/// Hands the sketch to `look`; `None` before there is one.
pub(crate) fn with<R>(look: impl FnOnce(&Sketch) -> R) -> Option<R> {
    top().as_ref().map(look)
}
