//! The options of the decision commands: words in any case and any order, each at most once.

use super::args::{Arguments, units, window};
use super::errors::{INVALID_BLOCK, INVALID_BURST, INVALID_COST, SYNTAX};
use crate::limiter::{Mode, Request, Units, Window};
use crate::server::Error;

/// The options that were given.
#[derive(Debug, Default)]
pub(super) struct Options {
    cost: Option<Units>,
    /// `BURST`.
    pub(super) burst: Option<Units>,
    mode: Option<Mode>,
    block: Option<Window>,
}

/// A set of options that a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllowedOptions {
    /// `COST`.
    Cost,
    /// `COST`, `ATMOST` or `FORCE`, `BLOCK`.
    Decision,
    /// The same and `BURST`.
    DecisionAndBurst,
}

impl Options {
    /// Reads what is left of the arguments.
    pub(super) fn parse(
        arguments: &mut Arguments<'_>,
        allowed: AllowedOptions,
    ) -> Result<Self, Error> {
        let mut options = Self::default();
        let decides = allowed != AllowedOptions::Cost;
        while let Some(word) = arguments.next() {
            if word.eq_ignore_ascii_case(b"cost") {
                set(&mut options.cost, value(arguments, units, INVALID_COST)?)?;
            } else if word.eq_ignore_ascii_case(b"burst")
                && allowed == AllowedOptions::DecisionAndBurst
            {
                set(&mut options.burst, value(arguments, units, INVALID_BURST)?)?;
            } else if word.eq_ignore_ascii_case(b"atmost") && decides {
                set(&mut options.mode, Mode::AtMost)?;
            } else if word.eq_ignore_ascii_case(b"force") && decides {
                set(&mut options.mode, Mode::Force)?;
            } else if word.eq_ignore_ascii_case(b"block") && decides {
                set(&mut options.block, value(arguments, window, INVALID_BLOCK)?)?;
            } else {
                return Err(SYNTAX);
            }
        }
        // A forced request is never denied, so it could never start a block.
        if options.mode == Some(Mode::Force) && options.block.is_some() {
            return Err(SYNTAX);
        }
        Ok(options)
    }

    /// What the request asks for.
    pub(super) fn request(&self) -> Request {
        Request {
            cost: self.cost.unwrap_or(Units::ONE),
            mode: self.mode.unwrap_or(Mode::Exact),
            block: self.block,
        }
    }
}

/// The value of an option.
fn value<T>(
    arguments: &mut Arguments<'_>,
    parse: impl Fn(&[u8]) -> Option<T>,
    error: Error,
) -> Result<T, Error> {
    parse(arguments.next().ok_or(SYNTAX)?).ok_or(error)
}

fn set<T>(option: &mut Option<T>, value: T) -> Result<(), Error> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(SYNTAX),
    }
}
