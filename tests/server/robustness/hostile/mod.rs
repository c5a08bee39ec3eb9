//! Several connections that send whatever could harm: to the commands, to the bytes that they store, to the protocol,
//! to each other and to the module as a whole. `HOSTILE_SECONDS` says for how long. The module's memory is seen only if
//! it comes from jemalloc, as in Debian's servers.

mod attack;
mod wire;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, Value};

use super::states::States;
use crate::harness::features::JEMALLOC;
use crate::harness::nodes::{Node, info};
use crate::harness::{Ask, DEADLINE, Server, Setup, copy_module, eventually, random};
use attack::{Session, Target, after, shrink};
use wire::{NoReply, Wire, encode};

/// How many attack at once.
const ATTACKERS: usize = 4;
/// After this time it is looked at what has become of the server.
const ROUND: Duration = Duration::from_secs(2);
/// The server's buffers and tables grow and shrink a little, in bytes.
const SLACK: i64 = 16 << 10;
/// How long a failure is made smaller.
const SHRINKING: Duration = Duration::from_secs(60);

/// A server under attack.
struct Siege {
    server: Node,
    target: Target,
    exchanges: usize,
}

/// What has happened since the last time when all was well.
struct Attack {
    /// What was sent, in the order in which it was begun.
    sent: Vec<Session>,
    /// How many lines were answered.
    answered: usize,
    /// What is wrong, if anything is.
    failure: Option<String>,
}

/// What is in use when nobody asks for anything, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// The server's.
    server: i64,
    /// That of everything else in the process, such as the module; 0 if the allocator does not tell.
    others: i64,
}

impl Memory {
    fn is_at_most(self, other: Self, slack: i64) -> bool {
        self.server <= other.server + slack && self.others <= other.others + slack
    }
}

impl Siege {
    fn start() -> Self {
        let server = Node::start_with(|| {
            Setup::new()
                .arguments(["--enable-module-command", "yes"])
                // What jemalloc keeps at hand would count as used. The second name is that of a server's own one.
                .environment("MALLOC_CONF", Path::new("tcache:false"))
                .environment("JE_MALLOC_CONF", Path::new("tcache:false"))
                .arguments(["--busy-reply-threshold", "20"])
                // It looks for the end of a pause at each tick.
                .arguments(["--hz", "100"])
        });
        let library = server.dir().join("another.so");
        copy_module(&library);
        let target = Target {
            socket: server.socket().to_owned(),
            port: server.port(),
            library,
            states: States::of(&mut server.connect()),
        };
        Self {
            server,
            target,
            exchanges: 0,
        }
    }

