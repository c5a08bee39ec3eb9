//! Nothing that a client sends takes the server down or makes it break its own rules.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, random};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use redis::{Connection, ConnectionLike, Value};

const LINES: usize = 100_000;
const BATCH: usize = 500;

/// A word that may stand anywhere in a command line.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let text = |words: &'static [&'static str]| {
        prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec())
    };
    prop_oneof![
        4 => text(&["a", "b", "c", "d", "text", "list", "int", "hash", "zset", "set", "stream", "hll", "fake"]),
        6 => text(&["1", "2", "3", "5", "10", "33", "60", "100", "1000", "4294967295", "1000000"]),
        4 => text(&["1ms", "7ms", "100ms", "1s", "5m", "1h", "3650d", "4w"]),
        4 => text(&[
            "COST", "cost", "COSTS", "BURST", "KEEP", "ATMOST", "FORCE", "MAXWAIT", "BLOCK", "UPTO", "RECEIPT", "RENEW",
            "DB",
        ]),
        1 => text(&["0", "-1", "+1", "007", "4294967296", "1.5", "NaN", "99999999999999999999999", "10y", "", "\u{663}"]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![b'9'; 5_000]),
    ]
}

/// A receipt, perhaps of something: the clock of the test begins at a whole second and stands still during a batch.
fn receipt() -> impl Strategy<Value = Vec<u8>> {
    (-5_000..5_000_i64).prop_map(|millis| {
        let start = i64::try_from(Clock::START.as_micros()).unwrap();
        (start + 1_000 * millis).to_string().into_bytes()
    })
}

/// A command line: sometimes a valid one, mostly one that is not.
fn line() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = |words: &'static [&'static str]| {
        prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec())
    };
    let key = || {
        text(&[
            "a", "b", "c", "d", "e", "text", "list", "int", "hash", "zset", "set", "stream", "hll",
            "fake",
        ])
    };
    let limit = || text(&["1", "2", "5", "40", "100", "1000", "4294967295"]);
    let window = || text(&["1ms", "3ms", "50ms", "1s", "60", "1h", "3650d"]);
    let options = || {
        prop::collection::vec(
            prop_oneof![
                limit().prop_map(|n| vec![b"COST".to_vec(), n]),
                limit().prop_map(|n| vec![b"BURST".to_vec(), n]),
                prop_oneof![limit(), Just(b"0".to_vec())].prop_map(|n| vec![b"KEEP".to_vec(), n]),
                (
                    text(&["1ms", "50ms", "2s"]),
                    prop::option::of(text(&["1ms", "2s", "1h"]))
                )
                    .prop_map(|(block, up_to)| {
                        let up_to = up_to.map(|up_to| vec![b"UPTO".to_vec(), up_to]);
                        [vec![b"BLOCK".to_vec(), block], up_to.unwrap_or_default()].concat()
                    }),
                window().prop_map(|n| vec![b"MAXWAIT".to_vec(), n]),
                text(&["ATMOST", "FORCE", "RECEIPT"]).prop_map(|word| vec![word]),
                receipt().prop_map(|receipt| vec![b"RENEW".to_vec(), receipt]),
                prop::collection::vec(prop_oneof![limit(), Just(b"0".to_vec())], 1..5)
                    .prop_map(|costs| [vec![b"COSTS".to_vec()], costs].concat()),
            ],
            0..3,
        )
        .prop_map(|options| options.concat())
    };
    let command = || {
        text(&[
            "RL.CHECK",
            "RL.GCRA",
            "RL.MCHECK",
            "RL.PEEK",
            "RL.INFO",
            "RL.REFUND",
            "RL.RESET",
            "RL.TOP",
            "CL.THROTTLE",
        ])
    };
    prop_oneof![
        3 => (command(), prop::collection::vec(word(), 0..12))
            .prop_map(|(command, words)| [vec![command], words].concat()),
        3 => (key(), prop::collection::vec((limit(), window()), 1..10), options()).prop_map(|(key, pairs, options)| {
            let pairs = pairs.into_iter().flat_map(|(limit, window)| [limit, window]).collect();
            [vec![b"RL.CHECK".to_vec(), key], pairs, options].concat()
        }),
        3 => (key(), limit(), window(), options()).prop_map(|(key, limit, window, options)| {
            [vec![b"RL.GCRA".to_vec(), key, limit, window], options].concat()
        }),
        1 => key().prop_map(|key| vec![b"RL.PEEK".to_vec(), key]),
        1 => key().prop_map(|key| vec![b"RL.RESET".to_vec(), key]),
        1 => key().prop_map(|key| vec![b"RL.INFO".to_vec(), key]),
        1 => limit().prop_map(|count| vec![b"RL.TOP".to_vec(), count.clone(), b"DB".to_vec(), count]),
        1 => (key(), limit()).prop_map(|(key, units)| vec![b"RL.REFUND".to_vec(), key, units]),
        1 => (key(), limit(), receipt())
            .prop_map(|(key, units, receipt)| vec![b"RL.REFUND".to_vec(), key, units, b"RECEIPT".to_vec(), receipt]),
        1 => (key(), limit(), limit(), text(&["1", "60", "86400"]), text(&["0", "1", "2", "50"])).prop_map(
            |(key, burst, count, period, quantity)| vec![b"CL.THROTTLE".to_vec(), key, burst, count, period, quantity]
        ),
        2 => (text(&["1", "2", "3", "4", "0", "129"]), prop::collection::vec((key(), limit(), window()), 1..5), options())
            .prop_map(|(count, keys, options)| {
                let names = keys.iter().map(|(key, ..)| key.clone()).collect();
                let rules = keys.iter().flat_map(|(_, limit, window)| [limit.clone(), window.clone()]).collect();
                [vec![b"RL.MCHECK".to_vec(), count], names, rules, options].concat()
            }),
    ]
}

