//! The module's section of `INFO`: its fields, in order.
//!
//! It allocates nothing, for the server also asks for it while it writes a crash report.

use std::ffi::CStr;

use super::counters::{
    BLOCKS_GROWN, CHECK, CommandCounters, Counter, ERRORS_ARGUMENT, ERRORS_SERVER, ERRORS_VERSION,
    ERRORS_WRONGTYPE, GCRA, INFO, KEYS_RESET, MCHECK, PEEK, RECEIPTS_REFUNDED, RECEIPTS_RENEWED,
    REFUND, RESET, THROTTLE, TOP, UNITS_GRANTED, UNITS_REFUNDED,
};

/// The commands that decide, with the names of their fields: calls, granted, denied, impossible, errors.
const DECIDING: [(&CommandCounters, [&CStr; 5]); 4] = [
    (
        &CHECK,
        [
            c"check_calls",
            c"check_granted",
            c"check_denied",
            c"check_impossible",
            c"check_errors",
        ],
    ),
    (
        &GCRA,
        [
            c"gcra_calls",
            c"gcra_granted",
            c"gcra_denied",
            c"gcra_impossible",
            c"gcra_errors",
        ],
    ),
    (
        &MCHECK,
        [
            c"mcheck_calls",
            c"mcheck_granted",
            c"mcheck_denied",
            c"mcheck_impossible",
            c"mcheck_errors",
        ],
    ),
    (
        &THROTTLE,
        [
            c"throttle_calls",
            c"throttle_granted",
            c"throttle_denied",
            c"throttle_impossible",
            c"throttle_errors",
        ],
    ),
];
/// The other commands, with the names of their fields: calls, errors.
const OTHERS: [(&CommandCounters, [&CStr; 2]); 5] = [
    (&PEEK, [c"peek_calls", c"peek_errors"]),
    (&INFO, [c"info_calls", c"info_errors"]),
    (&REFUND, [c"refund_calls", c"refund_errors"]),
    (&RESET, [c"reset_calls", c"reset_errors"]),
    (&TOP, [c"top_calls", c"top_errors"]),
];

/// Hands every field and its value to `show`.
pub(crate) fn report(mut show: impl FnMut(&CStr, u64)) {
    let sum = |field: fn(&CommandCounters) -> &Counter| {
        DECIDING
            .iter()
            .map(|(command, _)| *command)
            .chain(OTHERS.iter().map(|(command, _)| *command))
            .fold(0, |sum: u64, command| {
                sum.saturating_add(field(command).get())
            })
    };
    let granted = sum(|command| &command.granted);
    let denied = sum(|command| &command.denied);
    let impossible = sum(|command| &command.impossible);
    show(c"calls", sum(|command| &command.calls));
    show(
        c"decisions",
        granted.saturating_add(denied).saturating_add(impossible),
    );
    show(c"granted", granted);
    show(c"denied", denied);
    show(c"impossible", impossible);
    show(c"units_granted", UNITS_GRANTED.get());
    show(c"units_refunded", UNITS_REFUNDED.get());
    show(c"receipts_refunded", RECEIPTS_REFUNDED.get());
    show(c"receipts_renewed", RECEIPTS_RENEWED.get());
    show(c"blocks_grown", BLOCKS_GROWN.get());
    show(c"keys_reset", KEYS_RESET.get());
    show(c"errors", sum(|command| &command.errors));
    show(c"errors_argument", ERRORS_ARGUMENT.get());
    show(c"errors_wrongtype", ERRORS_WRONGTYPE.get());
    show(c"errors_version", ERRORS_VERSION.get());
    show(c"errors_server", ERRORS_SERVER.get());
    for (command, [calls, granted, denied, impossible, errors]) in DECIDING {
        show(calls, command.calls.get());
        show(granted, command.granted.get());
        show(denied, command.denied.get());
        show(impossible, command.impossible.get());
        show(errors, command.errors.get());
    }
    for (command, [calls, errors]) in OTHERS {
        show(calls, command.calls.get());
        show(errors, command.errors.get());
    }
}
