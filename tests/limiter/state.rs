//! The state as bytes: each state has one spelling, and everything else is refused.

use std::fmt::Debug;

use crate::oracle::{
    self, Arrival, Clock, Cost, END, Key, START, Spacing, Stored, at_most, config, millis, quota,
    rules, spaced, units,
};
use proptest::prelude::*;
use redis_ratelimit::limiter::{
    AlgorithmKind, AnyLimiter, Bucket, DecodeError, Encoding, Limiter, MAX_GROUPS, MAX_LEN,
    MIN_LEN, Mode, Quota, Request, Rule, Rules, Timestamp, Units, VERSION, Window, Windows, Write,
};

const MAGIC: [u8; 2] = [0xd2, 0x4c];

/// Where the time of the last write stands, in microseconds since the epoch.
const WRITTEN: std::ops::Range<usize> = 4..11;

fn written(bytes: &[u8]) -> Timestamp {
    let mut micros = [0; 8];
    micros[..7].copy_from_slice(&bytes[WRITTEN]);
    Timestamp::from_micros(u64::from_le_bytes(micros))
}

/// The algorithm of what is stored.
fn algorithm(bytes: &[u8]) -> Result<AlgorithmKind, DecodeError> {
    let any = AnyLimiter::read(bytes, Timestamp::from_micros(START))?;
    Ok(match any {
        AnyLimiter::SlidingWindow(_) => AlgorithmKind::SlidingWindow,
        AnyLimiter::Gcra(_) => AlgorithmKind::Gcra,
    })
}

fn one() -> Request {
    Request::exact(Units::ONE)
}

fn per(limit: u64, window_ms: u64, burst: u64) -> Quota {
    Quota::new(units(limit), millis(window_ms), units(burst)).unwrap()
}

/// One request to one of several parameters, with what `Gap`s need to know.
type Traffic<P> = Vec<(P, Clock, Arrival)>;

fn quotas() -> impl Strategy<Value = Traffic<Quota>> {
    prop::collection::vec(quota(), 1..=3).prop_flat_map(|quotas| {
        let arrival = (
            prop::sample::select(quotas),
            spaced(Spacing::ANY.with_waits()),
        );
        let arrival = arrival.prop_map(|(quota, arrival)| {
            let clock = Clock {
                window: quota.window().as_millis() * 1_000,
                limit: quota.burst().get(),
            };
            (quota, clock, arrival)
        });
        prop::collection::vec(arrival, 1..10)
    })
}

fn windows() -> impl Strategy<Value = Traffic<Rules>> {
    let named = prop::collection::vec(oracle::rule(), 1..=8).prop_map(|mut named| {
        named.sort_by_key(|rule| rule.window);
        named.dedup_by_key(|rule| rule.window);
        named
    });
    let some = named.prop_flat_map(|named: Vec<Rule>| {
        let count = named.len();
        let some = prop::sample::subsequence(named, 1..=count).prop_shuffle();
        prop::collection::vec(some, 1..=3)
    });
    some.prop_flat_map(|sets| {
        let arrival = (prop::sample::select(sets), spaced(Spacing::ANY));
        let arrival = arrival.prop_map(|(named, arrival)| {
            let clock = Clock {
                window: named[0].window.as_millis() * 1_000,
                limit: named[0].limit.get(),
            };
            (rules(&named), clock, arrival)
        });
        prop::collection::vec(arrival, 1..10)
    })
}

/// Every state that `traffic` leads to, as bytes, with the limiter that was stored.
fn states<A: Stored>(traffic: &Traffic<A::Parameters>) -> Vec<(Vec<u8>, Limiter<A>)> {
    let mut key = Key::default();
    let mut states = Vec::new();
    let mut now = START;
    let mut last = oracle::Answer::default();
    for (parameters, clock, arrival) in traffic {
        let request = arrival.request(clock.limit);
        for _ in 0..arrival.times {
            now = clock.after(arrival.gap, now, &last);
            if now > END {
                return states;
            }
            let mut limiter = key.open::<A>(parameters, now);
            let write = limiter.decide(&request).write;
            last = key.ask::<A>(parameters, &request, now);
            assert_eq!(last.stored, write == Write::Store);
            if last.stored {
                states.push((key.bytes(now).unwrap().to_vec(), limiter));
            }
        }
    }
    states
}