/// Sends many at once; the replies, errors among them.
fn send(client: &mut Connection, lines: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let mut pipeline = redis::Pipeline::with_capacity(lines.len());
    for line in lines {
        let mut command = redis::Cmd::new();
        for word in line {
            command.arg(word.as_slice());
        }
        pipeline.add_command(command);
    }
    client
        .req_packed_commands(&pipeline.get_packed_pipeline(), 0, lines.len())
        .unwrap()
}

/// The five integers of a row.
fn integers(reply: &Value) -> Option<[i64; 5]> {
    let fields: Vec<i64> = redis::from_redis_value(reply.clone()).ok()?;
    fields.try_into().ok()
}

/// The options of a line that was not refused.
fn options(line: &[Vec<u8>]) -> &[Vec<u8>] {
    let text = |word: &[u8]| String::from_utf8(word.to_vec()).unwrap();
    // A key may have the name of an option.
    if line[0].eq_ignore_ascii_case(b"rl.mcheck") {
        let keys: usize = text(&line[1]).parse().unwrap();
        &line[2 + keys..]
    } else {
        &line[2..]
    }
}

fn has_option(line: &[Vec<u8>], name: &str) -> bool {
    options(line)
        .iter()
        .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// The five integers of a row that may have a receipt behind them.
fn row(line: &[Vec<u8>], reply: &Value) -> Option<[i64; 5]> {
    if !has_option(line, "receipt") && !has_option(line, "renew") {
        return integers(reply);
    }
    let [fields @ .., receipt]: [i64; 6] = redis::from_redis_value::<Vec<i64>>(reply.clone())
        .ok()?
        .try_into()
        .ok()?;
    assert!(receipt >= 0 && (receipt > 0 || fields[0] == 0 || has_option(line, "force")));
    assert!(receipt == 0 || fields[0] > 0);
    Some(fields)
}

/// What must be true of every reply.
fn check_reply(line: &[Vec<u8>], reply: &Value) {
    let shown = || {
        let words: Vec<_> = line
            .iter()
            .map(|word| word.escape_ascii().to_string())
            .collect();
        words.join(" ")
    };
    let name = line[0].to_ascii_lowercase();
    match reply {
        Value::Array(rows) if name == b"rl.mcheck" => {
            let rows: Vec<_> = rows
                .iter()
                .map(|one| row(line, one).unwrap_or_else(|| panic!("{}", shown())))
                .collect();
            let granted = rows.iter().any(|row| row[0] > 0);
            for row in &rows {
                // Some may be charged nothing.
                let costs = has_option(line, "costs");
                assert!(costs || (row[0] > 0) == granted, "{}: {rows:?}", shown());
                assert!(
                    (0..=row[1]).contains(&row[2]) && row[3] >= -1 && row[4] >= 0,
                    "{}: {rows:?}",
                    shown()
                );
            }
            assert_eq!(
                granted,
                rows.iter().all(|row| row[3] == 0),
                "{}: {rows:?}",
                shown()
            );
        }
        Value::Array(_) if name == b"cl.throttle" => {
            let row = integers(reply).unwrap_or_else(|| panic!("{}", shown()));
            assert!(
                matches!(row[0], 0 | 1) && (0..=row[1]).contains(&row[2]),
                "{}: {row:?}",
                shown()
            );
            assert!(
                (row[3] == -1 || row[3] > 0 && row[0] == 1) && row[4] >= 0,
                "{}: {row:?}",
                shown()
            );
        }
        Value::Array(fields) if name == b"rl.info" => assert_eq!(fields.len(), 8, "{}", shown()),
        Value::Array(rows) if name == b"rl.top" => assert!(rows.len() <= 128, "{}", shown()),
        Value::Array(_) => {
            let reads = matches!(name.as_slice(), b"rl.peek" | b"rl.refund");
            let fields = if reads {
                integers(reply)
            } else {
                row(line, reply)
            };
            let Some([granted, limit, remaining, retry_after, reset_after]) = fields else {
                panic!("{}: {reply:?}", shown());
            };
            let fields = [granted, limit, remaining, retry_after, reset_after];
            assert!(
                granted >= 0 && limit >= 1 && reset_after >= 0,
                "{}: {fields:?}",
                shown()
            );
            assert!((0..=limit).contains(&remaining), "{}: {fields:?}", shown());
            assert!(retry_after >= -1, "{}: {fields:?}", shown());
            // A refund tells when the next unit would be granted, whatever was given back.
            // One that waits for its turn is granted.
            if name != b"rl.refund" && (reads || granted == 0 || !has_option(line, "maxwait")) {
                assert_eq!(granted > 0, retry_after == 0, "{}: {fields:?}", shown());
            }
        }
        Value::ServerError(error) => {
            let code = error.code();
            assert!(
                code == "ERR" || code == "WRONGTYPE",
                "{}: {error:?}",
                shown()
            );
        }
        Value::Nil => assert!(
            matches!(name.as_slice(), b"rl.peek" | b"rl.info" | b"rl.refund"),
            "{}",
            shown()
        ),
        Value::Int(_) => assert!(line[0].eq_ignore_ascii_case(b"rl.reset"), "{}", shown()),
        other => panic!("{}: {other:?}", shown()),
    }
}

/// What makes values of strategies.
fn runner() -> TestRunner {
    TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(random::generator().u64(..)),
        ..Config::default()
    })
}

