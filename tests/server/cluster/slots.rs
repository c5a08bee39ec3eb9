//! A cluster: redirections as for core commands, a real cluster client, and resharding under load that loses nothing.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::features::skip;
use crate::harness::nodes::{Cluster, Node, client, id, info, slot};
use crate::harness::{Ask, Server, Setup, eventually};
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, Slot, SlotAddr};
use redis::{Connection, ConnectionLike, RedisResult, Value};

/// Every command on one key `KEY`, and whether it only looks.
const ON_ONE_KEY: [(&str, bool); 9] = [
    ("RL.CHECK KEY 5 1h", false),
    ("RL.CHECK KEY 5 1h 9 2h COST 2", false),
    ("RL.GCRA KEYg 5 1h", false),
    ("CL.THROTTLE KEYt 5 5 60", false),
    ("RL.MCHECK 1 KEY 5 1h", false),
    ("RL.PEEK KEY", true),
    ("RL.INFO KEY", true),
    ("RL.REFUND KEY 1", false),
    ("RL.RESET KEY", false),
];

/// Every command on several keys, here `A` and `B`.
const ON_TWO_KEYS: [&str; 2] = ["RL.MCHECK 2 A B 5 1h 5 1h", "RL.RESET A B"];

fn ask(client: &mut impl ConnectionLike, line: &str) -> RedisResult<Value> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    client.req_command(&command)
}

fn row(value: Value) -> Vec<i64> {
    redis::from_redis_value(value).unwrap()
}

