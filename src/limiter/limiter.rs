//! One key's limiter, whatever its algorithm: what it answers, and what has to be stored afterwards.

use super::limit::{Limit, NonEmpty};
use super::state::{self, Encoded};
use super::{
    Bucket, Decision, DecodeError, Duration, Quota, Request, Rules, Timestamp, Units, WindowLog,
    Windows,
};

/// The algorithms. A key belongs to the one that it was first used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmKind {
    /// The strict sliding window of `RL.CHECK`.
    SlidingWindow,
    /// The token bucket of `RL.GCRA`.
    Gcra,
}

/// An algorithm's share of a key's state.
pub trait Algorithm: Sized {
    /// Which one it is.
    const KIND: AlgorithmKind;

    /// What a request says about its limits.
    type Parameters;

    /// What decides: one, or several that have to agree.
    type Limit: Limit;

    /// A state to be replaced by another, in place.
    fn blank() -> Self;

    /// Makes it the state of a key that was never asked for.
    fn reset_to(&mut self, parameters: &Self::Parameters);

    /// Lets the time, at which the state stood at `from`, be `now`.
    fn advance(&mut self, from: Timestamp, now: Timestamp);

    /// Puts `parameters` in force, forgetting and forgiving nothing. Returns whether anything changed.
    fn set_parameters(&mut self, parameters: &Self::Parameters, now: Timestamp) -> bool;

    /// The limits in force.
    fn limits(&self) -> NonEmpty<'_, Self::Limit>;

    /// Charges every limit in force.
    fn charge(&mut self, units: u64, now: Timestamp);

    /// Gives back up to `units` of everything stored. Returns the most that one limit gave back.
    fn refund(&mut self, units: u64) -> u64;

    /// The time until nothing that is stored matters any more.
    fn expires_after(&self, now: Timestamp) -> Duration;

    /// Appends the bytes to store a limiter as to `out`, which is empty.
    fn encode(limiter: &Limiter<Self>, out: &mut Encoded);

    /// Makes `limiter` the one that is stored in `bytes`, at the time when it was stored.
    ///
    /// # Errors
    /// [`DecodeError`] where `bytes` are not the state of a limiter with this algorithm. The limiter is of no use then.
    fn decode(bytes: &[u8], limiter: &mut Limiter<Self>) -> Result<(), DecodeError>;
}

impl Algorithm for Windows {
    const KIND: AlgorithmKind = AlgorithmKind::SlidingWindow;
    type Parameters = Rules;
    type Limit = WindowLog;

    #[inline(always)]
    fn blank() -> Self {
        Self::blank()
    }

    fn reset_to(&mut self, rules: &Rules) {
        self.reset_to(rules);
    }

    fn advance(&mut self, _from: Timestamp, now: Timestamp) {
        self.advance(now);
    }

    fn set_parameters(&mut self, rules: &Rules, now: Timestamp) -> bool {
        self.set_parameters(rules, now)
    }

    fn limits(&self) -> NonEmpty<'_, WindowLog> {
        self.active()
    }

    fn charge(&mut self, units: u64, now: Timestamp) {
        self.charge(units, now);
    }

    fn refund(&mut self, units: u64) -> u64 {
        self.refund(units)
    }

    fn expires_after(&self, now: Timestamp) -> Duration {
        self.expires_after(now)
    }

    fn encode(limiter: &Limiter<Self>, out: &mut Encoded) {
        state::encode_windows(limiter, out);
    }

    fn decode(bytes: &[u8], limiter: &mut Limiter<Self>) -> Result<(), DecodeError> {
        state::decode_windows(bytes, limiter)
    }
}

impl Algorithm for Bucket {
    const KIND: AlgorithmKind = AlgorithmKind::Gcra;
    type Parameters = Quota;
    type Limit = Self;

    fn blank() -> Self {
        Self::new(Quota::MIN)
    }

    fn reset_to(&mut self, quota: &Quota) {
        *self = Self::new(*quota);
    }

    fn advance(&mut self, from: Timestamp, now: Timestamp) {
        // Nothing passes while the clock stands before `from`: the TAT steps back with it.
        self.advance(now.duration_since(from));
    }