fn fill(client: &mut Connection) {
    for line in [
        "SET text some-text-that-is-longer-than-a-state",
        "SET int 12345678901",
        "RPUSH list a b c",
        "HSET hash field value",
        "ZADD zset 1 a",
        "SADD set a",
        "XADD stream * field value",
        "PFADD hll a",
    ] {
        client.ask(line);
    }
    client
        .ask_bytes(&[
            b"SET",
            b"fake",
            b"\xd2\x4c\x01\x00 looks like a limiter but is not one",
        ])
        .unwrap();
}

#[test]
fn a_hundred_thousand_random_command_lines() {
    let (mut server, clock) = Clock::start();
    let mut client = server.connect();
    fill(&mut client);
    let mut runner = runner();
    let strategy = prop::collection::vec(line(), BATCH);
    let mut granted = 0;
    let mut denied = 0;
    let mut refused = 0;
    for batch in 0..LINES / BATCH {
        let lines = strategy.new_tree(&mut runner).unwrap().current();
        for (line, reply) in lines.iter().zip(send(&mut client, &lines)) {
            check_reply(line, &reply);
            match reply {
                Value::Array(fields) => match fields.first() {
                    Some(Value::Int(0)) => denied += 1,
                    Some(Value::Int(_)) => granted += 1,
                    _ => {}
                },
                Value::ServerError(_) => refused += 1,
                _ => {}
            }
        }
        // Time passes, mostly forwards.
        if batch % 10 == 9 {
            clock.step_back(std::time::Duration::from_millis(batch as u64 * 7));
        } else {
            clock.advance_millis([0, 1, 3, 40, 1_000][batch % 5]);
        }
    }
    assert!(server.is_alive());
    // Some lines were valid, and some were not.
    for (what, count) in [
        ("granted", granted),
        ("denied", denied),
        ("refused", refused),
    ] {
        assert!(count > LINES / 50, "{what}: {count}");
    }
    // What is not a limiter is as it was.
    assert_eq!(
        client.ask("GET int"),
        Value::BulkString(b"12345678901".to_vec())
    );
    assert_eq!(client.ask("LLEN list"), Value::Int(3));
    // Every limiter has an expiry.
    for key in ["a", "b", "c", "d", "e"] {
        let ttl = client.ask(&format!("PTTL {key}"));
        assert!(matches!(ttl, Value::Int(-2 | 0..)), "{key}: {ttl:?}");
    }
}

