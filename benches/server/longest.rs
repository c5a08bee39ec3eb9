//! The longest that one command keeps the server: the worst cases that can be thought of, each as the server itself
//! measures it (`INFO latencystats`).

use redis::{Connection, Value};

use super::keys::Order;
use super::request::{Request, key};
use super::target::{Sink, Target};
use super::wire::{Stream, Wanted};
use super::workloads::FULL;
use crate::harness::{Ask, eventually};

/// The most slots that `RL.TOP` can have.
const SLOTS: usize = 1_000;
/// The limiter that others are copied from.
const MODEL: &str = "model";

/// One worst case.
#[derive(Clone, Debug)]
pub struct Longest {
    pub name: String,
    /// Microseconds.
    pub median: f64,
    pub p99: f64,
    /// Whether it is the module's; the server's own are there to compare.
    pub own: bool,
}

struct Cases {
    target: Target,
    client: Connection,
    calls: usize,
    results: Vec<Longest>,
}

/// Calls each as often as `calls` says.
pub fn measure(calls: usize) -> Vec<Longest> {
    let target = Target::start(Sink::None);
    let client = target.primary.connect();
    let mut cases = Cases {
        target,
        client,
        calls,
        results: Vec::new(),
    };
    cases.one_key();
    cases.many_keys();
    cases.top();
    cases.results
}

/// Eight windows of a limit, from `first` on in steps of 1 of the unit.
fn eight(limit: usize, first: usize, unit: &str) -> String {
    let windows: Vec<String> = (first..first + 8)
        .map(|length| format!("{limit} {length}{unit}"))
        .collect();
    windows.join(" ")
}

/// A call for `count` keys with the same window each; the keys come in the place of `{keys}`.
fn mcheck(count: usize, rule: &str) -> String {
    let rules = format!(" {rule}").repeat(count);
    format!("RL.MCHECK {count} {{keys}}{rules}")
}

impl Cases {
    /// A case whose calls take one key, each another one.
    fn one(&mut self, name: &str, request: &str, wanted: Option<i64>) {
        self.run(name, 1, request, wanted);
    }

    fn one_key(&mut self) {
        for (name, request) in [
            ("SET", "SET {keys} abcdefgh PX 3600000"),
            ("RL.GCRA, new key", "RL.GCRA {keys} 10 1h"),
            ("RL.CHECK, new key", "RL.CHECK {keys} 10 1h"),
        ] {
            self.forget();
            self.one(name, request, (name != "SET").then_some(1));
        }
        let (full, others) = (eight(1_000, 60, "m"), eight(1_000, 80, "m"));
        let (short, used_up) = (eight(1_000, 100, "ms"), eight(FULL, 60, "m"));
        for (case, limiter, rules) in [
            (", 8 windows of 32 groups, in each two join", &full, &full),
            (", 8 windows of 32 groups, 8 others named", &full, &others),
            (", 8 windows of 32 groups, all expire", &short, &short),
            (" denied, 8 windows of 32 groups", &used_up, &used_up),
        ] {
            self.model(limiter, 1);
            let granted = i64::from(!case.contains("denied"));
            let request = format!("RL.CHECK {{keys}} {rules}");
            self.one(&format!("RL.CHECK{case}"), &request, Some(granted));
        }
        self.model(&full, 1);
        self.one("RL.PEEK, 8 windows of 32 groups", "RL.PEEK {keys}", Some(1));
        self.one("RL.INFO, 8 windows of 32 groups", "RL.INFO {keys}", None);
        let refund = format!("RL.REFUND {{keys}} {FULL}");
        let name = "RL.REFUND of all in 8 windows of 32 groups";
        self.one(name, &refund, Some(FULL as i64));
    }

    fn many_keys(&mut self) {
        self.forget();
        let values = format!("MSET{}", " {key} abcdefgh".repeat(100));
        self.run("MSET of 100 new keys", 100, &values, None);
        self.run("DEL of 100 keys", 100, "DEL {keys}", Some(100));
        let (hour, short, used_up) = ("1000 1h", "1000 100ms", format!("{FULL} 1h"));
        let new = mcheck(100, hour);
        self.run("RL.MCHECK of 100 new keys", 100, &new, Some(1));
        for count in [100, 128] {
            for (case, rule) in [
                (" of {} keys of 32 groups, in each two join", hour),
                (" of {} keys of 32 groups, all expire", short),
                (" denied, of {} keys of 32 groups", &used_up),
            ] {
                self.model(rule, count);
                let name = format!("RL.MCHECK{}", case.replace("{}", &count.to_string()));
                let granted = i64::from(!case.contains("denied"));
                self.run(&name, count, &mcheck(count, rule), Some(granted));
            }
        }
        self.model(hour, 100);
        self.run("RL.RESET of 100 keys", 100, "RL.RESET {keys}", Some(100));
    }

