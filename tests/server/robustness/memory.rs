//! Memory that is full, and disks that are: what is answered then, what is evicted, and what that does to limiters.

use std::fs;
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::nodes::info;
use crate::harness::{Ask, Server, Setup, eventually, everything};
use redis::{Connection, ConnectionLike, Value};

/// Every command that may take memory, on limiters that exist and on new ones.
const DECISIONS: [&str; 8] = [
    "RL.CHECK window 5 1h",
    "RL.CHECK window 5 1h 50 5h FORCE",
    "RL.CHECK full 1 1h",
    "RL.CHECK new 5 1h",
    "RL.GCRA bucket 5 1h",
    "CL.THROTTLE bucket 5 5 3600",
    "RL.MCHECK 2 window new 5 1h 5 1h",
    "RL.GCRA newbucket 5 1h",
];

/// Every command that does not.
const OTHERS: [&str; 5] = [
    "RL.PEEK window",
    "RL.INFO bucket",
    "RL.TOP",
    "RL.REFUND window 1",
    "RL.RESET bucket",
];

fn fill(client: &mut Connection) {
    client.decide("RL.CHECK window 5 1h COST 2");
    client.decide("RL.CHECK full 1 1h");
    client.decide("RL.GCRA bucket 5 1h COST 2");
}

fn number(client: &mut Connection, field: &str) -> u64 {
    info(client, field).unwrap().parse().unwrap()
}

/// Sends many at once.
fn send(client: &mut Connection, lines: impl IntoIterator<Item = String>) -> Vec<Value> {
    let mut pipeline = redis::Pipeline::new();
    let mut count = 0;
    for line in lines {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        pipeline.add_command(command);
        count += 1;
    }
    client
        .req_packed_commands(&pipeline.get_packed_pipeline(), 0, count)
        .unwrap()
}

fn is_granted(reply: &Value) -> bool {
    matches!(reply, Value::Array(row) if matches!(row[0], Value::Int(1..)))
}

#[test]
fn at_maxmemory_with_noeviction_decisions_are_oom_and_the_other_commands_work() {
    let server = Server::start();
    let mut client = server.connect();
    fill(&mut client);
    let before = everything(&mut client);
    client.ask("CONFIG SET maxmemory-policy noeviction");
    client.ask("CONFIG SET maxmemory 1");
    let error = client.refused("SET x y");
    assert!(error.starts_with("OOM "), "{error}");
    for line in DECISIONS {
        // Also one that would be denied: the server answers before anything is decided.
        assert_eq!(client.refused(line), error, "{line}");
    }
    // In a transaction, and in a script, which cannot begin.
    client.ask("MULTI");
    assert_eq!(client.refused("RL.CHECK window 5 1h"), error);
    assert!(client.refused("EXEC").starts_with("EXECABORT"));
    let script = b"return redis.call('RL.CHECK', KEYS[1], 5, '1h')";
    let refused = client.ask_bytes(&[b"EVAL", script, b"1", b"window"]);
    assert!(refused.unwrap_err().contains("OOM "));
    assert_eq!(everything(&mut client), before);

    assert_eq!(client.decide("RL.PEEK window COST 3")[..3], [3, 5, 3]);
    assert_eq!(client.decide("RL.PEEK window COST 4")[..3], [0, 5, 3]);
    for line in OTHERS {
        client.ask(line);
    }
    assert_eq!(client.decide("RL.PEEK window")[..3], [1, 5, 4]);
    assert_eq!(client.ask("RL.PEEK bucket"), Value::Nil);

    // When there is room again, everything goes on as if those requests had never been sent.
    client.ask("CONFIG SET maxmemory 0");
    assert_eq!(client.decide("RL.CHECK window 5 1h")[..3], [1, 5, 3]);
    assert_eq!(client.decide("RL.CHECK full 1 1h")[..3], [0, 1, 0]);
    assert_eq!(client.decide("RL.CHECK new 5 1h")[..3], [1, 5, 4]);
}

#[test]
fn a_server_that_fills_up_under_load_has_stored_what_it_granted_and_nothing_else() {
    let server = Server::start();
    let mut client = server.connect();
    let limit = number(&mut client, "used_memory") + (1 << 20);
    client.ask("CONFIG SET maxmemory-policy noeviction");
    client.ask(&format!("CONFIG SET maxmemory {limit}"));
    let mut granted = Vec::new();
    let mut refused = 0;
    for batch in 0.. {
        let keys = (0..200).map(|n| format!("k:{}", batch * 200 + n));
        let replies = send(
            &mut client,
            keys.clone().map(|key| format!("RL.CHECK {key} 1 1h")),
        );
        for (key, reply) in keys.zip(replies) {
            match reply {
                Value::ServerError(error) => {
                    assert_eq!(error.code(), "OOM");
                    refused += 1;
                }
                reply => {
                    assert!(is_granted(&reply), "{key}: {reply:?}");
                    granted.push(key);
                }
            }
        }
        if refused > 1_000 {
            break;
        }
    }
    assert!(granted.len() > 1_000, "{}", granted.len());
    assert_eq!(
        client.ask("DBSIZE"),
        Value::Int(granted.len().try_into().unwrap())
    );
    assert_eq!(number(&mut client, "evicted_keys"), 0);
    client.ask("CONFIG SET maxmemory 0");
    let again = send(
        &mut client,
        granted.iter().map(|key| format!("RL.CHECK {key} 1 1h")),
    );
    assert!(!again.iter().any(is_granted));
}

