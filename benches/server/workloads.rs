//! What is measured: requests that are answered the same throughout, so that a row of the table means one thing.
//!
//! A limiter that grants uses itself up, so each workload says how it stays as its name says: with room for the whole
//! run, with a state that is made anew before each slice, or by giving back what it took (untimed, between the timed
//! requests).

use std::time::{SystemTime, UNIX_EPOCH};

use super::keys::Keys;
use super::scripts;
use super::wire::Wanted;

/// Names that the targets refer to.
pub const SET: &str = "SET k v PX ms";
pub const GCRA_GRANTED: &str = "RL.GCRA granted";
pub const GCRA_DENIED: &str = "RL.GCRA denied";
pub const CHECK_SECOND: &str = "RL.CHECK granted, limit 10, the 2nd";
pub const CHECK_FIFTH: &str = "RL.CHECK granted, limit 10, the 5th";
pub const CHECK_TENTH: &str = "RL.CHECK granted, limit 10, the 10th";
pub const CHECK_100_TENTH: &str = "RL.CHECK granted, limit 100, the 10th";
pub const CHECK_100_FULL: &str = "RL.CHECK granted, limit 100, full log";
pub const CHECK_DENIED: &str = "RL.CHECK denied, limit 10";
pub const CHECK_100_DENIED: &str = "RL.CHECK denied, limit 100, full log";
pub const MCHECK_TWO: &str = "RL.MCHECK of 2 keys, the 5th";
pub const INCR_EXPIRE: &str = "INCR and EXPIRE in MULTI";
pub const LUA_FIXED: &str = "Lua: fixed window, granted";
pub const LUA_GCRA: &str = "Lua: GCRA, granted";
pub const LUA_LOG: &str = "Lua: sorted set, limit 100, granted";
pub const PEER: &str = "peer: ";

/// Requests of one kind to keys of one kind.
#[derive(Clone, Debug)]
pub struct Workload {
    pub name: String,
    pub keys: Keys,
    /// The timed request.
    pub request: String,
    pub wanted: Wanted,
    /// Requests to every key beforehand, and how often each.
    pub before: Vec<(String, usize)>,
    /// Whether every slice begins with an empty database.
    pub fresh: bool,
    /// A request to each key after the timed ones, which brings its state back.
    pub undo: Option<String>,
    /// How many times longer than a SET it takes, roughly: so many times fewer requests make a slice.
    pub weight: usize,
}

impl Workload {
    pub fn new(name: &str, keys: Keys, request: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys,
            request: request.into(),
            wanted: Wanted::Answer,
            before: Vec::new(),
            fresh: keys == Keys::New,
            undo: None,
            weight: 1,
        }
    }

    fn wanted(mut self, wanted: Wanted) -> Self {
        self.wanted = wanted;
        self
    }

    /// The first number of the reply is 1.
    fn granted(self) -> Self {
        self.wanted(Wanted::First(1))
    }

    /// The first number of the reply is 0. (In redis-cell's reply that means granted.)
    fn denied(self) -> Self {
        self.wanted(Wanted::First(0))
    }

    fn after(mut self, times: usize, request: impl Into<String>) -> Self {
        self.before.push((request.into(), times));
        self
    }

    /// After as many requests of its own.
    pub fn after_itself(self, times: usize) -> Self {
        let request = self.request.clone();
        self.after(times, request)
    }

    /// Begins anew before each slice, if so few keys would use up their room in the course of the rounds.
    fn renewed(mut self) -> Self {
        self.fresh |= self.keys == Keys::Thousand;
        self
    }

    fn undone_by(mut self, request: &str) -> Self {
        self.undo = Some(request.into());
        self
    }

    fn weight(mut self, weight: usize) -> Self {
        self.weight = weight;
        self
    }
}

/// What the others are compared with: a value of eight bytes that lives for an hour.
pub fn base(keys: Keys) -> Workload {
    Workload::new(SET, keys, "SET {key} abcdefgh PX 3600000")
}

/// The quota for GCRA, in the arguments of RL.GCRA: one key has to grant millions in the whole run, others a few dozen,
/// and none is to expire between two visits.
fn roomy_quota(keys: Keys) -> &'static str {
    match keys {
        Keys::One => "1000000 1m",
        _ => "100 10d",
    }
}

/// The same in the arguments of CL.THROTTLE.
fn roomy_throttle(keys: Keys) -> &'static str {
    match keys {
        Keys::One => "999999 1000000 60",
        _ => "99 100 864000",
    }
}

