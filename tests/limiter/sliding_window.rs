//! The sliding window is strict: never more than the limit in any window. It is exact while it holds at most 32
//! admissions, and beyond that it withholds almost no room.

use crate::oracle::{
    self, Answer, Arrival, Clock, END, ExactLog, ExactWindows, Gap, Key, START, Spacing, arrivals,
    as_told, at_most, config, millis, request, rule, rules, spaced, units,
};
use proptest::prelude::*;
use redis_ratelimit::limiter::{Limit, MAX_GROUPS, Mode, Request, Rule, Units, Window, Windows};

fn clock(rule: Rule) -> Clock {
    Clock {
        window: rule.window.as_millis() * 1_000,
        limit: rule.limit.get(),
    }
}

fn one() -> Request {
    Request::exact(Units::ONE)
}

fn with_mode(cost: u64, mode: Mode) -> Request {
    Request {
        mode,
        ..Request::exact(units(cost))
    }
}

/// Sends every request to the limiter and to an exact log, for as long as that has to agree.
fn follow(arrivals: &[(Rule, Arrival)]) {
    let mut key = Key::default();
    let mut log = ExactWindows::default();
    let mut now = START;
    let mut last = Answer::default();
    for (rule, arrival) in arrivals {
        let request = arrival.request(rule.limit.get());
        let rules = rules(&[*rule]);
        for _ in 0..arrival.times {
            now = clock(*rule).after(arrival.gap, now, &last);
            let expected = log.ask(&rules, &request, now);
            if now > END || log.instants() > MAX_GROUPS {
                return;
            }
            last = key.ask::<Windows>(&rules, &request, now);
            assert_eq!(last, expected, "{request:?} of {rule:?} at {now}");
        }
    }
}

fn under(rule: Rule, arrivals: Vec<Arrival>) -> Vec<(Rule, Arrival)> {
    arrivals
        .into_iter()
        .map(|arrival| (rule, arrival))
        .collect()
}

/// Requests that name one window, with up to four limits.
fn under_changing_limits(spacing: Spacing) -> impl Strategy<Value = Vec<(Rule, Arrival)>> {
    let limits = prop::collection::vec(oracle::limit(), 1..=4);
    (oracle::window_ms(), limits).prop_flat_map(move |(window, limits)| {
        let rule = prop::sample::select(limits).prop_map(move |limit| at_most(limit, window));
        prop::collection::vec((rule, spaced(spacing)), 1..14)
    })
}

/// One request, and what was true when it came.
#[derive(Debug)]
struct Event {
    limit: u64,
    request: Request,
    answer: Answer,
    /// Units that were truly in the window before it.
    held: u64,
    /// The greatest limit so far.
    greatest: u64,
    groups: usize,
    /// What the limiter counts after it.
    counted: u64,
}

/// Sends `requests` to the limiter, and beside it keeps an exact log of what the limiter admitted.
fn play(arrivals: &[(Rule, Arrival)]) -> Vec<Event> {
    let mut key = Key::default();
    let mut events: Vec<Event> = Vec::new();
    let mut admitted: Vec<(u64, u64)> = Vec::new();
    let mut now = START;
    let mut last = Answer::default();
    let mut greatest = 0;
    for (rule, arrival) in arrivals {
        let limit = rule.limit.get();
        let request = arrival.request(limit);
        let rules = rules(&[*rule]);
        for _ in 0..arrival.times {
            now = clock(*rule).after(arrival.gap, now, &last);
            if now > END {
                return events;
            }
            let mut log = ExactLog::new(*rule);
            log.admitted = std::mem::take(&mut admitted);
            log.expire(now);
            let held = log.used();
            last = key.ask::<Windows>(&rules, &request, now);
            log.admit(last.granted, now);
            admitted = log.admitted;
            greatest = limit.max(greatest);
            let stored = key.read::<Windows>(now);
            let logs = stored.iter().flat_map(|limiter| limiter.algorithm().logs());
            let (groups, counted) = logs
                .map(|log| (log.groups().len(), log.used()))
                .last()
                .unwrap_or_default();
            events.push(Event {
                limit,
                request,
                answer: last,
                held,
                greatest,
                groups,
                counted,
            });
        }
    }
    events
}

