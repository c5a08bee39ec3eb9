//! A caller who waits as long as the reply says is not denied again, whatever changed before.

use crate::oracle::{
    self, Answer, Arrival, Clock, END, Key, START, Spacing, Stored, as_told, at_most, config,
    limit, quota, request, rule, rules, spaced, units, window_ms,
};
use proptest::prelude::*;
use redis_ratelimit::limiter::{Bucket, Mode, Quota, Request, Rule, Rules, Units, Window, Windows};

const HOUR: u64 = 3_600_000_000;

/// What the requests of one key name: how their distances are measured, and the most they can get.
trait Named {
    type Algorithm: Stored;

    fn parameters(&self) -> <Self::Algorithm as redis_ratelimit::limiter::Algorithm>::Parameters;
    fn clock(&self) -> Clock;
    fn max_grant(&self) -> u64;
}

impl Named for Quota {
    type Algorithm = Bucket;

    fn parameters(&self) -> Quota {
        *self
    }

    fn clock(&self) -> Clock {
        Clock {
            window: self.window().as_millis() * 1_000,
            limit: self.limit().get(),
        }
    }

    fn max_grant(&self) -> u64 {
        self.burst().get()
    }
}

impl Named for Vec<Rule> {
    type Algorithm = Windows;

    fn parameters(&self) -> Rules {
        rules(self)
    }

    fn clock(&self) -> Clock {
        Clock {
            window: self[0].window.as_millis() * 1_000,
            limit: self[0].limit.get(),
        }
    }

    fn max_grant(&self) -> u64 {
        self.iter().map(|rule| rule.limit.get()).min().unwrap()
    }
}

fn ask<N: Named>(key: &mut Key, named: &N, request: &Request, now: u64) -> Answer {
    key.ask::<N::Algorithm>(&named.parameters(), request, now)
}

/// Every caller waits as told. Before any call the parameters may change, and the clock may step back.
fn all_wait_as_told<N: Named>(arrivals: &[(N, Arrival)]) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for (named, arrival) in arrivals {
        let request = arrival.request(named.max_grant());
        for _ in 0..arrival.times {
            now = named.clock().after(arrival.gap, now, &last);
            if now > END {
                return;
            }
            last = ask(&mut key, named, &request, now);
            if let (true, Some(wait)) = (last.is_denied(), last.retry_after) {
                now += as_told(wait);
                last = ask(&mut key, named, &request, now);
                assert!(!last.is_denied(), "{request:?}: {last:?}");
            }
        }
    }
}

/// The clock steps back while the caller waits: it may be denied once more, but not twice.
fn one_waits_while_the_clock_steps_back<N: Named>(arrivals: &[(N, Arrival)], back: u64) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for (named, arrival) in arrivals {
        let request = arrival.request(named.max_grant());
        now = named.clock().after(arrival.gap, now, &last);
        if now > END {
            return;
        }
        last = ask(&mut key, named, &request, now);
        if let (true, Some(wait)) = (last.is_denied(), last.retry_after) {
            now = (now + as_told(wait)).saturating_sub(back);
            last = ask(&mut key, named, &request, now);
            if last.is_denied() {
                now += as_told(last.retry_after.unwrap());
                last = ask(&mut key, named, &request, now);
                assert!(!last.is_denied(), "{request:?}: {last:?}");
            }
        }
    }
}

/// While one caller waits, others ask at random times for the same windows, with limits of their own, and get nothing.
/// That takes no room, so the caller who waits is granted.
fn denials_of_others_delay_nobody<N: Named>(
    before: &[(N, Arrival)],
    named: &N,
    others: &[(N, Request, u64)],
) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for (named, arrival) in before {
        now = named.clock().after(arrival.gap, now, &last);
        last = ask(&mut key, named, &arrival.request(named.max_grant()), now);
    }
    let whole = Request::exact(units(named.max_grant()));
    last = ask(&mut key, named, &whole, now);
    if !last.is_denied() {
        last = ask(&mut key, named, &whole, now);
    }
    let wait = as_told(last.retry_after.unwrap());
    let share = |part: u64| u64::try_from(u128::from(wait) * u128::from(part) / 1_000).unwrap();
    let mut others: Vec<_> = others.iter().collect();
    others.sort_by_key(|(_, _, part)| *part);
    for (other, request, part) in others {
        let mut denied = key.clone();
        let answer = ask(&mut denied, other, request, now + share(*part));
        if answer.is_denied() {
            key = denied;
        }
    }
    let answer = ask(&mut key, named, &whole, now + wait);
    assert!(!answer.is_denied(), "{answer:?}");
}