/// `RL.CHECK` on a key that has granted as often as makes this the `nth` in the window.
pub fn nth(name: &str, keys: Keys, limit: u32, nth: usize) -> Workload {
    Workload::new(name, keys, format!("RL.CHECK {{key}} {limit} 1h"))
        .granted()
        .after_itself(nth - 1)
        .undone_by("RL.REFUND {key} 1")
}

/// Grants that fill a log of 32 groups, and make two of them join.
pub const FULL: usize = 33;

/// `RL.CHECK` on top of 32 groups, so that two of them join. There is room for `limit - FULL` of them.
pub fn full(name: &str, keys: Keys, limit: u32) -> Workload {
    Workload::new(name, keys, format!("RL.CHECK {{key}} {limit} 1h"))
        .granted()
        .after_itself(FULL)
        .renewed()
}

pub fn eight_windows(limit: u32) -> String {
    let windows: Vec<String> = (60..68)
        .map(|minutes| format!("{limit} {minutes}m"))
        .collect();
    format!("RL.CHECK {{key}} {}", windows.join(" "))
}

pub fn mcheck(count: usize) -> String {
    let others = " {next}".repeat(count - 1);
    let rules = " 10 1h".repeat(count);
    format!("RL.MCHECK {count} {{key}}{others}{rules}")
}

/// One window's worth of entries of a sorted set, now.
pub fn entries(count: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = u64::try_from(now.as_micros()).unwrap() - count;
    let entries: Vec<String> = (first..first + count)
        .map(|time| format!("{time} {time}:0"))
        .collect();
    format!("ZADD {{key}} {}", entries.join(" "))
}

/// Everything that is measured without a sink.
pub fn all() -> Vec<Workload> {
    let mut all = vec![Workload::new("PING", Keys::One, "PING")];
    for keys in [Keys::One, Keys::HundredThousand, Keys::New] {
        all.extend([
            Workload::new("INCR", keys, "INCR {key}"),
            Workload::new(INCR_EXPIRE, keys, "MULTI;INCR {key};EXPIRE {key} 3600;EXEC").weight(2),
            gcra_granted(keys),
            throttle(keys),
            Workload::new(
                LUA_FIXED,
                keys,
                scripts::call("fixed-window", "{key} 4000000000 3600000"),
            )
            .granted()
            .weight(4),
            Workload::new(
                LUA_GCRA,
                keys,
                scripts::call("gcra", &format!("{{key}} {}", lua_quota(keys))),
            )
            .granted()
            .weight(6),
        ]);
    }
    for keys in [Keys::One, Keys::HundredThousand] {
        all.extend([
            gcra_denied(keys),
            check_denied(keys),
            Workload::new(CHECK_100_DENIED, keys, "RL.CHECK {key} 100 1h")
                .denied()
                .after_itself(FULL)
                .after(1, format!("RL.CHECK {{key}} 100 1h COST {}", 100 - FULL)),
            Workload::new("RL.PEEK, GCRA", keys, "RL.PEEK {key}")
                .granted()
                .after(1, "RL.GCRA {key} 10 1d"),
            Workload::new("RL.PEEK, 5 groups", keys, "RL.PEEK {key}")
                .granted()
                .after(5, "RL.CHECK {key} 10 1h"),
            Workload::new("CL.THROTTLE denied", keys, "CL.THROTTLE {key} 0 1 86400")
                .wanted(Wanted::First(1))
                .after_itself(1),
        ]);
    }
    all.extend([
        Workload::new(
            "RL.CHECK granted, limit 10, new",
            Keys::New,
            "RL.CHECK {key} 10 1h",
        )
        .granted(),
        Workload::new(
            "RL.CHECK granted, 8 windows, new",
            Keys::New,
            eight_windows(1_000),
        )
        .granted()
        .weight(4),
        full("RL.CHECK granted, full log", Keys::One, 4_294_967_295),
        Workload::new(
            "RL.CHECK denied, 8 windows of 10",
            Keys::One,
            eight_windows(10),
        )
        .denied()
        .after_itself(10)
        .weight(4),
        Workload::new(
            "Lua: sorted set, limit 100, denied",
            Keys::One,
            scripts::call("sorted-set", "{key} 100 3600000"),
        )
        .denied()
        .after(1, entries(100))
        .weight(8),
    ]);
    for keys in [Keys::Thousand, Keys::HundredThousand] {
        all.extend([
            nth(CHECK_SECOND, keys, 10, 2),
            nth(CHECK_FIFTH, keys, 10, 5),
            nth(CHECK_TENTH, keys, 10, 10),
            nth(CHECK_100_TENTH, keys, 100, 10),
            full(CHECK_100_FULL, keys, 100),
            full("RL.CHECK granted, limit 1,000, full log", keys, 1_000),
            Workload::new(
                "RL.CHECK granted, 8 windows, the 2nd",
                keys,
                eight_windows(1_000),
            )
            .granted()
            .after_itself(1)
            .undone_by("RL.REFUND {key} 1")
            .weight(4),
            Workload::new(MCHECK_TWO, keys, mcheck(2))
                .granted()
                .after(4, "RL.CHECK {key} 10 1h")
                .undone_by("RL.REFUND {key} 1"),
            Workload::new("RL.MCHECK of 100 keys, the 5th", keys, mcheck(100))
                .granted()
                .after(4, "RL.CHECK {key} 10 1h")
                .undone_by("RL.REFUND {key} 1"),
            Workload::new(
                LUA_LOG,
                keys,
                scripts::call("sorted-set", "{key} 100 3600000"),
            )
            .granted()
            .after(1, entries(50))
            .renewed()
            .weight(8),
        ]);
    }
    all.push(
        Workload::new(
            "RL.CHECK granted, 8 windows, full logs",
            Keys::Thousand,
            eight_windows(1_000),
        )
        .granted()
        .after_itself(FULL)
        .weight(4),
    );
    all
}