fn assert_the_limit_holds(events: &[Event]) {
    for event in events {
        let granted = event.answer.granted;
        assert!(
            granted == 0 || event.held + granted <= event.limit,
            "{event:?}"
        );
    }
}

/// Beyond 32 admissions units may stay too long: less than `2g` of them, `g` being a 32nd of the limit.
fn assert_room_is_not_withheld(events: &[Event]) {
    for event in events {
        let Request { cost, keep, .. } = event.request;
        let cost = cost.get();
        let truly_free = event.limit.saturating_sub(event.held);
        let unsure = 2 * event.greatest.div_ceil(MAX_GROUPS as u64) - 1;
        let granted = event.answer.granted;
        match event.request.mode {
            _ if granted == cost => {}
            Mode::Exact => assert!(truly_free < cost + keep + unsure, "{event:?}"),
            _ => assert!(granted + keep + unsure >= truly_free, "{event:?}"),
        }
    }
}

fn assert_the_log_stays_small(events: &[Event]) {
    for event in events {
        assert!(event.groups <= MAX_GROUPS, "{event:?}");
        assert!(event.counted <= 2 * event.greatest, "{event:?}");
    }
}

/// A key after `requests`, and when that was.
fn after(rule: Rule, arrivals: &[Arrival]) -> (Key, u64) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for arrival in arrivals {
        for _ in 0..arrival.times {
            let next = clock(rule).after(arrival.gap, now, &last);
            if next > END {
                return (key, now);
            }
            now = next;
            last = key.ask::<Windows>(&rules(&[rule]), &arrival.request(rule.limit.get()), now);
        }
    }
    (key, now)
}