/// The same for a node itself: errors are answers, too.
fn answer(client: &mut Connection, line: &str) -> Result<Value, String> {
    client.ask_bytes(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

/// A hash tag of that slot.
fn tag_of(slot: usize) -> String {
    let wanted = Slot::new(u16::try_from(slot).unwrap()).unwrap();
    (0..)
        .map(|n| format!("{{{n}}}"))
        .find(|tag| Slot::for_key(tag) == wanted)
        .unwrap()
}

/// A hash tag whose slot began with that primary.
fn tag_on(cluster: &Cluster, primary: usize) -> String {
    let mut client = cluster.primaries[0].connect();
    (0..)
        .map(|n| format!("{{{n}}}"))
        .find(|tag| cluster.owner(slot(&mut client, tag)) == primary)
        .unwrap()
}

/// Tells primaries who owns a slot now.
fn hand_over(cluster: &Cluster, slot: usize, to: &str, primaries: &[usize]) {
    for at in primaries {
        cluster.primaries[*at]
            .connect()
            .ask(&format!("CLUSTER SETSLOT {slot} NODE {to}"));
    }
}

#[test]
fn a_cluster_client_limits_keys_on_all_nodes() {
    let cluster = Cluster::start(3, false);
    let mut client = cluster.client();
    for n in 0..300 {
        for (granted, remaining) in [(1, 1), (1, 0), (0, 0)] {
            let row = row(ask(&mut client, &format!("RL.CHECK k{n} 2 1h")).unwrap());
            assert_eq!(row[..3], [granted, 2, remaining], "k{n}");
        }
        let row = row(ask(&mut client, &format!("RL.PEEK k{n}")).unwrap());
        assert_eq!(row[..3], [0, 2, 0], "k{n}");
    }
    for primary in &cluster.primaries {
        let Value::Int(keys) = primary.connect().ask("DBSIZE") else {
            panic!("no size");
        };
        assert!(keys > 50, "{keys}");
    }
    // Every command, wherever its key is.
    for n in 0..12 {
        for (line, _) in ON_ONE_KEY {
            let reply = ask(&mut client, &line.replace("KEY", &format!("every{n}")));
            assert!(
                !matches!(reply, Err(_) | Ok(Value::ServerError(_))),
                "{line}: {reply:?}"
            );
        }
    }

    // Several keys in one call: a hash tag keeps them together. The client takes the number of keys for a key, and so
    // asks the wrong node first, which sends it on; a client that is told the key asks the right one.
    for n in 0..12 {
        let line = format!("RL.MCHECK 2 ip:{{{n}}} account:{{{n}}} 5 1h 9 1h");
        let Value::Array(rows) = ask(&mut client, &line).unwrap() else {
            panic!("no rows");
        };
        assert_eq!(rows.len(), 2);
        let mut command = redis::cmd("RL.MCHECK");
        for word in line.split(' ').skip(1) {
            command.arg(word);
        }
        let route = Route::with_key(format!("ip:{{{n}}}"), SlotAddr::Master);
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
        let Value::Array(rows) = client.route_command(&command, route).unwrap() else {
            panic!("no rows");
        };
        assert_eq!(row(rows[0].clone())[..3], [1, 5, 3]);
    }
    let error = ask(&mut client, "RL.MCHECK 2 ip:1 account:2 5 1h 9 1h").unwrap_err();
    assert_eq!(error.code(), Some("CROSSSLOT"));
}

#[test]
fn redirections_are_those_of_core_commands() {
    let cluster = Cluster::start(2, true);
    let [mut here, mut there] = [0, 1].map(|at| cluster.primaries[at].connect());
    let [own, other] = [0, 1].map(|at| tag_on(&cluster, at));
    // MOVED: the slot belongs to another node.
    let moved = here.refused(&format!("GET {other}"));
    assert!(moved.starts_with("MOVED "), "{moved}");
    for line in two_keys_and_one(&other) {
        assert_eq!(here.refused(&line), moved, "{line}");
    }

    // CROSSSLOT: the keys are of several slots, whichever node has them.
    let cross = here.refused(&format!("MGET {own} {other}"));
    assert!(cross.starts_with("CROSSSLOT "), "{cross}");
    for line in ON_TWO_KEYS {
        for (a, b) in [(&own, &other), (&other, &own)] {
            let line = line
                .replace(" A ", &format!(" {a} "))
                .replace(" B", &format!(" {b}"));
            assert_eq!(here.refused(&line), cross, "{line}");
        }
    }
    assert_eq!(here.ask("DBSIZE"), Value::Int(0));

    // A replica sends clients to its primary, except those that said that they only read.
    here.decide(&format!("RL.CHECK {own} 5 1h"));
    assert_eq!(here.ask("WAIT 1 0"), Value::Int(1));
    let mut replica = cluster.replicas[0].connect();
    let moved = replica.refused(&format!("GET {own}"));
    assert!(moved.starts_with("MOVED "), "{moved}");
    for line in two_keys_and_one(&own) {
        assert_eq!(replica.refused(&line), moved, "{line}");
    }
    replica.ask("READONLY");
    for (line, looks) in ON_ONE_KEY {
        let line = line.replace("KEY", &own);
        match answer(&mut replica, &line) {
            Ok(_) => assert!(looks, "{line}"),
            Err(error) => assert!(!looks && error == moved, "{line}: {error}"),
        }
    }
    assert_eq!(replica.decide(&format!("RL.PEEK {own}"))[..3], [1, 5, 4]);

    // ASK: the slot is on its way, and the key is not here (any more).
    let moving = slot(&mut here, &own);
    there.ask(&format!(
        "CLUSTER SETSLOT {moving} IMPORTING {}",
        id(&cluster.primaries[0])
    ));
    here.ask(&format!(
        "CLUSTER SETSLOT {moving} MIGRATING {}",
        id(&cluster.primaries[1])
    ));
    let gone = format!("{own}gone");
    let asked = here.refused(&format!("GET {gone}"));
    assert!(asked.starts_with("ASK "), "{asked}");
    for (line, _) in ON_ONE_KEY {
        let line = line.replace("KEY", &gone);
        assert_eq!(here.refused(&line), asked, "{line}");
    }
    for line in ON_TWO_KEYS {
        let line = line
            .replace(" A ", &format!(" {gone} "))
            .replace(" B", &format!(" {gone}b"));
        assert_eq!(here.refused(&line), asked, "{line}");
    }
    // What is still here is answered here.
    assert_eq!(here.decide(&format!("RL.CHECK {own} 5 1h"))[..3], [1, 5, 3]);
    // TRYAGAIN: some keys are here, and some are not.
    let again = here.refused(&format!("MGET {own} {gone}"));
    assert!(again.starts_with("TRYAGAIN "), "{again}");
    for line in ON_TWO_KEYS {
        let line = line
            .replace(" A ", &format!(" {own} "))
            .replace(" B", &format!(" {gone}"));
        assert_eq!(here.refused(&line), again, "{line}");
    }
    // The other node answers the clients that were told to ask it, and no others.
    let moved = there.refused(&format!("GET {gone}"));
    assert!(moved.starts_with("MOVED "), "{moved}");
    for (line, _) in ON_ONE_KEY {
        let line = line.replace("KEY", &gone);
        assert_eq!(there.refused(&line), moved, "{line}");
        there.ask("ASKING");
        there.ask(&line);
    }
    there.ask("ASKING");
    there.decide(&format!("RL.CHECK {gone} 5 1h"));
    there.ask("ASKING");
    let again = there.refused(&format!("MGET {gone} {own}"));
    assert!(again.starts_with("TRYAGAIN "), "{again}");
    for line in ON_TWO_KEYS {
        let line = line
            .replace(" A ", &format!(" {gone} "))
            .replace(" B", &format!(" {own}"));
        there.ask("ASKING");
        assert_eq!(there.refused(&line), again, "{line}");
    }
    assert_eq!(here.decide(&format!("RL.PEEK {own}"))[..3], [1, 5, 3]);
}

/// Every command, with keys of one slot.
fn two_keys_and_one(tag: &str) -> Vec<String> {
    let one = ON_ONE_KEY.map(|(line, _)| line.replace("KEY", tag));
    let two = ON_TWO_KEYS.map(|line| {
        line.replace(" A ", &format!(" {tag} "))
            .replace(" B", &format!(" {tag}b"))
    });
    one.into_iter().chain(two).collect()
}

#[test]
fn a_cluster_that_is_not_whole_answers_clusterdown() {
    let mut cluster = Cluster::start(3, false);
    let own = tag_on(&cluster, 0);
    let other = tag_on(&cluster, 1);
    let mut here = cluster.primaries[0].connect();
    here.decide(&format!("RL.CHECK {own} 5 1h"));
    cluster.primaries[1].kill();
    let down = eventually("a cluster that has noticed", || {
        let error = answer(&mut here, &format!("GET {own}")).err()?;
        error.starts_with("CLUSTERDOWN").then_some(error)
    });
    for line in two_keys_and_one(&own) {
        assert_eq!(here.refused(&line), down, "{line}");
    }
    // A node can be told to go on for the slots that it has.
    here.ask("CONFIG SET cluster-require-full-coverage no");
    eventually("a node that goes on", || {
        answer(&mut here, &format!("RL.CHECK {own} 5 1h")).ok()
    });
    assert_eq!(here.decide(&format!("RL.PEEK {own}"))[..3], [1, 5, 3]);
    // The slots of the dead one are still its own, or down: its callers get no decision.
    let error = here.refused(&format!("GET {other}"));
    for line in two_keys_and_one(&other) {
        assert_eq!(here.refused(&line), error, "{line}");
    }
}

/// Requests on many limiters in slots that will move, and how often each was granted.
struct Load {
    keys: Vec<String>,
    granted: Vec<AtomicUsize>,
    /// Requests whose answer did not arrive.
    unknown: AtomicUsize,
    asked: AtomicUsize,
}

const LIMIT: usize = 40;

impl Load {
    fn new(slots: RangeInclusive<usize>) -> Self {
        let keys: Vec<String> = slots
            .flat_map(|slot| {
                let tag = tag_of(slot);
                (0..8).map(move |n| format!("{tag}{n}"))
            })
            .collect();
        let zero = || AtomicUsize::new(0);
        Self {
            granted: keys.iter().map(|_| zero()).collect(),
            keys,
            unknown: zero(),
            asked: zero(),
        }
    }

    /// Every other key is a sliding window, and the others are buckets. None gives anything back while the test runs.
    fn line(&self, at: usize) -> String {
        match at % 2 {
            0 => format!("RL.CHECK {} {LIMIT} 10h", self.keys[at]),
            _ => format!("RL.GCRA {} {LIMIT} 4000h", self.keys[at]),
        }
    }

    /// Asks for all keys in turn until told to stop, and then until every key is used up.
    fn run(&self, addresses: &[String], stop: &AtomicBool) {
        let mut cluster = client(addresses);
        let mut spent = false;
        while !(spent && stop.load(Ordering::Relaxed)) {
            spent = true;
            for at in 0..self.keys.len() {
                // While slots move, a unit now and then; afterwards all that is left.
                let patient = !stop.load(Ordering::Relaxed);
                let used = self.granted[at].load(Ordering::Relaxed);
                if patient
                    && used >= LIMIT - 5
                    && !self.asked.load(Ordering::Relaxed).is_multiple_of(50)
                {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                    let _ = ask(&mut cluster, &format!("RL.PEEK {}", self.keys[at]));
                    continue;
                }
                self.asked.fetch_add(1, Ordering::Relaxed);
                match ask(&mut cluster, &self.line(at)) {
                    Ok(reply) if row(reply.clone())[0] > 0 => {
                        self.granted[at].fetch_add(1, Ordering::Relaxed);
                        spent = false;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.unknown.fetch_add(1, Ordering::Relaxed);
                        println!("{error}");
                        spent = false;
                    }
                }
            }
        }
    }

    /// Nothing was forgotten, and nothing charged twice: every limiter has granted its limit exactly.
    fn check(&self) {
        let unknown = self.unknown.load(Ordering::Relaxed);
        for (key, granted) in self.keys.iter().zip(&self.granted) {
            let granted = granted.load(Ordering::Relaxed);
            assert!(
                granted <= LIMIT && granted + unknown >= LIMIT,
                "{key}: {granted} granted, {unknown} unanswered"
            );
        }
        let asked = self.asked.load(Ordering::Relaxed);
        println!(
            "measured: {} keys, {asked} asked, {unknown} unanswered",
            self.keys.len()
        );
    }
}

/// State and expiry of limiters of every sort in slots that will move.
fn idle_limiters(cluster: &Cluster, slots: RangeInclusive<usize>) -> HashMap<String, (Value, i64)> {
    let mut client = cluster.primaries[0].connect();
    let mut states = HashMap::new();
    for slot in slots {
        let tag = tag_of(slot);
        for line in [
            "RL.CHECK TAGwindow 5 1h COST 3",
            "RL.CHECK TAGwindows 5 1h 50 5h",
            "RL.CHECK TAGdebt 5 1h COST 7 FORCE",
            "RL.CHECK TAGblocked 1 1h BLOCK 2h",
            "RL.CHECK TAGblocked 1 1h BLOCK 2h",
            "RL.GCRA TAGbucket 10 1h BURST 20 COST 4",
            "CL.THROTTLE TAGcell 5 10 3600 2",
        ] {
            let line = line.replace("TAG", &tag);
            client.ask(&line);
            let key = line.split(' ').nth(1).unwrap().to_owned();
            let state = state(&mut client, &key);
            states.insert(key, state);
        }
    }
    states
}

fn state(client: &mut Connection, key: &str) -> (Value, i64) {
    let Value::Int(expiry) = client.ask(&format!("PEXPIRETIME {key}")) else {
        panic!("no expiry");
    };
    (client.ask(&format!("GET {key}")), expiry)
}

/// Moves a slot by hand, key by key, as `redis-cli --cluster reshard` does.
fn reshard(cluster: &Cluster, slot: usize, from: usize, to: usize) {
    let [from_id, to_id] = [from, to].map(|at| id(&cluster.primaries[at]));
    let mut source = cluster.primaries[from].connect();
    let mut target = cluster.primaries[to].connect();
    target.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
    source.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
    loop {
        let keys: Vec<String> =
            redis::from_redis_value(source.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 3")))
                .unwrap();
        if keys.is_empty() {
            break;
        }
        let port = cluster.primaries[to].port();
        let (port, mut words) = (port.to_string(), vec!["MIGRATE", "127.0.0.1"]);
        words.extend([port.as_str(), "", "0", "5000", "KEYS"]);
        words.extend(keys.iter().map(String::as_str));
        let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
        source.ask_bytes(&words).unwrap();
    }
    hand_over(cluster, slot, &to_id, &[to, from, 3 - to - from]);
}

/// Tells the threads of a test to stop, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something to the cluster while clients ask limiters of `slots`, and checks what they were granted. `act` gets a
/// function that waits for as many more requests.
fn under_load(cluster: &Cluster, slots: RangeInclusive<usize>, act: impl FnOnce(&dyn Fn(usize))) {
    let load = Load::new(slots);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        for _ in 0..3 {
            let addresses = cluster.addresses();
            let (load, stop) = (&load, &stop);
            scope.spawn(move || load.run(&addresses, stop));
        }
        let asked = |count| {
            let already = load.asked.load(Ordering::Relaxed);
            eventually("some load", || {
                (load.asked.load(Ordering::Relaxed) > already + count).then_some(())
            });
        };
        asked(200);
        act(&asked);
        drop(stopping);
    });
    load.check();
}

#[test]
fn resharding_by_setslot_and_migrate_under_load_loses_no_state() {
    const SLOTS: RangeInclusive<usize> = 0..=5;
    let cluster = Cluster::start(3, false);
    let before = idle_limiters(&cluster, SLOTS);
    under_load(&cluster, SLOTS, |asked| {
        for slot in SLOTS {
            reshard(&cluster, slot, 0, 2);
            asked(50);
        }
        // And one of them back.
        reshard(&cluster, 3, 2, 0);
        asked(50);
        reshard(&cluster, 3, 0, 2);
    });
    let mut client = cluster.primaries[2].connect();
    for (key, (bytes, expiry)) in before {
        let (now_bytes, now_expiry) = state(&mut client, &key);
        assert_eq!(now_bytes, bytes, "{key}");
        // MIGRATE sends the time that is left, so a key may live a moment longer; never shorter.
        assert!((expiry..expiry + 60_000).contains(&now_expiry), "{key}");
    }
}

fn knows(node: &Node, command: &str) -> bool {
    let reply = node.connect().ask(&format!("COMMAND INFO {command}"));
    !matches!(reply, Value::Array(items) if items[0] == Value::Nil)
}

#[test]
fn atomic_slot_migration_under_load_loses_no_state() {
    const SLOTS: RangeInclusive<usize> = 0..=5;
    let cluster = Cluster::start(3, false);
    if !knows(&cluster.primaries[0], "cluster|migrateslots") {
        skip(
            "atomic_slot_migration_under_load_loses_no_state",
            "this server has no CLUSTER MIGRATESLOTS",
        );
        return;
    }
    let before = idle_limiters(&cluster, SLOTS);
    under_load(&cluster, SLOTS, |asked| {
        for (from, to) in [(0, 2), (2, 1), (1, 2)] {
            let to = id(&cluster.primaries[to]);
            cluster.primaries[from].connect().ask(&format!(
                "CLUSTER MIGRATESLOTS SLOTSRANGE {} {} NODE {to}",
                SLOTS.start(),
                SLOTS.end()
            ));
            for primary in &cluster.primaries {
                let mut client = primary.connect();
                eventually("slots that have moved", || {
                    let nodes: String =
                        redis::from_redis_value(client.ask("CLUSTER NODES")).unwrap();
                    let owner = nodes.lines().find(|line| line.starts_with(&to)).unwrap();
                    let range = format!("{}-{}", SLOTS.start(), SLOTS.end());
                    owner.split(' ').any(|word| word == range).then_some(())
                });
            }
            asked(100);
        }
    });
    let mut client = cluster.primaries[2].connect();
    for (key, before) in before {
        assert_eq!(state(&mut client, &key), before, "{key}");
    }
}

#[test]
fn with_io_threads_the_keys_of_every_call_are_found() {
    let threads = ["--io-threads", "4", "--io-threads-do-reads", "yes"];
    let server = Server::start_cluster_node(|| Setup::new().arguments(threads));
    let limit = 4_000_000_000_i64;
    let stop = AtomicBool::new(false);
    let mut observer = server.connect();
    thread::scope(|scope| {
        for number in 0..12 {
            let (mut client, stop) = (server.connect(), &stop);
            scope.spawn(move || {
                let mut pipeline = redis::pipe();
                for _ in 0..16 {
                    let check = pipeline.cmd("RL.MCHECK").arg(2);
                    check
                        .arg(format!("a{{{number}}}"))
                        .arg(format!("b{{{number}}}"));
                    check.arg(limit).arg("1h").arg(limit).arg("2h");
                }
                for round in 0.. {
                    if round >= 100 && stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let replies: Vec<[[i64; 5]; 2]> = pipeline.query(&mut client).unwrap();
                    for (reply, at) in replies.iter().zip(1..) {
                        let left = limit - round * 16 - at;
                        assert_eq!([reply[0][2], reply[1][2]], [left, left]);
                    }
                }
            });
        }
        // A server lets its threads read once it has enough to do.
        let _stop = StopOnDrop(&stop);
        eventually("reading by I/O threads", || {
            let reads = info(&mut observer, "io_threaded_reads_processed").unwrap();
            (reads != "0").then_some(())
        });
    });
    observer.refused("RL.MCHECK 2 a b 5 1h 5 1h");
}

/// Ends the clients of a test also if it fails, so that it does not wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
