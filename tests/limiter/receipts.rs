//! Receipts: what was admitted at a time can be given back later, and nothing else is.

use std::collections::VecDeque;

use crate::oracle::{
    self, Answer, Arrival, Clock, END, ExactWindows, Key, START, Spacing, at_most, config, limit,
    rules, spaced, units, window_ms,
};
use proptest::prelude::*;
use proptest::sample::Index;
use redis_ratelimit::limiter::{
    Limit, Limiter, MAX_GROUPS, Mode, Request, Rule, Timestamp, Units, Windows,
};

/// What a client does.
#[derive(Clone, Debug)]
enum Step {
    /// It asks, and keeps the receipts of what is granted.
    Ask(Arrival),
    /// It gives back so many thousandths of what is left under a receipt.
    GiveBack(Index, u64),
    /// It gives back units, with a receipt or not, whether it has so many or none.
    Refund(Receipt, u64),
    /// It asks in the place of a receipt, for so many thousandths of what is left under it.
    Renew(Index, Arrival, u64),
}

/// A receipt as a client may send it.
#[derive(Clone, Debug)]
enum Receipt {
    /// None: units admitted last are meant.
    None,
    /// One that it got, which may have been given back, and so many microseconds more or less.
    Got(Index, i64),
    /// A number.
    Any(u64),
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let got = |about: std::ops::RangeInclusive<i64>| {
        (any::<Index>(), about).prop_map(|(at, about)| Receipt::Got(at, about))
    };
    prop_oneof![
        2 => Just(Receipt::None),
        6 => got(0..=0),
        1 => got(-1..=1),
        1 => got(-100_000..=100_000),
        1 => any::<u64>().prop_map(Receipt::Any),
    ]
}

/// Any step. Honest clients give nothing back under a receipt that they do not have.
fn step(spacing: Spacing, honest: bool) -> impl Strategy<Value = Step> {
    let arrival = || spaced(spacing);
    let part = || prop_oneof![2 => Just(1_000), 1 => 0..=1_000_u64];
    let count = || prop_oneof![3 => 1..=4_u64, 1 => 1..=Units::MAX];
    let newest = count().prop_map(|units| Step::Refund(Receipt::None, units));
    let some = (receipt(), count()).prop_map(|(receipt, units)| Step::Refund(receipt, units));
    prop_oneof![
        5 => arrival().prop_map(Step::Ask),
        4 => (any::<Index>(), part()).prop_map(|(at, part)| Step::GiveBack(at, part)),
        1 => newest,
        if honest { 0 } else { 3 } => some,
        3 => (any::<Index>(), arrival(), part())
            .prop_map(|(at, arrival, part)| Step::Renew(at, arrival, part)),
    ]
}

fn clock(named: &[Rule]) -> Clock {
    Clock {
        window: named[0].window.as_millis() * 1_000,
        limit: named[0].limit.get(),
    }
}

fn max_grant(named: &[Rule]) -> u64 {
    named.iter().map(|rule| rule.limit.get()).min().unwrap()
}

/// Windows, the same in all, with up to three different limits each.
fn windows(
    limit: impl Strategy<Value = u64>,
    most: usize,
) -> impl Strategy<Value = Vec<Vec<Rule>>> {
    let lengths = prop::collection::btree_set(window_ms(), 1..=most);
    let limits = prop::collection::vec(prop::collection::vec(limit, most), 1..=3);
    (lengths, limits).prop_map(|(lengths, limits)| {
        let named = |limits: Vec<u64>| {
            let rules = limits.into_iter().zip(&lengths);
            rules
                .map(|(limit, length)| at_most(limit, *length))
                .collect()
        };
        limits.into_iter().map(named).collect()
    })
}

/// Steps, each with the windows that its requests name.
fn steps(
    sets: impl Strategy<Value = Vec<Vec<Rule>>>,
    spacing: Spacing,
    honest: bool,
) -> impl Strategy<Value = Vec<(Vec<Rule>, Step)>> {
    sets.prop_flat_map(move |sets| {
        prop::collection::vec((prop::sample::select(sets), step(spacing, honest)), 1..40)
    })
}

