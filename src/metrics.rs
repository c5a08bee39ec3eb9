//! What the module has done since it was loaded, as `INFO ratelimit` shows it.

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

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one command has done.
#[derive(Debug)]
pub(crate) struct CommandCounters {
    calls: Counter,
    granted: Counter,
    denied: Counter,
    impossible: Counter,
    errors: Counter,
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

    /// Counts a call that was refused.
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

static UNITS_GRANTED: Counter = Counter::new();
/// Units that `RL.REFUND` gave back.
pub(crate) static UNITS_REFUNDED: Counter = Counter::new();
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

const DECIDING: [(&str, &CommandCounters); 4] = [
    ("check", &CHECK),
    ("gcra", &GCRA),
    ("mcheck", &MCHECK),
    ("throttle", &THROTTLE),
];
const OTHERS: [(&str, &CommandCounters); 5] = [
    ("peek", &PEEK),
    ("info", &INFO),
    ("refund", &REFUND),
    ("reset", &RESET),
    ("top", &TOP),
];

/// Hands every field and its value to `show`.
pub(crate) fn report(mut show: impl FnMut(&str, u64)) {
    let all = || DECIDING.iter().chain(&OTHERS).map(|(_, command)| *command);
    let sum = |field: fn(&CommandCounters) -> &Counter| {
        all().fold(0, |sum: u64, command| {
            sum.saturating_add(field(command).get())
        })
    };
    let granted = sum(|command| &command.granted);
    let denied = sum(|command| &command.denied);
    let impossible = sum(|command| &command.impossible);
    show("calls", sum(|command| &command.calls));
    show(
        "decisions",
        granted.saturating_add(denied).saturating_add(impossible),
    );
    show("granted", granted);
    show("denied", denied);
    show("impossible", impossible);
    show("units_granted", UNITS_GRANTED.get());
    show("units_refunded", UNITS_REFUNDED.get());
    show("keys_reset", KEYS_RESET.get());
    show("errors", sum(|command| &command.errors));
    show("errors_argument", ERRORS_ARGUMENT.get());
    show("errors_wrongtype", ERRORS_WRONGTYPE.get());
    show("errors_version", ERRORS_VERSION.get());
    show("errors_server", ERRORS_SERVER.get());
    for (name, command) in DECIDING {
        show(&format!("{name}_calls"), command.calls.get());
        show(&format!("{name}_granted"), command.granted.get());
        show(&format!("{name}_denied"), command.denied.get());
        show(&format!("{name}_impossible"), command.impossible.get());
        show(&format!("{name}_errors"), command.errors.get());
    }
    for (name, command) in OTHERS {
        show(&format!("{name}_calls"), command.calls.get());
        show(&format!("{name}_errors"), command.errors.get());
    }
}
