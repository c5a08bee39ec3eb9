//! Why a command was not carried out.

use std::ffi::CStr;

use arrayvec::ArrayVec;

/// A command that was refused and has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The command takes another number of arguments; the server has its own text for that.
    WrongArity,
    /// The error to reply, beginning with its code.
    Error(&'static CStr),
    /// The same with a number in it: the text before, the number, the text after.
    Numbered(&'static str, u8, &'static str),
}

/// The longest error text, with the zero byte that ends it.
const MAX_TEXT: usize = 256;

impl Refusal {
    /// Hands the error text to `reply`; `None` where the server has its own.
    pub(super) fn with_text<R>(&self, reply: impl FnOnce(&CStr) -> R) -> Option<R> {
        match self {
            Self::WrongArity => None,
            Self::Error(text) => Some(reply(text)),
            Self::Numbered(before, number, after) => {
                let digits = [number / 100, number / 10 % 10, number % 10];
                let leading = digits.iter().take(2).take_while(|digit| **digit == 0);
                let digits = digits
                    .iter()
                    .skip(leading.count())
                    .map(|digit| b'0' | digit);
                let text: ArrayVec<u8, MAX_TEXT> = before
                    .bytes()
                    .chain(digits)
                    .chain(after.bytes())
                    .take(MAX_TEXT.saturating_sub(1))
                    .chain([0])
                    .collect();
                CStr::from_bytes_until_nul(&text).ok().map(reply)
            }
        }
    }
}
