//! The module does not let itself be unloaded while the server holds requests by its commands, which the server would
//! carry out afterwards with what is in the memory of a command that is gone.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::harness::features::{IO_THREADS_WHILE_IT_RUNS, REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME};
use crate::harness::nodes::info;
use crate::harness::{
    Ask, DISCONNECT, Server, Setup, connect_again, copy_module, eventually, exchange,
    exchange_after, module,
};
use redis::{Connection, ConnectionLike, Value};

const LIMIT: i64 = 4_000_000_000;

/// A server that lets modules come and go.
fn open() -> Setup {
    Setup::new().arguments(["--enable-module-command", "yes"])
}

/// The same with I/O threads that look at what clients send.
fn threaded() -> Setup {
    let setup = open().arguments(["--io-threads", "4"]);
    // Redis 7.0 reads in threads only if it is told to; the others still accept the directive.
    setup.arguments(["--io-threads-do-reads", "yes"])
}

/// Exchanges the module, which it must not allow; the reason in the log.
fn exchange_expecting_refusal(server: &Server, client: &mut Connection) -> String {
    let before = server.log().len();
    let [unload, load] = exchange_after(client, &[], &another_build(server)).unwrap_err();
    assert!(unload.contains("unloading module"), "{unload}");
    assert!(load.contains("loading the extension"), "{load}");
    let log = server.log().split_off(before);
    let reason = log.split("redis-ratelimit stays loaded: ").nth(1);
    reason
        .unwrap_or_else(|| panic!("{log}"))
        .lines()
        .next()
        .unwrap()
        .to_owned()
}

fn another_build(server: &Server) -> PathBuf {
    let path = server.dir().join("another.so");
    if !path.exists() {
        copy_module(&path);
    }
    path
}

/// How many requests a client of [`Traffic`] sends at once.
const AT_ONCE: i64 = 16;

/// Clients that send nothing but `RL.CHECK`, many at once, look at each reply, and connect again if they are disconnected.
struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<RangeInclusive<i64>>>,
}

impl Traffic {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let (url, stop) = (server.url().unwrap(), stop.clone());
            std::thread::spawn(move || {
                let mut client = connect_again(&url);
                let mut pipeline = redis::pipe();
                for _ in 0..AT_ONCE {
                    let check = pipeline.cmd("RL.CHECK").arg(format!("k{number}"));
                    check.arg(LIMIT).arg("1h");
                }
                // What is left, as far as replies tell: those of a connection that has ended are lost.
                let mut left = LIMIT..=LIMIT;
                while !stop.load(Ordering::Relaxed) {
                    match pipeline.query::<Vec<[i64; 5]>>(&mut client) {
                        Ok(replies) => {
                            for reply in replies {
                                let next = left.start() - 1..=left.end() - 1;
                                assert_eq!(reply[..2], [1, LIMIT], "{reply:?}");
                                assert!(next.contains(&reply[2]), "{reply:?}, not {next:?}");
                                left = reply[2]..=reply[2];
                            }
                        }
                        Err(error) => {
                            assert!(error.is_io_error(), "{error}");
                            left = left.start() - AT_ONCE..=*left.end();
                            client = connect_again(&url);
                        }
                    }
                }
                left
            })
        };
        let clients = (0..12).map(client).collect();
        Self { stop, clients }
    }

    /// Ends it, and compares what is left with what was granted.
    fn end(self, client: &mut Connection) {
        self.stop.store(true, Ordering::Relaxed);
        for (number, thread) in self.clients.into_iter().enumerate() {
            let expected = thread.join().unwrap();
            let left = client.decide(&format!("RL.PEEK k{number}"))[2];
            assert!(expected.contains(&left), "{left}, not {expected:?}");
        }
    }
}

/// How much the I/O threads have read.
fn read_by_threads(client: &mut Connection) -> u64 {
    let reads = info(client, "io_threaded_reads_processed").unwrap();
    reads.parse().unwrap()
}

fn wait_for_threads_to_read(client: &mut Connection) {
    let before = read_by_threads(client);
    eventually("reading by I/O threads", || {
        (read_by_threads(client) > before + 100).then_some(())
    });
}

#[test]
fn with_io_threads_at_work_the_module_stays_and_no_request_is_another() {
    let server = threaded().start();
    let mut client = server.connect();
    client.ask("CONFIG SET ratelimit.top-keys 7");
    client.decide("RL.CHECK other 1 1h");
    client.decide("RL.CHECK other 1 1h");
    let traffic = Traffic::start(&server);
    for _ in 0..6 {
        wait_for_threads_to_read(&mut client);
        let reason = exchange_expecting_refusal(&server, &mut client);
        assert!(reason.contains("io-threads is 4"), "{reason}");
        assert!(reason.contains("by a replica"), "{reason}");
        client.refused("MODULE UNLOAD ratelimit");
    }
    traffic.end(&mut client);
    // It is the same module as before.
    assert_eq!(info(&mut client, "ratelimit_denied").unwrap(), "1");
    assert_ne!(client.ask("RL.TOP"), Value::Array(vec![]));
    let list = String::from_utf8(server.cli(&["MODULE", "LIST"]).stdout).unwrap();
    assert!(!list.contains("another.so"), "{list}");
}

