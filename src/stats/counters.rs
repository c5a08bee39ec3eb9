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

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
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

    fn reset(&self) {
        self.calls.reset();
        self.granted.reset();
        self.denied.reset();
        self.impossible.reset();
        self.errors.reset();
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

/// Makes the counters, and [`start`], which knows all of them.
macro_rules! counters {
    ($($(#[$doc:meta])* $visibility:vis static $name:ident: $kind:ident;)*) => {
        $($(#[$doc])* $visibility static $name: $kind = $kind::new();)*

        /// Starts anew. The memory may be that of a load before: musl unloads nothing, and gives back what it has.
        pub(crate) fn start() {
            $($name.reset();)*
        }
    };
}

counters! {
    /// `RL.CHECK`
    pub(crate) static CHECK: CommandCounters;
    /// `RL.GCRA`
    pub(crate) static GCRA: CommandCounters;
    /// `RL.MCHECK`
    pub(crate) static MCHECK: CommandCounters;
    /// `CL.THROTTLE`
    pub(crate) static THROTTLE: CommandCounters;
    /// `RL.PEEK`
    pub(crate) static PEEK: CommandCounters;
    /// `RL.INFO`
    pub(crate) static INFO: CommandCounters;
    /// `RL.REFUND`
    pub(crate) static REFUND: CommandCounters;
    /// `RL.RESET`
    pub(crate) static RESET: CommandCounters;
    /// `RL.TOP`
    pub(crate) static TOP: CommandCounters;

    /// Units that decisions granted.
    pub(super) static UNITS_GRANTED: Counter;
    /// Units that `RL.REFUND` gave back.
    pub(crate) static UNITS_REFUNDED: Counter;
    /// Receipts under which `RL.REFUND` gave something back.
    pub(crate) static RECEIPTS_REFUNDED: Counter;
    /// Receipts that `RENEW` exchanged for new ones.
    pub(crate) static RECEIPTS_RENEWED: Counter;
    /// Blocks (`UPTO`) that followed another one.
    pub(crate) static BLOCKS_GROWN: Counter;
    /// Limiters that `RL.RESET` forgot.
    pub(crate) static KEYS_RESET: Counter;

    /// Arguments that were refused.
    pub(crate) static ERRORS_ARGUMENT: Counter;
    /// Keys that held something else.
    pub(crate) static ERRORS_WRONGTYPE: Counter;
    /// Keys that held the state of a newer version.
    pub(crate) static ERRORS_VERSION: Counter;
    /// What the server would not do.
    pub(crate) static ERRORS_SERVER: Counter;
}
