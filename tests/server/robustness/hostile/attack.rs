//! What is sent: connections, and what goes over each of them. None is meant well.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use redis::Value;

use super::wire::{NoReply, Wire, encode};
use crate::harness::DEADLINE;
use crate::robustness::requests::{Line, bytes, check_reply, key, line, shown};
use crate::robustness::states::{States, payload, signed};

/// What the attacks aim at.
pub struct Target {
    pub socket: PathBuf,
    pub port: u16,
    pub library: PathBuf,
    pub states: States,
}

/// What is known of a reply.
#[derive(Clone)]
pub enum Reply {
    /// It is well-formed.
    Any,
    /// It is the module's, to this line.
    To(Line),
    /// The same, as a script or a function hands it on.
    ByScriptTo(Line),
}

/// A line, and its reply.
#[derive(Clone)]
pub struct Step {
    line: Line,
    reply: Reply,
}

/// One connection, from its beginning to its end.
#[derive(Clone)]
pub struct Session {
    tcp: bool,
    resp3: bool,
    /// How many lines are sent before their replies are read.
    pipeline: usize,
    /// After how many bytes a batch is sent, to be continued.
    cut: usize,
    pub steps: Vec<Step>,
    /// Whether the module is exchanged then. What came behind its unloading in one piece would end Valkey 9.1, which looks
    /// up all of it before: docs/operations.md.
    exchange: bool,
    /// What is sent last, and need not be a command.
    farewell: Vec<u8>,
}

/// What carries out the line that it is given.
const SCRIPT: &str = "return redis.pcall(unpack(ARGV))";
const LIBRARY: &str = "#!lua name=l
redis.register_function('f', function(keys, args) return redis.pcall(unpack(args)) end)";
/// These do not end, or not soon. (The server looks at its watch only after many instructions: few of them are calls.)
const ENDLESS: [&str; 2] = [
    "while true do redis.pcall('RL.PEEK', 'a') for n = 1, 5000 do end end",
    "for n = 1, 1000 do redis.pcall('RL.CHECK', 'a', 5, '1h') end",
];

fn words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Line {
    words
        .into_iter()
        .map(|word| word.as_ref().to_vec())
        .collect()
}

/// A line of words, with a key for each `{}`.
fn on_keys(random: &mut Rng, line: &str) -> Line {
    line.split(' ')
        .map(|word| match word {
            "{}" => key(random),
            word => word.as_bytes().to_vec(),
        })
        .collect()
}

/// What a string can be made of, bit by bit.
fn change_of_bytes(random: &mut Rng) -> Line {
    let offset = random.u16(..400).to_string();
    let bit = random.u16(..3_200).to_string();
    let some = bytes(random, 30);
    let number = random.i64(..).to_string();
    let key = key(random);
    let line: &[&[u8]] = match random.u8(..13) {
        0 | 1 => &[b"SETRANGE", &key, offset.as_bytes(), &some],
        2 | 3 => &[b"APPEND", &key, &some],
        4 | 5 => &[b"SETBIT", &key, bit.as_bytes(), b"1"],
        6 => &[b"SETBIT", &key, bit.as_bytes(), b"0"],
        7 => &[b"GETSET", &key, &some],
        8 => &[b"INCR", &key],
        9 => &[b"INCRBY", &key, number.as_bytes()],
        10 => &[b"INCRBYFLOAT", &key, b"1.5"],
        11 => &[b"SET", &key, number.as_bytes(), b"PX", b"1900000000"],
        _ => &[
            b"BITFIELD",
            &key,
            b"SET",
            b"i64",
            bit.as_bytes(),
            number.as_bytes(),
        ],
    };
    words(line)
}

const KEYSPACE: &[&str] = &[
    "RENAME {} {}",
    "RENAMENX {} {}",
    "COPY {} {} REPLACE",
    "COPY {} {} DB 1 REPLACE",
    "MOVE {} 1",
    "SWAPDB 0 1",
    "SELECT 0",
    "SELECT 1",
    "PERSIST {}",
    "EXPIRE {} 100",
    "PEXPIRE {} 1",
    "EXPIRE {} -1",
    "PEXPIREAT {} 9000000000000000",
    "GETEX {} PERSIST",
    "GETDEL {}",
    "DEL {}",
    "UNLINK {} {}",
    "FLUSHDB ASYNC",
    "OBJECT ENCODING {}",
    "OBJECT FREQ {}",
    "OBJECT IDLETIME {}",
    "TOUCH {} {}",
    "MEMORY USAGE {}",
    "DUMP {}",
    "BITOP XOR {} {} {}",
    "GETRANGE {} 0 40",
    "RPUSH {} x",
    "HSET {} f v",
    "SCAN 0",
    "WATCH {} {}",
    "UNWATCH",
    "DISCARD",
];

