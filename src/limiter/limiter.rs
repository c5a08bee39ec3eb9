//! One key's limiter at one time: what it decides, and what becomes of the key.

use super::{
    Algorithm, Decision, Duration, NonEmpty, Outcome, Request, Timestamp, Units, Window, Write,
};

/// One key's limiter at one time.
///
/// ```
/// use redis_ratelimit::limiter::{Limiter, Request, Rule, Rules, Timestamp, Units, Window, Windows, Write};
///
/// let rules = Rules::new(Rule {
///     limit: Units::new(1).unwrap(),
///     window: Window::from_millis(60_000).unwrap(),
/// });
/// let request = Request::exact(Units::ONE);
/// let noon = Timestamp::from_micros(1_700_000_000_000_000);
///
/// let mut limiter = Limiter::<Windows>::open(None, &rules, noon).unwrap();
/// let outcome = limiter.decide(&request);
/// assert_eq!(outcome.decision.granted, 1);
/// assert_eq!(outcome.write, Write::Store);
/// let stored = limiter.encode();
///
/// let mut limiter = Limiter::<Windows>::open(Some(&stored), &rules, noon).unwrap();
/// let outcome = limiter.decide(&request);
/// assert_eq!(outcome.decision.granted, 0);
/// assert_eq!(outcome.write, Write::Nothing, "a denial writes nothing");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter<A> {
    now: Timestamp,
    blocked_for: Duration,
    algorithm: A,
    /// It is not what is stored, because the parameters changed or the clock stepped back. Then even a denial stores it:
    /// after the wait that a caller was told, the limiter must be the one that the wait was computed from.
    differs: bool,
}

impl<A: Algorithm> Limiter<A> {
    /// The limiter of a key that holds nothing yet.
    #[must_use]
    #[inline(always)]
    pub fn new(parameters: &A::Parameters, now: Timestamp) -> Self {
        Self::with(A::new(parameters), now)
    }

    /// A limiter that is not blocked.
    #[inline(always)]
    pub(super) const fn with(algorithm: A, now: Timestamp) -> Self {
        Self {
            now,
            blocked_for: Duration::ZERO,
            algorithm,
            differs: false,
        }
    }

    /// Moves the limiter on to now from `written`, the time at which it was stored like this.
    pub(super) fn resume(&mut self, blocked_for: Duration, written: Timestamp) {
        self.blocked_for = blocked_for.saturating_sub(self.now.duration_since(written));
        self.differs = self.now < written;
        self.algorithm.advance(written, self.now);
    }

    /// Makes `parameters` the active ones, forgetting and forgiving nothing.
    pub fn set_parameters(&mut self, parameters: &A::Parameters) {
        self.differs |= self.algorithm.set_parameters(parameters, self.now);
    }

    /// Decides a request: a grant is charged, a denial may start a block.
    #[inline]
    pub fn decide(&mut self, request: &Request) -> Outcome {
        match self.grantable(request) {
            0 => self.deny(request),
            units => self.grant(request, units),
        }
    }

    fn grant(&mut self, request: &Request, units: u64) -> Outcome {
        self.algorithm.charge(units, self.now);
        Outcome {
            decision: self.decision_for(request, units),
            write: Write::Store,
        }
    }

    /// Denies a request, whether there is room or not: another key may have none. It may start a block.
    ///
    /// A denial writes nothing, unless it starts a block, or the limiter is not what is stored. A request that can
    /// never be granted writes nothing in any case.
    pub fn deny(&mut self, request: &Request) -> Outcome {
        let write = if self.active().exceeds_limit(request) {
            Write::Nothing
        } else if let Some(block) = self.block_to_start(request) {
            self.blocked_for = block.as_duration();
            Write::Store
        } else if self.differs && !self.is_expired() {
            Write::Store
        } else {
            Write::Nothing
        };
        Outcome {
            decision: self.decision_for(request, 0),
            write,
        }
    }

    /// What [`Limiter::decide`] would answer; the state stays as it is.
    #[must_use]
    #[inline]
    pub fn preview(&self, request: &Request) -> Decision {
        self.decision_for(request, self.grantable(request))
    }

    /// The [`Limiter::preview`] of a plain request; `None` if nothing is in use.
    #[must_use]
    pub fn peek(&self, cost: Units) -> Option<Decision> {
        (!self.is_full()).then(|| self.preview(&Request::exact(cost)))
    }

    /// Gives back the units admitted last: they count as never admitted. `granted` is how many, the most that one
    /// window gave back; the rest is the [`Limiter::peek`] afterwards. `None` if there is nothing to give back.
    pub fn refund(&mut self, units: Units) -> Option<Outcome> {
        if self.is_expired() {
            return None;
        }
        let refunded = self.algorithm.refund(units.get());
        let write = if refunded == 0 {
            Write::Nothing
        } else if self.is_expired() {
            Write::Delete
        } else {
            Write::Store
        };
        let decision = Decision {
            granted: refunded,
            ..self.preview(&Request::exact(Units::ONE))
        };
        Some(Outcome { decision, write })
    }

    /// How many units of `request` can be granted. A block that still lasts leaves room for nothing, whatever the mode.
    fn grantable(&self, request: &Request) -> u64 {
        if self.blocked_for.is_zero() {
            self.active().grantable(request)
        } else {
            0
        }
    }

    /// The block that a denial of `request` starts: none as long as another lasts.
    const fn block_to_start(&self, request: &Request) -> Option<Window> {
        if self.blocked_for.is_zero() {
            request.block
        } else {
            None
        }
    }

    fn decision_for(&self, request: &Request, granted: u64) -> Decision {
        self.active()
            .decision_for(request, granted, self.blocked_for, self.now)
    }

    /// The limits that decide.
    pub fn active(&self) -> NonEmpty<'_, A::Limit> {
        self.algorithm.active()
    }

    /// Whether the whole quota is there, and no block.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.blocked_for.is_zero() && self.active().are_full()
    }

    /// Whether nothing of it matters any more, not even windows that are no longer active.
    #[must_use]
    fn is_expired(&self) -> bool {
        self.expires_at() == self.now
    }

    /// When the limiter no longer matters: the whole quota is back and the block over.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        let expires_after = self.algorithm.expires_after(self.now);
        self.now.saturating_add(expires_after.max(self.blocked_for))
    }

    /// The time for which it was opened.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The algorithm's share of it.
    #[must_use]
    pub const fn algorithm(&self) -> &A {
        &self.algorithm
    }

    pub(super) const fn algorithm_mut(&mut self) -> &mut A {
        &mut self.algorithm
    }

    /// The time for which it still denies everything.
    #[must_use]
    pub const fn blocked_for(&self) -> Duration {
        self.blocked_for
    }
}