#[test]
fn if_io_threads_can_be_ended_the_module_can_be_exchanged_afterwards() {
    if IO_THREADS_WHILE_IT_RUNS
        .is_missing("if_io_threads_can_be_ended_the_module_can_be_exchanged_afterwards")
    {
        return;
    }
    let server = threaded().start();
    let mut client = server.connect();
    let threads = |client: &mut Connection, number| {
        let set = ["CONFIG", "SET", "io-threads", number].map(str::as_bytes);
        // Under load it may have to be repeated.
        eventually("a change of io-threads", || client.ask_bytes(&set).ok());
    };
    let traffic = Traffic::start(&server);
    for _ in 0..8 {
        wait_for_threads_to_read(&mut client);
        threads(&mut client, "1");
        eventually("an exchange", || {
            exchange_after(&mut client, DISCONNECT, &another_build(&server)).ok()
        });
        threads(&mut client, "4");
    }
    traffic.end(&mut client);
    // At once is too early.
    client.ask("MULTI");
    client.ask("CONFIG SET io-threads 1");
    client.ask("MODULE UNLOAD ratelimit");
    let Value::Array(replies) = client.ask("EXEC") else {
        panic!("no transaction");
    };
    assert!(matches!(replies[..], [Value::Okay, Value::ServerError(_)]));
    assert!(server.log().contains("a moment ago"), "{}", server.log());
}

#[test]
fn if_the_server_does_not_tell_of_io_threads_the_module_stays() {
    let server = open().arguments(["--rename-command", "CONFIG", ""]).start();
    let reason = exchange_expecting_refusal(&server, &mut server.connect());
    assert!(reason.contains("CONFIG GET io-threads"), "{reason}");
    let server = open().arguments(["--rename-command", "CLIENT", ""]).start();
    let reason = exchange_expecting_refusal(&server, &mut server.connect());
    assert!(reason.contains("CLIENT LIST"), "{reason}");
}

#[test]
fn a_load_that_the_server_calls_off_is_called_off_with_io_threads_too() {
    let server = threaded().start();
    let mut client = server.connect();
    // It is loaded already.
    client.refused(&format!("MODULE LOAD {}", another_build(&server).display()));
    let server = threaded().without_module().start();
    let mut client = server.connect();
    let load = format!("MODULE LOADEX {}", module().display());
    // The module does not know of it, only the server does.
    client.refused(&format!("{load} CONFIG ratelimit.nonsense 1"));
    client.refused("RL.PEEK k");
    client.ask(&format!("{load} CONFIG ratelimit.top-keys 7"));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
}

#[test]
fn a_server_that_ends_ends_without_a_complaint() {
    let server = threaded().start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 1h");
    let shutdown = client.ask_bytes(&[b"SHUTDOWN", b"NOSAVE"]);
    assert!(shutdown.is_err(), "{shutdown:?}");
    let log = eventually("the end of the server", || {
        let log = server.log();
        log.contains("bye bye").then_some(log)
    });
    assert!(!log.contains("stays loaded"), "{log}");
    assert!(!log.contains("Failed to unload"), "{log}");
}

#[test]
fn the_module_stays_while_a_transaction_is_open_and_its_requests_are_what_they_were() {
    let server = open().start();
    let mut client = server.connect();
    let mut other = server.connect();
    // Nothing is in it yet.
    other.ask("MULTI");
    exchange_after(&mut client, &[], &another_build(&server)).unwrap();
    for request in ["RL.CHECK k 5 1h", "RL.GCRA g 5 1h", "RL.CHECK k 5 1h"] {
        other.ask(request);
    }
    let reason = exchange_expecting_refusal(&server, &mut client);
    assert!(reason.contains("transaction"), "{reason}");
    client.refused("MODULE UNLOAD ratelimit");
    let replies: Vec<[i64; 5]> = redis::from_redis_value(other.ask("EXEC")).unwrap();
    let remaining: Vec<_> = replies.iter().map(|row| row[2]).collect();
    assert_eq!(remaining, [4, 4, 3]);
    exchange_after(&mut client, &[], &another_build(&server)).unwrap();
    assert_eq!(other.decide("RL.CHECK k 5 1h")[2], 2);
}

