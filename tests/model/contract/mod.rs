//! The whole contract once more: docs/commands.md and docs/algorithms.md in exact fractions and plain lists, as simple as it
//! gets, and without a line of `src/`. It keeps what a server does, key by key, and says how each command line is answered.

mod arguments;
mod block;
mod bucket;
mod info;
mod limiter;
mod log;
mod row;
mod windows;

use std::collections::BTreeMap;

use arguments::{Command, Refused};
use bucket::{Bucket, Rate};
use limiter::{Algorithm, Limiter, Parameters, Request};
use row::{Row, ceil, millis, whole};

/// A reply, maps flattened.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Int(i128),
    Text(String),
    Nil,
    Array(Vec<Reply>),
    /// What ends in an ellipsis is only the beginning.
    Error(String),
}

impl Reply {
    fn integers(integers: impl IntoIterator<Item = i128>) -> Self {
        Self::Array(integers.into_iter().map(Self::Int).collect())
    }

    /// Whether a server may answer so.
    pub fn allows(&self, answer: &Self) -> bool {
        match (self, answer) {
            (Self::Error(expected), Self::Error(error)) => match expected.strip_suffix('…') {
                Some(beginning) => error.starts_with(beginning),
                None => error == expected,
            },
            (expected, answer) => expected == answer,
        }
    }
}

#[derive(Clone, Debug)]
enum Value {
    Limiter(Limiter),
    /// A string that is none. It may be redis-cell's.
    Text(String),
    List,
}

/// What a key holds, and the millisecond with which it expires.
#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    expiry: Option<i128>,
}

/// A server. Times are in microseconds.
#[derive(Default)]
pub struct Contract {
    keys: BTreeMap<String, Entry>,
    now: i128,
}

const NO_LIMITER: &str = "WRONGTYPE the key holds a value that is not a rate limiter";

impl Contract {
    /// Sets the clock. Keys go when their expiry lies behind it.
    pub fn set_clock(&mut self, now: i128) {
        self.now = now;
        let millis = now.div_euclid(1_000);
        self.keys
            .retain(|_, entry| entry.expiry.is_none_or(|expiry| expiry >= millis));
    }

    /// As the server answers PEXPIRETIME.
    pub fn expiry(&self, key: &str) -> i128 {
        self.keys
            .get(key)
            .map_or(-2, |entry| entry.expiry.unwrap_or(-1))
    }

    /// Commands of the server itself: `SET key text [PXAT millisecond]`, `RPUSH key value`, `DEL key`, `PERSIST key`,
    /// `PEXPIREAT key millisecond`, `COPY key key REPLACE`, `RENAME key key`. The reply does not matter.
    pub fn server(&mut self, words: &[&str]) {
        let millis = |word: &str| word.parse().unwrap();
        match words {
            ["SET", key, text, rest @ ..] => {
                let expiry = rest.last().map(|word| millis(word));
                self.keys.insert(
                    (*key).into(),
                    Entry {
                        value: Value::Text((*text).into()),
                        expiry: None,
                    },
                );
                self.expire(key, expiry);
            }
            ["RPUSH", key, _] if !self.keys.contains_key(*key) => {
                self.keys.insert(
                    (*key).into(),
                    Entry {
                        value: Value::List,
                        expiry: None,
                    },
                );
            }
            ["DEL", key] => drop(self.keys.remove(*key)),
            ["PERSIST", key] => self.expire(key, None),
            ["PEXPIREAT", key, expiry] => self.expire(key, Some(millis(expiry))),
            ["COPY", from, to, "REPLACE"] => self.copy(from, to),
            ["RENAME", from, to] => {
                if let Some(entry) = self.keys.remove(*from) {
                    self.keys.insert((*to).into(), entry);
                }
            }
            _ => {}
        }
    }

