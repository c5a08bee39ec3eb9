//! Sliding windows under any commands: what each window holds of what was admitted and not given back is never more than
//! the limiter counts, and after a grant that was not forced that is never more than the limit.

use crate::input::{END, Input};
use crate::key::{Key, assert_block_is_as_asked, assert_wait_is_exact};
use crate::limiter::{
    Limit, Limiter, MAX_WINDOWS, Mode, Request, RetryAfter, Rule, Rules, Timestamp, Units, Window,
    WindowLog, Windows,
};

/// Units of one request in one window.
struct Admission {
    at: u64,
    /// `None` if the client has none that is good for something: the clock has stepped back before it, or nobody knows
    /// whose units they are.
    receipt: Option<u64>,
    left: u64,
}

/// What the requests that named one window were granted, oldest first.
struct Ledger {
    window: u64,
    admissions: Vec<Admission>,
    /// Not if somebody gave back what was not theirs, from a group that had joined.
    is_sure: bool,
}

impl Ledger {
    fn advance(&mut self, now: u64) {
        let window = self.window;
        self.admissions
            .retain(|admission| now < admission.at + window && admission.left > 0);
        for admission in &mut self.admissions {
            admission.at = admission.at.min(now);
            admission.receipt = admission.receipt.filter(|receipt| *receipt <= now);
        }
    }

    fn held(&self) -> u64 {
        self.admissions.iter().map(|admission| admission.left).sum()
    }

    /// The units that are left under `receipt`.
    fn left(&self, receipt: u64) -> u64 {
        let same = self.admissions.iter();
        let same = same.filter(|admission| admission.receipt == Some(receipt));
        same.map(|admission| admission.left).sum()
    }

    /// Takes up to `units`, the newest first, under a receipt or any.
    fn give_back(&mut self, units: u64, receipt: Option<u64>) {
        let mut missing = units;
        for admission in self.admissions.iter_mut().rev() {
            if receipt.is_none() || admission.receipt == receipt {
                let given_back = missing.min(admission.left);
                admission.left -= given_back;
                missing -= given_back;
            }
        }
    }
}

struct World {
    key: Key,
    now: u64,
    told: u64,
    ledgers: Vec<Ledger>,
    receipts: Vec<u64>,
    commands: u32,
}

pub fn fuzz(stored: &[u8], input: &mut Input<'_>) {
    let (key, written) = Key::holding::<Windows>(stored);
    let mut world = World {
        key,
        now: written.min(END),
        told: 0,
        ledgers: Vec::new(),
        receipts: Vec::new(),
        commands: 0,
    };
    let mut known = world.adopt();
    for _ in 0..=input.byte() % 4 {
        let (limit, window) = (input.units(), input.window());
        let is_new = known.iter().all(|rule| rule.window != window);
        if is_new && known.len() < MAX_WINDOWS {
            known.push(Rule { limit, window });
        }
    }
    while !input.is_over() && world.commands < 150 {
        world.commands += 1;
        world.step(&known, input);
        world.check();
    }
}

impl World {
    /// Takes over what is stored: each group as one admission. Returns the windows that there are.
    fn adopt(&mut self) -> Vec<Rule> {
        let Some(limiter) = self.key.read::<Windows>(self.now) else {
            return Vec::new();
        };
        for log in limiter.algorithm().logs() {
            let admissions = log.groups().iter().enumerate().map(|(place, group)| {
                let at = group.newest.as_micros();
                // Of a group that has joined nobody knows whose units are in it.
                let has_joined = log.joined() >> place & 1 != 0;
                if !has_joined {
                    self.receipts.push(at);
                }
                Admission {
                    at,
                    receipt: (!has_joined).then_some(at),
                    left: group.units,
                }
            });
            let admissions = admissions.collect();
            self.ledgers.push(Ledger {
                window: micros(log.rule().window),
                admissions,
                is_sure: true,
            });
        }
        limiter.algorithm().logs().map(WindowLog::rule).collect()
    }