    fn set_parameters(&mut self, quota: &Quota, _now: Timestamp) -> bool {
        self.set_parameters(*quota)
    }

    fn limits(&self) -> NonEmpty<'_, Self> {
        NonEmpty {
            first: self,
            others: &[],
        }
    }

    fn charge(&mut self, units: u64, now: Timestamp) {
        Limit::charge(self, units, now);
    }

    fn refund(&mut self, units: u64) -> u64 {
        Limit::refund(self, units)
    }

    fn expires_after(&self, now: Timestamp) -> Duration {
        self.reset_after(now)
    }

    fn encode(limiter: &Limiter<Self>, out: &mut Encoded) {
        state::encode_bucket(limiter, out);
    }

    fn decode(bytes: &[u8], limiter: &mut Limiter<Self>) -> Result<(), DecodeError> {
        state::decode_bucket(bytes, limiter)
    }
}

/// One key's limiter at one instant.
///
/// ```
/// use redis_ratelimit::limiter::{Request, Timestamp, Limiter, Rule, Rules, Units, Window, Windows};
///
/// let rules = Rules::new(Rule {
///     limit: Units::new(1).unwrap(),
///     window: Window::from_millis(60_000).unwrap(),
/// });
/// let request = Request::exact(Units::ONE);
/// let noon = Timestamp::from_micros(1_700_000_000_000_000);
///
/// let mut limiter = Limiter::<Windows>::open(None, &rules, noon).unwrap();
/// assert_eq!(limiter.decide(&request).granted, 1);
/// let stored = limiter.encode();
///
/// let mut limiter = Limiter::<Windows>::open(Some(&stored), &rules, noon).unwrap();
/// assert_eq!(limiter.decide(&request).granted, 0);
/// assert!(!limiter.must_be_stored(), "a denial writes nothing");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter<A> {
    pub(super) now: Timestamp,
    pub(super) blocked_for: Duration,
    pub(super) algorithm: A,
    /// What decided differs from what is stored, so that even a denial has to store it: the parameters changed, or the
    /// clock stepped back.
    pub(super) moved: bool,
    /// A decision changed it.
    pub(super) touched: bool,
}

impl<A: Algorithm> Limiter<A> {
    /// A limiter to be replaced: by [`Limiter::load`] or [`Limiter::reopen`].
    ///
    /// In place, because a limiter takes kilobytes: room for all windows that it could have. (Inlined for the same
    /// reason: what is returned would be moved.)
    #[must_use]
    #[inline(always)]
    pub fn blank(now: Timestamp) -> Self {
        Self::with(A::blank(), now)
    }

    #[inline(always)]
    fn with(algorithm: A, now: Timestamp) -> Self {
        Self {
            now,
            blocked_for: Duration::ZERO,
            algorithm,
            moved: false,
            touched: false,
        }
    }

