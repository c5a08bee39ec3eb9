//! Several sliding windows on one key.

use arrayvec::ArrayVec;

use super::limit::{Limit, NonEmpty};
use super::sliding_window::{Rule, WindowLog};
use super::{Duration, Timestamp};

/// The most windows that one request may name, and that one key keeps.
pub const MAX_WINDOWS: usize = 8;

/// The windows that a request names: from 1 to [`MAX_WINDOWS`], each of another length, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    first: Rule,
    others: ArrayVec<Rule, { MAX_WINDOWS - 1 }>,
}

/// Why a window cannot be added to [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesError {
    /// There are [`MAX_WINDOWS`] already.
    TooMany,
    /// There is one of that length already.
    Duplicate,
}

impl Rules {
    /// One window.
    #[must_use]
    pub const fn new(rule: Rule) -> Self {
        Self {
            first: rule,
            others: ArrayVec::new_const(),
        }
    }

    /// Adds another window.
    ///
    /// # Errors
    /// [`RulesError::Duplicate`] where there is one of the same length, [`RulesError::TooMany`] where there are
    /// [`MAX_WINDOWS`].
    pub fn add(&mut self, rule: Rule) -> Result<(), RulesError> {
        if self.iter().any(|other| other.window == rule.window) {
            return Err(RulesError::Duplicate);
        }
        self.others.try_push(rule).map_err(|_| RulesError::TooMany)
    }

    /// The windows, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = Rule> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

/// The logs of the windows that the last request named, in its order, and after them those of windows named earlier
/// that still hold units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    first: WindowLog,
    others: ArrayVec<WindowLog, { MAX_WINDOWS - 1 }>,
    /// How many of `others` the last request named.
    others_active: usize,
}

impl Windows {
    /// Windows that have admitted nothing.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let mut windows = Self::blank();
        windows.reset_to(rules);
        windows
    }

    /// One window, to be replaced.
    #[inline(always)]
    pub(super) const fn blank() -> Self {
        Self {
            first: WindowLog::new(Rule::MIN),
            others: ArrayVec::new_const(),
            others_active: 0,
        }
    }

    /// Makes them those of `rules`, having admitted nothing.
    pub(super) fn reset_to(&mut self, rules: &Rules) {
        self.reset_to_one(rules.first);
        for rule in &rules.others {
            self.others.push(WindowLog::new(*rule));
        }
        self.others_active = rules.others.len();
    }

    /// The first log, that of `rule`, which has admitted nothing, and no other.
    pub(super) fn reset_to_one(&mut self, rule: Rule) -> &mut WindowLog {
        self.others.clear();
        self.others_active = 0;
        self.first.reset_to(rule);
        &mut self.first
    }

    /// Another log, to be read from what is stored. `None` where that cannot be: there is one of that length already,
    /// or there are [`MAX_WINDOWS`].
    pub(super) fn restore(&mut self, rule: Rule, active: bool) -> Option<&mut WindowLog> {
        if self.logs().any(|log| log.rule().window == rule.window) {
            return None;
        }
        self.others.try_push(WindowLog::new(rule)).ok()?;
        if active {
            self.others_active = self.others.len();
        }
        self.others.last_mut()
    }

    /// All logs, those in force first.
    pub fn logs(&self) -> impl Iterator<Item = &WindowLog> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How many logs there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// How many of the logs are in force.
    #[must_use]
    pub const fn count_active(&self) -> usize {
        self.others_active.saturating_add(1)
    }

    /// The logs in force.
    pub(super) fn active(&self) -> NonEmpty<'_, WindowLog> {
        NonEmpty {
            first: &self.first,
            others: self.others.get(..self.others_active).unwrap_or_default(),
        }
    }

    /// Takes `units` from every window in force.
    pub(super) fn charge(&mut self, units: u64, now: Timestamp) {
        self.first.charge(units, now);
        for log in self.others.iter_mut().take(self.others_active) {
            log.charge(units, now);
        }
    }

    /// Gives back up to `units` in every window, in force or not. Returns the most that one gave back.
    pub(super) fn refund(&mut self, units: u64) -> u64 {
        let most = self
            .others
            .iter_mut()
            .map(|log| log.refund(units))
            .fold(self.first.refund(units), u64::max);
        self.drop_emptied();
        most
    }

    /// Lets the time be `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.first.advance(now);
        for log in &mut self.others {
            log.advance(now);
        }
        self.drop_emptied();
    }

    /// Drops the windows that are not in force and no longer hold anything.
    fn drop_emptied(&mut self) {
        let mut at = 0_usize;
        self.others.retain(|log| {
            at = at.saturating_add(1);
            at <= self.others_active || !log.is_full()
        });
    }

    /// The time until nothing that is stored matters any more.
    pub(super) fn expires_after(&self, now: Timestamp) -> Duration {
        self.logs()
            .map(|log| log.reset_after(now))
            .fold(Duration::ZERO, Duration::max)
    }

    /// Puts `rules` in force. Returns whether anything changed.
    ///
    /// What was admitted stays counted: a window that is stored keeps its log under the new limit; one that is not
    /// starts with the units of the longest stored one; and one no longer named stays, neither enforced nor charged,
    /// until it has emptied. Where that would be more than [`MAX_WINDOWS`], the one that empties first makes room.
    pub(super) fn set_parameters(&mut self, rules: &Rules, now: Timestamp) -> bool {
        let active = self.logs().take(self.count_active()).map(WindowLog::rule);
        if active.eq(rules.iter()) {
            return false;
        }
        let mut stored: ArrayVec<WindowLog, MAX_WINDOWS> = self.logs().cloned().collect();
        let longest = stored.iter().max_by_key(|log| log.rule().window).cloned();
        self.first = take(&mut stored, longest.as_ref(), rules.first, now);
        self.others = rules
            .others
            .iter()
            .map(|rule| take(&mut stored, longest.as_ref(), *rule, now))
            .collect();
        self.others_active = self.others.len();

        stored.retain(|log| !log.is_full());
        while stored.len() > self.others.remaining_capacity() {
            let first_to_empty = stored
                .iter()
                .enumerate()
                .min_by_key(|(_, log)| log.reset_after(now))
                .map_or(0, |(at, _)| at);
            stored.pop_at(first_to_empty);
        }
        self.others.extend(stored);
        true
    }
}

/// The log for `rule`: the stored one of that length, taken out; else what the longest holds that is young enough.
fn take(
    stored: &mut ArrayVec<WindowLog, MAX_WINDOWS>,
    longest: Option<&WindowLog>,
    rule: Rule,
    now: Timestamp,
) -> WindowLog {
    let kept = stored
        .iter()
        .position(|log| log.rule().window == rule.window)
        .and_then(|at| stored.pop_at(at));
    match (kept, longest) {
        (Some(log), _) => log.with_limit(rule.limit),
        (None, Some(longest)) => longest.within(rule, now),
        (None, None) => WindowLog::new(rule),
    }
}