/// A server that holds some 2,000 to 4,000 limiters, and evicts the others by this policy.
fn evicting(policy: &str) -> (Server, Clock, Connection) {
    let (server, clock) = Clock::start_with(Setup::new().arguments([
        "--maxmemory-policy",
        policy,
        // The time of last use is measured with the server's own ticks: many of them.
        "--hz",
        "500",
    ]));
    let mut client = server.connect();
    let limit = number(&mut client, "used_memory") + (1 << 19);
    client.ask(&format!("CONFIG SET maxmemory {limit}"));
    (server, clock, client)
}

#[test]
#[ignore = "long: what the server evicts"]
fn each_policy_that_evicts_goes_on_deciding_and_an_evicted_key_has_its_whole_quota_back() {
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let (_server, _clock, mut client) = evicting(policy);
        // Keys without an expiry.
        send(&mut client, (0..200).map(|n| format!("SET plain:{n} x")));
        for batch in 0..8 {
            let keys = (0..1_000).map(|n| format!("RL.CHECK k:{} 1 1h", batch * 1_000 + n));
            for reply in send(&mut client, keys) {
                assert!(is_granted(&reply), "{policy}: {reply:?}");
            }
        }
        let evicted = number(&mut client, "evicted_keys");
        assert!(evicted > 1_000, "{policy}: {evicted}");
        let plain = send(&mut client, (0..200).map(|n| format!("EXISTS plain:{n}")));
        let plain = plain
            .iter()
            .filter(|reply| **reply == Value::Int(1))
            .count();
        if policy.starts_with("volatile") {
            // Every limiter has an expiry, so these policies evict just the limiters.
            assert_eq!(plain, 200, "{policy}");
        } else {
            assert!(plain < 200, "{policy}");
        }
        // One that was evicted has its whole quota back; one that was not is still full.
        client.ask("CONFIG SET maxmemory 0");
        let exists = send(&mut client, (0..8_000).map(|n| format!("EXISTS k:{n}")));
        let looks = send(
            &mut client,
            (0..8_000).map(|n| format!("RL.CHECK k:{n} 1 1h")),
        );
        for (exists, decision) in exists.iter().zip(&looks) {
            assert_eq!(*exists == Value::Int(0), is_granted(decision), "{policy}");
        }
    }
}

/// How many of the keys exist, of a hundred.
fn percent(client: &mut Connection, keys: impl Iterator<Item = String>) -> usize {
    let replies = send(client, keys.map(|key| format!("EXISTS {key}")));
    100 * replies
        .iter()
        .filter(|reply| **reply == Value::Int(1))
        .count()
        / replies.len()
}

#[test]
#[ignore = "long: what the server evicts"]
fn limiters_that_are_asked_outlive_colder_ones() {
    const KEYS: usize = 300;
    for policy in ["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu"] {
        let (_server, clock, mut client) = evicting(policy);
        let hot = |n: usize| format!("RL.CHECK hot:{n} 3 10h");
        send(
            &mut client,
            (0..KEYS).map(|n| format!("RL.CHECK cold:{n} 3 10h")),
        );
        send(&mut client, (0..KEYS).map(hot));
        let mut passing = 0;
        for _ in 0..15 {
            // The hot ones are asked, and mostly denied, which counts as much.
            for _ in 0..4 {
                send(&mut client, (0..KEYS).map(hot));
            }
            tick(&mut client, &clock);
            send(
                &mut client,
                (0..700).map(|n| format!("RL.CHECK passing:{} 3 10h", passing + n)),
            );
            passing += 700;
        }
        let hot = percent(&mut client, (0..KEYS).map(|n| format!("hot:{n}")));
        let cold = percent(&mut client, (0..KEYS).map(|n| format!("cold:{n}")));
        let passed = percent(&mut client, (0..passing).map(|n| format!("passing:{n}")));
        println!(
            "measured: {policy}: {hot} % of the hot ones live, {cold} % of the cold, {passed} % of the others"
        );
        assert!(number(&mut client, "evicted_keys") > 2_000);
        assert!(
            hot >= 95 && cold <= 75 && passed <= 75,
            "{policy}: {hot}, {cold}, {passed}"
        );
    }
}

/// Lets two seconds pass, and waits until the server has noticed.
fn tick(client: &mut Connection, clock: &Clock) {
    client.ask("RL.RESET tick");
    client.decide("RL.CHECK tick 3 10h");
    clock.advance(Duration::from_secs(2));
    if client
        .ask_bytes(&[b"OBJECT", b"IDLETIME", b"tick"])
        .is_err()
    {
        // The policy counts uses, not time.
        return;
    }
    eventually("a tick", || {
        match client.ask("OBJECT IDLETIME tick") {
            // It was evicted, or has aged.
            Value::Nil | Value::Int(2..) => Some(()),
            _ => None,
        }
    });
}

