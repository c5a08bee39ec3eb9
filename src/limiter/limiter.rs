//! One key's limiter at one time: what it decides, and what becomes of the key.

use super::{
    Algorithm, Blocks, Decision, Duration, Mode, NonEmpty, Outcome, Request, Timestamp, Units,
    Write,
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
    blocks: Blocks,
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
            blocks: Blocks::NONE,
            algorithm,
            differs: false,
        }
    }

    /// Moves the limiter on to now from `written`, the time at which it was stored like this, perhaps with blocks.
    pub(super) fn resume(&mut self, has_blocks: bool, written: Timestamp) {
        if has_blocks {
            self.blocks = self.blocks.after(self.now.duration_since(written));
        }
        self.differs = self.now < written;
        self.algorithm.advance(written, self.now);
    }

    /// Makes `parameters` the active ones, forgetting and forgiving nothing.
    pub fn set_parameters(&mut self, parameters: &A::Parameters) {
        self.differs |= self.algorithm.set_parameters(parameters, self.now);
    }

    /// Decides a request: a grant is charged, a denial may start a block.
    #[inline(always)]
    pub fn decide(&mut self, request: &Request) -> Outcome {
        match self.grantable(request) {
            0 => self.deny(request),
            units => self.grant(request, units),
        }
    }

    #[inline(always)]
    fn grant(&mut self, request: &Request, units: u64) -> Outcome {
        if matches!(request.mode, Mode::Wait(_)) {
            return self.grant_turn(request, units);
        }
        let charged = self.algorithm.charge(units, request.mode, self.now);
        Outcome {
            decision: self.decision_for(request, units),
            write: Write::Store,
            charged,
        }
    }

    /// Grants what may have to wait for its turn, and tells for how long.
    #[cold]
    fn grant_turn(&mut self, request: &Request, units: u64) -> Outcome {
        let retry_after = self.active().retry_after(request, self.now);
        let charged = self.algorithm.charge(units, request.mode, self.now);
        Outcome {
            decision: Decision {
                retry_after,
                ..self.decision_for(request, units)
            },
            write: Write::Store,
            charged,
        }
    }

    /// Denies a request, whether there is room or not: another key may have none. It may start a block.
    ///
    /// A denial writes nothing, unless it starts a block, or the limiter is not what is stored. A request that can
    /// never be granted writes nothing in any case.
    pub fn deny(&mut self, request: &Request) -> Outcome {
        let write = if self.active().exceeds_limit(request) {
            Write::Nothing
        } else if self.blocks.start(request) {
            Write::Store
        } else {
            self.write_unless_stored()
        };
        Outcome {
            decision: self.decision_for(request, 0),
            write,
            charged: false,
        }
    }

    /// Grants a request that is charged nothing, if there is room for it: the [`Limiter::preview`].
    pub fn pass(&self, request: &Request) -> Outcome {
        Outcome {
            decision: self.preview(request),
            write: self.write_unless_stored(),
            charged: false,
        }
    }

    /// What is stored must be what callers were told about, but an empty limiter does not have to be stored at all.
    fn write_unless_stored(&self) -> Write {
        if self.differs && !self.is_expired() {
            Write::Store
        } else {
            Write::Nothing
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
        self.refund_with(|algorithm| algorithm.refund(units.get()))
    }

    /// As [`Limiter::refund`], with what `refund` gives back.
    pub(super) fn refund_with(&mut self, refund: impl FnOnce(&mut A) -> u64) -> Option<Outcome> {
        if self.algorithm.expires_after(self.now).is_zero() && !self.blocks.is_blocked() {
            return None;
        }
        let refunded = refund(&mut self.algorithm);
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
        Some(Outcome {
            decision,
            write,
            charged: false,
        })
    }

    /// How many units of `request` can be granted. A block that still lasts leaves room for nothing, whatever the mode.
    #[inline(always)]
    fn grantable(&self, request: &Request) -> u64 {
        if self.blocks.is_blocked() {
            0
        } else {
            self.active().grantable(request, self.now)
        }
    }

    fn decision_for(&self, request: &Request, granted: u64) -> Decision {
        self.active()
            .decision_for(request, granted, self.blocks.left, self.now)
    }

    /// The limits that decide.
    pub fn active(&self) -> NonEmpty<'_, A::Limit> {
        self.algorithm.active()
    }

    /// Whether the whole quota is there, and no block.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.blocks.is_blocked() && self.active().are_full()
    }

    /// Whether nothing of it matters any more, not even windows that are no longer active.
    #[must_use]
    fn is_expired(&self) -> bool {
        self.expires_at() == self.now
    }

    /// When the limiter no longer matters: the whole quota is back, the block over, and blocks in a row forgotten.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        let expires_after = self.algorithm.expires_after(self.now);
        self.now
            .saturating_add(expires_after.max(self.blocks.expire_after()))
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
        self.blocks.left
    }

    /// How many blocks that grow there were in a row, the one that still lasts included.
    #[must_use]
    pub const fn blocks_in_a_row(&self) -> u32 {
        self.blocks.in_a_row
    }

    pub(super) const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) const fn blocks_mut(&mut self) -> &mut Blocks {
        &mut self.blocks
    }
}