    fn expire(&mut self, key: &str, expiry: Option<i128>) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.expiry = expiry;
        }
        // One in the past deletes.
        if expiry.is_some_and(|expiry| expiry <= self.now.div_euclid(1_000)) {
            self.keys.remove(key);
        }
    }

    /// One key becomes the same as another one, if that is there.
    pub fn copy(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.keys.get(from).cloned() {
            self.keys.insert(to.into(), entry);
        }
    }

    /// Carries out a command of the module.
    pub fn ask(&mut self, line: &[String]) -> Reply {
        self.answer(line).unwrap_or_else(Reply::Error)
    }

    fn answer(&mut self, line: &[String]) -> Result<Reply, Refused> {
        let now = self.now;
        Ok(match arguments::parse(line)? {
            Command::Decide {
                key,
                parameters,
                request,
            } => {
                let renewal = request.renew.map(|_| request.clone());
                let (granted, mut answers) =
                    self.decide(vec![(key.clone(), parameters.clone(), request)])?;
                let mut row = Row::binding(answers.remove(0), granted);
                // The units of a renewal may leave one window before there is room in another.
                if let Some(request) = renewal.filter(|_| !granted && row.retry_after.is_some()) {
                    row.retry_after = self.wait_for_all(&key, &parameters, &request);
                }
                Reply::integers(row.integers())
            }
            Command::DecideAll(asked) => {
                let (_, answers) = self.decide(asked)?;
                Reply::Array(
                    answers
                        .into_iter()
                        .flatten()
                        .map(|row| Reply::integers(row.integers()))
                        .collect(),
                )
            }
            Command::Throttle {
                key,
                rate,
                quantity,
            } => Reply::integers(self.throttle(key, rate, quantity)?),
            Command::Peek { key, cost } => match self.limiter(&key)? {
                Some(limiter) if limiter.is_in_use(now) => {
                    Reply::integers(limiter.peek(now, cost).integers())
                }
                _ => Reply::Nil,
            },
            Command::Info { key } => match self.limiter(&key)? {
                Some(limiter) if limiter.is_in_use(now) || limiter.block.in_a_row > 0 => {
                    info::info(&limiter, now)
                }
                _ => Reply::Nil,
            },
            Command::Refund {
                key,
                units,
                receipt,
            } => {
                let Some(mut limiter) = self.limiter(&key)? else {
                    return Ok(Reply::Nil);
                };
                if receipt.is_some() && matches!(limiter.algorithm, Algorithm::Bucket(_)) {
                    return Err(other_algorithm(&limiter));
                }
                if !limiter.is_in_use_anywhere(now) {
                    return Ok(Reply::Nil);
                }
                let given = limiter.refund(now, units, receipt);
                let row = Row {
                    granted: given,
                    ..limiter.peek(now, 1)
                };
                if given > 0 {
                    // What is emptied is deleted.
                    self.keys.remove(&key);
                    self.store(&key, limiter);
                }
                Reply::integers(row.integers())
            }
            Command::Reset { keys } => {
                if let Some(refused) = keys.iter().find_map(|key| self.limiter(key).err()) {
                    return Err(refused);
                }
                let forgotten = keys.iter().filter(|key| self.keys.remove(*key).is_some());
                Reply::Int(forgotten.count().try_into().unwrap())
            }
        })
    }

    /// The limiter of a key as it is now.
    fn limiter(&self, key: &str) -> Result<Option<Limiter>, Refused> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Limiter(limiter)) => Ok(Some(limiter.at(self.now))),
            Some(_) => Err(NO_LIMITER.into()),
        }
    }

    /// Whether a limiter was written after this time.
    fn is_after(&self, time: i128, key: &str) -> bool {
        match self.keys.get(key) {
            Some(Entry {
                value: Value::Limiter(limiter),
                ..
            }) => limiter.written > time,
            _ => false,
        }
    }

    /// Stores a limiter until it no longer matters. One that does not matter now does not have to be stored.
    fn store(&mut self, key: &str, limiter: Limiter) {
        let now = self.now;
        let limiter = Limiter {
            written: now,
            ..limiter
        };
        let end = limiter.end();
        if end > whole(now) {
            let expiry = Some(millis(&end));
            self.keys.insert(
                key.into(),
                Entry {
                    value: Value::Limiter(limiter),
                    expiry,
                },
            );
        }
    }

    /// All or nothing over all keys: whether it is granted, and for each key the answers of its windows.
    fn decide(
        &mut self,
        asked: Vec<(String, Parameters, Request)>,
    ) -> Result<(bool, Vec<Vec<Row>>), Refused> {
        let now = self.now;
        let mut limiters = Vec::new();
        for (key, parameters, request) in asked {
            let before = self.limiter(&key)?;
            let limiter = match &before {
                None => Limiter::new(now, &parameters),
                Some(limiter) => limiter
                    .with(now, &parameters)
                    .ok_or_else(|| other_algorithm(limiter))?,
            };
            let changed = before.is_some_and(|before| before.parameters() != parameters)
                || self.is_after(now, &key);
            limiters.push((key, limiter, request, changed));
        }
        let granted: Option<Vec<i128>> = limiters
            .iter()
            .map(|(_, limiter, request, _)| limiter.grantable(now, request))
            .collect();
        let never = limiters
            .iter()
            .any(|(_, limiter, request, _)| limiter.never(request));
        let mut answers = Vec::new();
        for (at, (key, mut limiter, request, changed)) in limiters.into_iter().enumerate() {
            if let Some(granted) = &granted {
                answers.push(limiter.grant(now, &request, granted[at]));
                if granted[at] > 0 || changed {
                    self.store(&key, limiter);
                }
                continue;
            }
            let mut starts = false;
            if let Some((duration, up_to)) = request
                .block
                .filter(|_| !never && limiter.block.left(now) == 0)
            {
                limiter.block.start(now, duration, up_to);
                starts = true;
            }
            answers.push(limiter.denial(now, &request));
            if !never && (changed || starts) {
                self.store(&key, limiter);
            }
        }
        Ok((granted.is_some(), answers))
    }

    /// The time until a request that is denied would be granted in every window, if nobody else asks.
    fn wait_for_all(
        &self,
        key: &str,
        parameters: &Parameters,
        request: &Request,
    ) -> Option<row::Fraction> {
        let limiter = self.limiter(key).unwrap()?.with(self.now, parameters)?;
        limiter.wait_for_all(self.now, request)
    }

    /// `CL.THROTTLE`: a quantity of 0 only looks. redis-cell's own keys stay as they are until a grant.
    fn throttle(&mut self, key: String, rate: Rate, quantity: i128) -> Result<Vec<i128>, Refused> {
        let now = self.now;
        let parameters = Parameters::Rate(rate.clone());
        let cells = self.cells(&key);
        if let Some(tat) = &cells {
            let algorithm = Algorithm::Bucket(Bucket {
                rate: rate.clone(),
                tat: tat.clone(),
            });
            let value = Value::Limiter(Limiter {
                algorithm,
                ..Limiter::new(now, &parameters)
            });
            let before = self.keys.get(&key).cloned().unwrap();
            self.keys.insert(
                key.clone(),
                Entry {
                    value,
                    ..before.clone()
                },
            );
            let reply = self.throttle_ours(key.clone(), rate, quantity);
            if reply
                .as_ref()
                .is_ok_and(|reply| reply[0] == 1 || quantity == 0)
            {
                self.keys.insert(key, before);
            }
            return reply;
        }
        self.throttle_ours(key, rate, quantity)
    }

    fn throttle_ours(
        &mut self,
        key: String,
        rate: Rate,
        quantity: i128,
    ) -> Result<Vec<i128>, Refused> {
        let now = self.now;
        let parameters = Parameters::Rate(rate);
        let (row, denied) = if quantity == 0 {
            let limiter = match self.limiter(&key)? {
                None => Limiter::new(now, &parameters),
                Some(limiter) => limiter
                    .with(now, &parameters)
                    .ok_or_else(|| other_algorithm(&limiter))?,
            };
            (limiter.denial(now, &Request::of(1)).remove(0), false)
        } else {
            let (granted, mut answers) =
                self.decide(vec![(key, parameters, Request::of(quantity))])?;
            (answers.remove(0).remove(0), !granted)
        };
        let seconds = |micros: &row::Fraction| ceil(&(micros / whole(1_000_000)));
        let retry_after = row
            .retry_after
            .as_ref()
            .filter(|_| denied)
            .map_or(-1, seconds);
        Ok(vec![
            denied.into(),
            row.limit,
            row.remaining,
            retry_after,
            seconds(&row.reset_after),
        ])
    }

    /// The theoretical arrival time that redis-cell has stored: nanoseconds, in a key that expires within 2 seconds of them.
    fn cells(&self, key: &str) -> Option<row::Fraction> {
        let Entry {
            value: Value::Text(text),
            expiry: Some(expiry),
        } = self.keys.get(key)?
        else {
            return None;
        };
        let nanos: i128 = text.parse().ok().filter(|_| text.len() == 19)?;
        let near = (expiry * 1_000_000 - nanos).abs() <= 2_000_000_000;
        near.then(|| whole(nanos) / whole(1_000))
    }
}

fn other_algorithm(limiter: &Limiter) -> Refused {
    let text = match limiter.algorithm {
        Algorithm::Windows(_) => "sliding-window limiter (RL.CHECK), not a gcra one (RL.GCRA)",
        Algorithm::Bucket(_) => "gcra limiter (RL.GCRA), not a sliding-window one (RL.CHECK)",
    };
    format!("WRONGTYPE the key holds a {text}")
}