/// Some of up to four windows: those not named are kept.
fn any_windows() -> impl Strategy<Value = Vec<Vec<Rule>>> {
    let choice = prop::collection::vec((1..=12_u64, window_ms()), 1..=4);
    choice.prop_flat_map(|mut pairs| {
        pairs.sort_by_key(|(_, window)| *window);
        pairs.dedup_by_key(|(_, window)| *window);
        let rule = |(limit, window): &(u64, u64)| at_most(*limit, *window);
        let all: Vec<Rule> = pairs.iter().map(rule).collect();
        let count = all.len();
        let some = prop::sample::subsequence(all, 1..=count).prop_shuffle();
        prop::collection::vec(some, 1..=4)
    })
}

/// Every command to the limiter and to exact logs, honest or not, for as long as both have to agree: while each admission
/// has a group of its own.
fn follow(steps: &[(Vec<Rule>, Step)]) {
    let mut key = Key::default();
    let mut logs = ExactWindows::default();
    let mut now = START;
    let mut last = Answer::default();
    // Each receipt with the units admitted at that time.
    let mut receipts: Vec<(u64, u64)> = Vec::new();
    for (named, step) in steps {
        let rules = rules(named);
        let got = |at: &Index| (!receipts.is_empty()).then(|| *at.get(&receipts));
        match step {
            Step::Ask(arrival) => {
                let request = arrival.request(max_grant(named));
                for _ in 0..arrival.times {
                    now = clock(named).after(arrival.gap, now, &last);
                    let expected = logs.ask(&rules, &request, now);
                    if now > END || logs.instants() > MAX_GROUPS {
                        return;
                    }
                    last = key.ask::<Windows>(&rules, &request, now);
                    assert_eq!(last, expected, "{request:?} of {named:?} at {now}");
                    if last.granted > 0 {
                        receipts.push((now, last.granted));
                    }
                }
            }
            Step::GiveBack(at, part) => {
                let Some((receipt, admitted)) = got(at) else {
                    continue;
                };
                let units = (admitted * part / 1_000).max(1);
                let expected = logs.refund(units, Some(receipt), now);
                let answer = key.refund(units, Some(receipt), now);
                assert_eq!(answer, expected, "{units} of {receipt} at {now}");
            }
            Step::Refund(receipt, units) => {
                let receipt = match receipt {
                    Receipt::None => None,
                    Receipt::Any(number) => Some(*number),
                    Receipt::Got(at, about) => match got(at) {
                        None => continue,
                        Some((receipt, _)) => Some(receipt.saturating_add_signed(*about)),
                    },
                };
                let expected = logs.refund(*units, receipt, now);
                let answer = key.refund(*units, receipt, now);
                assert_eq!(answer, expected, "{units} of {receipt:?} at {now}");
            }
            Step::Renew(at, arrival, _) => {
                let Some((receipt, _)) = got(at) else {
                    continue;
                };
                let request = arrival.request(max_grant(named));
                now = clock(named).after(arrival.gap, now, &last);
                let expected = logs.renew(&rules, &request, receipt, now);
                if now > END || logs.instants() > MAX_GROUPS {
                    return;
                }
                last = key.renew(&rules, &request, receipt, now);
                assert_eq!(last, expected, "{request:?} in place of {receipt} at {now}");
                key.assert_renewal_is_exact(&rules, &request, receipt, now, &last);
                if last.granted > 0 {
                    receipts.push((now, last.granted));
                }
            }
        }
        let bytes = key.bytes(now).map(<[u8]>::to_vec);
        let used: Vec<_> = logs.rows_at(now);
        assert_eq!(rows(&mut key, now), used, "{bytes:02x?}");
    }
}

/// The windows stored: limit, microseconds, units in use.
fn rows(key: &mut Key, now: u64) -> Vec<(u64, u64, u64)> {
    let limiter = key.read::<Windows>(now);
    let logs = limiter
        .iter()
        .flat_map(|limiter| limiter.algorithm().logs());
    logs.map(|log| {
        let Rule { limit, window } = log.rule();
        (limit.get(), window.as_millis() * 1_000, log.used())
    })
    .collect()
}

