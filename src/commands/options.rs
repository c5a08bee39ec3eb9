//! The options of the decision commands: words in any case and any order, each at most once.

use super::args::{Arguments, receipt, units, units_or_zero, window};
use super::errors::{
    INVALID_BLOCK, INVALID_BURST, INVALID_COST, INVALID_COSTS, INVALID_KEEP, INVALID_MAX_WAIT,
    INVALID_RECEIPT, INVALID_UP_TO, SYNTAX, UP_TO_BELOW_BLOCK,
};
use crate::limiter::{Mode, Request, Timestamp, Units, Window};
use crate::server::Error;

/// The options that were given.
#[derive(Debug, Default)]
pub(super) struct Options {
    cost: Option<Units>,
    /// `COSTS`: the argument that is the first of them.
    pub(super) costs_at: Option<usize>,
    /// `BURST`.
    pub(super) burst: Option<Units>,
    mode: Option<Mode>,
    keep: Option<u64>,
    block: Option<Window>,
    block_up_to: Option<Window>,
    /// `RECEIPT` or `RENEW`.
    pub(super) receipt: Option<Receipt>,
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
        let mut options = Self::default();
        while let Some(word) = arguments.next() {
            options.read(word, arguments, of)?;
        }
        options.check()?;
        Ok(options)
    }

    fn read(
        &mut self,
        word: &[u8],
        arguments: &mut Arguments<'_>,
        of: OptionsOf,
    ) -> Result<(), Error> {
        use OptionsOf::{Check, Gcra, Mcheck, Peek};
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"cost") {
            return set(&mut self.cost, value(arguments, units, INVALID_COST)?);
        }
        match of {
            Check | Gcra if is(b"keep") => set(
                &mut self.keep,
                value(arguments, units_or_zero, INVALID_KEEP)?,
            ),
            Check | Gcra if is(b"atmost") => set(&mut self.mode, Mode::AtMost),
            Check | Gcra | Mcheck(_) if is(b"force") => set(&mut self.mode, Mode::Force),
            Check | Gcra if is(b"block") => {
                set(&mut self.block, value(arguments, window, INVALID_BLOCK)?)
            }
            Check | Gcra if is(b"upto") => {
                let up_to = value(arguments, window, INVALID_UP_TO)?;
                set(&mut self.block_up_to, up_to)
            }
            Gcra if is(b"burst") => set(&mut self.burst, value(arguments, units, INVALID_BURST)?),
            Gcra if is(b"maxwait") => {
                let max = value(arguments, window, INVALID_MAX_WAIT)?;
                set(&mut self.mode, Mode::Wait(max))
            }
            Check | Mcheck(_) if is(b"receipt") => set(&mut self.receipt, Receipt::Wanted),
            Check if is(b"renew") => {
                let receipt = value(arguments, receipt, INVALID_RECEIPT)?;
                set(&mut self.receipt, Receipt::Renew(receipt))
            }
            Mcheck(keys) if is(b"costs") => {
                set(&mut self.costs_at, arguments.position())?;
                costs(arguments, keys)
            }
            Peek | Check | Gcra | Mcheck(_) => Err(SYNTAX),
        }
    }

    /// Refuses options that exclude each other.
    fn check(&self) -> Result<(), Error> {
        // A forced request is never denied, so it could never start a block; and it leaves nothing to others, as does one
        // that is granted before there is room.
        let forced = self.mode == Some(Mode::Force);
        let waits = matches!(self.mode, Some(Mode::Wait(_)));
        if forced && self.block.is_some()
            || (forced || waits) && self.keep.is_some()
            || self.cost.is_some() && self.costs_at.is_some()
        {
            return Err(SYNTAX);
        }
        match (self.block, self.block_up_to) {
            (None, Some(_)) => Err(SYNTAX),
            (Some(block), Some(up_to)) if up_to < block => Err(UP_TO_BELOW_BLOCK),
            _ => Ok(()),
        }
    }

    /// What the request asks for.
    pub(super) fn request(&self) -> Request {
        Request {
            cost: self.cost.unwrap_or(Units::ONE),
            mode: self.mode.unwrap_or(Mode::Exact),
            keep: self.keep.unwrap_or(0),
            block: self.block,
            block_up_to: self.block_up_to,
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

fn set<T>(option: &mut Option<T>, value: T) -> Result<(), Error> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(SYNTAX),
    }
}