    /// Makes it the one that is stored in `bytes`, with the parameters stored there, at the time that it has now.
    ///
    /// # Errors
    /// [`DecodeError`] where `bytes` are not the state of a limiter with this algorithm. The limiter is of no use then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let now = self.now;
        A::decode(bytes, self)?;
        let written = self.now;
        self.moved = now < written;
        self.blocked_for = self.blocked_for.saturating_sub(now.duration_since(written));
        self.algorithm.advance(written, now);
        self.now = now;
        self.touched = false;
        Ok(())
    }

    /// The same, with `parameters` in force from now on.
    ///
    /// # Errors
    /// As [`Limiter::load`].
    fn resume(&mut self, bytes: &[u8], parameters: &A::Parameters) -> Result<(), DecodeError> {
        self.load(bytes)?;
        self.moved |= self.algorithm.set_parameters(parameters, self.now);
        Ok(())
    }

    /// Makes it the one that is stored in `bytes`, if any, with `parameters` in force from now on.
    ///
    /// # Errors
    /// As [`Limiter::load`].
    #[inline]
    pub fn reopen(
        &mut self,
        bytes: Option<&[u8]>,
        parameters: &A::Parameters,
    ) -> Result<(), DecodeError> {
        if let Some(bytes) = bytes {
            return self.resume(bytes, parameters);
        }
        self.blocked_for = Duration::ZERO;
        self.moved = false;
        self.touched = false;
        self.algorithm.reset_to(parameters);
        Ok(())
    }

    /// The limiter stored in `bytes`, if any, with `parameters` in force from `now` on.
    ///
    /// # Errors
    /// [`DecodeError`] where `bytes` are not the state of a limiter with this algorithm.
    pub fn open(
        bytes: Option<&[u8]>,
        parameters: &A::Parameters,
        now: Timestamp,
    ) -> Result<Self, DecodeError> {
        let mut limiter = Self::blank(now);
        limiter.reopen(bytes, parameters)?;
        Ok(limiter)
    }

    /// The limiter stored in `bytes` with the parameters stored there, at `now`.
    ///
    /// # Errors
    /// [`DecodeError`] where `bytes` are not the state of a limiter with this algorithm.
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Self, DecodeError> {
        let mut limiter = Self::blank(now);
        limiter.load(bytes)?;
        Ok(limiter)
    }

    /// Decides a request: a grant is charged, a denial may start a block.
    pub fn decide(&mut self, request: &Request) -> Decision {
        let now = self.now;
        let limits = self.algorithm.limits();
        let granted = limits.grantable(request, self.blocked_for);
        if granted > 0 {
            self.algorithm.charge(granted, now);
            self.touched = true;
        } else if limits.exceeds_limit(request) {
            self.moved = false;
        } else if let Some(block) = request.block
            && self.blocked_for.is_zero()
        {
            self.blocked_for = block.as_duration();
            self.touched = true;
        }
        self.algorithm
            .limits()
            .decision_for(request, granted, self.blocked_for, now)
    }

    /// What [`Limiter::decide`] would answer, but with the state as it stands.
    #[must_use]
    pub fn preview(&self, request: &Request) -> Decision {
        let limits = self.algorithm.limits();
        let granted = limits.grantable(request, self.blocked_for);
        limits.decision_for(request, granted, self.blocked_for, self.now)
    }

    /// The [`Limiter::preview`] of a plain request; `None` when nothing is in use.
    #[must_use]
    pub fn peek(&self, cost: Units) -> Option<Decision> {
        (!self.is_full()).then(|| self.preview(&Request::exact(cost)))
    }

    /// Gives back the units admitted last: they count as never admitted. `granted` is how many, the most that one
    /// window gave back; the rest is the [`Limiter::peek`] afterwards. `None` when there is nothing to give back.
    pub fn refund(&mut self, units: Units) -> Option<Decision> {
        if self.is_expired() {
            return None;
        }
        let refunded = self.algorithm.refund(units.get());
        self.touched = refunded > 0;
        self.moved = false;
        Some(Decision {
            granted: refunded,
            ..self.preview(&Request::exact(Units::ONE))
        })
    }

    /// Whether the whole quota is there, and no block.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.blocked_for.is_zero() && self.algorithm.limits().are_full()
    }

    /// Whether nothing of it matters any more, not even windows that are no longer in force.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.expires_at() == self.now
    }

    /// Whether what was decided has to be stored. A grant always has; a denial only where it started a block, or where
    /// the parameters or the clock differ from those stored.
    #[must_use]
    pub const fn must_be_stored(&self) -> bool {
        self.moved || self.touched
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let mut out = Encoded::new();
        self.encode_to(&mut out);
        out
    }

    /// Puts the bytes to store into `out`, whatever was there.
    pub fn encode_to(&self, out: &mut Encoded) {
        out.clear();
        A::encode(self, out);
    }

    /// When the limiter no longer matters: the whole quota is back and the block over.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.now
            .saturating_add(self.algorithm.expires_after(self.now).max(self.blocked_for))
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

    /// The time for which it still denies everything.
    #[must_use]
    pub const fn blocked_for(&self) -> Duration {
        self.blocked_for
    }
}

impl Limiter<Bucket> {
    /// A limiter that another program stored as nothing but the TAT, in nanoseconds since the epoch.
    #[must_use]
    pub fn from_tat(quota: Quota, tat_nanos: u64, now: Timestamp) -> Self {
        let now_nanos = now.as_micros().saturating_mul(1_000);
        Self::with(
            Bucket::with_tat_in(quota, tat_nanos.saturating_sub(now_nanos)),
            now,
        )
    }
}
