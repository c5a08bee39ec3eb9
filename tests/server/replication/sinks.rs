//! If there is no sink, a grant is not built for replicas and the append-only file. Whenever a sink begins, in the
//! midst of traffic, it misses nothing, and it never gets the request itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::features::{
    FULL_SYNC_ON_TWO_CONNECTIONS, MIGRATION_OF_SLOTS, TWO_CONNECTIONS, is_valkey,
};
use crate::harness::nodes::{Cluster, Node, SLOTS, id, info, slot};
use crate::harness::traffic::Traffic;
use crate::harness::{
    Ask, Server, Setup, aof_bytes, eventually, everything, exchange, module, other_module, random,
};
use redis::{Connection, ConnectionLike, Value};

/// A node of which nothing but the test says when its replicas may begin.
fn start(arguments: &[&str]) -> Node {
    Node::start_with(|| {
        Setup::new()
            .arguments(["--enable-module-command", "yes"])
            .arguments(["--enable-debug-command", "yes"])
            // A ping is a part of what is replicated, and would come between.
            .arguments(["--repl-ping-replica-period", "3600"])
            // Not by way of a file: disks can be slow.
            .arguments(["--repl-diskless-sync", "yes"])
            .arguments(["--repl-diskless-load", "swapdb"])
            .arguments(arguments.iter().copied())
    })
}

/// Makes a node a replica of another one.
fn attach(replica: &Node, primary: &Node) {
    let line = format!("REPLICAOF 127.0.0.1 {}", primary.port());
    replica.connect().ask(&line);
}

fn number(client: &mut Connection, field: &str) -> u64 {
    info(client, field).unwrap().parse().unwrap()
}

/// Waits until a replica has all that its primary has sent.
fn wait_until_caught_up(primary: &Server, replica: &Server) {
    let sent = number(&mut primary.connect(), "master_repl_offset");
    let mut client = replica.connect();
    eventually("a replica that has caught up", || {
        let got: u64 = info(&mut client, "slave_repl_offset")?.parse().unwrap();
        (got >= sent).then_some(())
    });
}

/// Everything that is stored, once the limiters that live for some milliseconds have ended.
fn all(server: &Server) -> Vec<(String, Value, Value)> {
    let mut client = server.connect();
    eventually("an end of what is short", || {
        (client.ask("KEYS short:*") == Value::Array(vec![])).then_some(())
    });
    everything(&mut client)
}

/// Waits until a server has also deleted what has ended, after which it replicates nothing by itself.
fn wait_until_at_rest(server: &Server) {
    let mut client = server.connect();
    eventually("a server at rest", || {
        let keys = i64::try_from(all(server).len()).unwrap();
        (client.ask("DBSIZE") == Value::Int(keys)).then_some(())
    });
}