fn assert_reads_back<A: Stored>(traffic: &Traffic<A::Parameters>) {
    for (bytes, limiter) in states::<A>(traffic) {
        assert!((MIN_LEN..=MAX_LEN).contains(&bytes.len()));
        assert_eq!(algorithm(&bytes), Ok(A::KIND));
        assert_eq!(std::str::from_utf8(&bytes).ok(), None);
        let mut read = Limiter::<A>::read(&bytes, written(&bytes)).unwrap();
        assert_eq!(read.algorithm(), limiter.algorithm());
        assert_eq!(read.blocked_for(), limiter.blocked_for());
        assert_eq!(read.blocks_in_a_row(), limiter.blocks_in_a_row());
        assert_eq!(read.expires_at(), limiter.expires_at());
        assert_eq!(read.peek(Units::ONE), limiter.peek(Units::ONE));
        assert_eq!(read.encode().as_slice(), bytes);
        assert_eq!(read.deny(&one()).write, Write::Nothing);
    }
}

/// Time that passes in two steps, with a write between them, is time that passes in one.
fn assert_time_adds_up<A: Stored>(traffic: &Traffic<A::Parameters>, first: u64, second: u64) {
    for (bytes, limiter) in states::<A>(traffic) {
        let written = written(&bytes).as_micros();
        let over = limiter.expires_at().as_micros();
        let part = |from: u64, share: u64| {
            let whole = u128::from(over - from) * u128::from(share) / 1_000;
            Timestamp::from_micros(from + u64::try_from(whole).unwrap())
        };
        let halfway = part(written, first);
        let later = part(halfway.as_micros(), second);
        let rewritten = Limiter::<A>::read(&bytes, halfway).unwrap().encode();
        assert_eq!(
            Limiter::<A>::read(&rewritten, later).unwrap(),
            Limiter::<A>::read(&bytes, later).unwrap()
        );
    }
}

/// A change to bytes, at places relative to their length.
#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
    Extend(u8, usize),
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        match self {
            Self::Extend(byte, times) => bytes.extend(std::iter::repeat_n(byte, times)),
            Self::Insert(at, byte) => bytes.insert(at.index(len + 1), byte),
            _ if len == 0 => {}
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) => bytes[at.index(len)] = byte,
            Self::Remove(at) => drop(bytes.remove(at.index(len))),
            Self::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let byte = || prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x80), Just(0xff)];
    prop_oneof![
        3 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => at().prop_map(Change::Remove),
        2 => at().prop_map(Change::Truncate),
        1 => (byte(), 1..20_usize).prop_map(|(byte, times)| Change::Extend(byte, times)),
    ]
}

/// Whatever the bytes: they are refused, or they are what this state is written as, and can be used and written again.
/// Returns whether they were accepted.
fn assert_sound<A: Stored>(bytes: &[u8], parameters: &A::Parameters) -> bool {
    let instants = [0, 1, START, START + 1, END, u64::MAX].map(Timestamp::from_micros);
    let read = Limiter::<A>::read(bytes, Timestamp::from_micros(START));
    let at = match read {
        Err(error) => {
            for now in instants {
                assert_eq!(Limiter::<A>::read(bytes, now).err(), Some(error));
            }
            return false;
        }
        Ok(_) => written(bytes),
    };
    assert_eq!(algorithm(bytes), Ok(A::KIND));
    assert!((MIN_LEN..=MAX_LEN).contains(&bytes.len()), "{bytes:02x?}");
    let limiter = Limiter::<A>::read(bytes, at).unwrap();
    assert_eq!(limiter.encode().as_slice(), bytes);
    assert!(limiter.expires_at() > at || at == Timestamp::MAX);

    for now in instants.into_iter().chain([at]) {
        let _ = Limiter::<A>::read(bytes, now).unwrap().peek(Units::ONE);
        let longest = Window::from_millis(Window::MAX_MILLIS);
        for (mode, block_up_to) in [
            (Mode::Exact, None),
            (Mode::Exact, longest),
            (Mode::AtMost, longest),
            (Mode::Force, None),
        ] {
            let mut limiter = Limiter::<A>::open(Some(bytes), parameters, now).unwrap();
            let request = Request {
                cost: units(3),
                mode,
                keep: 1,
                block: longest,
                block_up_to,
            };
            let write = limiter.decide(&request).write;
            if write == Write::Store && now < Timestamp::MAX {
                let again = Limiter::<A>::read(&limiter.encode(), now).unwrap();
                assert_eq!(again.algorithm(), limiter.algorithm());
            }
        }
    }
    true
}

