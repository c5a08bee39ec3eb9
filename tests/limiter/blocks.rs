//! Blocks that grow (`UPTO`): each in a row lasts twice as long as the one before, up to a longest.

use crate::oracle::{Answer, Key, START, at_most, config, millis, rules, units, window_ms};
use proptest::prelude::*;
use redis_ratelimit::limiter::{Bucket, Quota, Request, Units, Windows};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// One key with one unit an hour: what asks twice is denied.
struct Login {
    key: Key,
    now: u64,
}

impl Login {
    fn new() -> Self {
        let mut login = Self {
            key: Key::default(),
            now: START,
        };
        assert!(!login.fail(None, None).is_denied());
        login
    }

    /// A request in the middle of an hour that is in use.
    fn fail(&mut self, block_ms: Option<u64>, up_to_ms: Option<u64>) -> Answer {
        let request = Request {
            block: block_ms.map(millis),
            block_up_to: up_to_ms.map(millis),
            ..Request::exact(Units::ONE)
        };
        self.key.ask::<Windows>(
            &rules(&[at_most(1, 10 * 365 * 86_400_000)]),
            &request,
            self.now,
        )
    }

    /// For how long a failed request blocks.
    fn block(&mut self, block_ms: u64, up_to_ms: Option<u64>) -> u64 {
        assert_eq!(self.blocked_for(), 0, "no block is running");
        assert!(self.fail(Some(block_ms), up_to_ms).stored);
        self.blocked_for()
    }

    fn blocked_for(&mut self) -> u64 {
        let limiter = self.key.read::<Windows>(self.now).unwrap();
        limiter.blocked_for().as_micros()
    }

    fn in_a_row(&mut self) -> u32 {
        let limiter = self.key.read::<Windows>(self.now).unwrap();
        limiter.blocks_in_a_row()
    }
}

#[test]
fn each_block_in_a_row_is_twice_as_long_up_to_the_longest() {
    let mut login = Login::new();
    for (row, minutes) in [1, 2, 4, 8, 10, 10].into_iter().enumerate() {
        assert_eq!(login.block(60_000, Some(600_000)), minutes * MINUTE);
        assert_eq!(login.in_a_row() as usize, row + 1);
        // What comes while it lasts is no further block.
        login.now += MINUTE / 2;
        assert!(!login.fail(Some(60_000), Some(600_000)).stored);
        login.now += minutes * MINUTE - MINUTE / 2;
    }
}

#[test]
fn a_row_is_forgotten_when_the_longest_has_passed_since_the_last_block() {
    for (passed, expected) in [(HOUR - 1, 4 * MINUTE), (HOUR, MINUTE), (HOUR + 1, MINUTE)] {
        let mut login = Login::new();
        for minutes in [1, 2] {
            assert_eq!(login.block(60_000, Some(3_600_000)), minutes * MINUTE);
            login.now += minutes * MINUTE;
        }
        login.now += passed;
        assert_eq!(login.in_a_row(), if passed < HOUR { 2 } else { 0 });
        assert_eq!(login.block(60_000, Some(3_600_000)), expected);
    }
}

#[test]
fn a_plain_block_neither_counts_nor_forgets() {
    let mut login = Login::new();
    assert_eq!(login.block(60_000, Some(3_600_000)), MINUTE);
    login.now += MINUTE;
    assert_eq!(login.block(30_000, None), MINUTE / 2);
    assert_eq!(login.in_a_row(), 1);
    login.now += MINUTE / 2;
    assert_eq!(login.block(60_000, Some(3_600_000)), 2 * MINUTE);
    // A plain one that lasts longer than the row is remembered.
    login.now += 2 * MINUTE;
    assert_eq!(login.block(7_200_000, None), 2 * HOUR);
    login.now += 2 * HOUR;
    assert_eq!(login.in_a_row(), 0);
    assert_eq!(login.block(60_000, Some(3_600_000)), MINUTE);
}

#[test]
fn a_row_steps_back_with_the_clock() {
    let mut login = Login::new();
    assert_eq!(login.block(60_000, Some(3_600_000)), MINUTE);
    login.now += MINUTE + HOUR - 1;
    assert_eq!(login.block(60_000, Some(3_600_000)), 2 * MINUTE);
    login.now -= 5 * HOUR;
    // Stored, so that the time passes from here on.
    assert!(login.fail(None, None).stored);
    assert_eq!(login.blocked_for(), 2 * MINUTE);
    login.now += 2 * MINUTE + HOUR - 1;
    assert_eq!(login.in_a_row(), 2);
    login.now += 1;
    assert_eq!(login.in_a_row(), 0);
}

#[test]
fn the_key_lives_as_long_as_a_row_is_remembered_and_shows_nothing_in_use() {
    let minute = rules(&[at_most(1, 60_000)]);
    let growing = Request {
        block: Some(millis(1)),
        block_up_to: Some(millis(3_600_000)),
        ..Request::exact(Units::ONE)
    };
    let mut key = Key::default();
    key.ask::<Windows>(&minute, &growing, START);
    key.ask::<Windows>(&minute, &growing, START);
    let over = START + MS + HOUR;
    let limiter = key.read::<Windows>(over - 1).unwrap();
    assert_eq!(limiter.expires_at().as_micros(), over);
    assert_eq!(limiter.blocks_in_a_row(), 1);
    assert_eq!(limiter.peek(Units::ONE), None);
    assert_eq!(key.refund(1, None, over - 1), None);
    // And what is given back before does not take the row with it.
    assert!(key.refund(1, None, START + MS).unwrap().stored);
    let limiter = key.read::<Windows>(over - 1).unwrap();
    assert_eq!(limiter.blocks_in_a_row(), 1);

    let quota = Quota::new(Units::ONE, millis(1_000), Units::ONE).unwrap();
    let mut key = Key::default();
    key.ask::<Bucket>(&quota, &growing, START);
    key.ask::<Bucket>(&quota, &growing, START);
    let limiter = key.read::<Bucket>(over - 1).unwrap();
    assert_eq!(limiter.expires_at().as_micros(), over);
    assert_eq!(limiter.blocks_in_a_row(), 1);
    assert_eq!(limiter.peek(Units::ONE), None);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn however_many_there_are_no_block_is_longer_than_the_longest(
        block in window_ms(),
        growth in 1..=10_000_u64,
        times in 1..70_u32,
    ) {
        let longest = (block * growth).min(10 * 365 * 86_400_000);
        let mut login = Login::new();
        let mut expected = u128::from(block);
        for _ in 0..times {
            let told = login.block(block, Some(longest));
            prop_assert_eq!(u128::from(told), expected.min(u128::from(longest)) * 1_000);
            expected *= 2;
            login.now += told;
            if login.now > START + 9 * 365 * 86_400 * SECOND {
                break;
            }
        }
    }

    #[test]
    fn what_can_never_be_granted_starts_no_block(cost in 2..=Units::MAX) {
        let mut key = Key::default();
        let blocking = Request {
            block: Some(millis(1_000)),
            block_up_to: Some(millis(2_000)),
            ..Request::exact(units(cost))
        };
        let never = key.ask::<Windows>(&rules(&[at_most(1, 1_000)]), &blocking, START);
        prop_assert_eq!((never.retry_after, never.stored), (None, false));
    }
}