fn assert_same(original: &Server, copy: &Server) {
    let expected = all(original);
    assert!(expected.len() > 5, "{} keys", expected.len());
    let found = all(copy);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// Panics if a server has carried out, or tried to carry out, a command of this module.
fn assert_never_asked(server: &Server) {
    let mut client = server.connect();
    let carried_out: String = redis::from_redis_value(client.ask("INFO commandstats")).unwrap();
    for name in ["cmdstat_rl.", "cmdstat_cl."] {
        assert!(!carried_out.contains(name), "{carried_out}");
    }
}

fn assert_replicated(primary: &Server, replica: &Server) {
    wait_until_caught_up(primary, replica);
    assert_same(primary, replica);
    assert_never_asked(replica);
}

/// Panics if a command of this module is among what was replicated.
fn assert_only_effects(replicated: &[u8]) {
    let text = String::from_utf8_lossy(replicated).to_uppercase();
    for command in ["\nRL.", "\nCL."] {
        assert!(!text.contains(command), "{text}");
    }
    assert!(text.contains("PXAT"), "{text}");
}

/// A connection that asks for what is replicated, as replicas do.
struct FakeReplica(UnixStream);

impl FakeReplica {
    fn new(server: &Server) -> Self {
        let stream = UnixStream::connect(server.socket()).unwrap();
        let mut replica = Self(stream);
        replica.send("REPLCONF capa eof capa psync2");
        assert_eq!(replica.line(), "+OK");
        replica
    }

    /// Asks for a snapshot and what follows it.
    fn from_the_beginning(server: &Server) -> Self {
        let mut replica = Self::new(server);
        replica.send("PSYNC ? -1");
        replica
    }

    /// What is replicated after `offset`.
    fn after(server: &Server, offset: u64) -> Vec<u8> {
        let mut client = server.connect();
        let history = info(&mut client, "master_replid").unwrap();
        let end = number(&mut client, "master_repl_offset");
        let mut replica = Self::new(server);
        replica.send(&format!("PSYNC {history} {}", offset + 1));
        assert_eq!(replica.line(), format!("+CONTINUE {history}"));
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap()];
        replica.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Takes some bytes, or what there is within a moment, and leaves.
    fn break_off(mut self, bytes: u64) {
        let timeout = Duration::from_millis(20);
        self.0.set_read_timeout(Some(timeout)).unwrap();
        let mut taken = 0;
        let mut buffer = [0; 64];
        while taken < bytes {
            match self.0.read(&mut buffer) {
                Ok(count @ 1..) => taken += count as u64,
                _ => return,
            }
        }
    }
}

/// What one limiter held when a client looked last; `None` if it could not look after a request.
type Seen = BTreeMap<String, Option<[Value; 2]>>;

/// A client that looks at its limiters after each grant, in the same transaction.
struct Witness {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Seen>,
}

impl Witness {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut client = server.connect();
        let stopped = stop.clone();
        let client = std::thread::spawn(move || {
            let mut seen = Seen::new();
            for number in 0_u32.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{{witness}}:{}", number % 50);
                seen.insert(key.clone(), None);
                let Some(held) = grant_and_look(&mut client, &key) else {
                    break;
                };
                seen.insert(key, Some(held));
            }
            seen
        });
        let mut watched = server.connect();
        eventually("a witness that has seen something", || {
            (watched.ask("EXISTS {witness}:9") == Value::Int(1)).then_some(())
        });
        Self { stop, client }
    }

    /// Ends it, if the server has not done so.
    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().unwrap()
    }
}