/// `times` requests of one unit each, `gap` apart.
fn every(gap: Gap, times: u32) -> Arrival {
    Arrival::plain(gap, times)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_field_is_exact_up_to_32_admissions(
        rule in rule(),
        arrivals in arrivals(Spacing::STEADY),
    ) {
        follow(&under(rule, arrivals));
    }

    #[test]
    fn every_field_is_exact_while_the_clock_steps_back(
        rule in rule(),
        arrivals in arrivals(Spacing::ANY),
    ) {
        follow(&under(rule, arrivals));
    }

    #[test]
    fn every_field_is_exact_while_the_limit_changes(
        arrivals in under_changing_limits(Spacing::STEADY),
    ) {
        follow(&arrivals);
    }

    #[test]
    fn every_field_is_exact_while_everything_changes(
        arrivals in under_changing_limits(Spacing::ANY),
    ) {
        follow(&arrivals);
    }

    #[test]
    fn no_window_ever_holds_more_than_the_limit(
        rule in rule(),
        arrivals in arrivals(Spacing::PLAIN),
    ) {
        assert_the_limit_holds(&play(&under(rule, arrivals)));
    }

    #[test]
    fn no_window_ever_holds_more_than_the_limit_of_the_moment(
        arrivals in under_changing_limits(Spacing::PLAIN),
    ) {
        assert_the_limit_holds(&play(&arrivals));
    }

    #[test]
    fn no_room_is_withheld_except_of_less_than_two_groups(
        rule in rule(),
        arrivals in arrivals(Spacing::PLAIN),
    ) {
        assert_room_is_not_withheld(&play(&under(rule, arrivals)));
    }

    #[test]
    fn no_room_is_withheld_except_of_less_than_two_groups_of_the_greatest_limit(
        arrivals in under_changing_limits(Spacing::PLAIN),
    ) {
        assert_room_is_not_withheld(&play(&arrivals));
    }

    /// Loads of 0.9 to 5 times the limit: the groups are full and join at nearly every grant.
    #[test]
    fn a_steady_load_neither_breaks_the_limit_nor_is_held_back(
        limit in 33..=400_u64,
        spacing in prop::collection::vec(200..=1_112_u32, 1..4),
        jitter in prop::collection::vec(0..=20_000_u64, 1..8),
    ) {
        let rule = at_most(limit, 1_000);
        let mut traffic = Vec::new();
        for thousandths in spacing {
            for jitter in &jitter {
                traffic.push((rule, every(Gap::Interval(thousandths), 60)));
                traffic.push((rule, every(Gap::Micros(*jitter), 3)));
            }
        }
        let events = play(&traffic);
        assert_the_limit_holds(&events);
        assert_room_is_not_withheld(&events);
        assert_the_log_stays_small(&events);
    }

    #[test]
    fn a_log_never_has_more_than_32_groups(
        arrivals in under_changing_limits(Spacing::ANY),
    ) {
        assert_the_log_stays_small(&play(&arrivals));
    }

    /// The rule as it is written, without any of what makes it fast; with numbers that 64 bits do not hold, too.
    #[test]
    fn of_the_pairs_that_may_join_the_one_that_delays_its_older_units_least_does(
        limit in prop_oneof![33..5_000_u64, Units::MAX - 1_000..=Units::MAX],
        window in prop_oneof![Just(60_000), Just(Window::MAX_MILLIS)],
        much in any::<bool>(),
        arrivals in prop::collection::vec((1..1_000_u64, 1..100_u64), 34..120),
    ) {
        let rules = rules(&[at_most(limit, window)]);
        let mut key = Key::default();
        let mut now = START;
        let mut expected: Vec<(u64, u64)> = Vec::new();
        for (gap, share) in arrivals {
            // Never so long together that one leaves.
            now += gap * (window * 1_000 / 125_000);
            let cost = if much { (share * limit / 6_000).max(1) } else { share };
            if key.ask::<Windows>(&rules, &Request::exact(units(cost)), now).granted == 0 {
                break;
            }
            expected.push((now, cost));
            if expected.len() > 32 {
                let max = 2 * limit.div_ceil(32);
                let pairs = 0..32_usize;
                let at = pairs
                    .filter(|at| expected[*at].1 + expected[at + 1].1 <= max)
                    .min_by_key(|at| {
                        let [(older, units), (newer, _)] = [expected[*at], expected[at + 1]];
                        u128::from(units) * u128::from(newer - older)
                    })
                    .unwrap();
                let (_, units) = expected.remove(at);
                expected[at].1 += units;
            }
            let limiter = key.read::<Windows>(now).unwrap();
            let log = limiter.algorithm().logs().next().unwrap();
            let groups = log.groups().iter().map(|group| (group.newest.as_micros(), group.units));
            prop_assert_eq!(&groups.collect::<Vec<_>>(), &expected);
        }
    }

    #[test]
    fn a_debt_is_at_most_one_further_quota(
        rule in rule(),
        costs in prop::collection::vec((1..=Units::MAX, 0..20_u64), 1..50),
    ) {
        let rules = rules(&[rule]);
        let mut key = Key::default();
        let mut now = START;
        for (cost, passed) in costs {
            now += passed;
            let answer = key.ask::<Windows>(&rules, &with_mode(cost, Mode::Force), now);
            prop_assert_eq!(answer.granted, cost);
            let limiter = key.read::<Windows>(now).unwrap();
            for log in limiter.algorithm().logs() {
                prop_assert!(log.used() <= 2 * rule.limit.get());
                prop_assert_eq!(answer.remaining, rule.limit.get().saturating_sub(log.used()));
            }
        }
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_a_microsecond_less_is_not(
        (rule, request) in rule().prop_flat_map(|rule| (Just(rule), request(Spacing::ANY, rule.limit.get()))),
        arrivals in arrivals(Spacing::ANY),
    ) {
        let (mut key, now) = after(rule, &arrivals);
        let rules = rules(&[rule]);
        let answer = key.ask::<Windows>(&rules, &request, now);
        key.assert_retry_is_exact::<Windows>(&rules, &request, now, &answer);
        key.assert_reset_is_exact::<Windows>(now, &answer);
    }

    #[test]
    fn a_denial_consumes_nothing(
        rule in rule(),
        before in arrivals(Spacing::ANY),
        storm in prop::collection::vec(0..1_000_000_u64, 1..30),
    ) {
        let (mut key, now) = after(rule, &before);
        let rules = rules(&[rule]);
        let whole = Request::exact(rule.limit);
        let answers: [Answer; 2] = std::array::from_fn(|_| key.ask::<Windows>(&rules, &whole, now));
        let wait = answers[1].retry_after.unwrap();
        let denied = key.clone();
        for share in storm {
            let passed = u128::from(wait) * u128::from(share) / 1_000_000;
            let then = now + u64::try_from(passed).unwrap();
            let again = key.ask::<Windows>(&rules, &whole, then);
            prop_assert!(again.is_denied() && !again.stored);
            prop_assert_eq!(again.retry_after, Some(now + wait - then));
            prop_assert_eq!(&key, &denied);
        }
        prop_assert!(!key.ask::<Windows>(&rules, &whole, now + wait).is_denied());
    }

    /// What is in the future after a step back counts as admitted now: nothing is forgotten, and nobody waits longer
    /// than one window.
    #[test]
    fn a_step_back_forgets_nothing_and_delays_by_one_window_at_most(
        rule in rule(),
        arrivals in arrivals(Spacing::STEADY),
        back in 1..=10_000_000_000_000_u64,
    ) {
        let (mut key, now) = after(rule, &arrivals);
        let rules = rules(&[rule]);
        let written = key.ask::<Windows>(&rules, &with_mode(1, Mode::Force), now);
        prop_assume!(written.stored);
        let used = |key: &mut Key, now| {
            let limiter = key.read::<Windows>(now).unwrap();
            limiter.algorithm().logs().map(|log| log.used()).sum::<u64>()
        };
        let before = used(&mut key, now);
        prop_assert_eq!(used(&mut key, now - back), before);
        let whole = Request::exact(rule.limit);
        let stepped = key.ask::<Windows>(&rules, &whole, now - back);
        prop_assert!(stepped.is_denied() && stepped.stored);
        prop_assert_eq!(used(&mut key, now - back), before);
        prop_assert!(stepped.retry_after.unwrap() <= rule.window.as_millis() * 1_000);
    }
}

#[test]
fn a_burst_at_the_end_of_a_window_is_not_repeated_at_the_start_of_the_next() {
    let minute = 60_000_000;
    let border = START.next_multiple_of(minute);
    for limit in [1, 5, 32, 33, 100, 1_000] {
        let rules = rules(&[at_most(limit, 60_000)]);
        let mut key = Key::default();
        let mut burst = |at: u64| -> u64 {
            let spread = (0..2 * limit).map(|n| at + n);
            spread
                .map(|now| key.ask::<Windows>(&rules, &one(), now).granted)
                .sum()
        };
        assert_eq!(burst(border - 5_000), limit);
        assert_eq!(burst(border), 0);
        assert_eq!(burst(border + minute - 5_000 - 2 * limit), 0);
        assert_eq!(burst(border + minute), limit);
    }
}

#[test]
fn an_admission_counts_for_exactly_one_window() {
    let rules = rules(&[at_most(1, 1)]);
    let mut key = Key::default();
    assert_eq!(key.ask::<Windows>(&rules, &one(), START).granted, 1);
    assert_eq!(key.ask::<Windows>(&rules, &one(), START + 999).granted, 0);
    assert_eq!(key.ask::<Windows>(&rules, &one(), START + 1_000).granted, 1);
}

#[test]
fn a_lowered_limit_neither_forgets_nor_forgives() {
    let wide = rules(&[at_most(20, 60_000)]);
    let narrow = rules(&[at_most(5, 60_000)]);
    let mut key = Key::default();
    for second in 0..20 {
        let now = START + second * 1_000_000;
        assert_eq!(key.ask::<Windows>(&wide, &one(), now).granted, 1);
    }
    let now = START + 20_000_000;
    let denied = key.ask::<Windows>(&narrow, &one(), now);
    assert_eq!((denied.granted, denied.remaining), (0, 0));
    // Sixteen of the twenty have to leave.
    assert_eq!(
        denied.retry_after,
        Some(15_000_000 + 60_000_000 - 20_000_000)
    );
    assert!(denied.stored);
    assert!(key.ask::<Windows>(&wide, &one(), now).is_denied());
    let raised = rules(&[at_most(21, 60_000)]);
    assert_eq!(key.ask::<Windows>(&raised, &one(), now).granted, 1);
    assert!(key.ask::<Windows>(&raised, &one(), now).is_denied());
}

#[test]
fn a_block_outlasts_the_window_and_nothing_extends_it() {
    let login = rules(&[at_most(5, 300_000)]);
    let blocking = Request {
        block: Window::from_millis(900_000),
        ..one()
    };
    let mut key = Key::default();
    for _ in 0..5 {
        assert_eq!(key.ask::<Windows>(&login, &blocking, START).granted, 1);
    }
    let denied = key.ask::<Windows>(&login, &blocking, START);
    assert_eq!(denied.retry_after, Some(900_000_000));
    assert_eq!(denied.reset_after, 900_000_000);
    for mode in [Mode::Exact, Mode::AtMost, Mode::Force] {
        let request = Request { mode, ..blocking };
        let denied = key.ask::<Windows>(&login, &request, START + 899_999_999);
        assert_eq!(denied.retry_after, Some(1));
        assert!(!denied.stored);
    }
    let never = key.ask::<Windows>(&login, &Request::exact(units(6)), START);
    assert_eq!(never.retry_after, None);
    let over = START + 900_000_000;
    assert_eq!(key.ask::<Windows>(&login, &one(), over).granted, 1);
}

#[test]
fn a_window_may_last_from_a_millisecond_to_ten_years() {
    for window in [1, Window::MAX_MILLIS] {
        for limit in [1, Units::MAX] {
            let rules = rules(&[at_most(limit, window)]);
            let mut key = Key::default();
            let whole = Request::exact(units(limit));
            assert_eq!(key.ask::<Windows>(&rules, &whole, START).granted, limit);
            let denied = key.ask::<Windows>(&rules, &one(), START + 1);
            let wait = millis(window).as_millis() * 1_000 - 1;
            assert_eq!(denied.retry_after, Some(wait));
            assert_eq!(as_told(wait), window * 1_000);
        }
    }
}

/// The time to the next of events that come `mean` apart, independently of one another.
fn wait(random: &mut fastrand::Rng, mean: f64) -> u64 {
    (-(1.0 - random.f64()).ln() * mean) as u64
}

/// The volume admitted in `windows` windows of a Poisson load, as a share of what an exact log admits.
fn volume(limit: u64, load: f64, windows: u64) -> f64 {
    let rule = at_most(limit, 60_000);
    let rules = rules(&[rule]);
    let window = 60_000_000;
    let mean = window as f64 / (limit as f64 * load);
    // The same at every run: the share is up to 0.2 % off its mean in so few windows, and the bound is not much further.
    let mut random = fastrand::Rng::with_seed(limit);
    let mut key = Key::default();
    let mut exact = std::collections::VecDeque::new();
    let (mut ours, mut theirs) = (0, 0);
    let mut now = START;
    while now < START + windows * window {
        now += wait(&mut random, mean);
        ours += key.ask::<Windows>(&rules, &one(), now).granted;
        while exact.front().is_some_and(|at| at + window <= now) {
            exact.pop_front();
        }
        if (exact.len() as u64) < limit {
            exact.push_back(now);
            theirs += 1;
        }
    }
    ours as f64 / f64::from(theirs)
}

/// What joining costs on average is a part of a group, so a group of the average size, one in 32, is a bound with room.
fn assert_volume(limit: u64, windows: u64) {
    for load in [0.9, 1.1, 1.5, 2.0, 5.0] {
        let share = volume(limit, load, windows);
        println!("limit {limit}, load {load}: {:.2} %", share * 100.0);
        let floor = 1.0 - 1.0 / MAX_GROUPS as f64;
        assert!(share >= floor, "limit {limit}, load {load}: {share}");
    }
}

#[test]
fn under_a_steady_load_at_limit_100_less_than_one_group_in_32_is_lost_to_joining() {
    assert_volume(100, 40);
}

#[test]
fn under_a_steady_load_at_limit_1000_less_than_one_group_in_32_is_lost_to_joining() {
    assert_volume(1000, 40);
}
