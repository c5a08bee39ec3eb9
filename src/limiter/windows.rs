//! Several sliding windows on one key.

use arrayvec::ArrayVec;

use super::limit::{decision, wait};
use super::{
    Algorithm, AlgorithmKind, Decision, Duration, Limit, Limiter, Mode, NonEmpty, Outcome, Request,
    RetryAfter, Rule, Timestamp, Units, WindowLog,
};

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
    /// [`RulesError::Duplicate`] if there is one of the same length, [`RulesError::TooMany`] if there are
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
    /// Nearly always there are none: on the heap, so that a limiter of one window has the size of one.
    others: Vec<WindowLog>,
    /// How many of `others` the last request named.
    others_active: usize,
}

impl Windows {
    /// The log of one window, which has admitted nothing.
    #[inline(always)]
    pub(super) const fn one(rule: Rule) -> Self {
        Self {
            first: WindowLog::new(rule),
            others: Vec::new(),
            others_active: 0,
        }
    }

    /// The first log, that of `rule`, which has admitted nothing, and no other.
    pub(super) fn reset_to(&mut self, rule: Rule) -> &mut WindowLog {
        self.others.clear();
        self.others_active = 0;
        self.first.reset_to(rule);
        &mut self.first
    }

    /// Another log of `rule`, to be read from what is stored. `None` if that cannot be: there is one of that length
    /// already, or there are [`MAX_WINDOWS`].
    pub(super) fn restore(&mut self, rule: Rule, active: bool) -> Option<&mut WindowLog> {
        let is_known = |log: &WindowLog| log.rule().window == rule.window;
        if self.count() >= MAX_WINDOWS || self.logs().any(is_known) {
            return None;
        }
        self.others.push(WindowLog::new(rule));
        if active {
            self.others_active = self.others.len();
        }
        self.others.last_mut()
    }

    /// Makes room for `others` logs beside the first.
    pub(super) fn reserve(&mut self, others: usize) {
        self.others.reserve_exact(others);
    }

    /// All logs, the active ones first.
    pub fn logs(&self) -> impl Iterator<Item = &WindowLog> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How many logs there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// How many of the logs are active.
    #[must_use]
    pub const fn count_active(&self) -> usize {
        self.others_active.saturating_add(1)
    }

    /// Drops the windows that are not active and no longer hold anything.
    fn drop_emptied(&mut self) {
        if self.others.len() > self.others_active {
            let mut at = 0_usize;
            self.others.retain(|log| {
                at = at.saturating_add(1);
                at <= self.others_active || !log.is_full()
            });
        }
    }
}

impl Algorithm for Windows {
    const KIND: AlgorithmKind = AlgorithmKind::SlidingWindow;
    type Parameters = Rules;
    type Limit = WindowLog;

    #[inline(always)]
    fn new(rules: &Rules) -> Self {
        let others = if rules.others.is_empty() {
            Vec::new()
        } else {
            new_logs(&rules.others)
        };
        Self {
            first: WindowLog::new(rules.first),
            others_active: others.len(),
            others,
        }
    }

    fn advance(&mut self, _from: Timestamp, now: Timestamp) {
        self.first.advance(now);
        for log in &mut self.others {
            log.advance(now);
        }
        self.drop_emptied();
    }

    /// What was admitted stays counted: a window that is stored keeps its log under the new limit; one that is not
    /// starts with the units of the longest stored one; and one no longer named stays, neither enforced nor charged,
    /// until it has emptied. If that would be more than [`MAX_WINDOWS`], the one that empties first makes room.
    fn set_parameters(&mut self, rules: &Rules, now: Timestamp) -> bool {
        let others = self.others.iter().take(self.others_active);
        let others = others.map(WindowLog::rule);
        if self.first.rule() == rules.first && others.eq(rules.others.iter().copied()) {
            return false;
        }
        let mut stored = Vec::from_iter(self.logs().cloned());
        let longest = stored.iter().max_by_key(|log| log.rule().window).cloned();
        self.first = take(&mut stored, longest.as_ref(), rules.first, now);
        let others = rules.others.iter();
        self.others =
            Vec::from_iter(others.map(|rule| take(&mut stored, longest.as_ref(), *rule, now)));
        self.others_active = self.others.len();

        stored.retain(|log| !log.is_full());
        while stored.len().saturating_add(self.count()) > MAX_WINDOWS {
            let first_to_empty = stored.iter().min_by_key(|log| log.reset_after(now));
            let Some(window) = first_to_empty.map(|log| log.rule().window) else {
                break;
            };
            stored.retain(|log| log.rule().window != window);
        }
        self.others.append(&mut stored);
        true
    }

