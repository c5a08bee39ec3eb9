//! A server beside the contract: both are told the same, and must answer the same.

use std::time::Duration;

use redis::{Cmd, Connection, ConnectionLike, Pipeline, Value};

use crate::contract::{Contract, Reply};
use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, Setup};
use crate::step::{KEYS, Step};

/// The server. Each history begins with an empty one.
pub struct Stage {
    clock: Clock,
    /// RESP2 and RESP3, in turns.
    clients: [Connection; 2],
    plays: usize,
    _server: Server,
}

/// What is not as the contract says.
#[derive(Debug)]
pub struct Difference {
    /// The step.
    pub at: usize,
    /// What was asked, what the contract says, and what the server has answered.
    pub text: String,
    /// Whether both refuse it, for different reasons.
    pub only_error: bool,
}

/// What was sent for a step, and how it must be answered.
struct Sent {
    step: usize,
    command: Cmd,
    expected: Option<Reply>,
}

/// One performance.
struct Play<'a> {
    stage: &'a mut Stage,
    contract: Contract,
    sent: Vec<Sent>,
}

impl Stage {
    /// Starts one.
    pub fn start() -> Self {
        let (server, clock) =
            Clock::start_with(Setup::new().arguments(["--enable-debug-command", "yes"]));
        let mut clients = [server.connect(), server.connect_resp3()];
        // Keys go when they are looked at, and only then: a server that clears away some at any time takes them sooner.
        clients[0].ask("DEBUG SET-ACTIVE-EXPIRE 0");
        Self {
            clock,
            clients,
            plays: 0,
            _server: server,
        }
    }

    /// Plays a history; the first difference.
    pub fn play(&mut self, history: &[Step]) -> Result<(), Difference> {
        self.plays += 1;
        self.client().ask("FLUSHALL");
        let mut play = Play {
            stage: self,
            contract: Contract::default(),
            sent: Vec::new(),
        };
        play.set_clock(0, 0)?;
        for (at, step) in history.iter().enumerate() {
            play.step(at, step)?;
        }
        play.send()
    }

    fn client(&mut self) -> &mut Connection {
        &mut self.clients[self.plays % 2]
    }
}

/// The clock of histories, in microseconds since the epoch.
pub fn micros(after_start: i128) -> i128 {
    i128::try_from(Clock::START.as_micros()).unwrap() + after_start
}