    /// A connection of one that means well.
    fn connect(&self) -> Connection {
        let client = self.server.connect();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// Has attackers play what `next` gives to each of them, until it is `None`.
    fn attack(
        &mut self,
        exchange: bool,
        next: impl Fn(&Target, usize) -> Option<Session> + Sync,
    ) -> Attack {
        let answered = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failure: Mutex<Option<String>> = Mutex::new(None);
        let target = &self.target;
        let server = &mut self.server;
        let exchanges = &mut self.exchanges;
        let fail = |what| {
            failure.lock().unwrap().get_or_insert(what);
            stop.store(true, Ordering::Relaxed);
        };
        let sent = thread::scope(|scope| {
            let attackers: Vec<_> = (0..ATTACKERS)
                .map(|number| {
                    let (next, stop, answered, fail) = (&next, &stop, &answered, &fail);
                    scope.spawn(move || {
                        let mut sent = Vec::new();
                        while !stop.load(Ordering::Relaxed)
                            && let Some(session) = next(target, number)
                        {
                            let begun = Instant::now();
                            let result = session.play(target);
                            sent.push((begun, session));
                            match result {
                                Ok(lines) => drop(answered.fetch_add(lines, Ordering::Relaxed)),
                                Err(what) => fail(what),
                            }
                        }
                        sent
                    })
                })
                .collect();
            let mut warden = Warden::new(target);
            while !attackers.iter().all(|attacker| attacker.is_finished()) {
                if let Err(what) = warden.look(exchange) {
                    fail(what);
                }
                if !server.is_alive() {
                    fail("the server has ended".into());
                }
                thread::sleep(Duration::from_millis(5));
            }
            *exchanges += warden.exchanges;
            let mut sent: Vec<_> = attackers
                .into_iter()
                .flat_map(|attacker| attacker.join().unwrap())
                .collect();
            sent.sort_by_key(|(begun, _)| *begun);
            sent.into_iter().map(|(_, session)| session).collect()
        });
        let failure = failure.into_inner().unwrap();
        Attack {
            sent,
            answered: answered.into_inner(),
            failure: failure.or_else(|| self.make_peace().err()),
        }
    }

    /// Has one attacker play these, one after the other.
    fn replay(&mut self, sessions: &[Session]) -> Attack {
        let sessions = Mutex::new(sessions.iter().cloned());
        self.attack(false, |_, number| match number {
            0 => sessions.lock().unwrap().next(),
            _ => None,
        })
    }

    /// Waits until the server is at rest, with the module and nothing else.
    fn make_peace(&mut self) -> Result<(), String> {
        let pid = Server::pid(&self.server);
        let mut warden = Warden::new(&self.target);
        eventually("peace", || {
            if !self.server.is_alive() {
                return Some(Err("the server has ended".to_owned()));
            }
            match warden.look(false) {
                Err(what) => Some(Err(what)),
                Ok(rests) => rests.then_some(Ok(())),
            }
        })?;
        drop(warden);
        let mut client = self.connect();
        if info(&mut client, "process_id") != Some(pid.to_string()) {
            return Err("it is another process".into());
        }
        if info(&mut client, "ratelimit_calls").is_none() {
            client.ask(&format!("MODULE LOAD {}", self.target.library.display()));
        }
        for line in [
            "FLUSHALL SYNC",
            "SCRIPT FLUSH SYNC",
            "FUNCTION FLUSH SYNC",
            "CONFIG SET ratelimit.top-keys 128 ratelimit.top-half-life 3600",
        ] {
            client.ask(line);
        }
        decides_rightly(&mut client)?;
        match client.ask("INFO keyspace") {
            Value::BulkString(text)
                if !text.windows(3).any(|part| part == b"db0" || part == b"db1") =>
            {
                Ok(())
            }
            other => Err(format!("keys are left: {other:?}")),
        }
    }

    /// What is in use, once it is `enough` or does not change any more.
    fn memory(&self, enough: impl Fn(Memory) -> bool) -> Memory {
        let mut client = self.connect();
        for line in [
            "CONFIG RESETSTAT",
            "SLOWLOG RESET",
            "ACL LOG RESET",
            "MEMORY PURGE",
        ] {
            client.ask(line);
        }
        let has_figure = JEMALLOC.is_there();
        let mut at_rest = 0;
        let mut last = 0;
        eventually("memory at rest", || {
            let mut number = |field| -> i64 { info(&mut client, field).unwrap().parse().unwrap() };
            let used = number("used_memory");
            let allocated = number("allocator_allocated");
            let memory = Memory {
                server: used - number("mem_clients_normal"),
                others: if has_figure {
                    allocated - used - number("used_memory_vm_total")
                } else {
                    0
                },
            };
            at_rest = if (allocated - last).abs() < 1_000 {
                at_rest + 1
            } else {
                0
            };
            last = allocated;
            // What is freed bit by bit, and the figure of the allocator, take ticks of the server's cron.
            (enough(memory) || at_rest > 150).then_some(memory)
        })
    }
}

/// Looks after the server while it is attacked: it answers, no script runs forever, and the module comes and goes.
struct Warden<'a> {
    target: &'a Target,
    wire: Option<Wire>,
    /// When the server has last answered.
    answered: Instant,
    next_exchange: Instant,
    exchanges: usize,
}

impl<'a> Warden<'a> {
    const BETWEEN_EXCHANGES: Duration = Duration::from_millis(300);

    fn new(target: &'a Target) -> Self {
        Self {
            target,
            wire: None,
            answered: Instant::now(),
            next_exchange: after(Self::BETWEEN_EXCHANGES),
            exchanges: 0,
        }
    }

    /// Looks once. Whether the server answers without more ado.
    fn look(&mut self, exchange: bool) -> Result<bool, String> {
        match self.try_to_look(exchange) {
            Ok(rests) => Ok(rests),
            // Attackers disconnect whom they can. And who was paused before a script began is not answered until it has
            // ended, which takes somebody else.
            Err(NoReply::Closed | NoReply::Silent) if self.answered.elapsed() < DEADLINE => {
                Ok(false)
            }
            Err(NoReply::Closed | NoReply::Silent) => Err(format!("no reply within {DEADLINE:?}")),
            Err(NoReply::Malformed(what)) => Err(what),
        }
    }

    fn try_to_look(&mut self, exchange: bool) -> Result<bool, NoReply> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::unix(&self.target.socket, Duration::from_secs(1))?,
        };
        let mut ask = |words: &[&str]| {
            wire.send(&encode(words))?;
            wire.reply()
        };
        let rests = match ask(&["PING"])? {
            Value::SimpleString(pong) if pong == "PONG" => true,
            Value::ServerError(error) if error.code() == "BUSY" => {
                ask(&["SCRIPT", "KILL"])?;
                ask(&["FUNCTION", "KILL"])?;
                false
            }
            other => return Err(NoReply::Malformed(format!("PING: {other:?}"))),
        };
        self.answered = Instant::now();
        if exchange && Instant::now() > self.next_exchange {
            self.next_exchange = after(Self::BETWEEN_EXCHANGES);
            let library = self.target.library.to_str().unwrap();
            ask(&["MULTI"])?;
            ask(&["CLIENT", "KILL", "TYPE", "normal"])?;
            ask(&["MODULE", "UNLOAD", "ratelimit"])?;
            ask(&["MODULE", "LOAD", library])?;
            if let Value::Array(replies) = ask(&["EXEC"])?
                && replies[1..] == [Value::Okay, Value::Okay]
            {
                self.exchanges += 1;
            }
        }
        self.wire = Some(wire);
        Ok(rests)
    }
}

