//! Memory that is full, and disks that are: what is answered then, what is evicted, and what that does to limiters.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::features::ACTIVE_DEFRAGMENTATION;
use crate::harness::nodes::info;
use crate::harness::{Ask, Server, Setup, eventually, everything, random};
use fastrand::Rng;
use redis::{Connection, ConnectionLike, PushInfo, PushKind, Value};

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

/// The policies that this server knows.
fn policies(client: &mut Connection) -> Vec<String> {
    let error = client.refused("CONFIG SET maxmemory-policy nonsense");
    let (_, policies) = error.split_once("one of the following: ").unwrap();
    let policies: Vec<String> = policies.split(", ").map(str::to_owned).collect();
    assert!(policies.len() >= 8 && policies.contains(&"noeviction".to_owned()));
    policies
}

/// What one client has been granted of limiters that only it asks, since each was last evicted. What the server tells it of
/// evictions comes between the replies where it belongs.
struct Ledger {
    client: Connection,
    pushes: Receiver<PushInfo>,
    prefix: String,
    /// How many limiters there are.
    keys: u64,
    used: HashMap<String, i64>,
    random: Rng,
    evicted: usize,
    oom: usize,
}

/// What every limiter of a ledger grants.
const LIMIT: i64 = 4;

impl Ledger {
    fn new(server: &Server, number: usize, keys: u64, random: Rng) -> Self {
        let mut client = server.connect_resp3();
        let (sender, pushes) = channel();
        client.set_push_sender(sender);
        client.subscribe_resp3("__keyevent@0__:evicted").unwrap();
        Self {
            client,
            pushes,
            prefix: format!("k{number}:"),
            keys,
            used: HashMap::new(),
            random,
            evicted: 0,
            oom: 0,
        }
    }

    /// What the server has evicted before it answered the last call, or would not.
    fn hear(&mut self) {
        for push in self.pushes.try_iter() {
            if push.kind == PushKind::Message {
                let key: String = redis::from_redis_value(push.data[1].clone()).unwrap();
                if key.starts_with(&self.prefix) {
                    self.evicted += 1;
                    self.used.remove(&key);
                }
            }
        }
    }

    /// Sends a call; nothing if there was no room.
    fn answer(&mut self, line: &str) -> Option<Value> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let answer = self.client.ask_bytes(&words);
        self.hear();
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(error.starts_with("OOM "), "{line}: {error}");
                self.oom += 1;
                None
            }
        }
    }

    /// Asks for some units of a key. Every other one is a bucket, which takes years to give a unit back.
    fn line(&self, key: u64, cost: i64) -> String {
        match key % 2 {
            0 => format!("RL.CHECK {}{key} {LIMIT} 90d COST {cost}", self.prefix),
            _ => format!("RL.GCRA {}{key} {LIMIT} 3650d COST {cost}", self.prefix),
        }
    }

    fn used(&self, key: &str) -> i64 {
        self.used.get(key).copied().unwrap_or(0)
    }

    /// Asks for `cost` units of a key; what was answered has to be what the ledger says.
    fn take(&mut self, key: u64, cost: i64, atmost: bool) {
        let name = format!("{}{key}", self.prefix);
        let mut line = self.line(key, cost);
        if atmost {
            line += " ATMOST";
        }
        let Some(answer) = self.answer(&line) else {
            return;
        };
        let row: [i64; 5] = redis::from_redis_value(answer).unwrap();
        let free = LIMIT - self.used(&name);
        let granted = if atmost {
            cost.min(free)
        } else if cost <= free {
            cost
        } else {
            0
        };
        assert_eq!(row[..3], [granted, LIMIT, free - granted], "{line}");
        if granted > 0 {
            self.used.insert(name, LIMIT - free + granted);
        }
    }

    fn step(&mut self) {
        let key = self.random.u64(..self.keys);
        let name = format!("{}{key}", self.prefix);
        match self.random.u64(..20) {
            0 => {
                let reset = self.answer(&format!("RL.RESET {name}"));
                let stored = i64::from(self.used.remove(&name).is_some());
                assert_eq!(reset, Some(Value::Int(stored)), "{name}");
            }
            1 => {
                let answer = self.answer(&format!("RL.REFUND {name} 1"));
                let used = self.used(&name);
                match answer {
                    Some(Value::Nil) => assert_eq!(used, 0, "{name}"),
                    Some(row) => {
                        let row: [i64; 5] = redis::from_redis_value(row).unwrap();
                        assert_eq!(row[..3], [1, LIMIT, LIMIT - used + 1], "{name}");
                        self.used.insert(name.clone(), used - 1);
                        if used == 1 {
                            self.used.remove(&name);
                        }
                    }
                    None => panic!("RL.REFUND takes no memory"),
                }
            }
            2 => self.both(key & !1, (key & !1) ^ 2),
            3 => self.take(key, 3, true),
            4 => self.take(key, 2, false),
            _ => self.take(key, 1, false),
        }
    }

    /// Asks for a unit of two windows, or of none.
    fn both(&mut self, one: u64, other: u64) {
        let names = [one, other].map(|key| format!("{}{key}", self.prefix));
        let line = format!(
            "RL.MCHECK 2 {} {} {LIMIT} 90d {LIMIT} 90d",
            names[0], names[1]
        );
        let Some(answer) = self.answer(&line) else {
            return;
        };
        let rows: [[i64; 5]; 2] = redis::from_redis_value(answer).unwrap();
        let used = [0, 1].map(|at| self.used(&names[at]));
        let granted = i64::from(used.iter().all(|used| *used < LIMIT));
        for at in [0, 1] {
            assert_eq!(
                rows[at][..3],
                [granted, LIMIT, LIMIT - used[at] - granted],
                "{line}"
            );
            if granted > 0 {
                self.used.insert(names[at].clone(), used[at] + 1);
            }
        }
    }

    /// All that was granted is stored, unless it was evicted; nothing else is, and nothing by half.
    fn check(&mut self) {
        for key in 0..self.keys {
            let name = format!("{}{key}", self.prefix);
            let answer = self.answer(&format!("RL.PEEK {name}")).unwrap();
            let free = match answer {
                Value::Nil => {
                    let exists = self.answer(&format!("EXISTS {name}"));
                    assert_eq!(exists, Some(Value::Int(0)), "{name}");
                    LIMIT
                }
                row => redis::from_redis_value::<[i64; 5]>(row).unwrap()[2],
            };
            assert_eq!(free, LIMIT - self.used(&name), "{name}");
        }
    }
}

