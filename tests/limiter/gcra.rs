//! GCRA is exact: every field of every reply, against a bucket in rational numbers.

use crate::oracle::{
    Answer, Arrival, Clock, END, Gap, Key, RationalBucket, START, Spacing, arrivals, as_told,
    century, config, limit, millis, quota, request, spaced, units, window_ms,
};
use proptest::prelude::*;
use redis_ratelimit::limiter::{Bucket, Mode, Quota, QuotaError, Request, Units, Window};

fn clock(quota: Quota) -> Clock {
    Clock {
        window: quota.window().as_millis() * 1_000,
        limit: quota.limit().get(),
    }
}

fn per(limit: u64, window_ms: u64, burst: u64) -> Quota {
    Quota::new(units(limit), millis(window_ms), units(burst)).unwrap()
}

fn one() -> Request {
    Request::exact(Units::ONE)
}

fn at_most(cost: u64) -> Request {
    Request {
        mode: Mode::AtMost,
        ..Request::exact(units(cost))
    }
}

fn force(cost: u64) -> Request {
    Request {
        mode: Mode::Force,
        ..Request::exact(units(cost))
    }
}

/// Sends every request to the limiter and to the rational bucket.
fn follow(arrivals: &[(Quota, Arrival)]) {
    let mut key = Key::default();
    let mut bucket = RationalBucket::default();
    let mut now = START;
    let mut last = Answer::default();
    for (quota, arrival) in arrivals {
        let request = arrival.request(quota.burst().get());
        for _ in 0..arrival.times {
            now = clock(*quota).after(arrival.gap, now, &last);
            if now > END {
                return;
            }
            let expected = bucket.ask(*quota, &request, now);
            last = key.ask::<Bucket>(quota, &request, now);
            assert_eq!(last, expected, "{request:?} of {quota:?} at {now}");
        }
    }
}

fn under(quota: Quota, arrivals: Vec<Arrival>) -> Vec<(Quota, Arrival)> {
    arrivals
        .into_iter()
        .map(|arrival| (quota, arrival))
        .collect()
}

/// Requests that name one of up to four quotas each.
fn under_changing_quotas(spacing: Spacing) -> impl Strategy<Value = Vec<(Quota, Arrival)>> {
    prop::collection::vec(quota(), 1..=4).prop_flat_map(move |quotas| {
        let arrival = (prop::sample::select(quotas), spaced(spacing));
        prop::collection::vec(arrival, 1..14)
    })
}

