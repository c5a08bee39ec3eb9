//! What is measured: requests that are answered the same throughout, so that a row of the table means one thing.
//!
//! A limiter that grants uses itself up, so each workload says how it stays as its name says: with room for the whole
//! run, with a state that is made anew before each slice, or by giving back what it took (untimed, between the timed
//! requests).

use std::time::{SystemTime, UNIX_EPOCH};

use super::keys::Keys;
use super::wire::Wanted;

/// Names that the targets refer to.
pub const SET: &str = "SET k v PX ms";
pub const FLOOR: &str = "the floor: a key opened, five integers";
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
pub const THROTTLE_GRANTED: &str = "CL.THROTTLE granted";
pub const THROTTLE_DENIED: &str = "CL.THROTTLE denied";

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
    /// A request that is answered as its name says.
    pub fn new(name: &str, keys: Keys, request: impl Into<String>) -> Self {
        let request = request.into();
        let denied = name.contains("denied");
        let granted = !denied && (name.starts_with("RL.") || name.contains("granted"));
        // redis-cell's reply begins with 1 if it denies.
        let first = granted != name.starts_with("CL.");
        let words: Vec<&str> = request.split([' ', ';']).collect();
        Self {
            name: name.into(),
            keys,
            wanted: match granted || denied {
                true => Wanted::First(first.into()),
                false => Wanted::Answer,
            },
            before: Vec::new(),
            fresh: keys == Keys::New,
            undo: None,
            weight: match words[..] {
                ["EVALSHA", ..] => 6,
                ["RL.CHECK", _, _, _, _, ..] => 4,
                ["MULTI", ..] => 2,
                _ => 1,
            },
            request,
        }
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

    /// Begins anew before each slice if so few keys would use up their room in the course of the rounds.
    fn renewed(mut self) -> Self {
        self.fresh |= self.keys == Keys::Thousand;
        self
    }

    /// Each grant is given back.
    fn refunded(mut self) -> Self {
        self.undo = Some("RL.REFUND {key} 1".into());
        self
    }
}

/// What the others are compared with: a value of eight bytes that lives for an hour.
pub fn base(keys: Keys) -> Workload {
    Workload::new(SET, keys, "SET {key} abcdefgh PX 3600000")
}

/// The least that a command of a module takes: it opens a key, one of ours, and replies as ours do. It decides nothing.
pub fn floor(keys: Keys) -> Workload {
    Workload::new(FLOOR, keys, "FLOOR.OPEN {key} 100 10d").after(1, "RL.GCRA {key} 100 10d")
}

/// Grants from a quota of which one key can grant millions in the whole run, others a few dozen, and none expires between
/// two visits.
pub fn gcra_granted(keys: Keys) -> Workload {
    let one = "RL.GCRA {key} 1000000 1m";
    Workload::new(
        GCRA_GRANTED,
        keys,
        roomy(keys, one, "RL.GCRA {key} 100 10d"),
    )
}

fn throttle(keys: Keys) -> Workload {
    let one = "CL.THROTTLE {key} 999999 1000000 60";
    let request = roomy(keys, one, "CL.THROTTLE {key} 99 100 864000");
    Workload::new(THROTTLE_GRANTED, keys, request)
}

fn lua_gcra(keys: Keys) -> Workload {
    let one = "EVALSHA <gcra> 1 {key} 60 1000000";
    let request = roomy(keys, one, "EVALSHA <gcra> 1 {key} 8640000000 100");
    Workload::new(LUA_GCRA, keys, request)
}

fn roomy(keys: Keys, one: &'static str, many: &'static str) -> &'static str {
    if keys == Keys::One { one } else { many }
}

pub fn gcra_denied(keys: Keys) -> Workload {
    Workload::new(GCRA_DENIED, keys, "RL.GCRA {key} 10 1d").after_itself(10)
}

pub fn check_denied(keys: Keys) -> Workload {
    Workload::new(CHECK_DENIED, keys, "RL.CHECK {key} 10 1h").after_itself(10)
}

fn throttle_denied(keys: Keys) -> Workload {
    Workload::new(THROTTLE_DENIED, keys, "CL.THROTTLE {key} 0 1 86400").after_itself(1)
}

/// `RL.CHECK` on a key that has granted as often as makes this the `nth` in the window.
pub fn nth(name: &str, keys: Keys, limit: u32, nth: usize) -> Workload {
    Workload::new(name, keys, format!("RL.CHECK {{key}} {limit} 1h"))
        .after_itself(nth - 1)
        .refunded()
}

/// Grants that fill a log of 32 groups, and make two of them join.
pub const FULL: usize = 33;