#[test]
fn random_bytes_as_the_value_of_a_key() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK real 100 60 50 3600 COST 3");
    client.decide("RL.GCRA realgcra 100 60");
    let states: Vec<Vec<u8>> = ["real", "realgcra"]
        .map(|key| redis::from_redis_value(client.ask(&format!("GET {key}"))).unwrap())
        .to_vec();
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 17..60).prop_map(|rest| [
            b"\xd2\x4c\x01".to_vec(),
            rest
        ]
        .concat()),
        (
            prop::sample::select(states),
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        )
            .prop_map(|(mut state, changes)| {
                for (at, byte) in changes {
                    let at = at.index(state.len());
                    state[at] = byte;
                }
                state
            }),
    ];
    let mut runner = runner();
    for _ in 0..5_000 {
        let value = value.new_tree(&mut runner).unwrap().current();
        let lines: Vec<_> = [
            [b"RL.PEEK".as_slice(), b"k"].as_slice(),
            &[b"RL.CHECK", b"k", b"5", b"60", b"7", b"1h"],
            &[b"RL.GCRA", b"k", b"5", b"60"],
            &[b"RL.CHECK", b"k", b"3", b"60", b"FORCE"],
            &[b"RL.MCHECK", b"2", b"k", b"l", b"5", b"60", b"5", b"60"],
            &[b"CL.THROTTLE", b"k", b"4", b"5", b"5"],
            &[b"RL.INFO", b"k"],
            &[b"RL.REFUND", b"k", b"1"],
            &[b"RL.RESET", b"k"],
        ]
        .into_iter()
        .map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>())
        .collect();
        let set = [b"SET".to_vec(), b"k".to_vec(), value].to_vec();
        let replies = send(&mut client, &[vec![set], lines.clone()].concat());
        for (line, reply) in lines.iter().zip(&replies[1..]) {
            check_reply(line, reply);
        }
    }
    assert!(server.is_alive());
}
