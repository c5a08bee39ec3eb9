//! What the module has done since it was loaded, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
///
/// Only the server's main thread writes, so that a load and a store do, which cost less than an atomic addition.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        let sum = self.get().saturating_add(count);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one command has done.
#[derive(Debug)]
pub(crate) struct CommandCounters {
    pub(super) calls: Counter,
    pub(super) granted: Counter,
    pub(super) denied: Counter,
    pub(super) impossible: Counter,
    pub(super) errors: Counter,
}

impl CommandCounters {
    const fn new() -> Self {
        Self {
            calls: Counter::new(),
            granted: Counter::new(),
            denied: Counter::new(),
            impossible: Counter::new(),
            errors: Counter::new(),
        }
    }

    /// Counts a call.
    pub(crate) fn count_call(&self) {
        self.calls.add(1);
    }

    /// Counts a decision that granted, on all its keys together, `units`.
    pub(crate) fn count_granted(&self, units: u64) {
        self.granted.add(1);
        UNITS_GRANTED.add(units);
    }

    /// Counts a decision that denied.
    pub(crate) fn count_denied(&self) {
        self.denied.add(1);
    }

    /// Counts a decision about what can never be granted.
    pub(crate) fn count_impossible(&self) {
        self.impossible.add(1);
    }

    /// Counts a call that ended with an error.
    pub(crate) fn count_error(&self, kind: &Counter) {
        self.errors.add(1);
        kind.add(1);
    }
}

/// `RL.CHECK`
pub(crate) static CHECK: CommandCounters = CommandCounters::new();
/// `RL.GCRA`
pub(crate) static GCRA: CommandCounters = CommandCounters::new();
/// `RL.MCHECK`
pub(crate) static MCHECK: CommandCounters = CommandCounters::new();
/// `CL.THROTTLE`
pub(crate) static THROTTLE: CommandCounters = CommandCounters::new();
/// `RL.PEEK`
pub(crate) static PEEK: CommandCounters = CommandCounters::new();
/// `RL.INFO`
pub(crate) static INFO: CommandCounters = CommandCounters::new();
/// `RL.REFUND`
pub(crate) static REFUND: CommandCounters = CommandCounters::new();
/// `RL.RESET`
pub(crate) static RESET: CommandCounters = CommandCounters::new();
/// `RL.TOP`
pub(crate) static TOP: CommandCounters = CommandCounters::new();

/// Units that decisions granted.
pub(super) static UNITS_GRANTED: Counter = Counter::new();
/// Units that `RL.REFUND` gave back.
pub(crate) static UNITS_REFUNDED: Counter = Counter::new();
/// Receipts under which `RL.REFUND` gave something back.
pub(crate) static RECEIPTS_REFUNDED: Counter = Counter::new();
/// Receipts that `RENEW` exchanged for new ones.
pub(crate) static RECEIPTS_RENEWED: Counter = Counter::new();
/// Blocks (`UPTO`) that followed another one.
pub(crate) static BLOCKS_GROWN: Counter = Counter::new();
/// Limiters that `RL.RESET` forgot.
pub(crate) static KEYS_RESET: Counter = Counter::new();

/// Arguments that were refused.
pub(crate) static ERRORS_ARGUMENT: Counter = Counter::new();
/// Keys that held something else.
pub(crate) static ERRORS_WRONGTYPE: Counter = Counter::new();
/// Keys that held the state of a newer version.
pub(crate) static ERRORS_VERSION: Counter = Counter::new();
/// What the server would not do.
pub(crate) static ERRORS_SERVER: Counter = Counter::new();
