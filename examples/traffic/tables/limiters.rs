//! The rate limiters: this module's two, and what they are compared with.

use std::collections::VecDeque;

use redis_ratelimit::limiter::{
    Bucket, Encoded, Encoding, Limiter, Outcome, Quota, Request, Rule, Rules, Timestamp, Units,
    Window, Windows, Write,
};

/// One minute, in microseconds: the window of every limiter here.
pub const WINDOW: u64 = 60_000_000;

/// The limit of those that are drawn.
pub const LIMIT: u64 = 100;

/// When the runs begin, in microseconds since the epoch: the start of a minute in 2023.
pub const START: u64 = 28_333_334 * WINDOW;

/// What decides about requests of one unit each.
pub trait RateLimiter {
    /// Whether a request at `now`, in microseconds since the epoch, is admitted. Times never decrease.
    fn admits(&mut self, now: u64) -> bool;
}

/// Those that are drawn, at 100 a minute.
pub fn drawn() -> [(&'static str, Box<dyn RateLimiter>); 5] {
    [
        ("fixed window", Box::new(FixedWindow::new(LIMIT))),
        ("two-window counter", Box::new(TwoWindows::new(LIMIT))),
        ("RL.GCRA", Box::new(gcra(LIMIT, LIMIT))),
        ("RL.GCRA BURST 10", Box::new(gcra(LIMIT, 10))),
        ("RL.CHECK", Box::new(check(LIMIT))),
    ]
}

/// `RL.CHECK key limit 60`.
pub fn check(limit: u64) -> Key<Windows> {
    Key::new(Rules::new(Rule {
        limit: units(limit),
        window: minute(),
    }))
}

/// `RL.GCRA key limit 60 BURST burst`.
fn gcra(limit: u64, burst: u64) -> Key<Bucket> {
    let quota = Quota::new(units(limit), minute(), units(burst));
    Key::new(quota.expect("a quota within the ranges"))
}

fn units(count: u64) -> Units {
    Units::new(count).expect("a number of units within the range")
}

fn minute() -> Window {
    Window::from_millis(WINDOW / 1_000).expect("a window within the range")
}

/// A key of this module: each decision reads the stored bytes, and a grant stores new ones, as in the server.
pub struct Key<A: Encoding> {
    parameters: A::Parameters,
    stored: Encoded,
}

impl<A: Encoding> Key<A> {
    fn new(parameters: A::Parameters) -> Self {
        Self {
            parameters,
            stored: Encoded::new(),
        }
    }

    /// The length of the stored state, in bytes.
    pub fn state_bytes(&self) -> usize {
        self.stored.len()
    }
}

impl<A: Encoding> RateLimiter for Key<A> {
    fn admits(&mut self, now: u64) -> bool {
        let stored = (!self.stored.is_empty()).then_some(self.stored.as_slice());
        let now = Timestamp::from_micros(now);
        let mut limiter = Limiter::<A>::open(stored, &self.parameters, now)
            .expect("it was stored by this algorithm");
        let Outcome {
            decision, write, ..
        } = limiter.decide(&Request::exact(Units::ONE));
        if write == Write::Store {
            limiter.encode_to(&mut self.stored);
        }
        decision.granted > 0
    }
}

/// The fixed window, as `INCR` and `EXPIRE` make it: a counter for each minute of the clock.
struct FixedWindow {
    limit: u64,
    minute: u64,
    count: u64,
}

impl FixedWindow {
    const fn new(limit: u64) -> Self {
        Self {
            limit,
            minute: 0,
            count: 0,
        }
    }
}

impl RateLimiter for FixedWindow {
    fn admits(&mut self, now: u64) -> bool {
        let minute = now / WINDOW;
        if minute != self.minute {
            self.minute = minute;
            self.count = 0;
        }
        let admitted = self.count < self.limit;
        self.count += u64::from(admitted);
        admitted
    }
}

/// The two-window counter, often called a sliding-window counter: what the last 60 seconds held is estimated from the
/// counts of this minute of the clock and of the one before, as if the latter's admissions had been spread evenly.
struct TwoWindows {
    limit: u64,
    minute: u64,
    previous: u64,
    current: u64,
}

impl TwoWindows {
    const fn new(limit: u64) -> Self {
        Self {
            limit,
            minute: 0,
            previous: 0,
            current: 0,
        }
    }
}

impl RateLimiter for TwoWindows {
    fn admits(&mut self, now: u64) -> bool {
        let minute = now / WINDOW;
        if minute != self.minute {
            let adjacent = minute == self.minute + 1;
            self.previous = if adjacent { self.current } else { 0 };
            self.current = 0;
            self.minute = minute;
        }
        let left_of_previous = WINDOW - now % WINDOW;
        // Both sides times the window, so that nothing is rounded.
        let estimate = self.previous * left_of_previous + self.current * WINDOW;
        let admitted = estimate + WINDOW <= self.limit * WINDOW;
        self.current += u64::from(admitted);
        admitted
    }
}

/// The exact log: the time of every admission of the last minute.
pub struct ExactLog {
    limit: usize,
    admitted: VecDeque<u64>,
}

impl ExactLog {
    pub fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).expect("a limit that fits in memory"),
            admitted: VecDeque::new(),
        }
    }

    /// Whether the minute that ends at `now` holds less than the limit.
    pub fn has_room(&mut self, now: u64) -> bool {
        while self.admitted.front().is_some_and(|at| at + WINDOW <= now) {
            self.admitted.pop_front();
        }
        self.admitted.len() < self.limit
    }

    /// Counts an admission, whoever made it.
    pub fn count(&mut self, now: u64) {
        self.admitted.push_back(now);
    }
}

impl RateLimiter for ExactLog {
    fn admits(&mut self, now: u64) -> bool {
        let admitted = self.has_room(now);
        if admitted {
            self.count(now);
        }
        admitted
    }
}
