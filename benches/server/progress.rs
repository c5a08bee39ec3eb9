//! What the bench does now, in one line that changes. Only on a terminal: not in a file or a pipe.

use std::fmt;
use std::io::{IsTerminal, stderr};

/// Shows what is being done now.
pub fn show(what: fmt::Arguments<'_>) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}

/// Ends it.
pub fn clear() {
    show(format_args!(""));
}