/// As [`assert_sound`], for either algorithm.
fn assert_both_sound(bytes: &[u8]) -> bool {
    let sliding = assert_sound::<Windows>(bytes, &rules(&[at_most(5, 60_000), at_most(2, 7)]));
    let gcra = assert_sound::<Bucket>(bytes, &per(5, 60_000, 7));
    assert!(!(sliding && gcra));
    sliding || gcra
}

/// The bytes of a key after `requests`, one a millisecond.
fn stored<A: Stored>(parameters: &A::Parameters, requests: &[Request]) -> Vec<u8> {
    let mut key = Key::default();
    let mut now = START;
    for request in requests {
        now += 1_000;
        key.ask::<A>(parameters, request, now);
    }
    key.bytes(now).unwrap().to_vec()
}

/// States of every shape.
fn examples() -> Vec<Vec<u8>> {
    let blocking = Request {
        block: Window::from_millis(900_000),
        ..Request::exact(units(2))
    };
    let force = |cost| Request {
        mode: Mode::Force,
        ..Request::exact(units(cost))
    };
    let minute = rules(&[at_most(5, 60_000)]);
    let waiting = Request {
        mode: Mode::Wait(millis(60_000)),
        ..one()
    };
    let growing = Request {
        block_up_to: Window::from_millis(Window::MAX_MILLIS),
        ..blocking
    };
    let two = rules(&[at_most(5, 60_000), at_most(1_000, 3_600_000)]);
    let many = rules(&[at_most(7, 10), at_most(1_000, 3_600_000)]);
    let mut key = Key::default();
    key.ask::<Windows>(&two, &one(), START);
    key.ask::<Windows>(&minute, &one(), START + 1);
    let kept = key.bytes(START + 1).unwrap().to_vec();
    vec![
        stored::<Windows>(&rules(&[at_most(1, 1)]), &[one()]),
        stored::<Windows>(&rules(&[at_most(3, 100)]), &[one(), one()]),
        stored::<Windows>(&minute, &[one()]),
        stored::<Windows>(&minute, &[one(); 5]),
        stored::<Windows>(&minute, &[one(), blocking, blocking, blocking]),
        stored::<Windows>(&two, &[one(), force(300), one()]),
        stored::<Windows>(
            &rules(&[at_most(Units::MAX, 1_000)]),
            &[force(Units::MAX); 2],
        ),
        stored::<Windows>(&rules(&[at_most(100, 60_000)]), &[one(); 50]),
        stored::<Windows>(&many, &[one(); 50]),
        stored::<Windows>(&minute, &[one(), growing, growing, growing]),
        stored::<Windows>(&many, &[[one(); 45], [growing; 45]].concat()),
        kept,
        stored::<Bucket>(&per(1, 1, 1), &[one()]),
        stored::<Bucket>(&per(10, 60_000, 10), &[one()]),
        stored::<Bucket>(&per(10, 60_000, 10), &[force(12), blocking]),
        stored::<Bucket>(&per(10, 60_000, 10), &[force(12), growing]),
        stored::<Bucket>(&per(10, 60_000, 10), &[waiting; 12]),
        stored::<Bucket>(&per(1, Window::MAX_MILLIS, 10), &[force(10), force(10)]),
        stored::<Bucket>(&per(Units::MAX, 60_000, Units::MAX), &[force(Units::MAX)]),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_bucket_reads_back_as_it_was_written(traffic in quotas()) {
        assert_reads_back::<Bucket>(&traffic);
    }

    #[test]
    fn windows_read_back_as_they_were_written(traffic in windows()) {
        assert_reads_back::<Windows>(&traffic);
    }

    #[test]
    fn to_a_bucket_time_adds_up(traffic in quotas(), first in 0..1_000_u64, second in 0..1_000_u64) {
        assert_time_adds_up::<Bucket>(&traffic, first, second);
    }

    #[test]
    fn to_windows_time_adds_up(traffic in windows(), first in 0..1_000_u64, second in 0..1_000_u64) {
        assert_time_adds_up::<Windows>(&traffic, first, second);
    }

    #[test]
    fn a_changed_bucket_is_refused_or_is_another(
        traffic in quotas(),
        changes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..10),
    ) {
        if let Some((bytes, _)) = states::<Bucket>(&traffic).last() {
            for changes in changes {
                let mut bytes = bytes.clone();
                changes.iter().for_each(|change| change.apply(&mut bytes));
                assert_both_sound(&bytes);
            }
        }
    }

    #[test]
    fn changed_windows_are_refused_or_are_others(
        traffic in windows(),
        changes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..10),
    ) {
        if let Some((bytes, _)) = states::<Windows>(&traffic).last() {
            for changes in changes {
                let mut bytes = bytes.clone();
                changes.iter().for_each(|change| change.apply(&mut bytes));
                assert_both_sound(&bytes);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_are_a_state(
        shape in any::<u8>(),
        body in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..80),
    ) {
        assert_both_sound(&body);
        let mut bytes = vec![MAGIC[0], MAGIC[1], VERSION, shape];
        bytes.extend(body);
        assert_both_sound(&bytes);
    }

    /// The numbers of one log are in the right places, so that many states are accepted.
    #[test]
    fn any_log_is_refused_or_is_a_state(
        shape in prop_oneof![Just(0_u8), Just(2), Just(4), any::<u8>()],
        blocked_for in prop::collection::vec(0..=1_u8, 7),
        limit in 1..=127_u8,
        window in 1..=16_u8,
        groups in prop::collection::vec((0..=20_000_u16, 0..=3_u8), 0..6),
        count in prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)],
        padding in prop_oneof![Just(None), (0..12_usize).prop_map(Some)],
    ) {
        let mut bytes = vec![MAGIC[0], MAGIC[1], VERSION, shape];
        bytes.extend(&20_000_u64.to_le_bytes()[..7]);
        if shape & 2 != 0 {
            bytes.extend(blocked_for);
        }
        bytes.extend([limit, window, count.unwrap_or(groups.len() as u8)]);
        let mut groups = groups;
        groups.sort_unstable();
        for (at, units) in groups {
            bytes.extend(at.to_le_bytes());
            bytes.push(units);
        }
        let padding = padding.unwrap_or(MIN_LEN.saturating_sub(bytes.len()));
        bytes.extend(std::iter::repeat_n(0, padding));
        assert_both_sound(&bytes);
    }
}