    fn top(&mut self) {
        self.deny(SLOTS);
        self.run("RL.TOP (10 of 128 slots)", 0, "RL.TOP", None);
        self.run("RL.TOP 128 (of 128 slots)", 0, "RL.TOP 128", None);
        self.run("INFO ratelimit", 0, "INFO ratelimit", None);

        let most = format!("CONFIG SET ratelimit.top-keys {SLOTS}");
        self.client.ask(&most);
        self.deny(SLOTS);
        self.model(&format!("{FULL} 1h"), 1);
        let request = format!("RL.CHECK {{keys}} {FULL} 1h");
        self.one("RL.CHECK denied, 1,000 slots", &request, Some(0));
        self.calls = self.calls.div_ceil(10);
        let many: String = (0..20).map(|at| format!("~other{at}:* ")).collect();
        for (who, patterns) in [
            ("", "~*"),
            (", a user of one pattern", "~key:*"),
            (", a user of 21 patterns", &format!("{many}~key:*")),
            (", a user of no such key", "~other:*"),
        ] {
            let rights = format!("ACL SETUSER one reset on nopass +@all +rl.top {patterns}");
            self.client.ask(&rights);
            let admin = std::mem::replace(&mut self.client, self.target.primary.connect());
            self.client.ask("AUTH one any");
            let name = format!("RL.TOP (10 of 1,000 slots){who}");
            self.run(&name, 0, "RL.TOP", None);
            let name = format!("RL.TOP 1000 (of 1,000 slots){who}");
            self.run(&name, 0, "RL.TOP 1000", None);
            self.client = admin;
        }
    }

    fn forget(&mut self) {
        self.client.ask("FLUSHALL SYNC");
    }

    /// A limiter of full logs, copied so often that each call has `keys` of its own. Without an expiry, as after
    /// somebody's `PERSIST`: so all that it holds can expire before it. If its windows are short, that has happened.
    fn model(&mut self, rules: &str, keys: usize) {
        self.forget();
        for _ in 0..FULL {
            self.client.ask(&format!("RL.CHECK {MODEL} {rules}"));
        }
        self.client.ask(&format!("PERSIST {MODEL}"));
        self.send_to_all(&format!("COPY {MODEL} {{key}}"), keys * self.calls);
        if rules.contains("ms") {
            eventually("groups that expire", || {
                let peek = self.client.ask(&format!("RL.PEEK {MODEL}"));
                (peek == Value::Nil).then_some(())
            });
        }
    }

    /// Denies each of so many keys once.
    fn deny(&mut self, keys: usize) {
        self.send_to_all("RL.CHECK {key} 1 1h;RL.CHECK {key} 1 1h", keys);
    }

    fn send_to_all(&mut self, request: &str, keys: usize) {
        let request = Request::parse(request);
        let mut order = Order::random(u32::try_from(keys).unwrap());
        let mut stream = Stream::default();
        for _ in 0..keys {
            stream.push(&request, &mut || order.next(), Wanted::Answer);
        }
        self.target.pipe.run("copying", &mut stream);
    }

    /// Calls with so many keys each, none of them twice: all in the place of `{keys}`, or each in that of a `{key}`. The
    /// first integer of every reply is to be `wanted`.
    fn run(&mut self, name: &str, keys: usize, request: &str, wanted: Option<i64>) {
        eprintln!("longest: {name}");
        self.client.ask("CONFIG RESETSTAT");
        for call in 0..self.calls {
            let names: Vec<String> = (call * keys..(call + 1) * keys)
                .map(|number| key(u32::try_from(number).unwrap()))
                .collect();
            let line = names
                .iter()
                .fold(request.replace("{keys}", &names.join(" ")), |line, name| {
                    line.replacen("{key}", name, 1)
                });
            let reply = self.client.ask(&line);
            if wanted.is_some() {
                assert_eq!(first_integer(&reply), wanted, "{name}");
            }
        }
        let command = request.split(' ').next().unwrap().to_lowercase();
        let Value::BulkString(info) = self.client.ask("INFO latencystats") else {
            panic!("INFO is no text");
        };
        let info = String::from_utf8(info).unwrap();
        let percentile = |name: &str| -> f64 {
            let (_, line) = info
                .split_once(&format!("latency_percentiles_usec_{command}:"))
                .unwrap();
            let (_, value) = line.split_once(name).unwrap();
            value.split([',', '\r']).next().unwrap().parse().unwrap()
        };
        self.results.push(Longest {
            name: name.into(),
            own: command.starts_with("rl.") || command == "info",
            median: percentile("p50="),
            p99: percentile("p99="),
        });
    }
}

fn first_integer(reply: &Value) -> Option<i64> {
    match reply {
        Value::Int(integer) => Some(*integer),
        Value::Array(items) => items.first().and_then(first_integer),
        _ => None,
    }
}