/// What is measured again with an AOF and with a replica.
pub fn written() -> Vec<Workload> {
    let mut written = Vec::new();
    for keys in [Keys::One, Keys::HundredThousand] {
        written.extend([
            Workload::new("INCR", keys, "INCR {key}"),
            gcra_granted(keys),
            throttle(keys),
            gcra_denied(keys),
            check_denied(keys),
        ]);
    }
    for keys in [Keys::Thousand, Keys::HundredThousand] {
        written.extend([
            nth(CHECK_SECOND, keys, 10, 2),
            nth(CHECK_FIFTH, keys, 10, 5),
            nth(CHECK_TENTH, keys, 10, 10),
            nth(CHECK_100_TENTH, keys, 100, 10),
            full(CHECK_100_FULL, keys, 100),
        ]);
    }
    written
}

/// A peer's command on its own server.
///
/// Nothing is known of `command`, so what it answers is counted. Without one, it is redis-cell's, with what our own
/// rows have.
pub fn of_peer(command: Option<&str>) -> Vec<Workload> {
    let mut peers = Vec::new();
    for keys in [Keys::One, Keys::HundredThousand, Keys::New] {
        if let Some(command) = command {
            let name = format!("{PEER}{}", command.replace("{key}", "k"));
            peers.push(Workload::new(&name, keys, command).wanted(Wanted::Tally));
            continue;
        }
        let granted = format!("CL.THROTTLE {{key}} {}", roomy_throttle(keys));
        let name = format!("{PEER}CL.THROTTLE granted");
        peers.push(Workload::new(&name, keys, granted).wanted(Wanted::Tally));
        if keys != Keys::New {
            let name = format!("{PEER}CL.THROTTLE denied");
            let denied = Workload::new(&name, keys, "CL.THROTTLE {key} 0 1 86400");
            peers.push(denied.after_itself(1).wanted(Wanted::Tally));
        }
    }
    peers
}

pub fn gcra_granted(keys: Keys) -> Workload {
    let request = format!("RL.GCRA {{key}} {}", roomy_quota(keys));
    Workload::new(GCRA_GRANTED, keys, request).granted()
}

pub fn gcra_denied(keys: Keys) -> Workload {
    Workload::new(GCRA_DENIED, keys, "RL.GCRA {key} 10 1d")
        .denied()
        .after_itself(10)
}

pub fn check_denied(keys: Keys) -> Workload {
    Workload::new(CHECK_DENIED, keys, "RL.CHECK {key} 10 1h")
        .denied()
        .after_itself(10)
}

fn throttle(keys: Keys) -> Workload {
    let request = format!("CL.THROTTLE {{key}} {}", roomy_throttle(keys));
    // In its reply, 0 is granted.
    Workload::new("CL.THROTTLE granted", keys, request).denied()
}

/// Microseconds for each unit, and the burst.
fn lua_quota(keys: Keys) -> &'static str {
    match keys {
        Keys::One => "60 1000000",
        _ => "8640000000 100",
    }
}
