//! A key as the server keeps it.

use std::fmt::Debug;

use redis_ratelimit::limiter::{
    Encoding, Limiter, MAX_LEN, MIN_LEN, Mode, Outcome, Request, Rules, Timestamp, Units, Windows,
    Write,
};

use super::{Answer, as_told, units};

/// Either algorithm.
pub trait Stored: Encoding + Clone + Debug + PartialEq {}

impl<A: Encoding + Clone + Debug + PartialEq> Stored for A {}

/// One key of a server: written when a decision says so, dropped when its time is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    bytes: Option<Vec<u8>>,
    expires_at_ms: u64,
}

impl Key {
    /// What is stored at `now`, in microseconds. A server deletes a key in the first millisecond after its time.
    pub fn bytes(&mut self, now: u64) -> Option<&[u8]> {
        if now / 1_000 > self.expires_at_ms {
            self.bytes = None;
        }
        self.bytes.as_deref()
    }

    /// One command at `now`, in microseconds.
    pub fn ask<A: Stored>(
        &mut self,
        parameters: &A::Parameters,
        request: &Request,
        now: u64,
    ) -> Answer {
        let mut limiter = self.open::<A>(parameters, now);
        let outcome = limiter.decide(request);
        self.apply(&limiter, request, outcome)
    }

    /// As [`Key::ask`], in the place of what was admitted at `receipt`.
    pub fn renew(&mut self, rules: &Rules, request: &Request, receipt: u64, now: u64) -> Answer {
        let mut limiter = self.open::<Windows>(rules, now);
        let (outcome, _) = limiter.renew(request, Timestamp::from_micros(receipt));
        self.apply(&limiter, request, outcome)
    }

    fn apply<A: Stored>(
        &mut self,
        limiter: &Limiter<A>,
        request: &Request,
        Outcome {
            decision, write, ..
        }: Outcome,
    ) -> Answer {
        assert_ne!(write, Write::Delete, "a decision leaves something");
        let stored = write == Write::Store;
        if stored {
            self.store(limiter);
        }
        if decision.granted > 0 {
            assert!(decision.remaining >= request.keep, "{request:?}");
        }
        Answer::new(decision, stored)
    }

    /// Gives back units, under a receipt or those admitted last.
    pub fn refund(&mut self, count: u64, receipt: Option<u64>, now: u64) -> Option<Answer> {
        let mut limiter = self.read::<Windows>(now)?;
        let outcome = match receipt {
            Some(at) => limiter.refund_receipt(units(count), Timestamp::from_micros(at)),
            None => limiter.refund(units(count)),
        };
        let Outcome {
            decision, write, ..
        } = outcome?;
        match write {
            Write::Nothing => {}
            Write::Store => self.store(&limiter),
            Write::Delete => self.bytes = None,
        }
        Some(Answer::new(decision, write != Write::Nothing))
    }

    /// What a command at `now` would find.
    pub fn open<A: Stored>(&mut self, parameters: &A::Parameters, now: u64) -> Limiter<A> {
        Limiter::open(self.bytes(now), parameters, Timestamp::from_micros(now)).unwrap()
    }

    /// What is stored, as it stands at `now`.
    pub fn read<A: Stored>(&mut self, now: u64) -> Option<Limiter<A>> {
        let bytes = self.bytes(now)?;
        Some(Limiter::read(bytes, Timestamp::from_micros(now)).unwrap())
    }

    /// Whether anything is in use at `now`.
    pub fn is_in_use<A: Stored>(&mut self, now: u64) -> bool {
        self.read::<A>(now)
            .is_some_and(|limiter| limiter.peek(Units::ONE).is_some())
    }

    fn store<A: Stored>(&mut self, limiter: &Limiter<A>) {
        let bytes = limiter.encode().to_vec();
        assert!((MIN_LEN..=MAX_LEN).contains(&bytes.len()), "{bytes:02x?}");
        self.expires_at_ms = limiter.expires_at().as_millis_ceil();
        self.bytes = Some(bytes);
    }

    /// Asserts that `answer`, given at `now`, is exact: if nobody else asks, the same request passes after
    /// `retry_after` and not a microsecond earlier; told in milliseconds, after those and not after one less. Of a request
    /// that would wait it is said when it passes without a wait.
    pub fn assert_retry_is_exact<A: Stored>(
        &self,
        parameters: &A::Parameters,
        request: &Request,
        now: u64,
        answer: &Answer,
    ) {
        if let Mode::Wait(longest) = request.mode {
            let told = answer.retry_after.unwrap_or(u64::MAX);
            let may_be_told = longest.as_millis() * 1_000;
            assert!(answer.is_denied() || told <= may_be_told);
            if !answer.is_denied() {
                return;
            }
        }
        let request = Request {
            mode: match request.mode {
                Mode::Wait(_) => Mode::Exact,
                mode => mode,
            },
            ..*request
        };
        let passes_after = |wait: u64| {
            let answer = self.clone().ask::<A>(parameters, &request, now + wait);
            !answer.is_denied()
        };
        assert_passes_first_after_the_wait(answer, passes_after);
        if let (true, Some(wait)) = (answer.is_denied(), answer.retry_after) {
            assert!(passes_after(wait + wait / 3), "later is worse");
        }
    }

    /// As [`Key::assert_retry_is_exact`], of a request that renews `receipt`. Later may be worse: what was admitted then is
    /// given back for as long as it counts.
    pub fn assert_renewal_is_exact(
        &self,
        rules: &Rules,
        request: &Request,
        receipt: u64,
        now: u64,
        answer: &Answer,
    ) {
        assert_passes_first_after_the_wait(answer, |wait| {
            let answer = self.clone().renew(rules, request, receipt, now + wait);
            !answer.is_denied()
        });
    }

    /// Asserts that the whole quota is back `reset_after` after `now`, and not a microsecond earlier.
    pub fn assert_reset_is_exact<A: Stored>(&self, now: u64, answer: &Answer) {
        // A request that can never be granted writes nothing, so a step back of the clock is not stored.
        if answer.retry_after.is_none() {
            return;
        }
        let in_use_after = |wait: u64| self.clone().is_in_use::<A>(now + wait);
        assert!(!in_use_after(answer.reset_after));
        if answer.reset_after > 0 {
            assert!(in_use_after(answer.reset_after - 1));
        }
    }
}

fn assert_passes_first_after_the_wait(answer: &Answer, passes_after: impl Fn(u64) -> bool) {
    match answer.retry_after {
        Some(wait) if answer.is_denied() => {
            assert!(wait > 0, "denied, and told to come at once");
            assert!(passes_after(wait), "{wait} us are too few");
            assert!(!passes_after(wait - 1), "{wait} us are too many");
            assert!(passes_after(as_told(wait)));
            assert!(!passes_after(as_told(wait) - 1_000));
        }
        Some(wait) => assert_eq!(wait, 0, "granted, and told to wait"),
        None => {
            assert!(answer.is_denied());
            assert!(!passes_after(answer.reset_after + 1_000_000));
        }
    }
}