/// The units that one request was granted, and what is left of them in each window.
#[derive(Clone, Debug)]
struct Admission {
    at: u64,
    receipt: u64,
    left: Vec<u64>,
    /// Whether the client may give back under it: the clock has not stepped back before it.
    is_known: bool,
}

/// Beside the limiter, every admission with its own receipt. All requests name the same windows.
struct Ledger {
    /// In microseconds.
    windows: Vec<u64>,
    admissions: Vec<Admission>,
}

impl Ledger {
    fn admit(&mut self, named: &[Rule], granted: u64, now: u64) {
        let windows = self.windows.len();
        match self.find(now) {
            // Of the same time, and so with the same receipt.
            Some(known) => known.left.iter_mut().for_each(|left| *left += granted),
            None => self.admissions.push(Admission {
                at: now,
                receipt: now,
                left: vec![granted; windows],
                is_known: true,
            }),
        }
        for (window, rule) in named.iter().enumerate() {
            let held = self.held(window, now);
            assert!(held <= rule.limit.get(), "{held} in {rule:?} at {now}");
        }
    }

    fn find(&mut self, receipt: u64) -> Option<&mut Admission> {
        let mut known = self
            .admissions
            .iter_mut()
            .filter(|admission| admission.is_known);
        known.find(|admission| admission.receipt == receipt)
    }

    /// The units not given back in the window that ends now.
    fn held(&self, window: usize, now: u64) -> u64 {
        let length = self.windows[window];
        let inside = self
            .admissions
            .iter()
            .filter(|admission| now < admission.at + length);
        inside.map(|admission| admission.left[window]).sum()
    }

    /// Of the receipts that still give something back, that at `at`: it, and how many units it is good for.
    fn live(&self, at: &Index, now: u64) -> Option<(u64, u64)> {
        let good_for = |admission: &Admission| -> u64 {
            let windows = admission.left.iter().zip(&self.windows);
            let live = windows.filter(|(_, length)| now < admission.receipt + **length);
            live.map(|(left, _)| *left).min().unwrap_or(0)
        };
        let known = self
            .admissions
            .iter()
            .filter(|admission| admission.is_known);
        let receipts: Vec<(u64, u64)> = known
            .map(|admission| (admission.receipt, good_for(admission)))
            .filter(|(_, left)| *left > 0)
            .collect();
        (!receipts.is_empty()).then(|| *at.get(&receipts))
    }

    /// Takes `units` out of each window in which `receipt` still counts.
    fn give_back(&mut self, receipt: u64, units: u64, now: u64) {
        let windows = self.windows.clone();
        let admission = self.find(receipt).unwrap();
        for (left, length) in admission.left.iter_mut().zip(windows) {
            if now < receipt + length {
                *left -= units;
            }
        }
    }

    /// Takes the newest units out of one window.
    fn give_back_newest(&mut self, window: usize, units: u64) {
        let mut missing = units;
        for admission in self.admissions.iter_mut().rev() {
            let given_back = missing.min(admission.left[window]);
            admission.left[window] -= given_back;
            missing -= given_back;
        }
    }

    /// Moves on to `now`, or back. What has left a window never comes back.
    fn advance(&mut self, now: u64) {
        for admission in &mut self.admissions {
            for (left, length) in admission.left.iter_mut().zip(&self.windows) {
                if now >= admission.at + length {
                    *left = 0;
                }
            }
            admission.at = admission.at.min(now);
            admission.is_known &= admission.receipt <= now;
        }
    }
}