    fn active(&self) -> NonEmpty<'_, WindowLog> {
        let others = self.others.get(..self.others_active).unwrap_or_default();
        NonEmpty::new(&self.first, others)
    }

    fn charge(&mut self, units: u64, _mode: Mode, now: Timestamp) -> bool {
        let mut charged = self.first.charge(units, now);
        for log in self.others.iter_mut().take(self.others_active) {
            charged |= log.charge(units, now);
        }
        charged
    }

    fn refund(&mut self, units: u64) -> u64 {
        let max = self
            .others
            .iter_mut()
            .map(|log| log.refund(units))
            .fold(self.first.refund(units), u64::max);
        self.drop_emptied();
        max
    }

    fn expires_after(&self, now: Timestamp) -> Duration {
        self.logs()
            .map(|log| log.reset_after(now))
            .fold(Duration::ZERO, Duration::max)
    }
}

impl Windows {
    /// Gives back up to `units` of those admitted at `receipt` from each log that is stored. Returns the most that one
    /// gave back.
    fn refund_receipt(&mut self, units: u64, receipt: Timestamp, now: Timestamp) -> u64 {
        let max = self
            .others
            .iter_mut()
            .map(|log| log.refund_receipt(units, receipt, now))
            .fold(self.first.refund_receipt(units, receipt, now), u64::max);
        self.drop_emptied();
        max
    }
}

/// Receipts: the time of an admission, by which its units can be found again.
impl Limiter<Windows> {
    /// As [`Limiter::refund`], but gives back units of the admission at `receipt`.
    pub fn refund_receipt(&mut self, units: Units, receipt: Timestamp) -> Option<Outcome> {
        let now = self.now();
        self.refund_with(|windows| windows.refund_receipt(units.get(), receipt, now))
    }

    /// Decides a request that takes the place of the one at `receipt`: its cost is given back under the receipt and asked
    /// for anew. Denied, nothing is given back. The second value tells whether something was renewed.
    pub fn renew(&mut self, request: &Request, receipt: Timestamp) -> (Outcome, bool) {
        let now = self.now();
        let mut given_back = self.algorithm().clone();
        if given_back.refund_receipt(request.cost.get(), receipt, now) == 0 {
            return (self.decide(request), false);
        }
        let has_room = given_back.active().retry_after(request, now) == RetryAfter::NOW;
        if has_room && self.blocked_for().is_zero() {
            *self.algorithm_mut() = given_back;
            return (self.decide(request), true);
        }
        let mut outcome = self.deny(request);
        outcome.decision = self.renewal_denied(&given_back, request, receipt);
        (outcome, false)
    }

    /// The reply to a renewal that is denied: its wait is that of the same request again, which will give back the same
    /// units, those of `given_back`, in each window that the receipt has not left by then.
    fn renewal_denied(
        &self,
        given_back: &Windows,
        request: &Request,
        receipt: Timestamp,
    ) -> Decision {
        let now = self.now();
        let blocked_for = self.blocked_for();
        let mut retry_after = RetryAfter::After(blocked_for);
        let mut binding = self.active().first();
        // Each window moves it on at most twice: to when there is room if units are given back, and to when there is if not.
        for _ in 0..=2 * MAX_WINDOWS {
            let before = retry_after;
            for (log, later) in self.active().iter().zip(given_back.active().iter()) {
                let left = receipt.saturating_add(log.rule().window.as_duration());
                let left = RetryAfter::After(left.duration_since(now));
                let given_back = retry_after.max(wait(later, request, now));
                let passes = if given_back < left {
                    given_back
                } else {
                    retry_after.max(wait(log, request, now))
                };
                if passes > retry_after {
                    retry_after = passes;
                    binding = log;
                }
            }
            if retry_after == before {
                break;
            }
        }
        decision(binding, 0, retry_after, blocked_for, now)
    }
}

/// Logs that have admitted nothing. Not by an iterator, which would copy the room for their groups.
fn new_logs(rules: &[Rule]) -> Vec<WindowLog> {
    let mut logs = Vec::with_capacity(rules.len());
    for rule in rules {
        logs.push(WindowLog::new(*rule));
    }
    logs
}

/// The log for `rule`: the stored one of that length, taken out; else one with the units of the longest that are young
/// enough.
fn take(
    stored: &mut Vec<WindowLog>,
    longest: Option<&WindowLog>,
    rule: Rule,
    now: Timestamp,
) -> WindowLog {
    let kept = stored
        .extract_if(.., |log| log.rule().window == rule.window)
        .next();
    match (kept, longest) {
        (Some(log), _) => log.with_limit(rule.limit),
        (None, Some(longest)) => longest.within(rule, now),
        (None, None) => WindowLog::new(rule),
    }
}
