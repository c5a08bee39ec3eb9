//! Several windows on one key: all of them grant or none, and none of them forgets because others are named.

use crate::oracle::{
    Answer, Arrival, Clock, Cost, END, ExactLog, ExactWindows, Key, START, Spacing, at_most,
    config, millis, rules, spaced, units,
};
use proptest::prelude::*;
use redis_ratelimit::limiter::{
    Limit, Limiter, MAX_GROUPS, MAX_WINDOWS, Mode, Request, Rule, Rules, RulesError, Timestamp,
    Units, WindowLog, Windows,
};

const SECOND: u64 = 1_000_000;

fn one() -> Request {
    Request::exact(Units::ONE)
}

/// The distances of one request from the next follow the first window that it names.
fn clock(named: &[Rule]) -> Clock {
    Clock {
        window: named[0].window.as_millis() * 1_000,
        limit: named[0].limit.get(),
    }
}

/// The most that one request can get.
fn max_grant(named: &[Rule]) -> u64 {
    named.iter().map(|rule| rule.limit.get()).min().unwrap()
}

/// The windows stored, those that are active first: limit, microseconds, units in use.
fn rows(key: &mut Key, now: u64) -> Vec<(u64, u64, u64)> {
    let limiter = key.read::<Windows>(now);
    let logs = limiter
        .iter()
        .flat_map(|limiter| limiter.algorithm().logs());
    let row = |log: &WindowLog| {
        let rule = log.rule();
        (
            rule.limit.get(),
            rule.window.as_millis() * 1_000,
            log.used(),
        )
    };
    logs.map(row).collect()
}