/// Asks limiters of either kind more than they grant.
fn decides_rightly(client: &mut Connection) -> Result<(), String> {
    for line in ["RL.CHECK k 3 1h", "RL.GCRA g 3 1h", "RL.MCHECK 1 m 3 1h"] {
        let rows: Vec<Vec<i64>> = (0..4)
            .map(|_| match client.ask(line) {
                Value::Array(rows) if matches!(rows[..], [Value::Array(_)]) => rows[0].clone(),
                row => row,
            })
            .map(|row| redis::from_redis_value(row).unwrap_or_default())
            .collect();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| row.get(..3).unwrap_or_default())
            .collect();
        if rows != [[1, 3, 2], [1, 3, 1], [1, 3, 0], [0, 3, 0]] {
            return Err(format!("{line} decides {rows:?}"));
        }
    }
    match client.ask("RL.RESET k g m") {
        Value::Int(3) => Ok(()),
        other => Err(format!("RL.RESET: {other:?}")),
    }
}

/// Whether something is wrong after this was sent to a new server.
fn fails(sessions: &[Session]) -> bool {
    Siege::start().replay(sessions).failure.is_some()
}

/// Whether each time that this is sent takes memory.
fn leaks(sessions: &[Session]) -> bool {
    let mut siege = Siege::start();
    let play = |siege: &mut Siege, times| {
        let sessions: Vec<_> = std::iter::repeat_n(sessions, times)
            .flatten()
            .cloned()
            .collect();
        siege.replay(&sessions).failure.is_some()
    };
    if play(&mut siege, 20) {
        return false;
    }
    let base = siege.memory(|_| false);
    play(&mut siege, 200);
    let is_back = |now: Memory| now.is_at_most(base, 4_000);
    !is_back(siege.memory(is_back))
}

/// Panics with as little of one of the candidates as can be found to fail, too.
fn report(
    what: &str,
    candidates: impl IntoIterator<Item = Vec<Session>>,
    fails: fn(&[Session]) -> bool,
) -> ! {
    eprintln!("{what}\nIt is looked for what is enough for that.");
    let until = after(SHRINKING);
    let mut candidates = candidates
        .into_iter()
        .take_while(|_| Instant::now() < until);
    let Some(sessions) = candidates.find(|sessions| fails(sessions)) else {
        panic!("{what}\nOne connection after the other does not do it again.");
    };
    let mut sessions = shrink(sessions, until, fails);
    for at in 0..sessions.len() {
        let steps = std::mem::take(&mut sessions[at].steps);
        sessions[at].steps = shrink(steps, until, |steps| {
            let mut sessions = sessions.clone();
            sessions[at].steps = steps.to_vec();
            fails(&sessions)
        });
    }
    let shown: Vec<_> = sessions.iter().map(Session::shown).collect();
    panic!(
        "{what}\nThis is enough, for redis-cli:\n{}",
        shown.join("\n")
    );
}

#[test]
fn hostile_traffic_leaves_a_server_that_decides_rightly_and_has_its_memory_back() {
    let seconds = std::env::var("HOSTILE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let end = after(Duration::from_secs(seconds));
    let mut random = random::generator();
    let mut siege = Siege::start();
    let mut answered = 0;
    let mut round = |siege: &mut Siege| {
        let until = after(ROUND);
        let randoms: Vec<_> = (0..ATTACKERS).map(|_| Mutex::new(random.fork())).collect();
        let attack = siege.attack(true, |target, number| {
            let mut random = randoms[number].lock().unwrap();
            (Instant::now() < until).then(|| target.session(&mut random))
        });
        if let Some(what) = attack.failure {
            report(&what, [attack.sent], fails);
        }
        answered += attack.answered;
        attack.sent
    };
    // What the server takes once.
    round(&mut siege);
    let base = siege.memory(|_| false);
    loop {
        let sent = round(&mut siege);
        let is_back = |now: Memory| now.is_at_most(base, SLACK);
        let now = siege.memory(is_back);
        if !is_back(now) {
            let sessions = sent.into_iter().map(|session| vec![session]);
            report(
                &format!("{now:?} is in use, and before it was {base:?}"),
                sessions,
                leaks,
            );
        }
        if Instant::now() > end {
            break;
        }
    }
    println!(
        "{answered} lines answered, {} exchanges of the module",
        siege.exchanges
    );
}