#[test]
fn every_change_of_one_bit_is_refused_or_is_another_state() {
    for bytes in examples() {
        assert!(assert_both_sound(&bytes));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_both_sound(&changed);
            }
        }
    }
}

/// The shape, the parameters and the number of groups stand there.
#[test]
fn every_change_of_one_of_the_first_bytes_is_refused_or_is_another_state() {
    for bytes in examples() {
        for at in 0..bytes.len().min(18) {
            for byte in 0..=u8::MAX {
                let mut changed = bytes.clone();
                changed[at] = byte;
                assert_both_sound(&changed);
            }
        }
    }
}

#[test]
fn every_insertion_of_a_byte_is_refused_or_makes_another_state() {
    for bytes in examples() {
        for at in 0..=bytes.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut longer = bytes.clone();
                longer.insert(at, byte);
                assert_both_sound(&longer);
            }
        }
    }
}

#[test]
fn no_beginning_of_a_state_is_a_state() {
    for bytes in examples() {
        for len in 0..bytes.len() {
            assert!(!assert_both_sound(&bytes[..len]), "{len} of {bytes:02x?}");
        }
    }
}

#[test]
fn no_state_goes_on_with_zeros() {
    for mut bytes in examples() {
        for _ in 0..24 {
            bytes.push(0);
            assert!(!assert_both_sound(&bytes), "{bytes:02x?}");
        }
    }
}

#[test]
fn a_newer_version_says_which_it_is() {
    for bytes in examples() {
        for version in 0..=u8::MAX {
            let mut newer = bytes.clone();
            newer[2] = version;
            let expected = match version {
                1..=VERSION => continue,
                0 => DecodeError::NotALimiter,
                _ => DecodeError::NewerVersion(version),
            };
            let now = Timestamp::from_micros(START);
            assert_eq!(Limiter::<Bucket>::read(&newer, now).err(), Some(expected));
            assert_eq!(Limiter::<Windows>::read(&newer, now).err(), Some(expected));
            assert_eq!(algorithm(&newer), Err(expected));
            // Whatever its layout may be.
            newer.truncate(4);
            assert_eq!(algorithm(&newer), Err(expected));
        }
    }
}

