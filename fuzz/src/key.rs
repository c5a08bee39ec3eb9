//! A key as the server keeps it.

use crate::limiter::{
    AnyLimiter, Encoding, Limiter, Outcome, Request, RetryAfter, Timestamp, Write,
};

#[derive(Clone, Debug, Default)]
pub struct Key {
    bytes: Option<Vec<u8>>,
    expires_at_ms: u64,
}

impl Key {
    /// One that holds `bytes`, if they are a limiter of this algorithm; else an empty one. And the time at which they were
    /// written.
    pub fn holding<A: Encoding>(bytes: &[u8]) -> (Self, u64) {
        let written = written(bytes);
        match Limiter::<A>::read(bytes, Timestamp::from_micros(written)) {
            Ok(limiter) => (Self::of(&limiter), written),
            Err(_) => (Self::default(), written),
        }
    }

    fn of<A: Encoding>(limiter: &Limiter<A>) -> Self {
        Self {
            bytes: Some(limiter.encode().to_vec()),
            expires_at_ms: limiter.expires_at().as_millis_ceil(),
        }
    }

    fn bytes(&mut self, now: u64) -> Option<&[u8]> {
        if now / 1_000 > self.expires_at_ms {
            self.bytes = None;
        }
        self.bytes.as_deref()
    }

    pub fn open<A: Encoding>(&mut self, parameters: &A::Parameters, now: u64) -> Limiter<A> {
        Limiter::open(self.bytes(now), parameters, Timestamp::from_micros(now)).unwrap()
    }

    pub fn read<A: Encoding>(&mut self, now: u64) -> Option<Limiter<A>> {
        let bytes = self.bytes(now)?;
        Some(Limiter::read(bytes, Timestamp::from_micros(now)).unwrap())
    }

    /// Does what a command's outcome says. What is written has to read back as it is.
    pub fn apply<A: Encoding>(&mut self, limiter: &Limiter<A>, outcome: &Outcome) {
        match outcome.write {
            Write::Nothing => {}
            Write::Delete => self.bytes = None,
            Write::Store => {
                *self = Self::of(limiter);
                let bytes = self.bytes.as_deref().unwrap();
                let read = Limiter::<A>::read(bytes, limiter.now()).unwrap();
                assert_eq!(read.encode().as_slice(), bytes);
                assert_eq!(read.blocked_for(), limiter.blocked_for());
                assert_eq!(read.blocks_in_a_row(), limiter.blocks_in_a_row());
                assert_eq!(read.expires_at(), limiter.expires_at());
            }
        }
    }
}

/// Whatever algorithm it is: the time of the last write, in microseconds, if there is one.
pub fn written(bytes: &[u8]) -> u64 {
    let Some(micros) = bytes.get(4..11) else {
        return 0;
    };
    let micros = micros.iter().rev();
    micros.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Asserts that `bytes`, if they are a state, are the only spelling of it. At the end of time everything has left.
pub fn assert_canonical(bytes: &[u8]) {
    let at = Timestamp::from_micros(written(bytes));
    if at == Timestamp::MAX {
        return;
    }
    let encoded = match AnyLimiter::read(bytes, at) {
        Ok(AnyLimiter::SlidingWindow(limiter)) => limiter.encode(),
        Ok(AnyLimiter::Gcra(limiter)) => limiter.encode(),
        Err(_) => return,
    };
    assert_eq!(encoded.as_slice(), bytes);
}

/// Asserts of a denial that the same request passes after the wait it was told, and not a microsecond earlier.
pub fn assert_wait_is_exact(outcome: &Outcome, now: u64, passes_at: impl Fn(u64) -> bool) {
    let decision = &outcome.decision;
    match decision.retry_after {
        _ if decision.granted > 0 => assert_eq!(decision.retry_after, RetryAfter::NOW),
        RetryAfter::After(wait) => {
            let then = now + wait.as_micros();
            assert!(!wait.is_zero());
            assert!(passes_at(then), "too short");
            assert!(!passes_at(then - 1), "too long");
        }
        RetryAfter::Never => {
            let later = now + decision.reset_after.as_micros() + 1_000_000;
            assert!(!passes_at(now) && !passes_at(later));
        }
    }
}

/// Asserts what a denial at a time without a block may do to blocks.
pub fn assert_block_is_as_asked<A: Encoding>(
    before: &Limiter<A>,
    after: &Limiter<A>,
    request: &Request,
    outcome: &Outcome,
) {
    if !before.blocked_for().is_zero() {
        assert_eq!(outcome.decision.granted, 0, "blocked");
    }
    let row = before.blocks_in_a_row();
    let denied = outcome.decision.is_denial();
    match request.block {
        Some(block) if denied && before.blocked_for().is_zero() => {
            let block = block.as_millis() * 1_000;
            let (length, row) = match request.block_up_to {
                None => (u128::from(block), row),
                Some(longest) => {
                    let doubled = u128::from(block) << row.min(60);
                    let longest = u128::from(longest.as_millis()) * 1_000;
                    (doubled.min(longest), row.saturating_add(1))
                }
            };
            assert_eq!(u128::from(after.blocked_for().as_micros()), length);
            assert_eq!(after.blocks_in_a_row(), row);
            assert_eq!(outcome.write, Write::Store);
        }
        _ => {
            assert_eq!(after.blocked_for(), before.blocked_for());
            assert_eq!(after.blocks_in_a_row(), row);
        }
    }
}