/// Limits and windows to choose from, the windows all different: lengths close to each other and far apart.
fn choice(limits: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<Rule>> {
    let window = prop_oneof![
        3 => 1_000..=1_010_u64,
        2 => 1..=100_000_u64,
        1 => Just(60_000),
        1 => Just(61_000),
    ];
    prop::collection::vec((limits, window), 1..=10).prop_map(|mut pairs| {
        pairs.sort_by_key(|(_, window)| *window);
        pairs.dedup_by_key(|(_, window)| *window);
        let rule = |(limit, window): &(u64, u64)| at_most(*limit, *window);
        pairs.iter().map(rule).collect()
    })
}

/// One to eight of `rules`, in any order.
fn some(rules: Vec<Rule>) -> impl Strategy<Value = Vec<Rule>> {
    let greatest = rules.len().min(MAX_WINDOWS);
    prop::sample::subsequence(rules, 1..=greatest).prop_shuffle()
}

/// Requests that name some of up to `MAX_WINDOWS + 2` windows, now and then with another limit.
fn traffic(
    limits: impl Strategy<Value = u64>,
    spacing: Spacing,
) -> impl Strategy<Value = Vec<(Vec<Rule>, Arrival)>> {
    choice(limits).prop_flat_map(move |rules| {
        let sets = prop::collection::vec(some(rules), 1..=5);
        sets.prop_flat_map(move |sets| {
            let changed = prop_oneof![9 => Just(None), 1 => (1..=20_u64).prop_map(Some)];
            let arrival = (prop::sample::select(sets), changed, spaced(spacing));
            let arrival = arrival.prop_map(|(mut named, limit, arrival)| {
                if let Some(limit) = limit {
                    named[0].limit = units(limit);
                }
                (named, arrival)
            });
            prop::collection::vec(arrival, 1..24)
        })
    })
}

/// Sends every request to the limiter and to exact logs, for as long as they have to agree.
fn follow(arrivals: &[(Vec<Rule>, Arrival)]) {
    let mut key = Key::default();
    let mut logs = ExactWindows::default();
    let mut now = START;
    let mut last = Answer::default();
    for (named, arrival) in arrivals {
        let request = arrival.request(max_grant(named));
        let rules = rules(named);
        for _ in 0..arrival.times {
            now = clock(named).after(arrival.gap, now, &last);
            let expected = logs.ask(&rules, &request, now);
            if now > END || logs.instants() > MAX_GROUPS {
                return;
            }
            last = key.ask::<Windows>(&rules, &request, now);
            assert_eq!(last, expected, "{request:?} of {named:?} at {now}");
            if last.stored {
                assert_eq!(rows(&mut key, now), logs.rows());
            }
        }
    }
}

/// Beside the limiter, one exact log for each window, of the requests that named it.
#[derive(Default)]
struct Witness(Vec<ExactLog>);

impl Witness {
    /// Asserts that `granted` units leave every window that was named within its limit.
    fn admit(&mut self, named: &[Rule], granted: u64, now: u64) {
        for rule in named {
            let window = rule.window.as_millis() * 1_000;
            let at = self.0.iter().position(|log| log.window == window);
            let at = at.unwrap_or_else(|| {
                self.0.push(ExactLog::new(*rule));
                self.0.len() - 1
            });
            let log = &mut self.0[at];
            log.expire(now);
            log.admit(granted, now);
            let limit = rule.limit.get();
            assert!(granted == 0 || log.used() <= limit, "{rule:?} at {now}");
        }
    }
}

fn assert_every_limit_holds(arrivals: &[(Vec<Rule>, Arrival)]) {
    let mut key = Key::default();
    let mut witness = Witness::default();
    let mut now = START;
    let mut last = Answer::default();
    for (named, arrival) in arrivals {
        let request = arrival.request(max_grant(named));
        for _ in 0..arrival.times {
            now = clock(named).after(arrival.gap, now, &last);
            if now > END {
                return;
            }
            last = key.ask::<Windows>(&rules(named), &request, now);
            witness.admit(named, last.granted, now);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_field_is_exact_up_to_32_admissions(
        arrivals in traffic(1..=12_u64, Spacing::STEADY),
    ) {
        follow(&arrivals);
    }

    #[test]
    fn every_field_is_exact_while_the_clock_steps_back(
        arrivals in traffic(1..=12_u64, Spacing::ANY),
    ) {
        follow(&arrivals);
    }

    /// No more windows than are kept, so that none has to make room.
    #[test]
    fn every_limit_holds_over_the_requests_that_named_its_window(
        arrivals in choice(1..=200_u64).prop_flat_map(|mut rules| {
            rules.truncate(MAX_WINDOWS);
            let arrival = (some(rules), spaced(Spacing::PLAIN));
            prop::collection::vec(arrival, 1..24)
        }),
    ) {
        assert_every_limit_holds(&arrivals);
    }

    #[test]
    fn a_denial_by_one_window_consumes_nothing_from_the_others(
        before in traffic(1..=100_u64, Spacing::PLAIN),
        named in choice(1..=100_u64).prop_flat_map(some),
    ) {
        let mut key = Key::default();
        let mut now = START;
        let mut last = Answer::default();
        for (named, arrival) in &before {
            now = clock(named).after(arrival.gap, now, &last);
            last = key.ask::<Windows>(&rules(named), &arrival.request(max_grant(named)), now);
        }
        let named_rules = rules(&named);
        let cost = Request::exact(Cost::Whole.of(max_grant(&named)));
        while !key.ask::<Windows>(&named_rules, &cost, now).is_denied() {}
        let denied = rows(&mut key, now);
        for _ in 0..3 {
            let again = key.ask::<Windows>(&named_rules, &cost, now);
            prop_assert!(again.is_denied() && !again.stored);
        }
        prop_assert_eq!(rows(&mut key, now), denied);
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_a_microsecond_less_is_not(
        arrivals in traffic(1..=50_u64, Spacing::ANY),
    ) {
        let mut key = Key::default();
        let mut now = START;
        let mut last = Answer::default();
        for (named, arrival) in &arrivals {
            now = clock(named).after(arrival.gap, now, &last);
            if now > END {
                break;
            }
            let request = arrival.request(max_grant(named));
            let rules = rules(named);
            last = key.ask::<Windows>(&rules, &request, now);
            key.assert_retry_is_exact::<Windows>(&rules, &request, now, &last);
        }
    }

    #[test]
    fn the_key_lives_until_the_last_window_is_empty(
        arrivals in traffic(1..=50_u64, Spacing::ANY),
    ) {
        let mut key = Key::default();
        let mut now = START;
        let mut last = Answer::default();
        for (named, arrival) in &arrivals {
            now = clock(named).after(arrival.gap, now, &last);
            if now > END {
                break;
            }
            let rules = rules(named);
            let mut limiter = key.open::<Windows>(&rules, now);
            limiter.decide(&arrival.request(max_grant(named)));
            last = key.ask::<Windows>(&rules, &arrival.request(max_grant(named)), now);
            if last.stored {
                let over = limiter.expires_at().as_micros();
                let matters = |at: u64| {
                    let limiter = key.clone().read::<Windows>(at).unwrap();
                    !limiter.blocked_for().is_zero()
                        || limiter.blocks_in_a_row() > 0
                        || limiter.algorithm().logs().any(|log| log.used() > 0)
                };
                prop_assert!(matters(over - 1));
                prop_assert!(!matters(over));
            }
        }
    }
}

#[test]
fn callers_with_different_windows_cannot_make_each_other_forget() {
    let callers = [at_most(5, 60_000), at_most(5, 61_000)];
    let mut key = Key::default();
    let mut witness = Witness::default();
    let mut granted = [0; 2];
    for second in 0..3_600 {
        let caller = second as usize % 2;
        let named = [callers[caller]];
        let now = START + second * SECOND;
        let answer = key.ask::<Windows>(&rules(&named), &one(), now);
        witness.admit(&named, answer.granted, now);
        granted[caller] += answer.granted;
    }
    assert!((5 * 58..=5 * 60).contains(&granted[0]), "{granted:?}");
    assert!((5 * 57..=5 * 60).contains(&granted[1]), "{granted:?}");
}

#[test]
fn naming_another_window_grants_nothing_anew() {
    let mut key = Key::default();
    let minute = rules(&[at_most(5, 60_000)]);
    for _ in 0..5 {
        assert_eq!(key.ask::<Windows>(&minute, &one(), START).granted, 1);
    }
    for seconds in [61, 59, 1, 3_600, 2] {
        let other = rules(&[at_most(5, seconds * 1_000)]);
        assert!(key.ask::<Windows>(&other, &one(), START + 1).is_denied());
        assert!(key.ask::<Windows>(&minute, &one(), START + 1).is_denied());
    }
}

#[test]
fn a_new_window_starts_with_what_the_longest_admitted_while_it_lasts() {
    let mut key = Key::default();
    let long = rules(&[at_most(10, 60_000)]);
    for second in 0..6 {
        key.ask::<Windows>(&long, &one(), START + second * SECOND);
    }
    // At second 6 the admissions of seconds 3, 4 and 5 are younger than 4 s; that of second 2 is just old enough.
    let now = START + 6 * SECOND;
    let short = rules(&[at_most(10, 4_000)]);
    let answer = key.ask::<Windows>(&short, &one(), now);
    assert_eq!((answer.granted, answer.remaining), (1, 10 - 3 - 1));
    assert_eq!(
        rows(&mut key, now),
        [(10, 4_000_000, 4), (10, 60_000_000, 6)]
    );
}

#[test]
fn a_window_no_longer_named_is_kept_until_its_last_unit_has_left() {
    let mut key = Key::default();
    let long = rules(&[at_most(10, 60_000)]);
    let short = rules(&[at_most(10, 5_000)]);
    key.ask::<Windows>(&long, &one(), START);
    key.ask::<Windows>(&short, &one(), START + 58 * SECOND);
    assert_eq!(rows(&mut key, START + 59 * SECOND).len(), 2);
    for second in 59..70 {
        let answer = key.ask::<Windows>(&short, &one(), START + second * SECOND);
        assert_eq!(answer.granted, 1);
    }
    let now = START + 70 * SECOND;
    assert_eq!(rows(&mut key, now).len(), 1);
    assert_eq!(key.ask::<Windows>(&long, &one(), now).granted, 1);
}

#[test]
fn a_window_no_longer_named_goes_with_its_last_unit_if_that_is_refunded() {
    let mut key = Key::default();
    let short = rules(&[at_most(10, 5_000)]);
    let now = START + 59 * SECOND;
    key.ask::<Windows>(&rules(&[at_most(10, 60_000)]), &one(), START);
    key.ask::<Windows>(&short, &one(), now - 1);
    key.ask::<Windows>(&short, &one(), now);
    let mut limiter = key.read::<Windows>(now).unwrap();
    assert_eq!(limiter.refund(Units::ONE).unwrap().decision.granted, 1);
    let stored = limiter.encode();
    let limiter = Limiter::<Windows>::read(&stored, Timestamp::from_micros(now)).unwrap();
    let used: Vec<u64> = limiter.algorithm().logs().map(|log| log.used()).collect();
    assert_eq!(used, [1]);
}

#[test]
fn a_window_that_has_emptied_is_not_the_longest_stored() {
    let mut key = Key::default();
    key.ask::<Windows>(&rules(&[at_most(1, 60_000)]), &one(), START);
    let short = rules(&[at_most(1, 5_000)]);
    let now = START + 59 * SECOND;
    assert_eq!(key.ask::<Windows>(&short, &one(), now).granted, 1);
    let between = rules(&[at_most(1, 30_000)]);
    let answer = key.ask::<Windows>(&between, &one(), START + 61 * SECOND);
    assert!(answer.is_denied(), "the unit of two seconds ago counts");
}

#[test]
fn a_grant_shows_the_window_with_the_fewest_units_left() {
    let named = [
        at_most(10, 1_000),
        at_most(3, 60_000),
        at_most(5, 3_600_000),
    ];
    let mut key = Key::default();
    let answer = key.ask::<Windows>(&rules(&named), &one(), START);
    assert_eq!((answer.limit, answer.remaining), (3, 2));
    assert_eq!(answer.reset_after, 60 * SECOND);
}

#[test]
fn a_denial_shows_the_window_with_the_longest_wait() {
    let named = [at_most(2, 1_000), at_most(2, 60_000), at_most(9, 3_600_000)];
    let rules = rules(&named);
    let mut key = Key::default();
    key.ask::<Windows>(&rules, &Request::exact(units(2)), START);
    let answer = key.ask::<Windows>(&rules, &one(), START);
    assert_eq!((answer.limit, answer.remaining), (2, 0));
    assert_eq!(answer.retry_after, Some(60 * SECOND));
    // What one of them can never grant is the longest wait.
    let answer = key.ask::<Windows>(&rules, &Request::exact(units(3)), START);
    assert_eq!((answer.limit, answer.retry_after), (2, None));
    assert_eq!(answer.reset_after, SECOND);
}

#[test]
fn of_equal_windows_the_first_named_is_shown() {
    for (first, second) in [(1_000, 2_000), (2_000, 1_000)] {
        let rules = rules(&[at_most(5, first), at_most(5, second)]);
        let mut key = Key::default();
        let answer = key.ask::<Windows>(&rules, &one(), START);
        assert_eq!(answer.reset_after, first * 1_000);
        let never = key.ask::<Windows>(&rules, &Request::exact(units(6)), START);
        assert_eq!(never.reset_after, first * 1_000);
    }
}

#[test]
fn at_most_grants_what_the_tightest_window_has() {
    let named = [at_most(10, 1_000), at_most(4, 60_000)];
    let rules = rules(&named);
    let request = Request {
        mode: Mode::AtMost,
        ..Request::exact(units(7))
    };
    let mut key = Key::default();
    assert_eq!(key.ask::<Windows>(&rules, &request, START).granted, 4);
    assert_eq!(
        rows(&mut key, START),
        [(10, SECOND, 4), (4, 60 * SECOND, 4)]
    );
    let none = key.ask::<Windows>(&rules, &request, START + SECOND);
    assert_eq!((none.granted, none.retry_after), (0, Some(59 * SECOND)));
}

#[test]
fn of_nine_windows_the_one_that_empties_first_makes_room() {
    let mut key = Key::default();
    for seconds in [50, 10, 60, 20, 30, 40, 70, 80] {
        let named = rules(&[at_most(10, seconds * 1_000)]);
        assert_eq!(key.ask::<Windows>(&named, &one(), START).granted, 1);
    }
    let windows = |key: &mut Key| -> Vec<u64> {
        let rows = rows(key, START).into_iter();
        let mut seconds: Vec<u64> = rows.map(|(_, window, _)| window / SECOND).collect();
        seconds.sort_unstable();
        seconds
    };
    assert_eq!(windows(&mut key), [10, 20, 30, 40, 50, 60, 70, 80]);
    key.ask::<Windows>(&rules(&[at_most(10, 5_000)]), &one(), START);
    assert_eq!(windows(&mut key), [5, 20, 30, 40, 50, 60, 70, 80]);
    let eight: Vec<Rule> = (1..=8).map(|n| at_most(99, n * 100)).collect();
    key.ask::<Windows>(&rules(&eight), &one(), START);
    assert_eq!(rows(&mut key, START).len(), MAX_WINDOWS);
    assert!(
        rows(&mut key, START)
            .iter()
            .all(|(limit, _, _)| *limit == 99)
    );
}

#[test]
fn a_request_names_at_most_eight_windows_all_different() {
    let mut rules = Rules::new(at_most(1, 1));
    assert_eq!(rules.add(at_most(2, 1)), Err(RulesError::Duplicate));
    for window in 2..=8 {
        assert_eq!(rules.add(at_most(1, window)), Ok(()));
    }
    assert_eq!(rules.add(at_most(1, 9)), Err(RulesError::TooMany));
    assert_eq!(rules.add(at_most(1, 8)), Err(RulesError::Duplicate));
    let named: Vec<u64> = rules.iter().map(|rule| rule.window.as_millis()).collect();
    assert_eq!(named, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(rules.iter().next().unwrap().window, millis(1));
}