impl Play<'_> {
    fn step(&mut self, at: usize, step: &Step) -> Result<(), Difference> {
        match step {
            Step::Clock(after_start) => return self.set_clock(at, *after_start),
            Step::Reload => self.ask(at, &["DEBUG", "RELOAD"], None),
            Step::Restore(from, to) => {
                self.send()?;
                let now = self.stage.clock.now().as_millis();
                let client = self.stage.client();
                let dump = client.ask(&format!("DUMP {from}"));
                let expiry = client.ask(&format!("PEXPIRETIME {from}"));
                if let (Value::BulkString(dump), Value::Int(expiry)) = (dump, expiry)
                    && !is_last(expiry, now)
                {
                    let expiry = expiry.max(0).to_string();
                    let words: [&[u8]; 6] = [
                        b"RESTORE",
                        to.as_bytes(),
                        expiry.as_bytes(),
                        &dump,
                        b"ABSTTL",
                        b"REPLACE",
                    ];
                    client.ask_bytes(&words).unwrap();
                    self.contract.copy(from, to);
                }
                self.ask_expiry(at, to);
            }
            Step::Rewrite(from, to) => {
                self.send()?;
                let now = self.stage.clock.now().as_millis();
                let client = self.stage.client();
                let bytes = client.ask_bytes(&[b"GET", from.as_bytes()]);
                let expiry = client.ask(&format!("PEXPIRETIME {from}"));
                if let (Ok(Value::BulkString(bytes)), Value::Int(expiry)) = (bytes, expiry)
                    && !is_last(expiry, now)
                {
                    let expiry_word = expiry.to_string();
                    let words: [&[u8]; 5] = [
                        b"SET",
                        to.as_bytes(),
                        &bytes,
                        b"PXAT",
                        expiry_word.as_bytes(),
                    ];
                    client
                        .ask_bytes(&words[..if expiry < 0 { 3 } else { 5 }])
                        .unwrap();
                    self.contract.copy(from, to);
                }
                self.ask_expiry(at, to);
            }
            Step::Command(words) => {
                let texts: Vec<&str> = words.iter().map(String::as_str).collect();
                let expected = if step.is_ours() {
                    Some(self.contract.ask(words))
                } else {
                    self.contract.server(&texts);
                    None
                };
                self.ask(at, &texts, expected);
                for key in KEYS.iter().filter(|key| texts.contains(key)) {
                    self.ask_expiry(at, key);
                }
            }
        }
        Ok(())
    }

    /// What has expired goes at once, in both: else it would come again if the clock was set back.
    fn set_clock(&mut self, at: usize, after_start: i128) -> Result<(), Difference> {
        self.send()?;
        let now = micros(after_start);
        self.contract.set_clock(now);
        self.stage
            .clock
            .set(Duration::from_micros(now.try_into().unwrap()));
        for key in KEYS {
            self.ask_expiry(at, key);
        }
        Ok(())
    }

    fn ask(&mut self, step: usize, words: &[&str], expected: Option<Reply>) {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        self.sent.push(Sent {
            step,
            command,
            expected,
        });
    }

    fn ask_expiry(&mut self, step: usize, key: &str) {
        let expiry = Reply::Int(self.contract.expiry(key));
        self.ask(step, &["PEXPIRETIME", key], Some(expiry));
    }

    /// Sends what has gathered, all at once, and compares.
    fn send(&mut self) -> Result<(), Difference> {
        let sent = std::mem::take(&mut self.sent);
        if sent.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(sent.len());
        for one in &sent {
            pipeline.add_command(one.command.clone());
        }
        let replies = self
            .stage
            .client()
            .req_packed_commands(&pipeline.get_packed_pipeline(), 0, sent.len())
            .unwrap();
        for (
            Sent {
                step,
                command,
                expected,
            },
            reply,
        ) in sent.iter().zip(replies)
        {
            let reply = flat(&reply);
            if let Some(expected) = expected
                .as_ref()
                .filter(|expected| !expected.allows(&reply))
            {
                let words: Vec<_> = command
                    .args_iter()
                    .map(|word| match word {
                        redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                        _ => unreachable!(),
                    })
                    .collect();
                let text = format!(
                    "{}\n  the contract: {expected:?}\n  the server:   {reply:?}",
                    words.join(" ")
                );
                let only_error = matches!((expected, &reply), (Reply::Error(_), Reply::Error(_)));
                return Err(Difference {
                    at: *step,
                    text,
                    only_error,
                });
            }
        }
        Ok(())
    }
}

/// Whether a key expires with this millisecond: whether it can still be written so differs between servers.
fn is_last(expiry: i64, now: u128) -> bool {
    u128::try_from(expiry) == Ok(now)
}

/// A reply, maps flattened.
fn flat(value: &Value) -> Reply {
    let all = |values: &[Value]| Reply::Array(values.iter().map(flat).collect());
    match value {
        Value::Int(number) => Reply::Int((*number).into()),
        Value::Nil => Reply::Nil,
        Value::BulkString(bytes) => Reply::Text(String::from_utf8_lossy(bytes).into_owned()),
        Value::Array(values) => all(values),
        Value::Map(pairs) => Reply::Array(
            pairs
                .iter()
                .flat_map(|(name, value)| [flat(name), flat(value)])
                .collect(),
        ),
        Value::ServerError(error) => Reply::Error(format!(
            "{} {}",
            error.code(),
            error.details().unwrap_or_default()
        )),
        other => Reply::Text(format!("{other:?}")),
    }
}