#[test]
fn the_module_stays_while_clients_are_paused_and_their_requests_are_what_they_were() {
    let server = open().start();
    let mut client = server.connect();
    client.ask("CLIENT PAUSE 1000000 WRITE");
    // Nobody waits yet.
    exchange_after(&mut client, &[], &another_build(&server)).unwrap();
    let requests = [
        &["RL.CHECK k 5 1h"] as &[_],
        &["RL.GCRA g 5 1h"],
        &["MULTI", "RL.CHECK m 5 1h", "EXEC"],
    ];
    let waiting: Vec<_> = requests
        .into_iter()
        .map(|lines| {
            let mut other = server.connect();
            std::thread::spawn(move || lines.iter().map(|line| other.ask(line)).last())
        })
        .collect();
    eventually("three paused clients", || {
        (info(&mut client, "blocked_clients")? == "3").then_some(())
    });
    let reason = exchange_expecting_refusal(&server, &mut client);
    assert!(reason.contains("blocked"), "{reason}");
    // Those that the end of the pause has just let go.
    client.ask("MULTI");
    client.ask("CLIENT UNPAUSE");
    client.ask("MODULE UNLOAD ratelimit");
    let Value::Array(replies) = client.ask("EXEC") else {
        panic!("no transaction");
    };
    assert!(matches!(replies[..], [Value::Okay, Value::ServerError(_)]));
    let mut replies = waiting
        .into_iter()
        .map(|each| each.join().unwrap().unwrap());
    let decision = |value| redis::from_redis_value::<[i64; 5]>(value).unwrap();
    let hour = 3_600_000;
    assert_eq!(decision(replies.next().unwrap()), [1, 5, 4, 0, hour]);
    assert_eq!(decision(replies.next().unwrap()), [1, 5, 4, 0, hour / 5]);
    let Some(Value::Array(transaction)) = replies.next() else {
        panic!("no transaction");
    };
    assert_eq!(decision(transaction[0].clone()), [1, 5, 4, 0, hour]);
    exchange(&mut client, &another_build(&server));
}

#[test]
fn the_module_stays_while_clients_are_blocked() {
    let server = open().start();
    let mut client = server.connect();
    let mut other = server.connect();
    let blocked = std::thread::spawn(move || -> Vec<Value> {
        // Some servers look up the second before they have carried out the first.
        let mut pipeline = redis::pipe();
        pipeline.cmd("BLPOP").arg("l").arg(0);
        pipeline.cmd("RL.CHECK").arg("k").arg(5).arg("1h");
        pipeline.query(&mut other).unwrap()
    });
    eventually("a blocked client", || {
        (info(&mut client, "blocked_clients")? == "1").then_some(())
    });
    let reason = exchange_expecting_refusal(&server, &mut client);
    assert!(reason.contains("blocked"), "{reason}");
    client.ask("LPUSH l 1");
    let replies = blocked.join().unwrap();
    let decision: [i64; 5] = redis::from_redis_value(replies[1].clone()).unwrap();
    assert_eq!(decision[2], 4);
    exchange(&mut client, &another_build(&server));
}

#[test]
fn the_module_stays_while_its_command_is_the_last_one_of_a_client() {
    let server = open().start();
    let mut client = server.connect();
    let mut others: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for other in &mut others {
        other.decide("RL.CHECK k 50 1h");
    }
    let reason = exchange_expecting_refusal(&server, &mut client);
    assert!(reason.contains("CLIENT KILL TYPE normal"), "{reason}");
    client.refused("MODULE UNLOAD ratelimit");
    // They have sent something else since.
    for other in &mut others {
        other.ask("PING");
    }
    exchange_after(&mut client, &[], &another_build(&server)).unwrap();
    for other in &mut others {
        assert_eq!(other.decide("RL.CHECK k 50 1h")[0], 1);
    }
    exchange(&mut client, &another_build(&server));
    assert!(others.iter_mut().all(|other| !other.check_connection()));
    client.ask("MODULE UNLOAD ratelimit");
    // Where its commands were, there is something else now.
    for size in 1..900 {
        let value = vec![0xff; size];
        client.ask_bytes(&[b"SADD", b"s", &value]).unwrap();
        client.ask_bytes(&[b"SET", &value, &value]).unwrap();
    }
    client.ask("CLIENT LIST");
    client.ask("PING");
}

#[test]
fn a_module_whose_commands_users_have_by_name_stays_loaded() {
    let test = "a_module_whose_commands_users_have_by_name_stays_loaded";
    if REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME.is_missing(test) {
        return;
    }
    for rules in ["+rl.check", "+@all -rl.reset", "+@all (+cl.throttle ~x)"] {
        let server = open().start();
        let mut client = server.connect();
        let set = ["ACL", "SETUSER", "app", "on", "nopass", "~rl:*"];
        let words = set.into_iter().chain(match rules {
            "+@all (+cl.throttle ~x)" => vec!["+@all", "(+cl.throttle ~x)"],
            rules => rules.split(' ').collect(),
        });
        let words: Vec<_> = words.map(str::as_bytes).collect();
        client.ask_bytes(&words).unwrap();
        client.refused("MODULE UNLOAD ratelimit");
        client.ask("ACL DELUSER app");
        exchange(&mut client, &another_build(&server));
    }
}