    fn step(&mut self, known: &[Rule], input: &mut Input<'_>) {
        let kind = input.byte();
        let named = name(known, input);
        let first = named.iter().next().unwrap();
        self.advance(input.time(self.now, micros(first.window), self.told));
        let receipt = self.receipt(input);
        match kind {
            0..=19 => {
                // Many, so that groups join.
                let gap = 1 + input.number() % 1_000_000;
                for _ in 0..=input.byte() % 64 {
                    self.commands += 1;
                    self.advance(self.now.saturating_add(gap).min(END));
                    self.ask(&named, &Request::exact(Units::ONE), None);
                    self.check();
                }
            }
            20..=139 => self.ask(&named, &request(&named, input), None),
            140..=179 => {
                let renewed = receipt.or(Some(self.now));
                self.ask(&named, &request(&named, input), renewed);
            }
            180..=199 => self.refund(input.units(), None),
            200.. => self.refund(input.units(), receipt),
        }
    }

    /// One that was got, or nearly so.
    fn receipt(&self, input: &mut Input<'_>) -> Option<u64> {
        let which = usize::from(input.byte());
        let receipt = *self.receipts.get(which % self.receipts.len().max(1))?;
        let about = match input.byte() {
            0..=229 => receipt,
            230..=242 => receipt.saturating_add(input.number()),
            243.. => receipt.saturating_sub(input.number()),
        };
        Some(about.min(Timestamp::MAX.as_micros()))
    }

    fn advance(&mut self, now: u64) {
        self.now = now;
        for ledger in &mut self.ledgers {
            ledger.advance(now);
        }
    }

    fn ask(&mut self, named: &Rules, request: &Request, renewed: Option<u64>) {
        let mode = request.mode;
        let now = self.now;
        let before = self.key.open::<Windows>(named, now);
        let mut limiter = before.clone();
        let old = self.key.clone();
        let outcome = match renewed {
            None => limiter.decide(request),
            Some(receipt) => limiter.renew(request, Timestamp::from_micros(receipt)).0,
        };
        self.key.apply(&limiter, &outcome);
        assert_block_is_as_asked(&before, &limiter, request, &outcome);
        let granted = outcome.decision.granted;
        let after = if outcome.write == crate::limiter::Write::Nothing {
            old
        } else {
            self.key.clone()
        };
        assert_wait_is_exact(&outcome, now, |then| {
            let mut limiter = after.clone().open::<Windows>(named, then);
            let outcome = match renewed {
                None => limiter.decide(request),
                Some(receipt) => limiter.renew(request, Timestamp::from_micros(receipt)).0,
            };
            outcome.decision.granted > 0
        });
        self.told = match outcome.decision.retry_after {
            RetryAfter::After(wait) => wait.as_micros(),
            RetryAfter::Never => 0,
        };
        if granted == 0 {
            return;
        }
        assert!(mode == Mode::Force || outcome.decision.remaining >= request.keep);
        if let Some(receipt) = renewed {
            self.given_back(&before, request.cost.get(), receipt);
        }
        self.receipts.push(now);
        for log in limiter.active().iter() {
            let window = micros(log.rule().window);
            assert!(mode == Mode::Force || log.used() <= log.rule().limit.get());
            let at = self
                .ledgers
                .iter()
                .position(|ledger| ledger.window == window);
            let at = at.unwrap_or_else(|| {
                self.ledgers.push(Ledger {
                    window,
                    admissions: Vec::new(),
                    is_sure: true,
                });
                self.ledgers.len() - 1
            });
            // What is beyond the longest debt is dropped.
            let mut logs = before.algorithm().logs();
            let used = logs.find(|before| before.rule().window == log.rule().window);
            let longest_debt = 2 * log.rule().limit.get();
            let room = longest_debt.saturating_sub(used.map_or(0, Limit::used));
            self.ledgers[at].admissions.push(Admission {
                at: now,
                receipt: Some(now),
                left: match mode {
                    Mode::Force => granted.min(room),
                    _ => granted,
                },
            });
        }
    }

