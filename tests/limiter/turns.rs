//! Requests that wait (`MAXWAIT`): each caller gets a turn, in the order in which they asked.

use crate::oracle::{Key, START, config, limit, millis, quota, units};
use proptest::prelude::*;
use redis_ratelimit::limiter::{Bucket, Mode, Quota, Request, Units};

fn waiting(cost: u64, longest_ms: u64) -> Request {
    Request {
        mode: Mode::Wait(millis(longest_ms)),
        ..Request::exact(units(cost))
    }
}

/// Asserts that of the units that go on at the times in `turns`, never more than the burst and what refills meanwhile go on
/// in any interval. A turn is told in whole microseconds, so two of them may be one microsecond closer.
fn assert_bucket_holds(quota: Quota, turns: &[(u64, u64)]) {
    let unit = u128::from(quota.window().as_nanos());
    let burst = u128::from(quota.burst().get()) * unit;
    let rate = u128::from(quota.limit().get());
    for (first, (start, _)) in turns.iter().enumerate() {
        let mut sum = 0;
        for (end, units) in &turns[first..] {
            sum += u128::from(*units) * unit;
            let nanos = u128::from(end - start + 1) * 1_000;
            assert!(
                sum <= burst + rate * nanos,
                "{quota:?} from {start} to {end}"
            );
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn callers_who_wait_as_told_go_on_in_order_and_never_faster_than_the_bucket(
        (quota, costs) in quota().prop_flat_map(|quota| {
            let small = 1..=quota.burst().get().min(10);
            let cost = prop_oneof![3 => Just(1), 2 => small, 1 => limit()];
            // Some do not wait at all (0), and go on at once or not.
            let longest = prop_oneof![1 => Just(0), 4 => 1..=100_000_u64];
            (Just(quota), prop::collection::vec((cost, longest, 0..2_000_000_u64), 1..60))
        }),
    ) {
        let mut key = Key::default();
        let mut now = START;
        let mut turns: Vec<(u64, u64)> = Vec::new();
        for (cost, longest, share) in costs {
            let request = match longest {
                0 => Request::exact(units(cost)),
                longest => waiting(cost, longest),
            };
            let answer = key.ask::<Bucket>(&quota, &request, now);
            if answer.is_denied() {
                prop_assert!(!answer.stored);
            } else {
                let wait = answer.retry_after.unwrap();
                prop_assert!(wait <= longest * 1_000);
                prop_assert!(wait == 0 || answer.remaining == 0);
                turns.push((now + wait, cost));
            }
            // Up to twice the time in which one unit refills, at most a year.
            let unit = quota.window().as_nanos() / quota.limit().get() / 1_000;
            let gap = u128::from(unit) * u128::from(share) / 1_000_000;
            now += u64::try_from(gap).unwrap().min(31_536_000_000_000);
        }
        prop_assert!(turns.is_sorted_by_key(|(at, _)| *at));
        assert_bucket_holds(quota, &turns);
    }
}

#[test]
fn ten_callers_at_once_go_on_one_after_the_other() {
    let quota = Quota::new(units(2), millis(1_000), units(2)).unwrap();
    let mut key = Key::default();
    let told: Vec<_> = (0..10)
        .map(|_| key.ask::<Bucket>(&quota, &waiting(1, 3_000), START))
        .map(|answer| (answer.granted, answer.retry_after.unwrap() / 1_000))
        .collect();
    let turns = [0, 0, 500, 1_000, 1_500, 2_000, 2_500, 3_000];
    let granted: Vec<_> = turns.iter().map(|wait| (1, *wait)).collect();
    assert_eq!(told[..8], granted);
    // Those who would wait longer are told when there is room without waiting, and are not in the queue.
    assert_eq!(told[8..], [(0, 3_500); 2]);
}

#[test]
fn a_turn_exactly_as_long_as_the_caller_waits_is_granted() {
    let quota = Quota::new(Units::ONE, millis(1_000), Units::ONE).unwrap();
    let mut key = Key::default();
    key.ask::<Bucket>(&quota, &Request::exact(Units::ONE), START);
    let too_long = key.ask::<Bucket>(&quota, &waiting(1, 999), START);
    assert_eq!((too_long.granted, too_long.stored), (0, false));
    let granted = key.ask::<Bucket>(&quota, &waiting(1, 1_000), START);
    assert_eq!((granted.granted, granted.retry_after), (1, Some(1_000_000)));
    // And not if it is a microsecond longer.
    let mut key = Key::default();
    key.ask::<Bucket>(&quota, &Request::exact(Units::ONE), START);
    for (now, granted) in [(START + 999, 0), (START + 1_000, 1)] {
        let answer = key.ask::<Bucket>(&quota, &waiting(1, 999), now);
        assert_eq!((answer.granted, answer.stored), (granted, granted == 1));
    }
    let never = key.ask::<Bucket>(&quota, &waiting(2, 1_000), START);
    assert_eq!((never.granted, never.retry_after), (0, None));
}