#[test]
#[ignore = "long: what the server evicts"]
fn volatile_ttl_evicts_those_that_matter_for_the_shortest_time() {
    const KEYS: usize = 300;
    let (_server, _clock, mut client) = evicting("volatile-ttl");
    send(
        &mut client,
        (0..KEYS).map(|n| format!("RL.CHECK long:{n} 1 10h")),
    );
    send(
        &mut client,
        (0..KEYS).map(|n| format!("RL.CHECK short:{n} 1 1m")),
    );
    for batch in 0..8 {
        send(
            &mut client,
            (0..1_000).map(|n| format!("RL.CHECK passing:{} 1 1h", batch * 1_000 + n)),
        );
    }
    let long = percent(&mut client, (0..KEYS).map(|n| format!("long:{n}")));
    let short = percent(&mut client, (0..KEYS).map(|n| format!("short:{n}")));
    assert!(long >= 95 && short <= 50, "{long}, {short}");
}

#[test]
#[ignore = "long: what the server evicts"]
fn object_idletime_and_freq_tell_how_a_limiter_is_used() {
    let (_server, clock, mut client) = evicting("allkeys-lru");
    client.decide("RL.CHECK k 1 1h");
    client.decide("RL.GCRA g 1 1h");
    let idle =
        |client: &mut Connection, key: &str| match client.ask(&format!("OBJECT IDLETIME {key}")) {
            Value::Int(seconds) => seconds,
            other => panic!("{other:?}"),
        };
    for line in [
        "RL.CHECK k 1 1h",
        "RL.PEEK k",
        "RL.INFO k",
        "RL.CHECK k 2 1h",
    ] {
        clock.advance(Duration::from_secs(100));
        eventually("a key that has aged", || {
            (idle(&mut client, "k") >= 99).then_some(())
        });
        client.ask(line);
        assert!(idle(&mut client, "k") <= 1, "{line}");
    }
    assert!(idle(&mut client, "g") >= 399);

    client.ask("CONFIG SET maxmemory-policy allkeys-lfu");
    client.decide("RL.CHECK often 1 1h");
    client.decide("RL.CHECK once 1 1h");
    let freq = |client: &mut Connection, key: &str| match client.ask(&format!("OBJECT FREQ {key}"))
    {
        Value::Int(uses) => uses,
        other => panic!("{other:?}"),
    };
    let new = freq(&mut client, "often");
    send(
        &mut client,
        (0..2_000).map(|_| "RL.CHECK often 1 1h".to_owned()),
    );
    let denied = freq(&mut client, "often");
    assert!(
        denied > new && (3..=8).contains(&freq(&mut client, "once")),
        "{new} {denied}"
    );
    // A grant that makes the state longer keeps the count.
    client.decide("RL.CHECK often 100 1h 50 2h");
    assert!(freq(&mut client, "often") >= denied);
    assert_eq!(
        client.ask("OBJECT ENCODING often"),
        Value::BulkString(b"raw".to_vec())
    );
}

#[test]
#[ignore = "long: what the server answers to every write"]
fn a_failed_snapshot_stops_decisions_with_misconf_until_one_succeeds() {
    let server = Setup::new().arguments(["--save", "3600 1000000"]).start();
    let mut client = server.connect();
    fill(&mut client);
    let before = everything(&mut client);
    // A directory in the place of the snapshot, which no snapshot can replace.
    let place = server.dir().join("dump.rdb");
    fs::create_dir_all(place.join("in the way")).unwrap();
    client.ask("BGSAVE");
    eventually("a snapshot that failed", || {
        (info(&mut client, "rdb_last_bgsave_status")? == "err").then_some(())
    });
    let error = client.refused("SET x y");
    assert!(error.starts_with("MISCONF "), "{error}");
    for line in DECISIONS
        .iter()
        .chain(&["RL.REFUND window 1", "RL.RESET window"])
    {
        assert_eq!(client.refused(line), error, "{line}");
    }
    for line in ["RL.PEEK window", "RL.INFO window", "RL.TOP"] {
        client.ask(line);
    }
    assert_eq!(everything(&mut client), before);
    // It can be told to go on without snapshots.
    client.ask("CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(client.decide("RL.CHECK window 5 1h")[..3], [1, 5, 2]);
    client.ask("CONFIG SET stop-writes-on-bgsave-error yes");
    assert_eq!(client.refused("RL.CHECK window 5 1h"), error);
    // A snapshot that succeeds ends it.
    fs::remove_dir_all(&place).unwrap();
    client.ask("BGSAVE");
    eventually("a decision", || {
        client
            .ask_bytes(&[b"RL.CHECK", b"window", b"5", b"1h"])
            .ok()
    });
    assert_eq!(client.decide("RL.PEEK window")[..3], [1, 5, 1]);
}
