//! The algorithms alone: what a decision takes from stored bytes to bytes to store, without a server.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use redis_ratelimit::limiter::{
    Algorithm, Bucket, Demand, Encoded, Instant, Limiter, Quota, Rule, Rules, Units, Window,
    Windows,
};

const START: u64 = 1_700_000_000_000_000;
const ONE: Demand = Demand::all_or_nothing(Units::ONE);

fn at(micros: u64) -> Instant {
    Instant::from_micros(START + micros)
}

fn rule(limit: u64, millis: u64) -> Rule {
    Rule {
        limit: Units::new(limit).unwrap(),
        window: Window::from_millis(millis).unwrap(),
    }
}

/// The state after `grants` grants, a millisecond apart.
fn state<A: Algorithm>(parameters: &A::Parameters, grants: u64) -> Option<Encoded> {
    let mut stored: Option<Encoded> = None;
    for grant in 0..grants {
        let mut limiter =
            Limiter::<A>::open(stored.as_deref(), parameters, at(grant * 1_000)).unwrap();
        assert_eq!(limiter.decide(&ONE).granted, 1);
        stored = Some(limiter.encode());
    }
    stored
}

/// One decision; whether it granted.
fn decide<A: Algorithm>(stored: Option<&[u8]>, parameters: &A::Parameters, now: Instant) -> bool {
    let mut limiter = Limiter::<A>::new(parameters, now);
    if let Some(stored) = stored {
        limiter.resume(stored, parameters).unwrap();
    }
    let granted = limiter.decide(&ONE).granted > 0;
    if limiter.must_be_stored() {
        black_box(limiter.encode());
        black_box(limiter.expires_at());
    }
    granted
}

fn bench<A: Algorithm>(
    c: &mut Criterion,
    name: &str,
    parameters: &A::Parameters,
    grants: u64,
    now: u64,
    granted: bool,
) {
    let stored = state::<A>(parameters, grants);
    let bytes = stored.as_ref().map_or(0, |bytes| bytes.len());
    assert_eq!(
        decide::<A>(stored.as_deref(), parameters, at(now)),
        granted,
        "{name}"
    );
    c.bench_function(&format!("{name} ({bytes} bytes)"), |b| {
        b.iter(|| {
            decide::<A>(
                black_box(stored.as_deref()),
                black_box(parameters),
                black_box(at(now)),
            )
        });
    });
}

fn sliding_window(c: &mut Criterion) {
    let later = 1_000_000;
    let minute = 60_000;
    for (name, limit, grants) in [
        ("new", 10, 0),
        ("1 group", 10, 1),
        ("10 groups", 11, 10),
        ("32 groups, joining", 2_000, 1_000),
    ] {
        let rules = Rules::new(rule(limit, minute));
        bench::<Windows>(
            c,
            &format!("RL.CHECK granted, {name}"),
            &rules,
            grants,
            later,
            true,
        );
    }
    for (name, limit) in [("1 group", 1), ("10 groups", 10), ("32 groups", 32)] {
        let rules = Rules::new(rule(limit, minute));
        bench::<Windows>(
            c,
            &format!("RL.CHECK denied, {name}"),
            &rules,
            limit,
            later,
            false,
        );
    }
    let all_expired = Rules::new(rule(32, minute));
    bench::<Windows>(
        c,
        "RL.CHECK granted, 32 groups expire",
        &all_expired,
        32,
        100 * later,
        true,
    );
    let mut eight = Rules::new(rule(2_000, minute));
    for more in 1..8 {
        eight.add(rule(2_000, minute + more)).unwrap();
    }
    bench::<Windows>(
        c,
        "RL.CHECK granted, 8 windows joining",
        &eight,
        1_000,
        later,
        true,
    );
    bench::<Windows>(
        c,
        "RL.CHECK granted, 8 windows expire",
        &eight,
        1_000,
        100 * later,
        true,
    );
}

fn gcra(c: &mut Criterion) {
    let quota = |limit| {
        let rule = rule(limit, 60_000);
        Quota::new(rule.limit, rule.window, rule.limit).unwrap()
    };
    bench::<Bucket>(c, "RL.GCRA granted, new", &quota(10), 0, 1_000_000, true);
    bench::<Bucket>(c, "RL.GCRA granted", &quota(10), 5, 1_000_000, true);
    bench::<Bucket>(c, "RL.GCRA denied", &quota(10), 10, 1_000_000, false);
}

criterion_group!(benches, sliding_window, gcra);
criterion_main!(benches);