#[test]
#[ignore = "long: what the server evicts"]
fn at_maxmemory_no_limiter_grants_more_than_its_limit_until_it_is_evicted() {
    const KEYS: u64 = 2_000;
    let mut random = random::generator();
    for policy in policies(&mut Server::start().connect()) {
        let server = Setup::new()
            .arguments(["--notify-keyspace-events", "Ee"])
            .arguments(["--maxmemory-policy", &policy])
            .start();
        let mut client = server.connect();
        let mut ledgers: Vec<Ledger> = (0..3)
            .map(|number| Ledger::new(&server, number, KEYS, random.fork()))
            .collect();
        // Room for a part of them, and for what the server keeps for its clients.
        let limit = number(&mut client, "used_memory") + (1 << 18);
        client.ask(&format!("CONFIG SET maxmemory {limit}"));
        let squeezed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for ledger in &mut ledgers {
                let squeezed = &squeezed;
                let count = |ledger: &Ledger| match policy.as_str() {
                    "noeviction" => ledger.oom,
                    _ => ledger.evicted,
                };
                scope.spawn(move || {
                    // All of them go on until each has met full memory often enough.
                    let (mut steps, mut enough) = (0, false);
                    while squeezed.load(Ordering::Relaxed) < 3 {
                        ledger.step();
                        steps += 1;
                        assert!(steps < 1_000_000, "there is room for all");
                        if !enough && steps > 1_000 && count(ledger) > 150 {
                            squeezed.fetch_add(1, Ordering::Relaxed);
                            enough = true;
                        }
                    }
                });
            }
        });
        client.ask("CONFIG SET maxmemory 0");
        let evicted = number(&mut client, "evicted_keys");
        let (mut heard, mut oom) = (0, 0);
        for ledger in &mut ledgers {
            ledger.check();
            heard += ledger.evicted;
            oom += ledger.oom;
        }
        println!("measured: {policy}: {evicted} evicted, {oom} answers without a decision");
        assert_eq!(evicted, heard as u64, "{policy}");
        match policy.as_str() {
            "noeviction" => assert!(evicted == 0 && oom > 450, "{evicted} {oom}"),
            _ => assert!(evicted > 450, "{policy}: {evicted}"),
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
fn while_active_defragmentation_moves_limiters_all_of_them_decide_as_before() {
    const KEYS: u64 = 8_000;
    if ACTIVE_DEFRAGMENTATION
        .is_missing("while_active_defragmentation_moves_limiters_all_of_them_decide_as_before")
    {
        return;
    }
    let server = Setup::new()
        .arguments(["--active-defrag-ignore-bytes", "1"])
        .arguments(["--active-defrag-threshold-lower", "0"])
        .start();
    let mut client = server.connect();
    let mut ledgers = [0, 1].map(|number| Ledger::new(&server, number, KEYS, random::generator()));
    // What is denied most, and a limiter with many groups in several windows.
    for _ in 0..1_001 {
        client.decide("RL.CHECK top 1 90d");
    }
    for n in 0..40 {
        client.decide(&format!(
            "RL.CHECK large 1000 90d {} 80d 3000 70d",
            2_000 + n
        ));
    }
    let large = client.ask("GET large");
    let denied = number(&mut client, "ratelimit_denied");
    // Of all limiters only every fourth stays, and no page of memory is free.
    for ledger in &mut ledgers {
        for key in 0..KEYS {
            ledger.used.insert(format!("{}{key}", ledger.prefix), 1);
        }
        send(&mut client, (0..KEYS).map(|key| ledger.line(key, 1)));
        let gone = (0..KEYS).filter(|key| !key.is_multiple_of(4));
        for key in gone.clone() {
            ledger.used.remove(&format!("{}{key}", ledger.prefix));
        }
        send(
            &mut client,
            gone.map(|key| format!("RL.RESET {}{key}", ledger.prefix)),
        );
    }
    client.ask("CONFIG SET activedefrag yes");
    let moved = eventually("limiters that were moved", || {
        for ledger in &mut ledgers {
            for _ in 0..100 {
                ledger.step();
            }
        }
        let moved = number(&mut client, "active_defrag_key_hits");
        (moved > KEYS / 4).then_some(moved)
    });
    println!(
        "measured: {moved} keys moved, of {} allocations",
        number(&mut client, "active_defrag_hits")
    );
    for ledger in &mut ledgers {
        ledger.check();
    }
    assert_eq!(client.ask("GET large"), large);
    let top: Vec<(String, i64, i64, i64)> =
        redis::from_redis_value(client.ask("RL.TOP 1")).unwrap();
    assert!(top[0].0 == "top" && top[0].2 > 900, "{top:?}");
    assert!(number(&mut client, "ratelimit_denied") >= denied);
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
