//! The algorithms alone: what a call takes from stored bytes to bytes to store, without a server.
//!
//! `cargo bench --bench limiter`, or with a part of a name: `cargo bench --bench limiter -- "8 windows"`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use redis_ratelimit::limiter::{
    Bucket, Encoded, Encoding, Limiter, Outcome, Quota, Request, Rule, Rules, Timestamp, Units,
    Window, Windows, Write,
};

const START: u64 = 1_700_000_000_000_000;
const ONE: Request = Request::exact(Units::ONE);
const MINUTE_MILLIS: u64 = 60_000;
/// While everything that was granted still counts.
const SOON: Timestamp = Timestamp::from_micros(START + 1_000_000);
/// When all of it has left: a key lives that long only if somebody has taken its expiry away.
const LATE: Timestamp = Timestamp::from_micros(START + 120_000_000);

/// The state after `grants` grants, a millisecond apart.
fn state<A: Encoding>(parameters: &A::Parameters, grants: u64) -> Option<Encoded> {
    let mut stored: Option<Encoded> = None;
    for grant in 0..grants {
        let now = Timestamp::from_micros(START + grant * 1_000);
        let mut limiter = Limiter::<A>::open(stored.as_deref(), parameters, now).unwrap();
        assert_eq!(limiter.decide(&ONE).write, Write::Store);
        stored = Some(limiter.encode());
    }
    stored
}

/// One decision; whether it granted.
fn decide<A: Encoding>(stored: Option<&[u8]>, parameters: &A::Parameters, now: Timestamp) -> bool {
    let mut limiter = Limiter::<A>::open(stored, parameters, now).unwrap();
    let Outcome {
        decision, write, ..
    } = limiter.decide(&ONE);
    if write == Write::Store {
        black_box(limiter.encode());
        black_box(limiter.expires_at());
    }
    decision.granted > 0
}

fn decision<A: Encoding>(
    c: &mut Criterion,
    name: &str,
    parameters: &A::Parameters,
    grants: u64,
    now: Timestamp,
    granted: bool,
) {
    let stored = state::<A>(parameters, grants);
    let stored = stored.as_deref();
    let bytes = stored.map_or(0, <[u8]>::len);
    assert_eq!(decide::<A>(stored, parameters, now), granted, "{name}");
    c.bench_function(&format!("{name} ({bytes} bytes)"), |b| {
        b.iter(|| decide::<A>(black_box(stored), black_box(parameters), black_box(now)));
    });
}

/// What every command on a stored state has in it: reading it, looking, writing it.
fn parts<A: Encoding>(c: &mut Criterion, name: &str, parameters: &A::Parameters, grants: u64) {
    let stored = state::<A>(parameters, grants).unwrap();
    c.bench_function(&format!("decode, {name}"), |b| {
        b.iter(|| Limiter::<A>::read(black_box(&stored), black_box(SOON)).is_ok());
    });
    c.bench_function(&format!("peek, {name}"), |b| {
        b.iter(|| {
            let limiter = Limiter::<A>::read(black_box(&stored), black_box(SOON)).unwrap();
            limiter.peek(Units::ONE)
        });
    });
    let limiter = Limiter::<A>::read(&stored, SOON).unwrap();
    c.bench_function(&format!("encode, {name}"), |b| {
        b.iter(|| black_box(&limiter).encode().len());
    });
}

/// As many windows, each of this limit.
fn rules(windows: u64, limit: u64) -> Rules {
    let rule = |at| Rule {
        limit: Units::new(limit).unwrap(),
        window: Window::from_millis(MINUTE_MILLIS + at).unwrap(),
    };
    let mut rules = Rules::new(rule(0));
    for at in 1..windows {
        rules.add(rule(at)).unwrap();
    }
    rules
}

fn sliding_window(c: &mut Criterion) {
    for (windows, many) in [(1, "1 window"), (8, "8 windows")] {
        let roomy = rules(windows, 1_000);
        let name = format!("grant, {many}, new");
        decision::<Windows>(c, &name, &roomy, 0, SOON, true);
        // A grant on top of 32 groups makes two of them join.
        for groups in [1, 10, 32] {
            let shape = format!("{many}, groups: {groups}");
            let full = rules(windows, groups);
            let grant = format!("grant, {shape}");
            decision::<Windows>(c, &grant, &roomy, groups, SOON, true);
            let deny = format!("deny, {shape}");
            decision::<Windows>(c, &deny, &full, groups, SOON, false);
            let expire = format!("expire and grant, {shape}");
            decision::<Windows>(c, &expire, &full, groups, LATE, true);
            parts::<Windows>(c, &shape, &roomy, groups);
        }
        let name = format!("grant, {many}, joined many times");
        decision::<Windows>(c, &name, &roomy, 900, SOON, true);
    }
}

fn gcra(c: &mut Criterion) {
    let ten = Units::new(10).unwrap();
    let quota = Quota::new(ten, Window::from_millis(MINUTE_MILLIS).unwrap(), ten).unwrap();
    decision::<Bucket>(c, "grant, GCRA, new", &quota, 0, SOON, true);
    decision::<Bucket>(c, "grant, GCRA", &quota, 5, SOON, true);
    decision::<Bucket>(c, "deny, GCRA", &quota, 10, SOON, false);
    decision::<Bucket>(c, "expire and grant, GCRA", &quota, 10, LATE, true);
    parts::<Bucket>(c, "GCRA", &quota, 5);
}

criterion_group! {
    name = benches;
    // Nanoseconds that vary little: there is no need to measure each for seconds.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = sliding_window, gcra
}
criterion_main!(benches);