#[test]
fn the_other_algorithms_state_says_which_it_is() {
    fn decode_error<A: Encoding + Debug>(bytes: &[u8]) -> Option<DecodeError> {
        Limiter::<A>::read(bytes, Timestamp::from_micros(START)).err()
    }
    for bytes in examples() {
        match algorithm(&bytes).unwrap() {
            AlgorithmKind::Gcra => assert_eq!(
                decode_error::<Windows>(&bytes),
                Some(DecodeError::OtherAlgorithm(AlgorithmKind::Gcra))
            ),
            AlgorithmKind::SlidingWindow => assert_eq!(
                decode_error::<Bucket>(&bytes),
                Some(DecodeError::OtherAlgorithm(AlgorithmKind::SlidingWindow))
            ),
        }
    }
}

#[test]
fn other_values_of_a_key_are_no_limiter() {
    let other: [&[u8]; 8] = [
        b"",
        b"0",
        b"-9223372036854775808",
        b"1700000000000000000",
        b"RL\x01\x00 and some more bytes",
        "\u{48c} is the first letter with this byte".as_bytes(),
        &MAGIC,
        &[0xd2, 0x4c, 1],
    ];
    for bytes in other {
        assert_eq!(algorithm(bytes), Err(DecodeError::NotALimiter));
        assert!(!assert_both_sound(bytes));
    }
}

#[test]
fn the_common_limiters_take_a_few_dozen_bytes() {
    let minute = |limit| rules(&[at_most(limit, 60_000)]);
    assert_eq!(stored::<Windows>(&minute(5), &[one()]).len(), 21);
    assert_eq!(stored::<Windows>(&minute(5), &[one(); 5]).len(), 41);
    assert_eq!(stored::<Bucket>(&per(10, 60_000, 10), &[one()]).len(), 22);
    assert_eq!(
        stored::<Bucket>(&per(10, 60_000, 10), &[one(); 10]).len(),
        22
    );
    // 32 groups, of 5 bytes each.
    assert_eq!(stored::<Windows>(&minute(32), &[one(); 32]).len(), 176);
    // And with a byte of flags and a bit for each group that may have joined.
    assert_eq!(stored::<Windows>(&minute(1_000), &[one(); 500]).len(), 182);
}

#[test]
fn the_shortest_state_is_as_short_as_stated() {
    let tiny = stored::<Windows>(&rules(&[at_most(1, 1)]), &[one()]);
    assert_eq!(tiny.len(), MIN_LEN);
    assert_eq!(stored::<Bucket>(&per(1, 1, 1), &[one()]).len(), MIN_LEN);
}

#[test]
fn the_longest_state_is_as_long_as_stated() {
    let decade = Window::MAX_MILLIS;
    let eight: Vec<Rule> = (0..8).map(|n| at_most(Units::MAX, decade - n)).collect();
    let eight = rules(&eight);
    let mut key = Key::default();
    let force = |cost| Request {
        mode: Mode::Force,
        ..Request::exact(units(cost))
    };
    // One more than there are groups, so that two join.
    let others = MAX_GROUPS as u64;
    key.ask::<Windows>(&eight, &force(Units::MAX), START);
    key.ask::<Windows>(&eight, &force(Units::MAX - others), START);
    for micros in 1..=others {
        key.ask::<Windows>(&eight, &force(1), START + micros);
    }
    let blocking = Request {
        block: Window::from_millis(decade),
        block_up_to: Window::from_millis(decade),
        ..one()
    };
    key.ask::<Windows>(&eight, &blocking, START + 40);
    let bytes = key.bytes(START + 40).unwrap().to_vec();
    assert_eq!(bytes.len(), MAX_LEN);
    assert!(assert_both_sound(&bytes));
}

#[test]
fn a_denial_of_what_is_stored_needs_no_write() {
    let costs = [Cost::One, Cost::Whole, Cost::Above(1)];
    for cost in costs {
        let minute = rules(&[at_most(5, 60_000)]);
        let mut key = Key::default();
        key.ask::<Windows>(&minute, &Request::exact(units(5)), START);
        let denied = key.ask::<Windows>(&minute, &Request::exact(cost.of(5)), START + 9);
        assert!(denied.is_denied() && !denied.stored);

        let quota = per(5, 60_000, 5);
        let mut key = Key::default();
        key.ask::<Bucket>(&quota, &Request::exact(units(5)), START);
        let denied = key.ask::<Bucket>(&quota, &Request::exact(cost.of(5)), START + 9);
        assert!(denied.is_denied() && !denied.stored);
    }
}