const SERVER: &[&str] = &[
    "CLIENT KILL TYPE normal SKIPME yes",
    "CLIENT KILL USER default SKIPME no",
    "CLIENT PAUSE 5 ALL",
    "CLIENT PAUSE 9 WRITE",
    "CLIENT UNPAUSE",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING ON BCAST",
    "CLIENT TRACKING OFF",
    "CLIENT LIST",
    "SCRIPT KILL",
    "FUNCTION KILL",
    "SCRIPT FLUSH",
    "FUNCTION STATS",
    "SLOWLOG GET",
    "INFO ratelimit",
    "INFO everything",
    "COMMAND INFO rl.check rl.mcheck cl.throttle",
    "COMMAND DOCS rl.check rl.gcra rl.top",
    "MODULE LIST",
    "MEMORY PURGE",
];

const SETTINGS: &[&str] = &[
    "ratelimit.top-keys",
    "ratelimit.top-half-life",
    "ratelimit.cl-throttle",
];
const SETTINGS_VALUES: &[&str] = &[
    "0", "1", "7", "128", "1000", "1001", "2592000", "-1", "yes", "x", "",
];

impl Target {
    /// A connection and what goes over it.
    pub fn session(&self, random: &mut Rng) -> Session {
        let mut steps = Vec::new();
        for _ in 0..random.usize(1..100) {
            self.steps(random, &mut steps);
        }
        let farewell = match random.u8(..8) {
            0 => self.garbage(random),
            _ => Vec::new(),
        };
        Session {
            tcp: random.u8(..4) == 0,
            resp3: random.bool(),
            pipeline: random.usize(1..50),
            cut: random.usize(..4_000),
            steps,
            exchange: random.u8(..20) == 0,
            farewell,
        }
    }

    fn request(random: &mut Rng) -> Line {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        line(random, now.unwrap())
    }

    /// A line or some that belong together.
    fn steps(&self, random: &mut Rng, steps: &mut Vec<Step>) {
        let any = |line| Step {
            line,
            reply: Reply::Any,
        };
        let request = Self::request(random);
        match random.u16(..1_000) {
            0..500 => steps.push(Step {
                line: request.clone(),
                reply: Reply::To(request),
            }),
            500..560 => steps.push(any(self.restore(random))),
            560..600 => {
                let state = self.states.mutated(random);
                steps.push(any(words([
                    b"SET",
                    key(random).as_slice(),
                    &state,
                    b"PX",
                    b"99999",
                ])));
            }
            600..680 => steps.push(any(change_of_bytes(random))),
            680..780 => {
                let line = random.choice(KEYSPACE).unwrap();
                steps.push(any(on_keys(random, line)));
            }
            780..810 => {
                steps.push(any(words(["MULTI"])));
                let mut inner = Vec::new();
                for _ in 0..random.usize(..6) {
                    self.steps(random, &mut inner);
                }
                // Redis 7.0 and 8.0 end by an assertion if a key that has expired is written during a pause, INCR does it.
                inner.retain(|step| step.line.get(1).is_none_or(|word| word != b"PAUSE"));
                steps.extend(inner);
                steps.push(any(words(["EXEC"])));
            }
            810..870 => {
                let by_script = random.bool();
                let head: &[&str] = if by_script {
                    &["EVAL", SCRIPT, "0"]
                } else {
                    &["FCALL", "f", "0"]
                };
                if !by_script && random.u8(..4) == 0 {
                    steps.push(any(words(["FUNCTION", "LOAD", "REPLACE", LIBRARY])));
                }
                steps.push(Step {
                    line: [words(head), request.clone()].concat(),
                    reply: Reply::ByScriptTo(request),
                });
            }
            870..940 => {
                let heads: [&[&str]; 4] = [
                    &["COMMAND", "GETKEYS"],
                    &["COMMAND", "GETKEYSANDFLAGS"],
                    &["ACL", "DRYRUN", "default"],
                    &["EVAL_RO", SCRIPT, "0"],
                ];
                let head = random.choice(heads).unwrap();
                steps.push(any([words(head), request].concat()));
            }
            940..960 => {
                let line = random.choice(SERVER).unwrap();
                steps.push(any(words(line.split(' '))));
            }
            960..990 => {
                let name = random.choice(SETTINGS).unwrap();
                let value = random.choice(SETTINGS_VALUES).unwrap();
                steps.push(any(words(["CONFIG", "SET", name, value])));
            }
            990..992 => steps.push(any([b"MODULE".to_vec(), b"LOAD".to_vec()]
                .into_iter()
                .chain([self.library.as_os_str().as_encoded_bytes().to_vec()])
                .collect())),
            // These keep the server for some time, so there are few.
            992 if random.u8(..8) == 0 => {
                let script = random.choice(ENDLESS).unwrap();
                steps.push(any(words(["EVAL", script, "0"])));
            }
            993 if random.u8(..8) == 0 => {
                let port = self.port.to_string();
                let key = key(random);
                let line: [&[u8]; 7] = [
                    b"MIGRATE",
                    b"127.0.0.1",
                    port.as_bytes(),
                    &key,
                    b"1",
                    b"5",
                    b"COPY",
                ];
                steps.push(any(words(line)));
            }
            _ => {
                let name = bytes(random, 20);
                let rest = request.into_iter().skip(1);
                // It cannot be a command of the server by chance.
                steps.push(any([[b"\xff".to_vec(), name].concat()]
                    .into_iter()
                    .chain(rest)
                    .collect()));
            }
        }
    }