/// What a peek says is what the same request is told; the state stays as it is.
fn peek_says_what_the_request_is_told<N: Named>(named: &N, arrivals: &[Arrival], cost: Units) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for arrival in arrivals {
        now = named.clock().after(arrival.gap, now, &last);
        if now > END {
            return;
        }
        let asked = Request::exact(cost);
        let told = ask(&mut key.clone(), named, &asked, now);
        let limiter = key.read::<N::Algorithm>(now);
        match limiter.and_then(|limiter| limiter.peek(cost)) {
            None => assert!(told.granted > 0 || told.retry_after.is_none()),
            Some(peeked) => {
                let peeked = Answer::new(peeked, told.stored);
                assert_eq!(peeked.granted, told.granted);
                assert_eq!(peeked.retry_after, told.retry_after);
                if told.is_denied() {
                    assert_eq!(peeked, told);
                } else {
                    assert_eq!(peeked.remaining, told.remaining + told.granted);
                }
            }
        }
        last = ask(&mut key, named, &arrival.request(named.max_grant()), now);
    }
}

fn changing<N: Clone + std::fmt::Debug + 'static>(
    named: impl Strategy<Value = N>,
    spacing: Spacing,
) -> impl Strategy<Value = Vec<(N, Arrival)>> {
    prop::collection::vec(named, 1..=4).prop_flat_map(move |named| {
        let arrival = (prop::sample::select(named), spaced(spacing));
        prop::collection::vec(arrival, 1..14)
    })
}

/// One to three windows.
fn windows() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 1..=3).prop_map(|mut rules| {
        rules.sort_by_key(|rule| rule.window);
        rules.dedup_by_key(|rule| rule.window);
        rules
    })
}

/// A second and a minute, with any limits.
fn second_and_minute() -> impl Strategy<Value = Vec<Rule>> {
    let rules = |(first, second)| vec![at_most(first, 1_000), at_most(second, 60_000)];
    (limit(), limit()).prop_map(rules)
}

/// The same limit, with any window and burst: then no TAT needs rounding.
fn with_limit_seven() -> impl Strategy<Value = Quota> {
    (window_ms(), 1..=70_u64).prop_map(|(window, burst)| {
        Quota::new(units(7), Window::from_millis(window).unwrap(), units(burst)).unwrap()
    })
}

fn others<N: std::fmt::Debug>(
    named: impl Strategy<Value = N>,
) -> impl Strategy<Value = Vec<(N, Request, u64)>> {
    let spacing = Spacing {
        block: false,
        ..Spacing::ANY
    };
    let request = request(spacing, 50);
    prop::collection::vec((named, request, 0..1_000_u64), 1..20)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_gcra_nobody_is_denied_twice(arrivals in changing(quota(), Spacing::ANY.with_waits())) {
        all_wait_as_told(&arrivals);
    }

    #[test]
    fn of_windows_nobody_is_denied_twice(arrivals in changing(windows(), Spacing::ANY)) {
        all_wait_as_told(&arrivals);
    }

    #[test]
    fn of_gcra_a_step_back_meanwhile_denies_once_at_most(
        arrivals in changing(quota(), Spacing::ANY.with_waits()),
        back in prop_oneof![Just(HOUR), 1..=2 * HOUR],
    ) {
        one_waits_while_the_clock_steps_back(&arrivals, back);
    }

    #[test]
    fn of_windows_a_step_back_meanwhile_denies_once_at_most(
        arrivals in changing(windows(), Spacing::ANY),
        back in prop_oneof![Just(HOUR), 1..=2 * HOUR],
    ) {
        one_waits_while_the_clock_steps_back(&arrivals, back);
    }

    #[test]
    fn of_gcra_denials_of_others_delay_nobody(
        before in changing(with_limit_seven(), Spacing::PLAIN.with_waits()),
        named in with_limit_seven(),
        others in others(with_limit_seven()),
    ) {
        denials_of_others_delay_nobody(&before, &named, &others);
    }

    #[test]
    fn of_windows_denials_of_others_delay_nobody(
        before in changing(second_and_minute(), Spacing::PLAIN),
        named in second_and_minute(),
        others in others(second_and_minute()),
    ) {
        denials_of_others_delay_nobody(&before, &named, &others);
    }

    #[test]
    fn of_gcra_peek_says_what_the_request_is_told(
        quota in quota(),
        arrivals in oracle::arrivals(Spacing::ANY.with_waits()),
        cost in limit(),
    ) {
        peek_says_what_the_request_is_told(&quota, &arrivals, units(cost));
    }

    #[test]
    fn of_windows_peek_says_what_the_request_is_told(
        rule in rule(),
        arrivals in oracle::arrivals(Spacing::ANY),
        cost in limit(),
    ) {
        peek_says_what_the_request_is_told(&vec![rule], &arrivals, units(cost));
    }
}

