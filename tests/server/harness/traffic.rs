//! Traffic of several clients at once, and what it leaves behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use fastrand::Rng;
use redis::{Connection, ConnectionLike, Value};

use super::{Ask, Server, eventually, random};

/// A random call of one of the commands that write, each with all its options. The limiters under `short:` live for
/// some milliseconds, all others for hours.
pub fn any_write(random: &mut Rng) -> String {
    let limit = 1 + random.u64(..40);
    let [key, other] = [random.u64(..12), random.u64(..11)];
    // Another one.
    let other = if other >= key { other + 1 } else { other };
    match random.u64(..18) {
        0..3 => format!("RL.CHECK s:{key} {limit} 1h"),
        3 => format!("RL.CHECK s:{key} {limit} 1h COST 3 ATMOST"),
        4 => format!("RL.CHECK s:{key} {limit} 1h COST 2 FORCE"),
        5 => format!("RL.CHECK s:{key} {limit} 1h BLOCK 2h"),
        6 => format!("RL.MCHECK 2 s:{key} s:{other} {limit} 1h 50 1h"),
        7 => format!("RL.CHECK several:{key} {limit} 1h 90 2h COST 2"),
        8 => format!("RL.CHECK several:{key} {limit} {}m", 60 + random.u64(..20)),
        9 => format!("RL.GCRA g:{key} {limit} 1h"),
        10 => format!("RL.GCRA g:{key} {limit} 1h BURST 9 COST 5 FORCE"),
        11 => format!("RL.GCRA g:{key} {limit} 1h BURST 7 ATMOST BLOCK 3h"),
        12 => format!("CL.THROTTLE g:{key} 15 30 3600 1"),
        13 => format!("RL.REFUND s:{key} 2"),
        17 => format!("RL.REFUND several:{key} 2"),
        14 => format!("RL.REFUND g:{key} 2"),
        15 => format!("RL.RESET s:{key} several:{key} g:{other}"),
        _ => format!("RL.CHECK short:{key} 5 {}ms BLOCK 9ms", 1 + limit),
    }
}

/// Sends one call alone. On failure, the error.
fn alone(client: &mut Connection, random: &mut Rng) -> Result<(), String> {
    let line = any_write(random);
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client
        .ask_bytes(&words)
        .map(drop)
        .map_err(|error| format!("{error} ({line})"))
}

/// Carries out the lines that it is given.
const SCRIPT: &str = "for _, line in ipairs(ARGV) do
    local words = {}
    for word in line:gmatch('%S+') do words[#words + 1] = word end
    redis.call(unpack(words))
end";

/// Sends one call alone, or several: one after the other, as a transaction, as a script.
fn in_any_way(client: &mut Connection, random: &mut Rng) -> Result<(), String> {
    let count = 1 + random.u64(..5);
    let lines: Vec<String> = (0..count).map(|_| any_write(random)).collect();
    let lines = lines.iter().map(String::as_str);
    match random.u64(..4) {
        0 => alone(client, random),
        1 => together(client, lines),
        2 => together(client, ["MULTI"].into_iter().chain(lines).chain(["EXEC"])),
        _ => {
            let words = ["EVAL", SCRIPT, "0"].into_iter().chain(lines);
            let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
            client.ask_bytes(&words).map(drop)
        }
    }
}

/// Sends several calls before the first is answered. On failure, the first error.
fn together<'a>(
    client: &mut Connection,
    lines: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let mut pipeline = redis::Pipeline::new();
    for line in lines {
        let mut words = line.split(' ');
        let command = pipeline.cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
    }
    let count = pipeline.len();
    let packed = pipeline.get_packed_pipeline();
    let replies = client
        .req_packed_commands(&packed, 0, count)
        .map_err(|error| error.to_string())?;
    replies.into_iter().try_for_each(no_error)
}

/// The first error in a reply.
fn no_error(reply: Value) -> Result<(), String> {
    match reply {
        Value::ServerError(error) => Err(super::error_text(&error.into())),
        Value::Array(replies) => replies.into_iter().try_for_each(no_error),
        _ => Ok(()),
    }
}

/// What a server answers that has become a replica meanwhile.
const HANDED_OVER: [&str; 3] = ["READONLY ", "UNBLOCKED ", "EXECABORT "];

/// Clients that send [`any_write`] until they are told to stop, or the server goes away or hands over to another one.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Each call alone.
    pub fn start(server: &Server) -> Self {
        Self::start_with(server, alone)
    }

    /// Calls alone and together, in transactions and in scripts.
    pub fn start_in_any_way(server: &Server) -> Self {
        Self::start_with(server, in_any_way)
    }

    fn start_with(
        server: &Server,
        send: fn(&mut Connection, &mut Rng) -> Result<(), String>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut random = random::generator();
        let clients = (0..4)
            .map(|_| {
                let mut client = server.connect();
                let (stop, answered) = (stop.clone(), answered.clone());
                let mut random = random.fork();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        match send(&mut client, &mut random) {
                            Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                            Err(_) if !client.check_connection() => return,
                            Err(error)
                                if HANDED_OVER.iter().any(|code| error.starts_with(code)) =>
                            {
                                return;
                            }
                            Err(error) => panic!("{error}"),
                        };
                    }
                })
            })
            .collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// Waits until `count` more calls have been answered.
    pub fn go_on_for(&self, count: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        eventually("traffic that goes on", || {
            let gone = self.clients.iter().any(JoinHandle::is_finished);
            assert!(!gone, "a client has ended");
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Ends it. Every call that was sent has been answered then.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

/// The bytes and the expiry of every key, except those that live only for some milliseconds.
pub fn contents(client: &mut Connection) -> BTreeMap<String, (Vec<u8>, i64)> {
    let keys: Vec<String> = redis::from_redis_value(client.ask("KEYS *")).unwrap();
    keys.into_iter()
        .filter(|key| !key.starts_with("short:"))
        .map(|key| {
            let Value::BulkString(bytes) = client.ask(&format!("GET {key}")) else {
                panic!("{key} has gone");
            };
            let expiry = redis::from_redis_value(client.ask(&format!("PEXPIRETIME {key}")));
            (key, (bytes, expiry.unwrap()))
        })
        .collect()
}