fn grant_and_look(client: &mut Connection, key: &str) -> Option<[Value; 2]> {
    let mut pipeline = redis::Pipeline::new();
    pipeline.cmd("MULTI");
    pipeline.cmd("RL.CHECK").arg(key).arg(1_000_000).arg("1h");
    pipeline.cmd("DUMP").arg(key);
    pipeline.cmd("PEXPIRETIME").arg(key);
    pipeline.cmd("EXEC");
    let packed = pipeline.get_packed_pipeline();
    let mut replies = client.req_packed_commands(&packed, 0, 5).ok()?;
    match replies.pop() {
        Some(Value::Array(mut replies)) => match <[Value; 2]>::try_from(replies.split_off(1)) {
            Ok(held @ [Value::BulkString(_), Value::Int(_)]) => Some(held),
            other => panic!("{other:?}"),
        },
        Some(Value::ServerError(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn assert_seen(server: &Server, seen: &Seen) {
    let mut client = server.connect();
    let mut known = 0;
    for (key, held) in seen {
        let now = ["DUMP", "PEXPIRETIME"].map(|command| client.ask(&format!("{command} {key}")));
        if let Some(held) = held {
            assert_eq!(&now, held, "{key}");
            known += 1;
        }
    }
    assert!(known > 5 && known + 1 >= seen.len());
}

/// Attaches replicas to servers that had none, at some moment in the midst of traffic.
fn attach_under_load(rounds: usize, delay: &str, arguments: &[&str]) {
    let mut random = random::generator();
    let replicas = [(); 2].map(|()| start(arguments));
    for round in 0..rounds {
        let primary = start(arguments);
        let mut client = primary.connect();
        client.ask(&format!("CONFIG SET repl-diskless-sync-delay {delay}"));
        let traffic = Traffic::start_in_any_way(&primary);
        traffic.go_on_for(20 + random.u64(..200));
        // Other reasons for a snapshot.
        client.ask(["DEBUG RELOAD", "BGSAVE", "SAVE"][round % 3]);
        traffic.go_on_for(random.u64(..50));
        if round == 1 {
            // Others want one, and leave before they have it.
            for _ in 0..2 {
                FakeReplica::from_the_beginning(&primary).break_off(random.u64(..5_000));
                traffic.go_on_for(random.u64(..50));
            }
        }
        for replica in &replicas {
            attach(replica, &primary);
            traffic.go_on_for(random.u64(..100));
        }
        if round == 2 {
            // They come back, with what they have or without anything.
            client.ask("CLIENT KILL TYPE replica");
        }
        for replica in &replicas {
            replica.wait_for_link();
        }
        traffic.go_on_for(random.u64(..200));
        traffic.stop();
        for replica in &replicas {
            assert_replicated(&primary, replica);
            replica.connect().ask("REPLICAOF NO ONE");
        }
    }
}

#[test]
fn a_replica_may_attach_at_any_moment() {
    attach_under_load(3, "0", &[]);
}

#[test]
fn a_replica_that_is_sent_a_file_may_attach_at_any_moment() {
    let by_file = [
        "--repl-diskless-sync",
        "no",
        "--repl-diskless-load",
        "disabled",
    ];
    attach_under_load(3, "0", &by_file);
}

#[test]
fn a_replica_that_waits_for_others_may_attach_at_any_moment() {
    attach_under_load(1, "1", &[]);
}

#[test]
fn a_replica_with_two_connections_may_attach_at_any_moment() {
    let test = "a_replica_with_two_connections_may_attach_at_any_moment";
    if FULL_SYNC_ON_TWO_CONNECTIONS.is_missing(test) {
        return;
    }
    let name = format!("--{}", TWO_CONNECTIONS[usize::from(is_valkey())]);
    attach_under_load(2, "0", &[&name, "yes"]);
}

/// Waits until a server has no child that writes a snapshot or an append-only file, and will have none.
fn wait_for_children(client: &mut Connection) {
    eventually("a server without a child", || {
        let text: String = redis::from_redis_value(client.ask("INFO persistence")).unwrap();
        let none = [
            "rdb_bgsave_in_progress:0",
            "aof_rewrite_in_progress:0",
            "aof_rewrite_scheduled:0",
        ];
        none.iter().all(|field| text.contains(field)).then_some(())
    });
}

/// Makes a server write a snapshot itself, after its child has ended if it has one.
fn save(client: &mut Connection) {
    eventually("a snapshot", || client.ask_bytes(&[b"SAVE"]).ok());
}

/// A setup whose server begins with a snapshot that another one has saved.
fn with_snapshot_of(server: &Server) -> Setup {
    let setup = Setup::new();
    fs::copy(server.dir().join("dump.rdb"), setup.dir().join("dump.rdb")).unwrap();
    setup
}

/// The same with its append-only file.
fn with_aof_of(server: &Server) -> Setup {
    let setup = Setup::new().arguments(["--appendonly", "yes"]);
    let to = setup.dir().join("appendonlydir");
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(server.dir().join("appendonlydir")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    setup
}

#[test]
fn an_append_only_file_may_be_switched_on_at_any_moment() {
    let mut random = random::generator();
    for round in 0..4 {
        let preamble = ["yes", "no"][round % 2];
        let mut server = Setup::new()
            .arguments(["--appendfsync", "always"])
            .arguments(["--aof-use-rdb-preamble", preamble])
            .start();
        let traffic = Traffic::start_in_any_way(&server);
        let witness = Witness::start(&server);
        let mut client = server.connect();
        traffic.go_on_for(random.u64(..200));
        // In the midst of a transaction, too.
        for line in [
            "MULTI",
            "RL.CHECK before 5 1h",
            "CONFIG SET appendonly yes",
            "RL.CHECK after 5 1h",
            "EXEC",
        ] {
            client.ask(line);
        }
        traffic.go_on_for(random.u64(..50));
        if round > 1 {
            client.ask("CONFIG SET appendonly no");
            traffic.go_on_for(random.u64(..100));
            client.ask("CONFIG SET appendonly yes");
        }
        traffic.go_on_for(random.u64(..50));
        wait_for_children(&mut client);
        traffic.go_on_for(100 + random.u64(..100));
        if round % 2 == 0 {
            traffic.stop();
            let seen = witness.stop();
            let expected = all(&server);
            // It does not live to answer.
            let _ = client.ask_bytes(&[b"SHUTDOWN", b"NOSAVE"]);
            eventually("an end", || (!server.is_alive()).then_some(()));
            let again = with_aof_of(&server).start();
            assert!(all(&again) == expected);
            assert_seen(&again, &seen);
        } else {
            server.kill();
            let seen = witness.stop();
            traffic.stop();
            assert_seen(&with_aof_of(&server).start(), &seen);
        }
        assert_only_effects(&aof_bytes(&server));
    }
}

#[test]
fn what_was_granted_alone_outlives_failovers() {
    let [first, second, third] = [(); 3].map(|()| start(&[]));
    let traffic = Traffic::start_in_any_way(&first);
    let witness = Witness::start(&first);
    traffic.go_on_for(100);
    attach(&second, &first);
    second.wait_for_link();
    traffic.go_on_for(100);
    let mut client = first.connect();
    eventually("a primary that sees its replica online", || {
        client.ask_bytes(&[b"FAILOVER"]).ok()
    });
    first.wait_for_link();
    traffic.stop();
    assert_seen(&second, &witness.stop());
    assert_never_asked(&second);
    client.ask("CONFIG RESETSTAT");

    let traffic = Traffic::start_in_any_way(&second);
    traffic.go_on_for(100);
    attach(&third, &second);
    traffic.go_on_for(20);
    third.wait_for_link();
    traffic.go_on_for(100);
    traffic.stop();
    wait_until_at_rest(&second);
    assert_replicated(&second, &first);
    assert_replicated(&second, &third);

    third.connect().ask("REPLICAOF NO ONE");
    let traffic = Traffic::start_in_any_way(&third);
    traffic.go_on_for(100);
    attach(&first, &third);
    first.wait_for_link();
    traffic.go_on_for(100);
    traffic.stop();
    assert_replicated(&third, &first);
    assert_eq!(number(&mut third.connect(), "sync_partial_ok"), 1);
}

#[test]
fn a_primary_may_have_been_a_replica_that_found_no_sink() {
    let old = start(&[]);
    let other = start(&[]);
    attach(&other, &old);
    other.wait_for_link();
    let mut client = old.connect();
    client.decide("RL.CHECK old 5 1h");
    wait_until_caught_up(&old, &other);
    save(&mut client);
    // A server that begins with the snapshot of its primary goes on from there; but at first nobody answers at the port
    // of the primary.
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port().to_string();
    let new = Node::start_with(|| {
        with_snapshot_of(&old)
            .arguments(["--replicaof", "127.0.0.1", &port])
            .arguments(["--replica-read-only", "no"])
    });
    let mut admin = new.connect();
    // A replica that may be written decides by itself.
    admin.decide("RL.CHECK own 5 1h");
    assert_eq!(number(&mut admin, "repl_backlog_active"), 0);
    drop(door);
    let open: [&[u8]; 4] = [b"CONFIG", b"SET", b"port", port.as_bytes()];
    eventually("a port", || client.ask_bytes(&open).ok());
    new.wait_for_link();
    assert_eq!(number(&mut client, "sync_partial_ok"), 1);
    admin.ask("REPLICAOF NO ONE");
    let traffic = Traffic::start_in_any_way(&new);
    traffic.go_on_for(100);
    attach(&other, &new);
    other.wait_for_link();
    traffic.go_on_for(100);
    traffic.stop();
    admin.ask("RL.RESET own");
    assert_eq!(number(&mut admin, "sync_partial_ok"), 1);
    assert_replicated(&new, &other);
}

/// Whether a grant is built for replicas and the append-only file. That can be seen only while a replica waits for a
/// snapshot that is not begun: the server keeps what is replicated then, and sends it to nobody.
fn is_built_for_others(server: &Server) -> bool {
    let mut client = server.connect();
    wait_for_children(&mut client);
    client.ask("CONFIG SET repl-diskless-sync-delay 3600");
    client.decide("RL.CHECK k 5 1h");
    let _waiting = FakeReplica::from_the_beginning(server);
    eventually("a backlog", || {
        (number(&mut client, "repl_backlog_active") == 1).then_some(())
    });
    let before = number(&mut client, "master_repl_offset");
    client.decide("RL.CHECK k 5 1h");
    let kept = FakeReplica::after(server, before);
    client.ask("CONFIG SET repl-diskless-sync-delay 0");
    let request = b"\r\n$8\r\nRL.CHECK\r\n$1\r\nk\r\n$1\r\n5\r\n$2\r\n1h\r\n";
    !kept.ends_with(request)
}

#[test]
fn without_a_sink_a_grant_is_not_built_for_others() {
    let server = start(&[]);
    assert!(!is_built_for_others(&server));
}

#[test]
fn nor_is_it_once_the_append_only_file_is_off_again() {
    let server = start(&[]);
    let mut client = server.connect();
    client.ask("CONFIG SET appendonly yes");
    wait_for_children(&mut client);
    client.decide("RL.CHECK k 5 1h");
    client.ask("CONFIG SET appendonly no");
    assert!(!is_built_for_others(&server));
}

#[test]
fn a_replica_may_begin_with_a_file_that_was_saved_while_another_one_waited() {
    let primary = start(&[]);
    let mut client = primary.connect();
    client.ask("CONFIG SET repl-diskless-sync-delay 3600");
    let grant = |from: usize, to: usize| {
        for number in from..to {
            primary.connect().decide(&format!("RL.CHECK {number} 5 1h"));
        }
    };
    grant(0, 10);
    let _waiting = FakeReplica::from_the_beginning(&primary);
    eventually("a backlog", || {
        (number(&mut client, "repl_backlog_active") == 1).then_some(())
    });
    grant(5, 15);
    save(&mut client);
    grant(10, 20);
    let replica = Node::start_with(|| {
        with_snapshot_of(&primary).arguments([
            "--replicaof",
            "127.0.0.1",
            &primary.port().to_string(),
        ])
    });
    replica.wait_for_link();
    assert_eq!(number(&mut client, "sync_partial_ok"), 1);
    grant(15, 25);
    assert_replicated(&primary, &replica);
}

#[test]
fn a_replica_may_attach_after_the_backlog_of_earlier_ones_has_expired() {
    let primary = start(&["--repl-backlog-ttl", "1"]);
    let replica = start(&[]);
    let mut client = primary.connect();
    attach(&replica, &primary);
    replica.wait_for_link();
    client.decide("RL.CHECK k 5 1h");
    replica.connect().ask("REPLICAOF NO ONE");
    eventually("a backlog that has expired", || {
        (number(&mut client, "repl_backlog_active") == 0).then_some(())
    });
    // The server does not tell of the end of a backlog, but of a snapshot.
    client.ask("BGSAVE");
    assert!(!is_built_for_others(&primary));
    let traffic = Traffic::start_in_any_way(&primary);
    traffic.go_on_for(100);
    attach(&replica, &primary);
    replica.wait_for_link();
    traffic.go_on_for(100);
    traffic.stop();
    assert_replicated(&primary, &replica);
}

#[test]
fn a_server_that_starts_again_with_its_backlog_goes_on_with_its_replica() {
    let mut primary = Node::start_with(|| {
        let setup = Setup::new();
        // A module that asks for a decision while the server starts, before it has loaded its data.
        let asker = other_module(setup.dir(), "asker.c").display().to_string();
        setup
            .arguments(["--repl-ping-replica-period", "3600"])
            .arguments(["--loadmodule", &asker])
    });
    let replica = start(&[]);
    let traffic = Traffic::start_in_any_way(&primary);
    attach(&replica, &primary);
    replica.wait_for_link();
    traffic.go_on_for(100);
    traffic.stop();
    wait_until_at_rest(&primary);
    wait_until_caught_up(&primary, &replica);
    let pid = replica.pid();
    replica.signal("-STOP", &pid);
    save(&mut primary.connect());
    primary.restart();
    let mut client = primary.connect();
    assert_eq!(number(&mut client, "repl_backlog_active"), 1);
    let traffic = Traffic::start_in_any_way(&primary);
    traffic.go_on_for(100);
    assert_eq!(number(&mut client, "connected_slaves"), 0);
    replica.signal("-CONT", &pid);
    eventually("a replica that goes on", || {
        (number(&mut client, "sync_partial_ok") == 1).then_some(())
    });
    traffic.go_on_for(100);
    traffic.stop();
    replica.wait_for_link();
    assert_replicated(&primary, &replica);
}

/// Traffic that has begun. An exchange of the module ends it, for it disconnects the clients.
fn under_way(server: &Server) -> Traffic {
    let traffic = Traffic::start_in_any_way(server);
    traffic.go_on_for(50);
    traffic
}

#[test]
fn the_module_may_come_and_go_with_replicas_and_without() {
    let primary = Node::start_with(|| {
        Setup::new()
            .without_module()
            .arguments(["--enable-module-command", "yes"])
    });
    let replicas = [start(&[]), start(&[])];
    let mut client = primary.connect();
    attach(&replicas[0], &primary);
    replicas[0].wait_for_link();
    client.ask(&format!("MODULE LOAD {}", module().display()));
    let traffic = under_way(&primary);
    exchange(&mut client, &module());
    traffic.stop();
    let traffic = under_way(&primary);
    attach(&replicas[1], &primary);
    exchange(&mut client, &module());
    traffic.stop();
    replicas[1].wait_for_link();
    under_way(&primary).stop();
    for replica in &replicas {
        assert_replicated(&primary, replica);
        replica.connect().ask("REPLICAOF NO ONE");
    }

    let alone = start(&[]);
    let mut client = alone.connect();
    let traffic = under_way(&alone);
    exchange(&mut client, &module());
    traffic.stop();
    for replica in &replicas {
        attach(replica, &alone);
        let traffic = under_way(&alone);
        exchange(&mut client, &module());
        traffic.stop();
    }
    for replica in &replicas {
        replica.wait_for_link();
    }
    under_way(&alone).stop();
    for replica in &replicas {
        assert_replicated(&alone, replica);
    }
}

#[test]
fn a_load_that_fails_leaves_nothing_for_the_server_to_call() {
    let mut server = Setup::new()
        .without_module()
        .arguments(["--enable-module-command", "yes"])
        .start();
    let mut client = server.connect();
    let path = module().display().to_string();
    client.refused(&format!("MODULE LOAD {path} top-keys many"));
    // Each would call the function that has subscribed.
    client.ask("BGSAVE");
    client.ask("CONFIG SET maxmemory 0");
    client.ask("REPLICAOF 127.0.0.1 1");
    client.ask("REPLICAOF NO ONE");
    assert!(server.is_alive());
    client.ask(&format!("MODULE LOAD {path}"));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
}

#[test]
fn every_change_counts_for_the_save_points_with_and_without_a_sink() {
    let mut server = start(&[]);
    let replica = start(&[]);
    let mut client = server.connect();
    for round in 0..2 {
        for (line, changes) in [
            ("RL.CHECK k 2 1h", 1),
            ("RL.CHECK k 2 1h", 1),
            ("RL.CHECK k 2 1h", 0),
            ("RL.CHECK k 2 1h BLOCK 2h", 1),
            ("RL.CHECK k 2 1h BLOCK 2h", 0),
            ("RL.GCRA g 2 1h", 1),
            ("CL.THROTTLE g 1 2 3600", 1),
            ("RL.MCHECK 2 a b 1 1h 1 1h", 2),
            ("RL.MCHECK 2 a b 1 1h 1 1h", 0),
            ("RL.REFUND a 1", 1),
            ("RL.RESET k g b", 3),
        ] {
            let before = number(&mut client, "rdb_changes_since_last_save");
            client.ask(line);
            let after = number(&mut client, "rdb_changes_since_last_save");
            assert_eq!(after - before, changes, "{round}: {line}");
        }
        if round == 0 {
            attach(&replica, &server);
            replica.wait_for_link();
        }
    }
    replica.connect().ask("REPLICAOF NO ONE");

    let traffic = Traffic::start_in_any_way(&server);
    traffic.go_on_for(100);
    traffic.stop();
    let expected = all(&server);
    client
        .ask_bytes(&[b"CONFIG", b"SET", b"save", b"1 5"])
        .unwrap();
    eventually("a snapshot", || {
        (number(&mut client, "rdb_changes_since_last_save") == 0).then_some(())
    });
    server.restart();
    assert!(all(&server) == expected);
}

/// Fetches a snapshot by `redis-cli --rdb`, and starts a server with it.
fn fetched_by_the_client(server: &Server) -> Server {
    let setup = Setup::new();
    let file = setup.dir().join("dump.rdb").display().to_string();
    let output = server.cli(&["--rdb", &file]);
    assert!(output.status.success(), "{output:?}");
    setup.start()
}

#[test]
fn a_client_may_fetch_a_snapshot_at_any_moment() {
    let server = start(&[]);
    let traffic = Traffic::start_in_any_way(&server);
    traffic.go_on_for(100);
    for _ in 0..2 {
        let copy = fetched_by_the_client(&server);
        let mut client = copy.connect();
        let keys: Vec<String> = redis::from_redis_value(client.ask("KEYS *")).unwrap();
        assert!(keys.len() > 5);
        for key in keys {
            client.ask(&format!("RL.INFO {key}"));
        }
        traffic.go_on_for(50);
    }
    let replica = start(&[]);
    attach(&replica, &server);
    replica.wait_for_link();
    traffic.go_on_for(50);
    traffic.stop();
    assert_replicated(&server, &replica);
    assert_same(&server, &fetched_by_the_client(&server));
}

#[test]
fn slots_may_move_at_any_moment() {
    if MIGRATION_OF_SLOTS.is_missing("slots_may_move_at_any_moment") {
        return;
    }
    let cluster = Cluster::start(2, false);
    let slot = slot(&mut cluster.primaries[0].connect(), "{witness}");
    let at = cluster.owner(slot);
    let (from, to) = (&cluster.primaries[at], &cluster.primaries[1 - at]);
    let witness = Witness::start(from);
    let line = format!(
        "CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}",
        id(to)
    );
    from.connect().ask(&line);
    // It ends when the other one has them.
    eventually("slots that have moved", || {
        witness.client.is_finished().then_some(())
    });
    assert_seen(to, &witness.stop());
    assert_never_asked(to);
    assert!(slot < SLOTS);
}