#[test]
fn a_denial_writes_what_changed_once_and_no_more() {
    let mut key = Key::default();
    let one = Request::exact(Units::ONE);
    let wide = vec![at_most(5, 60_000)];
    for _ in 0..5 {
        assert!(ask(&mut key, &wide, &one, START).stored);
    }
    let same = ask(&mut key, &wide, &one, START + 1);
    assert!(same.is_denied() && !same.stored);

    let narrow = vec![at_most(4, 60_000)];
    let changed = ask(&mut key, &narrow, &one, START + 2);
    assert!(changed.is_denied() && changed.stored);
    assert!(!ask(&mut key, &narrow, &one, START + 2).stored);

    let stepped = ask(&mut key, &narrow, &one, START - HOUR);
    assert!(stepped.is_denied() && stepped.stored);
    assert!(!ask(&mut key, &narrow, &one, START - HOUR).stored);

    let blocking = Request {
        block: Window::from_millis(1),
        ..one
    };
    assert!(ask(&mut key, &narrow, &blocking, START - HOUR).stored);
    assert!(!ask(&mut key, &narrow, &blocking, START - HOUR).stored);
}

#[test]
fn what_can_never_be_granted_writes_nothing() {
    let one = Request::exact(Units::ONE);
    let mut key = Key::default();
    let wide = vec![at_most(5, 60_000)];
    ask(&mut key, &wide, &one, START);
    let before = key.clone();
    let blocking = Request {
        block: Window::from_millis(1),
        ..Request::exact(units(6))
    };
    for (named, now) in [
        (wide, START),
        (vec![at_most(4, 60_000)], START),
        (vec![at_most(4, 50_000), at_most(7, 1)], START - HOUR),
    ] {
        let never = ask(&mut key, &named, &blocking, now);
        assert_eq!((never.granted, never.retry_after), (0, None));
        assert!(!never.stored);
        assert_eq!(key, before);
    }
}

#[test]
fn a_step_back_of_an_hour_is_not_an_hour_to_wait() {
    let one = Request::exact(Units::ONE);
    let mut key = Key::default();
    let minute = vec![at_most(1, 60_000)];
    ask(&mut key, &minute, &one, START);
    let denied = ask(&mut key, &minute, &one, START - HOUR);
    assert_eq!(denied.retry_after, Some(60_000_000));

    let mut key = Key::default();
    let quota = Quota::new(Units::ONE, Window::from_millis(60_000).unwrap(), Units::ONE).unwrap();
    ask(&mut key, &quota, &one, START);
    let denied = ask(&mut key, &quota, &one, START - HOUR);
    assert_eq!(denied.retry_after, Some(60_000_000));
}

#[test]
fn at_most_is_told_when_a_unit_is_free() {
    let mut key = Key::default();
    let five = vec![at_most(5, 60_000)];
    let all = Request {
        mode: Mode::AtMost,
        ..Request::exact(units(100))
    };
    assert_eq!(ask(&mut key, &five, &all, START).granted, 5);
    let denied = ask(&mut key, &five, &all, START + 1_500);
    assert_eq!(denied.retry_after, Some(60_000_000 - 1_500));
    assert_eq!(ask(&mut key, &five, &all, START + 60_000_000).granted, 5);
}
