//! The options of the decision commands: words in any case and any order, each at most once.

use super::args::{Arguments, receipt, units, units_or_zero, window};
use super::errors::{
    INVALID_BLOCK, INVALID_BURST, INVALID_COST, INVALID_COSTS, INVALID_KEEP, INVALID_MAX_WAIT,
    INVALID_RECEIPT, INVALID_UP_TO, SYNTAX, UP_TO_BELOW_BLOCK,
};
use crate::limiter::{Mode, Request, Timestamp, Units};
use crate::server::Error;

/// The options that were given.
#[derive(Debug)]
pub(super) struct Options {
    /// What the request asks for.
    pub(super) request: Request,
    /// `COSTS`: the argument that is the first of them.
    pub(super) costs_at: Option<usize>,
    /// `BURST`.
    pub(super) burst: Option<Units>,
    /// `RECEIPT` or `RENEW`.
    pub(super) receipt: Option<Receipt>,
    given: Given,
}

/// A set of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given(u8);

impl Given {
    const COST: Self = Self(1);
    const COSTS: Self = Self(1 << 1);
    const BURST: Self = Self(1 << 2);
    const KEEP: Self = Self(1 << 3);
    const MODE: Self = Self(1 << 4);
    const BLOCK: Self = Self(1 << 5);
    const UP_TO: Self = Self(1 << 6);
    const RECEIPT: Self = Self(1 << 7);

    const fn has(self, option: Self) -> bool {
        self.0 & option.0 != 0
    }

    /// Adds one, which must not be there.
    fn add(&mut self, option: Self) -> Result<(), Error> {
        if self.has(option) {
            return Err(SYNTAX);
        }
        self.0 |= option.0;
        Ok(())
    }
}

/// What a request says about receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    /// It wants one (`RECEIPT`).
    Wanted,
    /// It takes the place of the admission with this one (`RENEW`), and wants one, too.
    Renew(Timestamp),
}

/// The command whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionsOf {
    /// `RL.PEEK`: `COST`.
    Peek,
    /// `RL.CHECK`: `COST`, `KEEP`, `ATMOST` or `FORCE`, `BLOCK`, `UPTO`, `RECEIPT` or `RENEW`.
    Check,
    /// `RL.GCRA`: `BURST`, `COST`, `KEEP`, `ATMOST`, `FORCE` or `MAXWAIT`, `BLOCK`, `UPTO`.
    Gcra,
    /// `RL.MCHECK` on so many keys: `COST` or `COSTS`, `FORCE`, `RECEIPT`.
    Mcheck(usize),
}

impl Options {
    /// Reads what is left of the arguments.
    pub(super) fn parse(arguments: &mut Arguments<'_>, of: OptionsOf) -> Result<Self, Error> {
        let mut options = Self {
            request: Request::exact(Units::ONE),
            costs_at: None,
            burst: None,
            receipt: None,
            given: Given(0),
        };
        while let Some(word) = arguments.next() {
            let option = options.read(word, arguments, of)?;
            options.given.add(option)?;
        }
        if options.given != Given(0) {
            options.check()?;
        }
        Ok(options)
    }

    /// Reads one option, and what it takes; returns which one it is.
    fn read(
        &mut self,
        word: &[u8],
        arguments: &mut Arguments<'_>,
        of: OptionsOf,
    ) -> Result<Given, Error> {
        use OptionsOf::{Check, Gcra, Mcheck, Peek};
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let request = &mut self.request;
        if is(b"cost") {
            request.cost = value(arguments, units, INVALID_COST)?;
            return Ok(Given::COST);
        }
        Ok(match of {
            Check | Gcra if is(b"keep") => {
                request.keep = value(arguments, units_or_zero, INVALID_KEEP)?;
                Given::KEEP
            }
            Check | Gcra if is(b"atmost") => {
                request.mode = Mode::AtMost;
                Given::MODE
            }
            Check | Gcra | Mcheck(_) if is(b"force") => {
                request.mode = Mode::Force;
                Given::MODE
            }
            Check | Gcra if is(b"block") => {
                request.block = Some(value(arguments, window, INVALID_BLOCK)?);
                Given::BLOCK
            }
            Check | Gcra if is(b"upto") => {
                request.block_up_to = Some(value(arguments, window, INVALID_UP_TO)?);
                Given::UP_TO
            }
            Gcra if is(b"burst") => {
                self.burst = Some(value(arguments, units, INVALID_BURST)?);
                Given::BURST
            }
            Gcra if is(b"maxwait") => {
                request.mode = Mode::Wait(value(arguments, window, INVALID_MAX_WAIT)?);
                Given::MODE
            }
            Check | Mcheck(_) if is(b"receipt") => {
                self.receipt = Some(Receipt::Wanted);
                Given::RECEIPT
            }
            Check if is(b"renew") => {
                let receipt = value(arguments, receipt, INVALID_RECEIPT)?;
                self.receipt = Some(Receipt::Renew(receipt));
                Given::RECEIPT
            }
            Mcheck(keys) if is(b"costs") => {
                self.costs_at = Some(arguments.position());
                costs(arguments, keys)?;
                Given::COSTS
            }
            Peek | Check | Gcra | Mcheck(_) => return Err(SYNTAX),
        })
    }

    /// Refuses options that exclude each other.
    fn check(&self) -> Result<(), Error> {
        let given = |option| self.given.has(option);
        // A forced request is never denied, so it could never start a block; and it leaves nothing to others, as does one
        // that is granted before there is room.
        let forced = self.request.mode == Mode::Force;
        let waits = matches!(self.request.mode, Mode::Wait(_));
        if forced && given(Given::BLOCK)
            || (forced || waits) && given(Given::KEEP)
            || given(Given::COST) && given(Given::COSTS)
            || given(Given::UP_TO) && !given(Given::BLOCK)
        {
            return Err(SYNTAX);
        }
        match (self.request.block, self.request.block_up_to) {
            (Some(block), Some(up_to)) if up_to < block => Err(UP_TO_BELOW_BLOCK),
            _ => Ok(()),
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

/// Reads past the costs: one for each key, not all of them 0.
fn costs(arguments: &mut Arguments<'_>, keys: usize) -> Result<(), Error> {
    let mut any = false;
    for _ in 0..keys {
        let cost = arguments
            .next()
            .and_then(units_or_zero)
            .ok_or(INVALID_COSTS)?;
        any |= cost > 0;
    }
    if any && !arguments.another_pair() {
        Ok(())
    } else {
        Err(INVALID_COSTS)
    }
}