/// `RL.CHECK` on top of 32 groups, so that two of them join. There is room for `limit - FULL` of them.
pub fn full(name: &str, keys: Keys, limit: u32) -> Workload {
    Workload::new(name, keys, format!("RL.CHECK {{key}} {limit} 1h"))
        .after_itself(FULL)
        .renewed()
}

pub fn eight_windows(limit: u32) -> String {
    let windows = (60..68).map(|minutes| format!(" {limit} {minutes}m"));
    format!("RL.CHECK {{key}}{}", windows.collect::<String>())
}

fn mcheck(name: &str, keys: Keys, count: usize) -> Workload {
    let others = " {next}".repeat(count - 1);
    let rules = " 10 1h".repeat(count);
    Workload::new(
        name,
        keys,
        format!("RL.MCHECK {count} {{key}}{others}{rules}"),
    )
    .after(4, "RL.CHECK {key} 10 1h")
    .refunded()
}

/// One window's worth of entries of a sorted set, now.
pub fn entries(count: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = u64::try_from(now.as_micros()).unwrap() - count;
    let entries = (first..first + count).map(|time| format!(" {time} {time}:0"));
    format!("ZADD {{key}}{}", entries.collect::<String>())
}

const SORTED_SET: &str = "EVALSHA <sorted-set> 1 {key} 100 3600000";

/// Everything that is measured without a sink.
pub fn all() -> Vec<Workload> {
    use Keys::{HundredThousand, New, One, Thousand};
    let of = |name, keys, request: &str| Workload::new(name, keys, request);
    let eight = eight_windows(1_000);
    let mut all = vec![of("PING", One, "PING")];
    for keys in [One, HundredThousand, New] {
        let fixed_window = "EVALSHA <fixed-window> 1 {key} 4000000000 3600000";
        all.extend([
            of("INCR", keys, "INCR {key}"),
            of(INCR_EXPIRE, keys, "MULTI;INCR {key};EXPIRE {key} 3600;EXEC"),
            gcra_granted(keys),
            throttle(keys),
            of(LUA_FIXED, keys, fixed_window),
            lua_gcra(keys),
        ]);
    }
    for keys in [One, HundredThousand] {
        all.extend([
            floor(keys),
            gcra_denied(keys),
            check_denied(keys),
            of(CHECK_100_DENIED, keys, "RL.CHECK {key} 100 1h")
                .after_itself(FULL)
                .after(1, format!("RL.CHECK {{key}} 100 1h COST {}", 100 - FULL)),
            of("RL.PEEK, GCRA", keys, "RL.PEEK {key}").after(1, "RL.GCRA {key} 10 1d"),
            of("RL.PEEK, 5 groups", keys, "RL.PEEK {key}").after(5, "RL.CHECK {key} 10 1h"),
            throttle_denied(keys),
        ]);
    }
    all.extend([
        of(
            "RL.CHECK granted, limit 10, new",
            New,
            "RL.CHECK {key} 10 1h",
        ),
        of("RL.CHECK granted, 8 windows, new", New, &eight),
        full("RL.CHECK granted, full log", One, 4_294_967_295),
        of("RL.CHECK denied, 8 windows of 10", One, &eight_windows(10)).after_itself(10),
        of("Lua: sorted set, limit 100, denied", One, SORTED_SET).after(1, entries(100)),
    ]);
    for keys in [Thousand, HundredThousand] {
        all.extend(checks(keys));
        all.extend([
            full("RL.CHECK granted, limit 1,000, full log", keys, 1_000),
            of("RL.CHECK granted, 8 windows, the 2nd", keys, &eight)
                .after_itself(1)
                .refunded(),
            mcheck(MCHECK_TWO, keys, 2),
            mcheck("RL.MCHECK of 100 keys, the 5th", keys, 100),
            of(LUA_LOG, keys, SORTED_SET)
                .after(1, entries(50))
                .renewed(),
        ]);
    }
    all.push(of("RL.CHECK granted, 8 windows, full logs", Thousand, &eight).after_itself(FULL));
    all
}

fn checks(keys: Keys) -> [Workload; 5] {
    [
        nth(CHECK_SECOND, keys, 10, 2),
        nth(CHECK_FIFTH, keys, 10, 5),
        nth(CHECK_TENTH, keys, 10, 10),
        nth(CHECK_100_TENTH, keys, 100, 10),
        full(CHECK_100_FULL, keys, 100),
    ]
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
    written.extend([Keys::Thousand, Keys::HundredThousand].map(checks).concat());
    written
}

/// redis-cell's command on a server of its own, with what our own rows have.
pub fn of_peer() -> Vec<Workload> {
    let mut peers = [Keys::One, Keys::HundredThousand, Keys::New]
        .map(throttle)
        .to_vec();
    peers.extend([Keys::One, Keys::HundredThousand].map(throttle_denied));
    peers
}
