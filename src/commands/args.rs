//! Arguments, as clients spell them.

use super::errors::{INVALID_LIMIT, INVALID_WINDOW, SYNTAX};
use crate::limiter::{Rule, Timestamp, Units, Window};
use crate::server::{Call, Error};

/// The arguments that have not been read yet.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    call: &'a Call<'a>,
    next: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments from `next` on; the command's name is at 0.
    pub(super) const fn from(call: &'a Call<'a>, next: usize) -> Self {
        Self { call, next }
    }

    /// Which one is next.
    pub(super) const fn position(&self) -> usize {
        self.next
    }

    /// The next one, without reading it.
    pub(super) fn peek(&self) -> Option<&'a [u8]> {
        self.call.argument(self.next)
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let argument = self.peek()?;
        self.next = self.next.saturating_add(1);
        Some(argument)
    }

    /// Whether there is another `limit window` pair: something that starts with a digit.
    pub(super) fn another_pair(&self) -> bool {
        self.peek()
            .and_then(<[u8]>::first)
            .is_some_and(u8::is_ascii_digit)
    }

    /// `limit window`.
    pub(super) fn rule(&mut self) -> Result<Rule, Error> {
        let limit = self.next().ok_or(SYNTAX)?;
        let window = self.next().ok_or(SYNTAX)?;
        Ok(Rule {
            limit: units(limit).ok_or(INVALID_LIMIT)?,
            window: self::window(window).ok_or(INVALID_WINDOW)?,
        })
    }
}

/// A limit, a cost or a burst.
pub(super) fn units(argument: &[u8]) -> Option<Units> {
    integer(argument).and_then(Units::new)
}

/// A cost, or units that are to remain, which may be 0.
pub(super) fn units_or_zero(argument: &[u8]) -> Option<u64> {
    or_zero(argument).filter(|units| *units <= Units::MAX)
}

/// A receipt. That of a time beyond all times, or 0, is the receipt of nothing.
pub(super) fn receipt(argument: &[u8]) -> Option<Timestamp> {
    const MAX: u64 = i64::MAX as u64;
    let micros = or_zero(argument).filter(|micros| *micros <= MAX)?;
    Some(Timestamp::from_micros(micros))
}

/// A window or a duration: seconds, or an integer with a unit.
pub(super) fn window(argument: &[u8]) -> Option<Window> {
    let digits = argument
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, unit) = argument.split_at_checked(digits)?;
    let millis: u64 = match unit {
        b"ms" => 1,
        b"" | b"s" => 1_000,
        b"m" => 60 * 1_000,
        b"h" => 60 * 60 * 1_000,
        b"d" => 24 * 60 * 60 * 1_000,
        b"w" => 7 * 24 * 60 * 60 * 1_000,
        _ => return None,
    };
    Window::from_millis(integer(number)?.checked_mul(millis)?)
}

/// A positive integer as core commands accept it: digits, the first of them not a zero.
pub(super) fn integer(argument: &[u8]) -> Option<u64> {
    match argument {
        [first @ b'1'..=b'9', rest @ ..] => {
            let digit = |byte: u8| u64::from(byte & 0x0f);
            rest.iter().try_fold(digit(*first), |value, byte| {
                let digit = byte.is_ascii_digit().then(|| digit(*byte))?;
                value.checked_mul(10)?.checked_add(digit)
            })
        }
        _ => None,
    }
}

/// The same, or 0.
pub(super) fn or_zero(argument: &[u8]) -> Option<u64> {
    match argument {
        b"0" => Some(0),
        _ => integer(argument),
    }
}