/// Clients give back what they have, once. Asserts that no window ever holds more than its limit of what was not given back,
/// and that each receipt is honoured for as long as it counts, also when its group has joined.
fn honest(steps: &[(Vec<Rule>, Step)]) {
    let mut key = Key::default();
    let first = &steps[0].0;
    let mut ledger = Ledger {
        windows: first
            .iter()
            .map(|rule| rule.window.as_millis() * 1_000)
            .collect(),
        admissions: Vec::new(),
    };
    let mut now = START;
    let mut last = Answer::default();
    for (named, step) in steps {
        let rules = rules(named);
        match step {
            Step::Ask(arrival) => {
                let request = arrival.request(max_grant(named));
                for _ in 0..arrival.times {
                    now = clock(named).after(arrival.gap, now, &last);
                    if now > END {
                        return;
                    }
                    ledger.advance(now);
                    last = key.ask::<Windows>(&rules, &request, now);
                    if last.granted > 0 {
                        ledger.admit(named, last.granted, now);
                    }
                }
            }
            Step::GiveBack(at, part) => {
                let Some((receipt, left)) = ledger.live(at, now) else {
                    continue;
                };
                let units = (left * part / 1_000).max(1);
                let before = rows(&mut key, now);
                let answer = key.refund(units, Some(receipt), now).unwrap();
                assert_eq!(answer.granted, units, "{receipt} at {now}");
                let after = rows(&mut key, now);
                for (window, (limit, length, used)) in before.iter().enumerate() {
                    let given_back = if now < receipt + length { units } else { 0 };
                    let expected = (*limit, *length, used - given_back);
                    let found = after.get(window).copied().unwrap_or((*limit, *length, 0));
                    assert_eq!(found, expected);
                }
                ledger.give_back(receipt, units, now);
            }
            Step::Refund(_, units) => {
                let before = rows(&mut key, now);
                let Some(answer) = key.refund(*units, None, now) else {
                    continue;
                };
                let after = rows(&mut key, now);
                let mut most = 0;
                for (window, (_, _, used)) in before.iter().enumerate() {
                    let given_back = used - after.get(window).map_or(0, |(_, _, used)| *used);
                    assert_eq!(given_back, *used.min(units));
                    ledger.give_back_newest(window, given_back);
                    most = most.max(given_back);
                }
                assert_eq!(answer.granted, most);
            }
            Step::Renew(at, arrival, part) => {
                now = clock(named).after(arrival.gap, now, &last);
                if now > END {
                    return;
                }
                ledger.advance(now);
                let Some((receipt, left)) = ledger.live(at, now) else {
                    continue;
                };
                let units = (left * part / 1_000).max(1);
                let request = Request {
                    cost: oracle::units(units),
                    ..arrival.request(max_grant(named))
                };
                let before = key.clone();
                last = key.renew(&rules, &request, receipt, now);
                if last.granted > 0 {
                    ledger.give_back(receipt, units, now);
                    ledger.admit(named, last.granted, now);
                } else if !last.stored {
                    assert_eq!(key, before);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_receipt_is_exact_up_to_32_admissions(
        steps in steps(windows(1..=32_u64, 2), Spacing::STEADY, false),
    ) {
        follow(&steps);
    }

    #[test]
    fn every_receipt_is_exact_while_the_clock_steps_back(
        steps in steps(windows(1..=32_u64, 2), Spacing::ANY, false),
    ) {
        follow(&steps);
    }

    #[test]
    fn every_receipt_is_exact_while_windows_are_kept(
        steps in steps(any_windows(), Spacing::ANY, false),
    ) {
        follow(&steps);
    }

    #[test]
    fn of_what_was_not_given_back_there_is_never_more_than_the_limit(
        steps in steps(windows(limit(), 3), Spacing::PLAIN, true),
    ) {
        honest(&steps);
    }

    #[test]
    fn of_what_was_not_given_back_there_is_never_more_than_the_limit_while_the_clock_steps_back(
        steps in steps(
            windows(limit(), 3),
            Spacing { steps_back: true, ..Spacing::PLAIN },
            true,
        ),
    ) {
        honest(&steps);
    }

    /// Groups join at nearly every grant, and most of what is in them is given back, in any order.
    #[test]
    fn a_semaphore_never_admits_more_than_its_limit_and_gets_all_back(
        limit in 33..=300_u64,
        holds in prop::collection::vec((1..=1_200_000_u64, 0..20_000_u64), 50..400),
    ) {
        let named = [at_most(limit, 1_000)];
        let rules = rules(&named);
        let one = Request::exact(Units::ONE);
        let mut key = Key::default();
        let mut now = START;
        // When each is given back, and its receipt. Who takes longer than the window has lost it.
        let mut held: VecDeque<(u64, u64)> = VecDeque::new();
        for (lasts, gap) in holds {
            now += 1 + gap;
            let (done, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|(until, _)| *until <= now);
            held = others.into();
            for (_, receipt) in done {
                let is_live = now < receipt + 1_000_000;
                let given_back = key.refund(1, Some(receipt), now).map_or(0, |answer| answer.granted);
                prop_assert!(given_back == 1 || !is_live, "{} at {}", receipt, now);
            }
            if key.ask::<Windows>(&rules, &one, now).granted > 0 {
                held.push_back((now + lasts, now));
            }
            let live = held.iter().filter(|(_, receipt)| now < receipt + 1_000_000).count();
            prop_assert!(live as u64 <= limit);
        }
    }

    /// Also when groups have joined: then what a receipt gives back in one window may stay until after it has left.
    #[test]
    fn a_renewal_passes_when_it_was_told_to(
        sets in windows(limit(), 3),
        arrivals in oracle::arrivals(Spacing::ANY),
        (arrival, which) in (spaced(Spacing::ANY), any::<Index>()),
    ) {
        let named = &sets[0];
        let most = max_grant(named);
        let rules = rules(named);
        let mut key = Key::default();
        let mut now = START;
        let mut last = Answer::default();
        let mut receipts = Vec::new();
        for arrival in &arrivals {
            for _ in 0..arrival.times {
                now = clock(named).after(arrival.gap, now, &last);
                if now > END {
                    return Ok(());
                }
                last = key.ask::<Windows>(&rules, &arrival.request(most), now);
                if last.granted > 0 {
                    receipts.push(now);
                }
            }
        }
        if !receipts.is_empty() {
            let receipt = *which.get(&receipts);
            let request = arrival.request(most);
            let answer = key.renew(&rules, &request, receipt, now);
            key.assert_renewal_is_exact(&rules, &request, receipt, now, &answer);
        }
    }
}

/// The admissions that `key` admits now, one a microsecond, with their receipts.
fn admit(key: &mut Key, named: &[Rule], times: u64) -> Vec<u64> {
    let one = Request::exact(Units::ONE);
    let receipts = (START..START + times).filter(|now| {
        let answer = key.ask::<Windows>(&rules(named), &one, *now);
        answer.granted == 1
    });
    receipts.collect()
}

#[test]
fn a_receipt_is_good_for_its_own_units_and_once() {
    let minute = [at_most(32, 60_000)];
    let mut key = Key::default();
    let receipts = admit(&mut key, &minute, 32);
    let now = START + 1_000;
    for receipt in receipts {
        let given_back: Vec<u64> = (0..3)
            .map(|_| key.refund(5, Some(receipt), now))
            .map(|answer| answer.map_or(0, |answer| answer.granted))
            .collect();
        assert_eq!(given_back, [1, 0, 0]);
    }
    assert_eq!(key.bytes(now), None);
}

#[test]
fn when_groups_have_joined_each_receipt_is_still_honoured_in_any_order() {
    for order in [0, 1, 2] {
        let many = [at_most(1_000, 60_000)];
        let mut key = Key::default();
        let mut receipts = admit(&mut key, &many, 500);
        match order {
            0 => {}
            1 => receipts.reverse(),
            _ => receipts.sort_by_key(|receipt| receipt % 7),
        }
        let now = START + 1_000;
        for receipt in receipts {
            assert_eq!(key.refund(1, Some(receipt), now).unwrap().granted, 1);
        }
        assert_eq!(key.bytes(now), None);
    }
}

#[test]
fn a_receipt_ends_with_the_window() {
    let minute = [at_most(2, 60_000)];
    for (now, given_back) in [(START + 59_999_999, Some(1)), (START + 60_000_000, None)] {
        let mut key = Key::default();
        admit(&mut key, &minute, 1);
        let answer = key.refund(1, Some(START), now);
        assert_eq!(answer.map(|answer| answer.granted), given_back);
    }
    // Also if its group lasts longer, for it has joined with a newer one.
    let many = [at_most(100, 60_000)];
    let mut key = Key::default();
    admit(&mut key, &many, 60);
    let limiter = key.read::<Windows>(START + 60).unwrap();
    let log = limiter.algorithm().logs().next().unwrap();
    let joined = log.groups()[log.joined().trailing_zeros() as usize];
    let oldest = joined.newest.as_micros() - 1;
    let over = oldest + 60_000_000;
    assert_eq!(
        key.clone()
            .refund(1, Some(oldest), over - 1)
            .unwrap()
            .granted,
        1
    );
    assert_eq!(key.refund(1, Some(oldest), over).unwrap().granted, 0);
}

#[test]
fn a_lease_is_renewed_in_its_own_place() {
    let five = rules(&[at_most(5, 30_000)]);
    let one = Request::exact(Units::ONE);
    let mut key = Key::default();
    let receipts = admit(&mut key, &[at_most(5, 30_000)], 5);
    let now = START + 20_000_000;
    assert!(key.ask::<Windows>(&five, &one, now).is_denied());
    let renewed = key.renew(&five, &one, receipts[2], now);
    assert_eq!((renewed.granted, renewed.remaining), (1, 0));
    // The old receipt is good for nothing now, the new one is.
    assert_eq!(key.refund(1, Some(receipts[2]), now).unwrap().granted, 0);
    assert_eq!(key.refund(1, Some(now), now + 1).unwrap().granted, 1);
}

#[test]
fn a_denied_renewal_gives_nothing_back_and_shows_what_is_there() {
    let named = [at_most(10, 30_000), at_most(4, 3_600_000)];
    let both = rules(&named);
    let mut key = Key::default();
    let receipts = admit(&mut key, &named, 4);
    let before = key.clone();
    // Room for one and two that have to remain: of the two windows the second has too little.
    let request = Request {
        keep: 2,
        ..Request::exact(Units::ONE)
    };
    let denied = key.renew(&both, &request, receipts[3], START + 10);
    assert_eq!((denied.granted, denied.limit, denied.remaining), (0, 4, 0));
    assert_eq!(denied.retry_after, Some(3_600_000_000 - 10 + 1));
    assert_eq!(key, before);
}

/// What the wait of a renewal is counted by is what it will find, in each window and after a block.
#[test]
fn the_wait_of_a_renewal_is_counted_without_what_it_gives_back() {
    let hour = [at_most(2, 3_600_000)];
    let mut key = Key::default();
    let receipts = admit(&mut key, &hour, 2);
    let blocking = Request {
        block: Some(oracle::millis(1_000)),
        ..Request::exact(Units::ONE)
    };
    let now = START + 10;
    assert!(key.ask::<Windows>(&rules(&hour), &blocking, now).stored);
    let denied = key.renew(&rules(&hour), &blocking, receipts[1], now);
    assert_eq!((denied.granted, denied.retry_after), (0, Some(1_000_000)));
    let renewed = key.renew(&rules(&hour), &blocking, receipts[1], now + 1_000_000);
    assert_eq!(renewed.granted, 1);

    // The receipt counts in the long window alone: there is room there, and the short one is what it waits for.
    let named = [at_most(1, 1_000), at_most(2, 3_600_000)];
    let both = rules(&named);
    let one = Request::exact(Units::ONE);
    let mut key = Key::default();
    key.ask::<Windows>(&both, &one, START);
    key.ask::<Windows>(&both, &one, START + 1_500_000);
    let denied = key.renew(&both, &one, START, START + 1_500_001);
    assert_eq!((denied.limit, denied.remaining), (1, 0));
    assert_eq!(denied.retry_after, Some(999_999));
    assert_eq!(denied.reset_after, 999_999);
}

/// The receipt leaves the short window before the group that its units have joined. So what it gives back there now is not
/// free when the long window at last has room, but only when that group leaves.
#[test]
fn a_renewal_waits_for_a_group_that_outlasts_its_receipt() {
    let named = |long| [at_most(40, 100), at_most(long, 1_000)];
    let mut key = Key::default();
    let five = Request::exact(units(5));
    assert_eq!(
        key.ask::<Windows>(&rules(&named(45)), &five, START - 899_500)
            .granted,
        5
    );
    for admitted in 0..40 {
        let now = START + admitted * 1_000;
        let answer = key.ask::<Windows>(&rules(&named(45)), &Request::exact(Units::ONE), now);
        assert_eq!(answer.granted, 1);
    }
    let (now, two) = (START + 50_000, Request::exact(units(2)));
    let denied = key.renew(&rules(&named(43)), &two, START, now);
    assert_eq!(denied.retry_after, Some(51_000));
    key.assert_renewal_is_exact(&rules(&named(43)), &two, START, now, &denied);
}

#[test]
fn a_renewal_of_what_has_left_is_an_ordinary_request() {
    let named = [at_most(2, 1_000)];
    let both = rules(&named);
    let one = Request::exact(Units::ONE);
    let mut key = Key::default();
    let receipts = admit(&mut key, &named, 1);
    let later = START + 1_000_000;
    let answer = key.renew(&both, &one, receipts[0], later);
    assert_eq!((answer.granted, answer.remaining), (1, 1));
    assert_eq!(key.renew(&both, &one, 1, later).remaining, 0);
    assert!(key.renew(&both, &one, u64::MAX, later).is_denied());
}

#[test]
fn all_of_the_future_after_a_step_back_has_no_receipt_any_more() {
    let minute = [at_most(3, 60_000)];
    let mut key = Key::default();
    let one = Request::exact(Units::ONE);
    let hour = 3_600_000_000;
    for back in 0..3 {
        key.ask::<Windows>(&rules(&minute), &one, START + back);
    }
    let now = START - hour;
    assert!(key.ask::<Windows>(&rules(&minute), &one, now).stored);
    for receipt in START..START + 3 {
        assert_eq!(key.refund(1, Some(receipt), now).unwrap().granted, 0);
    }
    assert_eq!(key.refund(3, None, now).unwrap().granted, 3);
}

#[test]
fn what_had_joined_with_the_future_is_still_honoured_after_a_step_back() {
    let many = [at_most(100, 60_000)];
    let mut key = Key::default();
    let receipts = admit(&mut key, &many, 100);
    let limiter = key.read::<Windows>(START + 100).unwrap();
    let log = limiter.algorithm().logs().next().unwrap();
    // With units older than `now`, which only the bit of their group finds.
    let has_older = |at: &usize| log.joined() >> at & 1 == 1 && log.groups()[*at].units > 2;
    let newest_joined = (0..log.groups().len()).rfind(has_older).unwrap();
    // The newest of this one are in the future then, the others are not.
    let now = log.groups()[newest_joined].newest.as_micros() - 1;
    let mut given_back = 0;
    for receipt in receipts {
        given_back += key.refund(1, Some(receipt), now).unwrap().granted;
    }
    assert_eq!(given_back, now + 1 - START);
}

#[test]
fn what_was_charged_has_a_receipt_and_what_was_not_has_none() {
    let minute = rules(&[at_most(2, 60_000)]);
    let now = Timestamp::from_micros(START);
    let mut limiter = Limiter::<Windows>::open(None, &minute, now).unwrap();
    let force = Request {
        mode: Mode::Force,
        ..Request::exact(units(9))
    };
    assert!(!limiter.pass(&Request::exact(Units::ONE)).charged);
    assert!(limiter.decide(&force).charged);
    // The debt is full, also for those of the same time.
    assert!(!limiter.decide(&force).charged);
    assert!(!limiter.decide(&Request::exact(Units::ONE)).charged);
}