    /// `RESTORE` of a state that has changed, signed as it has to be; sometimes with changes in the framing, too.
    fn restore(&self, random: &mut Rng) -> Line {
        let state = self.states.mutated(random);
        let mut payload = payload(&state);
        if random.u8(..10) == 0 {
            let mut said = payload[..payload.len() - 10].to_vec();
            // Not the first byte: other types have decoders of their own.
            let at = random.usize(1..said.len());
            said[at] = random.u8(..);
            payload = signed(said, 6 + random.u16(..5));
        }
        let ttl = if random.bool() { "0" } else { "60000" };
        let key = key(random);
        words([
            b"RESTORE",
            key.as_slice(),
            ttl.as_bytes(),
            &payload,
            b"REPLACE",
        ])
    }

    /// Something that is no command.
    fn garbage(&self, random: &mut Rng) -> Vec<u8> {
        let mut request = encode(&Self::request(random));
        match random.u8(..6) {
            0 => bytes(random, 3_000),
            // Half a command.
            1 => {
                request.truncate(random.usize(..request.len()));
                request
            }
            // Lengths that are wrong, too great, or so great that they are allowed just so.
            2 => {
                let lengths = [
                    "-2",
                    "0",
                    "1",
                    "99",
                    "1048576",
                    "1048577",
                    "536870912",
                    "536870913",
                    "2147483648",
                    "99999999999999999999",
                    "x",
                ];
                let length = random.choice(lengths).unwrap();
                format!("*4\r\n$8\r\nRL.CHECK\r\n${length}\r\na\r\n").into_bytes()
            }
            3 => {
                let count = random
                    .choice(["-1", "0", "1048577", "2147483647", "2147483648", "x"])
                    .unwrap();
                format!("*{count}\r\n$8\r\nRL.CHECK\r\n").into_bytes()
            }
            // Inline.
            4 => [
                b"RL.CHECK \"".to_vec(),
                bytes(random, 60),
                b"\" 5 1h\r\n".to_vec(),
            ]
            .concat(),
            _ => {
                for _ in 0..random.usize(1..6) {
                    let at = random.usize(..request.len());
                    request[at] = random.u8(..);
                }
                request
            }
        }
    }
}

impl Session {
    /// Opens the connection, sends everything and looks at every reply. It may be closed at any time, by the server or by
    /// others; on failure, what is wrong. How many lines were answered.
    pub fn play(&self, target: &Target) -> Result<usize, String> {
        let mut answered = 0;
        match self.try_to_play(target, &mut answered) {
            Ok(()) | Err(NoReply::Closed) => Ok(answered),
            Err(NoReply::Silent) => Err(format!("no reply within {DEADLINE:?}")),
            Err(NoReply::Malformed(what)) => Err(what),
        }
    }

