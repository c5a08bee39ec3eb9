//! The longest that one command keeps the server: the worst cases that can be thought of, each as the server itself
//! measures it (`INFO latencystats`).

use redis::{Connection, Value};

use super::keys::Order;
use super::progress;
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
    cases.looks();
    cases.top();
    progress::clear();
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
    fn one_key(&mut self) {
        self.forget();
        self.run("SET", 1, "SET {keys} abcdefgh PX 3600000", None);
        self.forget();
        self.run("RL.GCRA, new key", 1, "RL.GCRA {keys} 10 1h", Some(1));
        self.forget();
        self.run("RL.CHECK, new key", 1, "RL.CHECK {keys} 10 1h", Some(1));

        let full = eight(1_000, 60, "m");
        self.model(&full, 1);
        let request = format!("RL.CHECK {{keys}} {full}");
        self.run(
            "RL.CHECK, 8 windows of 32 groups, in each two join",
            1,
            &request,
            Some(1),
        );

        self.model(&full, 1);
        let request = format!("RL.CHECK {{keys}} {}", eight(1_000, 80, "m"));
        self.run(
            "RL.CHECK, 8 windows of 32 groups, 8 others named",
            1,
            &request,
            Some(1),
        );

        let short = eight(1_000, 100, "ms");
        self.model(&short, 1);
        self.wait_until_unused();
        let request = format!("RL.CHECK {{keys}} {short}");
        self.run(
            "RL.CHECK, 8 windows of 32 groups, all expire",
            1,
            &request,
            Some(1),
        );

        let used_up = eight(FULL, 60, "m");
        self.model(&used_up, 1);
        let request = format!("RL.CHECK {{keys}} {used_up}");
        self.run(
            "RL.CHECK denied, 8 windows of 32 groups",
            1,
            &request,
            Some(0),
        );

        self.model(&full, 1);
        let request = format!("RL.REFUND {{keys}} {FULL}");
        let all = Some(FULL as i64);
        self.run(
            "RL.REFUND of all in 8 windows of 32 groups",
            1,
            &request,
            all,
        );
    }

    fn many_keys(&mut self) {
        self.forget();
        let values = format!("MSET{}", " {key} abcdefgh".repeat(100));
        self.run("MSET of 100 new keys", 100, &values, None);
        self.run("DEL of 100 keys", 100, "DEL {keys}", Some(100));

        let hour = "1000 1h";
        self.forget();
        self.run(
            "RL.MCHECK of 100 new keys",
            100,
            &mcheck(100, hour),
            Some(1),
        );
        for count in [100, 128] {
            self.model(hour, count);
            let name = format!("RL.MCHECK of {count} keys of 32 groups, in each two join");
            self.run(&name, count, &mcheck(count, hour), Some(1));

            let short = "1000 100ms";
            self.model(short, count);
            self.wait_until_unused();
            let name = format!("RL.MCHECK of {count} keys of 32 groups, all expire");
            self.run(&name, count, &mcheck(count, short), Some(1));

            let used_up = format!("{FULL} 1h");
            self.model(&used_up, count);
            let name = format!("RL.MCHECK denied, of {count} keys of 32 groups");
            self.run(&name, count, &mcheck(count, &used_up), Some(0));
        }
        self.model(hour, 100);
        self.run("RL.RESET of 100 keys", 100, "RL.RESET {keys}", Some(100));
    }

    fn looks(&mut self) {
        let full = eight(1_000, 60, "m");
        self.model(&full, 1);
        self.run(
            "RL.PEEK, 8 windows of 32 groups",
            1,
            "RL.PEEK {keys}",
            Some(1),
        );
        self.run("RL.INFO, 8 windows of 32 groups", 1, "RL.INFO {keys}", None);
    }

    fn top(&mut self) {
        self.deny(SLOTS);
        self.run("RL.TOP (10 of 128 slots)", 0, "RL.TOP", None);
        self.run("RL.TOP 128 (of 128 slots)", 0, "RL.TOP 128", None);
        self.run("INFO ratelimit", 0, "INFO ratelimit", None);

        self.client
            .ask(&format!("CONFIG SET ratelimit.top-keys {SLOTS}"));
        self.deny(SLOTS);
        self.model(&format!("{FULL} 1h"), 1);
        let request = format!("RL.CHECK {{keys}} {FULL} 1h");
        self.run("RL.CHECK denied, 1,000 slots", 1, &request, Some(0));
        self.run("RL.TOP (10 of 1,000 slots)", 0, "RL.TOP", None);
        self.calls = self.calls.div_ceil(10);
        let all = format!("RL.TOP {SLOTS}");
        self.run("RL.TOP 1000 (of 1,000 slots)", 0, &all, None);
        let many = (0..20)
            .map(|at| format!("~other{at}:* "))
            .collect::<String>();
        for (who, patterns) in [
            ("a user of one pattern", "~key:*"),
            ("a user of 21 patterns", &format!("{many}~key:*")),
            ("a user of no such key", "~other:*"),
        ] {
            self.client.ask(&format!(
                "ACL SETUSER one reset on nopass +@all +rl.top {patterns}"
            ));
            let mut admin = std::mem::replace(&mut self.client, self.target.primary.connect());
            self.client.ask("AUTH one any");
            self.run(
                &format!("RL.TOP (10 of 1,000 slots), {who}"),
                0,
                "RL.TOP",
                None,
            );
            self.run(
                &format!("RL.TOP 1000 (of 1,000 slots), {who}"),
                0,
                &all,
                None,
            );
            std::mem::swap(&mut self.client, &mut admin);
        }
    }

    fn forget(&mut self) {
        self.client.ask("FLUSHALL SYNC");
    }

    /// A limiter of full logs, copied so often that each call has `keys` of its own. Without an expiry, as after
    /// somebody's `PERSIST`: so all that it holds can expire before it.
    fn model(&mut self, rules: &str, keys: usize) {
        self.forget();
        for _ in 0..FULL {
            self.client.ask(&format!("RL.CHECK {MODEL} {rules}"));
        }
        self.client.ask(&format!("PERSIST {MODEL}"));
        self.send_to_all(&format!("COPY {MODEL} {{key}}"), keys * self.calls);
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

    fn wait_until_unused(&mut self) {
        eventually("groups that expire", || {
            let peek = self.client.ask(&format!("RL.PEEK {MODEL}"));
            (peek == Value::Nil).then_some(())
        });
    }

    /// Calls with so many keys each, none of them twice: all in the place of `{keys}`, or each in that of a `{key}`. The
    /// first integer of every reply is to be `wanted`.
    fn run(&mut self, name: &str, keys: usize, request: &str, wanted: Option<i64>) {
        progress::show(format_args!("longest: {name}"));
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