/// A key after `requests`, and when that was.
fn after(quota: Quota, arrivals: &[Arrival]) -> (Key, u64) {
    let mut key = Key::default();
    let mut now = START;
    let mut last = Answer::default();
    for arrival in arrivals {
        for _ in 0..arrival.times {
            let next = clock(quota).after(arrival.gap, now, &last);
            if next > END {
                return (key, now);
            }
            now = next;
            last = key.ask::<Bucket>(&quota, &arrival.request(quota.burst().get()), now);
        }
    }
    (key, now)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_field_is_exact(quota in quota(), arrivals in arrivals(Spacing::STEADY.with_waits())) {
        follow(&under(quota, arrivals));
    }

    #[test]
    fn every_field_is_exact_while_the_clock_steps_back(
        quota in quota(),
        arrivals in arrivals(Spacing::ANY.with_waits()),
    ) {
        follow(&under(quota, arrivals));
    }

    #[test]
    fn every_field_is_exact_while_the_quota_changes(
        arrivals in under_changing_quotas(Spacing::STEADY.with_waits()),
    ) {
        follow(&arrivals);
    }

    #[test]
    fn every_field_is_exact_while_everything_changes(
        arrivals in under_changing_quotas(Spacing::ANY.with_waits()),
    ) {
        follow(&arrivals);
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_a_microsecond_less_is_not(
        (quota, request) in quota().prop_flat_map(|quota| {
            (Just(quota), request(Spacing::ANY.with_waits(), quota.burst().get()))
        }),
        arrivals in arrivals(Spacing::ANY.with_waits()),
    ) {
        let (mut key, now) = after(quota, &arrivals);
        let answer = key.ask::<Bucket>(&quota, &request, now);
        key.assert_retry_is_exact::<Bucket>(&quota, &request, now, &answer);
        key.assert_reset_is_exact::<Bucket>(now, &answer);
    }

    /// However the room is taken, what was granted up to any moment is the burst and what has refilled since,
    /// rounded down: no unit is lost and none is won, also if the rate is not a whole number of any unit of time.
    #[test]
    fn the_rate_is_exact(quota in quota(), shares in prop::collection::vec(0..1_000_000_u64, 1..60)) {
        let mut key = Key::default();
        let burst = u128::from(quota.burst().get());
        let limit = u128::from(quota.limit().get());
        let window = u128::from(quota.window().as_nanos());
        let mut now = START;
        let mut granted = 0;
        for share in shares {
            let answer = key.ask::<Bucket>(&quota, &at_most(Units::MAX), now);
            granted += u128::from(answer.granted);
            let passed = u128::from(now - START) * 1_000;
            prop_assert_eq!(granted, burst + passed * limit / window);
            // Before the whole burst is back, so that nothing overflows the bucket.
            let wait = u128::from(answer.reset_after - 1) * u128::from(share) / 1_000_000;
            now += u64::try_from(wait).unwrap();
            if now > END {
                break;
            }
        }
    }

    #[test]
    fn a_denial_consumes_nothing(
        quota in quota(),
        before in arrivals(Spacing::ANY.with_waits()),
        storm in prop::collection::vec(0..1_000_000_u64, 1..30),
    ) {
        let (mut key, now) = after(quota, &before);
        let whole = Request::exact(quota.burst());
        let answers: [Answer; 2] = std::array::from_fn(|_| key.ask::<Bucket>(&quota, &whole, now));
        let wait = answers[1].retry_after.unwrap();
        let denied = key.clone();
        for share in storm {
            let passed = u128::from(wait) * u128::from(share) / 1_000_000;
            let then = now + u64::try_from(passed).unwrap();
            let again = key.ask::<Bucket>(&quota, &whole, then);
            prop_assert!(again.is_denied() && !again.stored);
            prop_assert_eq!(again.retry_after, Some(now + wait - then));
            prop_assert_eq!(&key, &denied);
        }
        prop_assert!(!key.ask::<Bucket>(&quota, &whole, now + wait).is_denied());
    }

    #[test]
    fn a_step_back_leaves_everything_as_it_was_last_written(
        quota in quota(),
        arrivals in arrivals(Spacing::ANY.with_waits()),
        back in 1..=10_000_000_000_000_u64,
    ) {
        let (mut key, now) = after(quota, &arrivals);
        prop_assume!(now > back);
        let written = key.ask::<Bucket>(&quota, &force(1), now);
        prop_assume!(written.stored);
        let stepped = key.ask::<Bucket>(&quota, &one(), now - back);
        if stepped.is_denied() {
            prop_assert!(stepped.stored);
            prop_assert_eq!(stepped.remaining, written.remaining);
            prop_assert_eq!(stepped.reset_after, written.reset_after);
        }
    }

    #[test]
    fn a_quota_is_at_most_one_unit_per_nanosecond(window in 1..=4_294_u64, burst in limit()) {
        let most = window * 1_000_000;
        let burst = units(burst);
        prop_assert!(Quota::new(units(most), millis(window), burst).is_ok());
        prop_assert_eq!(
            Quota::new(units(most + 1), millis(window), burst),
            Err(QuotaError::TooFast)
        );
    }

    #[test]
    fn a_burst_refills_within_100_years(limit in limit(), window in window_ms()) {
        let nanos = window * 1_000_000;
        let limit = limit.min(nanos);
        let most = century() * u128::from(limit) / u128::from(nanos);
        let quota = |burst: u128| {
            let burst = units(u64::try_from(burst).unwrap());
            Quota::new(units(limit), millis(window), burst)
        };
        prop_assert!(quota(most.min(u128::from(Units::MAX))).is_ok());
        if most < u128::from(Units::MAX) {
            prop_assert_eq!(quota(most + 1), Err(QuotaError::RefillsTooSlowly));
        }
    }
}

#[test]
fn three_a_second_is_three_a_second_after_a_day_of_retries() {
    let quota = per(3, 1_000, 3);
    let mut key = Key::default();
    let mut now = START;
    let mut granted = 0;
    while now < START + 86_400_000_000 {
        let answer = key.ask::<Bucket>(&quota, &one(), now);
        granted += answer.granted;
        // Sometimes away for whole minutes, but never long enough to lose any of the burst.
        now += answer.retry_after.unwrap().max(1_000);
        if granted % 1_000 == 0 {
            let all = key.ask::<Bucket>(&quota, &at_most(3), now + 600_000);
            granted += all.granted;
            now += 600_000;
        }
    }
    let passed = now - START;
    let all = key.ask::<Bucket>(&quota, &at_most(3), now);
    assert_eq!(granted + all.granted, 3 + passed * 3 / 1_000_000);
}

#[test]
fn seven_hundred_thousand_a_second_are_as_many() {
    let quota = per(700_000, 1_000, 700_000);
    let mut key = Key::default();
    let mut granted = 0;
    for micros in 0..20_000 {
        let request = at_most(Units::MAX);
        granted += key.ask::<Bucket>(&quota, &request, START + micros).granted;
    }
    assert_eq!(granted, 700_000 + 19_999 * 7 / 10);
}

#[test]
fn a_full_burst_is_granted_to_the_last_unit() {
    for limit in [1, 3, 7, 1_000, 700_000, Units::MAX] {
        let quota = per(limit, 60_000, limit);
        let mut key = Key::default();
        let almost = key.ask::<Bucket>(&quota, &at_most(limit.max(2) - 1), START);
        assert_eq!(almost.granted, limit.max(2) - 1);
        let last = key.ask::<Bucket>(&quota, &at_most(limit), START);
        assert_eq!(last.granted + almost.granted, limit);
    }
}

#[test]
fn a_debt_is_at_most_one_further_burst() {
    let quota = per(10, 60_000, 20);
    let mut key = Key::default();
    for cost in [15, 15, 15, 1_000, Units::MAX] {
        let answer = key.ask::<Bucket>(&quota, &force(cost), START);
        assert_eq!(answer.granted, cost);
        assert!(answer.reset_after <= 2 * 20 * 6_000_000);
    }
    let denied = key.ask::<Bucket>(&quota, &one(), START);
    assert_eq!(denied.reset_after, 2 * 20 * 6_000_000);
    assert_eq!(denied.retry_after, Some(21 * 6_000_000));
}

#[test]
fn a_lowered_burst_neither_forgets_nor_forgives() {
    let mut key = Key::default();
    let wide = per(10, 10_000, 100);
    assert_eq!(key.ask::<Bucket>(&wide, &at_most(50), START).granted, 50);
    let narrow = per(10, 10_000, 10);
    let denied = key.ask::<Bucket>(&narrow, &one(), START);
    assert_eq!((denied.granted, denied.remaining), (0, 0));
    assert_eq!(denied.reset_after, 50_000_000);
    assert_eq!(denied.retry_after, Some(41_000_000));
    assert!(denied.stored);
    assert_eq!(key.ask::<Bucket>(&wide, &at_most(100), START).granted, 50);
}

#[test]
fn a_debt_beyond_a_lowered_burst_is_kept_whole() {
    let mut key = Key::default();
    key.ask::<Bucket>(&per(10, 10_000, 100), &force(200), START);
    let narrow = per(10, 10_000, 1);
    let answer = key.ask::<Bucket>(&narrow, &force(7), START);
    assert_eq!(answer.granted, 7);
    assert_eq!(answer.reset_after, 200_000_000);
}

#[test]
fn a_block_outlasts_the_quota_and_nothing_extends_it() {
    let quota = per(1, 1_000, 1);
    let blocking = Request {
        block: Window::from_millis(900_000),
        ..one()
    };
    let mut key = Key::default();
    key.ask::<Bucket>(&quota, &blocking, START);
    let denied = key.ask::<Bucket>(&quota, &blocking, START);
    assert_eq!(denied.retry_after, Some(900_000_000));
    assert_eq!(denied.reset_after, 900_000_000);
    for request in [one(), blocking, at_most(1), force(1)] {
        let denied = key.ask::<Bucket>(&quota, &request, START + 899_999_999);
        assert_eq!(denied.retry_after, Some(1));
        assert!(!denied.stored);
    }
    let never = key.ask::<Bucket>(&quota, &Request::exact(units(2)), START);
    assert_eq!(never.retry_after, None);
    assert_eq!(
        key.ask::<Bucket>(&quota, &one(), START + 900_000_000)
            .granted,
        1
    );
}

#[test]
fn gaps_at_the_edge_of_a_unit_are_told_apart() {
    let quota = per(7, 1_000, 1);
    let steps = |gap| Arrival::plain(gap, 70);
    follow(&[
        (quota, steps(Gap::Retry(-1))),
        (quota, steps(Gap::Retry(0))),
        (quota, steps(Gap::RetryAsTold)),
        (quota, steps(Gap::Interval(999))),
    ]);
    assert_eq!(as_told(142_858), 143_000);
}