    fn try_to_play(&self, target: &Target, answered: &mut usize) -> Result<(), NoReply> {
        let mut wire = if self.tcp {
            Wire::tcp(target.port)
        } else {
            Wire::unix(&target.socket, DEADLINE)
        }?;
        if self.resp3 {
            wire.use_resp3()?;
        }
        // What is queued in a transaction.
        let mut queued: Option<Vec<&Step>> = None;
        // A reply that is too short is found by the next one.
        let ping = Step {
            line: words(["PING"]),
            reply: Reply::Any,
        };
        for batch in self.steps.chunks(self.pipeline) {
            let batch: Vec<_> = batch.iter().chain([&ping]).collect();
            let bytes: Vec<u8> = batch.iter().flat_map(|step| encode(&step.line)).collect();
            let (head, tail) = bytes.split_at(self.cut.min(bytes.len()));
            wire.send(head)?;
            wire.send(tail)?;
            for step in batch {
                let reply = wire.reply()?;
                *answered += 1;
                let what = step.check(&reply, &mut queued);
                what.map_err(NoReply::Malformed)?;
            }
        }
        if self.exchange {
            let library = target.library.to_str().unwrap();
            for line in [
                ["MODULE", "UNLOAD", "ratelimit"],
                ["MODULE", "LOAD", library],
            ] {
                wire.send(&encode(&line))?;
                wire.reply()?;
            }
        }
        if !self.farewell.is_empty() {
            wire.send(&self.farewell)?;
        }
        wire.end_writing();
        loop {
            wire.reply()?;
        }
    }

    /// As `redis-cli` takes it; what that cannot send is a comment.
    pub fn shown(&self) -> String {
        let mut lines = vec![format!("# RESP{}", if self.resp3 { 3 } else { 2 })];
        lines.extend(self.steps.iter().map(|step| shown(&step.line)));
        if self.exchange {
            lines.push("MODULE UNLOAD ratelimit".into());
            lines.push("MODULE LOAD /path/libredis_ratelimit.so".into());
        }
        if !self.farewell.is_empty() {
            lines.push(format!("# bytes: {}", self.farewell.escape_ascii()));
        }
        lines.join("\n")
    }
}

impl Step {
    fn check<'a>(
        &'a self,
        reply: &Value,
        queued: &mut Option<Vec<&'a Self>>,
    ) -> Result<(), String> {
        let is = |name: &[u8]| self.line[0] == name;
        match (queued.as_mut(), reply) {
            (None, Value::Okay) if is(b"MULTI") => *queued = Some(Vec::new()),
            (Some(_), Value::Okay) if is(b"DISCARD") => *queued = None,
            (Some(steps), reply) if is(b"EXEC") => {
                let steps = std::mem::take(steps);
                *queued = None;
                let Value::Array(replies) = reply else {
                    // Nothing was carried out.
                    return Ok(());
                };
                if replies.len() != steps.len() {
                    return Err(format!(
                        "{} replies to {} lines: {replies:?}",
                        replies.len(),
                        steps.len()
                    ));
                }
                for (step, reply) in steps.into_iter().zip(replies) {
                    step.check_alone(reply)?;
                }
            }
            (Some(steps), Value::SimpleString(text)) if text == "QUEUED" => steps.push(self),
            // Refused, or carried out at once.
            (Some(_), Value::ServerError(_)) => {}
            (_, reply) => self.check_alone(reply)?,
        }
        Ok(())
    }

    fn check_alone(&self, reply: &Value) -> Result<(), String> {
        let (line, by_script) = match &self.reply {
            Reply::Any => return Ok(()),
            Reply::To(line) => (line, false),
            Reply::ByScriptTo(line) => (line, true),
        };
        if let Value::ServerError(error) = reply {
            let text = error.details().unwrap_or_default();
            // The server's own: a script runs; the module is not there just now.
            if by_script || error.code() == "BUSY" || text.starts_with("unknown command") {
                return Ok(());
            }
        }
        check_reply(line, reply)
    }
}

/// Some of a list that are enough to fail, as few as can be found by leaving out parts until the time is over.
pub fn shrink<T: Clone>(
    list: Vec<T>,
    until: std::time::Instant,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut list = list;
    let mut part = list.len().div_ceil(2);
    while part > 0 && std::time::Instant::now() < until {
        let mut at = 0;
        while at < list.len() && std::time::Instant::now() < until {
            let mut fewer = list.clone();
            fewer.drain(at..(at + part).min(list.len()));
            if fails(&fewer) {
                list = fewer;
            } else {
                at += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    list
}

/// A time in the future.
pub fn after(duration: Duration) -> std::time::Instant {
    std::time::Instant::now() + duration
}