    fn refund(&mut self, units: Units, receipt: Option<u64>) {
        let Some(mut limiter) = self.key.read::<Windows>(self.now) else {
            return;
        };
        let before = limiter.clone();
        let outcome = match receipt {
            None => limiter.refund(units),
            Some(receipt) => limiter.refund_receipt(units, Timestamp::from_micros(receipt)),
        };
        let Some(outcome) = outcome else {
            return;
        };
        self.key.apply(&limiter, &outcome);
        let mut most = 0;
        for log in before.algorithm().logs() {
            let window = log.rule().window;
            let mut after = limiter.algorithm().logs();
            let after = after.find(|log| log.rule().window == window);
            let given_back = log.used() - after.map_or(0, Limit::used);
            most = most.max(given_back);
            match receipt {
                None => assert_eq!(given_back, log.used().min(units.get())),
                Some(receipt) => self.assert_honoured(log, units.get(), receipt, given_back),
            }
        }
        assert_eq!(outcome.decision.granted, most);
        match receipt {
            Some(receipt) => self.given_back(&before, units.get(), receipt),
            None => {
                for ledger in &mut self.ledgers {
                    ledger.give_back(units.get(), None);
                }
            }
        }
    }

    /// What is given back is what the client has under the receipt, unless it takes more than that from a group that others
    /// have joined.
    fn assert_honoured(&self, log: &WindowLog, units: u64, receipt: u64, given_back: u64) {
        let window = micros(log.rule().window);
        let mut ledgers = self.ledgers.iter();
        let Some(ledger) = ledgers.find(|ledger| ledger.window == window) else {
            return;
        };
        let left = ledger.left(receipt);
        let is_live = receipt + window > self.now;
        if is_live && ledger.is_sure && units <= left {
            assert_eq!(given_back, units, "{receipt} in {window} at {}", self.now);
        }
        if !is_live {
            assert_eq!(given_back, 0);
        }
        assert!(given_back <= units);
    }

    /// Takes `units` out of each ledger.
    fn given_back(&mut self, before: &Limiter<Windows>, units: u64, receipt: u64) {
        for ledger in &mut self.ledgers {
            let mut logs = before.algorithm().logs();
            let log = logs.find(|log| micros(log.rule().window) == ledger.window);
            // A clock that stepped back has put units of other times where this receipt is.
            let mut admissions = ledger.admissions.iter();
            let shared = log.is_some_and(has_joined)
                || admissions.any(|admission| admission.receipt.is_none());
            if receipt + ledger.window > self.now {
                ledger.is_sure &= units <= ledger.left(receipt) || !shared;
                ledger.give_back(units, Some(receipt));
            }
        }
    }

    fn check(&mut self) {
        let limiter = self.key.read::<Windows>(self.now);
        for ledger in &mut self.ledgers {
            let logs = limiter
                .iter()
                .flat_map(|limiter| limiter.algorithm().logs());
            let mut logs = logs.filter(|log| micros(log.rule().window) == ledger.window);
            let counted = logs.next().map_or(0, Limit::used);
            let held = ledger.held();
            if ledger.is_sure {
                assert!(
                    held <= counted,
                    "{held} of {} us are held, {counted} are counted",
                    ledger.window
                );
            } else if held > counted {
                ledger.give_back(held - counted, None);
            }
        }
    }
}

fn has_joined(log: &WindowLog) -> bool {
    log.joined() != 0
}

fn micros(window: Window) -> u64 {
    window.as_millis() * 1_000
}

fn request(named: &Rules, input: &mut Input<'_>) -> Request {
    let mode = match input.byte() {
        0..=149 => Mode::Exact,
        150..=229 => Mode::AtMost,
        _ => Mode::Force,
    };
    let most = named.iter().map(|rule| rule.limit.get()).min().unwrap();
    input.request(most, mode)
}

/// Some of the windows, now and then with another limit.
fn name(known: &[Rule], input: &mut Input<'_>) -> Rules {
    let mut which = input.byte();
    let first = usize::from(which) % known.len();
    let limit = match input.byte() {
        0..=219 => known[first].limit,
        _ => input.units(),
    };
    let mut rules = Rules::new(Rule {
        limit,
        ..known[first]
    });
    for (at, rule) in known.iter().enumerate() {
        which = which.rotate_left(1);
        if at != first && which & 1 != 0 {
            rules.add(*rule).unwrap();
        }
    }
    rules
}
