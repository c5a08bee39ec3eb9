//! What the bench is at, in one line that changes. Only where somebody looks at it: not in a file or a pipe.

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
