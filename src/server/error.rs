//! Why a command was not carried out.

use std::ffi::CStr;

use arrayvec::ArrayVec;

use crate::stats::counters::{self, Counter};

/// A command that was refused and has changed nothing. The texts begin with an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// An argument is not what it should be.
    Argument(&'static CStr),
    /// The key holds something else.
    WrongType(&'static CStr),
    /// The key holds the state of a newer version: the text before its number, the number, the text after.
    NewerVersion(&'static str, u8, &'static str),
    /// The server did not do what it was asked to.
    Server(&'static CStr),
}

/// The longest error text, with the zero byte that ends it.
const MAX_TEXT: usize = 256;

impl Error {
    /// The counter of errors of this kind.
    pub(super) fn counter(&self) -> &'static Counter {
        match self {
            Self::Argument(_) => &counters::ERRORS_ARGUMENT,
            Self::WrongType(_) => &counters::ERRORS_WRONGTYPE,
            Self::NewerVersion(..) => &counters::ERRORS_VERSION,
            Self::Server(_) => &counters::ERRORS_SERVER,
        }
    }

    /// Hands the error text to `reply`.
    pub(super) fn with_text(&self, reply: impl FnOnce(&CStr)) {
        match self {
            Self::Argument(text) | Self::WrongType(text) | Self::Server(text) => reply(text),
            Self::NewerVersion(before, version, after) => {
                let digits = [version / 100, version / 10 % 10, version % 10];
                let leading = digits.iter().take(2).take_while(|digit| **digit == 0);
                let digits = digits
                    .iter()
                    .skip(leading.count())
                    .map(|digit| b'0' | digit);
                let bytes = before.bytes().chain(digits).chain(after.bytes());
                let mut text: ArrayVec<u8, MAX_TEXT> = ArrayVec::new();
                for byte in bytes.take(MAX_TEXT.saturating_sub(1)).chain([0]) {
                    // All of them fit.
                    let _ = text.try_push(byte);
                }
                reply(CStr::from_bytes_until_nul(&text).unwrap_or(c"ERR"));
            }
        }
    }
}
