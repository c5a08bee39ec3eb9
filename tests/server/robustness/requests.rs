//! Random requests to the module, some valid and most not, and what must be true of every reply.

use std::time::Duration;

use fastrand::Rng;
use redis::Value;

/// A command and its arguments.
pub type Line = Vec<Vec<u8>>;

/// Some of these keys hold what is no limiter.
const KEYS: &[&str] = &[
    "a", "b", "c", "d", "e", "text", "list", "int", "hash", "zset", "set", "stream", "hll", "fake",
];
const COMMANDS: &[&str] = &[
    "RL.CHECK",
    "RL.GCRA",
    "RL.MCHECK",
    "RL.PEEK",
    "RL.INFO",
    "RL.REFUND",
    "RL.RESET",
    "RL.TOP",
    "CL.THROTTLE",
];
const LIMITS: &[&str] = &["1", "2", "5", "40", "100", "1000", "4294967295"];
const WINDOWS: &[&str] = &["1ms", "3ms", "50ms", "1s", "60", "1h", "3650d"];

/// The greatest number of units.
const UNITS: i64 = 4_294_967_295;
/// No wait is longer, in milliseconds: a bucket refills within a century, and its debt in another one.
const LONGEST_WAIT: i64 = 300 * 365 * 24 * 3_600_000;

fn pick(random: &mut Rng, words: &[&str]) -> Vec<u8> {
    words[random.usize(..words.len())].as_bytes().to_vec()
}

/// The name of a key.
pub fn key(random: &mut Rng) -> Vec<u8> {
    pick(random, KEYS)
}

/// Any bytes, fewer than `end`.
pub fn bytes(random: &mut Rng, end: usize) -> Vec<u8> {
    let len = random.usize(..end);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

/// A word that may stand anywhere in a command line.
fn word(random: &mut Rng) -> Vec<u8> {
    match random.u8(..22) {
        0..4 => key(random),
        4..10 => pick(
            random,
            &[
                "1",
                "2",
                "3",
                "5",
                "10",
                "33",
                "60",
                "100",
                "1000",
                "4294967295",
                "1000000",
            ],
        ),
        10..14 => pick(
            random,
            &["1ms", "7ms", "100ms", "1s", "5m", "1h", "3650d", "4w"],
        ),
        14..18 => pick(
            random,
            &[
                "COST", "cost", "COSTS", "BURST", "KEEP", "ATMOST", "FORCE", "MAXWAIT", "BLOCK",
                "UPTO", "RECEIPT", "RENEW", "DB",
            ],
        ),
        18 => pick(
            random,
            &[
                "0",
                "-1",
                "+1",
                "007",
                "4294967296",
                "1.5",
                "NaN",
                "99999999999999999999999",
                "10y",
                "",
                "\u{663}",
            ],
        ),
        19 => bytes(random, 40),
        // An error that repeats it is found.
        20 => std::iter::repeat_with(|| random.lowercase() as u8)
            .take(12)
            .collect(),
        _ => vec![b'9'; 5_000],
    }
}

/// A receipt, perhaps of something that was admitted at `now`, if the clock stands still.
fn receipt(random: &mut Rng, now: Duration) -> Vec<u8> {
    let now = i64::try_from(now.as_micros()).unwrap();
    let micros = now + 1_000 * random.i64(-5_000..5_000);
    micros.to_string().into_bytes()
}

fn limit_or_zero(random: &mut Rng) -> Vec<u8> {
    if random.bool() {
        pick(random, LIMITS)
    } else {
        b"0".to_vec()
    }
}

fn option(random: &mut Rng, now: Duration) -> Line {
    let option = |name: &[u8], value| vec![name.to_vec(), value];
    match random.u8(..8) {
        0 => option(b"COST", pick(random, LIMITS)),
        1 => option(b"BURST", pick(random, LIMITS)),
        2 => option(b"KEEP", limit_or_zero(random)),
        3 => {
            let block = option(b"BLOCK", pick(random, &["1ms", "50ms", "2s"]));
            let up_to = option(b"UPTO", pick(random, &["1ms", "2s", "1h"]));
            [block, if random.bool() { up_to } else { vec![] }].concat()
        }
        4 => option(b"MAXWAIT", pick(random, WINDOWS)),
        5 => vec![pick(random, &["ATMOST", "FORCE", "RECEIPT"])],
        6 => option(b"RENEW", receipt(random, now)),
        _ => {
            let count = random.usize(1..5);
            let costs = std::iter::repeat_with(|| limit_or_zero(random)).take(count);
            [b"COSTS".to_vec()].into_iter().chain(costs).collect()
        }
    }
}

fn options(random: &mut Rng, now: Duration) -> Line {
    let count = random.usize(..3);
    std::iter::repeat_with(|| option(random, now))
        .take(count)
        .flatten()
        .collect()
}

fn rule(random: &mut Rng) -> Line {
    vec![pick(random, LIMITS), pick(random, WINDOWS)]
}

fn rules(random: &mut Rng, count: usize) -> Line {
    std::iter::repeat_with(|| rule(random))
        .take(count)
        .flatten()
        .collect()
}

/// A command line: sometimes a valid one, mostly one that is not. Receipts are of about `now`.
pub fn line(random: &mut Rng, now: Duration) -> Line {
    let name = |name: &str| vec![name.as_bytes().to_vec()];
    match random.u8(..18) {
        0..3 => {
            let count = random.usize(..12);
            let words = std::iter::repeat_with(|| word(random)).take(count);
            let words: Line = words.collect();
            [vec![pick(random, COMMANDS)], words].concat()
        }
        3..6 => {
            let windows = random.usize(1..10);
            let rules = rules(random, windows);
            [
                name("RL.CHECK"),
                vec![key(random)],
                rules,
                options(random, now),
            ]
            .concat()
        }
        6..9 => {
            let rule = rule(random);
            [
                name("RL.GCRA"),
                vec![key(random)],
                rule,
                options(random, now),
            ]
            .concat()
        }
        9 => [name("RL.PEEK"), vec![key(random)]].concat(),
        10 => [name("RL.RESET"), vec![key(random)]].concat(),
        11 => [name("RL.INFO"), vec![key(random)]].concat(),
        12 => {
            let count = vec![pick(random, LIMITS)];
            let database = vec![b"DB".to_vec(), pick(random, &["0", "1", "5"])];
            let [count, database] =
                [count, database].map(|words| if random.bool() { words } else { vec![] });
            [name("RL.TOP"), count, database].concat()
        }
        13 => [name("RL.REFUND"), vec![key(random), pick(random, LIMITS)]].concat(),
        14 => {
            let receipt = receipt(random, now);
            let units = vec![key(random), pick(random, LIMITS)];
            [name("RL.REFUND"), units, vec![b"RECEIPT".to_vec(), receipt]].concat()
        }
        15 => {
            let quota = vec![key(random), pick(random, LIMITS), pick(random, LIMITS)];
            let period = pick(random, &["1", "60", "86400"]);
            let quantity = pick(random, &["0", "1", "2", "50"]);
            [name("CL.THROTTLE"), quota, vec![period, quantity]].concat()
        }
        _ => mcheck(random, now),
    }
}

/// `RL.MCHECK`, mostly with as many keys as it says, and with options that it takes.
fn mcheck(random: &mut Rng, now: Duration) -> Line {
    let count = random.usize(1..5);
    let numkeys = match random.u8(..6) {
        0 => pick(random, &["1", "2", "3", "4", "0", "129"]),
        _ => count.to_string().into_bytes(),
    };
    let keys: Line = match random.u8(..4) {
        0 => std::iter::repeat_with(|| key(random)).take(count).collect(),
        _ => {
            // These hold limiters, mostly, and differ.
            let mut keys = KEYS[..5].to_vec();
            random.shuffle(&mut keys);
            keys[..count]
                .iter()
                .map(|key| key.as_bytes().to_vec())
                .collect()
        }
    };
    let options = match random.u8(..4) {
        0 => options(random, now),
        1 => vec![b"COST".to_vec(), pick(random, LIMITS)],
        2 => {
            let costs = std::iter::repeat_with(|| limit_or_zero(random)).take(count);
            [b"COSTS".to_vec()].into_iter().chain(costs).collect()
        }
        _ => vec![pick(random, &["FORCE", "RECEIPT"])],
    };
    let head = vec![b"RL.MCHECK".to_vec(), numkeys];
    [head, keys, rules(random, count), options].concat()
}

/// The options of a line that was not refused.
fn options_of(line: &[Vec<u8>]) -> &[Vec<u8>] {
    // A key may have the name of an option.
    if line[0].eq_ignore_ascii_case(b"rl.mcheck") {
        let keys: usize = std::str::from_utf8(&line[1]).unwrap().parse().unwrap();
        &line[2 + keys..]
    } else {
        &line[2..]
    }
}

fn has_option(line: &[Vec<u8>], name: &str) -> bool {
    options_of(line)
        .iter()
        .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn integers<const N: usize>(reply: &Value) -> Result<[i64; N], &'static str> {
    let Value::Array(fields) = reply else {
        return Err("no array");
    };
    let integers: Option<Vec<_>> = fields
        .iter()
        .map(|field| match field {
            Value::Int(integer) => Some(*integer),
            _ => None,
        })
        .collect();
    let integers = integers.ok_or("not only integers")?;
    integers.try_into().map_err(|_| "another number of fields")
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The five integers of a row that may have a receipt behind them.
fn row(line: &[Vec<u8>], reply: &Value) -> Result<[i64; 5], &'static str> {
    let row = if has_option(line, "receipt") || has_option(line, "renew") {
        let [fields @ .., receipt] = integers::<6>(reply)?;
        ensure(receipt >= 0, "a negative receipt")?;
        let charged = receipt > 0 || fields[0] == 0 || has_option(line, "force");
        ensure(charged, "granted without a receipt")?;
        ensure(receipt == 0 || fields[0] > 0, "a receipt of nothing")?;
        fields
    } else {
        integers::<5>(reply)?
    };
    ensure((0..=UNITS).contains(&row[0]), "granted")?;
    ensure((1..=UNITS).contains(&row[1]), "limit")?;
    ensure((0..=row[1]).contains(&row[2]), "remaining")?;
    ensure((-1..=LONGEST_WAIT).contains(&row[3]), "retry_after")?;
    ensure((0..=LONGEST_WAIT).contains(&row[4]), "reset_after")?;
    Ok(row)
}

/// The names and values of a map, which RESP2 has as a flat array.
fn map(reply: &Value) -> Result<Vec<(&str, &Value)>, &'static str> {
    let pairs: Vec<_> = match reply {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Value::Array(flat) if flat.len().is_multiple_of(2) => {
            flat.chunks(2).map(|pair| (&pair[0], &pair[1])).collect()
        }
        _ => return Err("no map"),
    };
    pairs
        .into_iter()
        .map(|(name, value)| match name {
            Value::BulkString(name) => std::str::from_utf8(name).ok().zip(Some(value)),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or("a map's names")
}

fn check_info(reply: &Value) -> Result<(), &'static str> {
    let [
        ("algorithm", Value::BulkString(algorithm)),
        ("blocked_for", Value::Int(0..=LONGEST_WAIT)),
        ("windows", Value::Array(windows)),
        ("blocks", Value::Int(0..=UNITS)),
    ] = map(reply)?[..]
    else {
        return Err("its fields");
    };
    let names = match algorithm.as_slice() {
        b"gcra" => &["limit", "window", "burst"] as &[_],
        b"sliding-window" => &["limit", "window"],
        _ => return Err("its algorithm"),
    };
    ensure((1..=8).contains(&windows.len()), "the number of windows")?;
    for window in windows {
        let fields = map(window)?;
        let mut expected = names.to_vec();
        expected.extend([
            "used",
            "remaining",
            "retry_after",
            "next_after",
            "reset_after",
        ]);
        let given: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        ensure(given == expected, "the fields of a window")?;
        for (name, value) in fields {
            let range = match name {
                "retry_after" => -1..=LONGEST_WAIT,
                // After a change of the limit it is measured in other units.
                "used" => 0..=i64::MAX,
                _ => 0..=LONGEST_WAIT,
            };
            let is_within = matches!(value, Value::Int(value) if range.contains(value));
            ensure(is_within, "a field of a window")?;
        }
    }
    Ok(())
}

fn check_top(rows: &[Value]) -> Result<(), &'static str> {
    ensure(rows.len() <= 1_000, "the number of keys")?;
    for row in rows {
        let Value::Array(row) = row else {
            return Err("a row");
        };
        let [
            Value::BulkString(key),
            Value::Int(0..),
            Value::Int(denials),
            Value::Int(error),
        ] = row.as_slice()
        else {
            return Err("the fields of a row");
        };
        ensure(key.len() <= 128, "the length of a key")?;
        ensure((0..=*denials).contains(error), "denials and their error")?;
    }
    Ok(())
}

/// An error begins with a code, and repeats no argument. (A short one may be a word of the text by chance.)
fn check_error(line: &[Vec<u8>], error: &redis::ServerError) -> Result<(), &'static str> {
    let text = error.details().unwrap_or_default();
    ensure(matches!(error.code(), "ERR" | "WRONGTYPE"), "its code")?;
    let repeats = |argument: &Vec<u8>| {
        let ranges: [&[u8]; 2] = [b"4294967295", b"9223372036854775807"];
        argument.len() >= 8
            && !ranges.contains(&argument.as_slice())
            && memmem(text.as_bytes(), argument)
    };
    ensure(!line[1..].iter().any(repeats), "it repeats an argument")
}

fn memmem(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn check(line: &[Vec<u8>], reply: &Value) -> Result<(), &'static str> {
    let name = line[0].to_ascii_lowercase();
    match (name.as_slice(), reply) {
        (_, Value::ServerError(error)) => check_error(line, error),
        (b"rl.mcheck", Value::Array(rows)) => {
            let rows: Result<Vec<_>, _> = rows.iter().map(|one| row(line, one)).collect();
            let rows = rows?;
            let granted = rows.iter().any(|row| row[0] > 0);
            // Some may be charged nothing.
            let costs = has_option(line, "costs");
            let all_or_none = rows.iter().all(|row| costs || (row[0] > 0) == granted);
            ensure(all_or_none, "all or none")?;
            let nobody_waits = rows.iter().all(|row| row[3] == 0);
            ensure(granted == nobody_waits, "granted, or a wait")
        }
        (b"cl.throttle", reply) => {
            let row = integers::<5>(reply)?;
            ensure(matches!(row[0], 0 | 1), "limited")?;
            ensure((1..=UNITS).contains(&row[1]), "limit")?;
            ensure((0..=row[1]).contains(&row[2]), "remaining")?;
            let waits = (1..=LONGEST_WAIT).contains(&row[3]);
            ensure(row[3] == -1 || waits && row[0] == 1, "retry_after")?;
            ensure((0..=LONGEST_WAIT).contains(&row[4]), "reset_after")
        }
        (b"rl.peek" | b"rl.info" | b"rl.refund", Value::Nil) => Ok(()),
        (b"rl.info", reply) => check_info(reply),
        (b"rl.top", Value::Array(rows)) => check_top(rows),
        (b"rl.reset", Value::Int(count)) => {
            let keys = 0..=i64::try_from(line.len() - 1).unwrap();
            ensure(keys.contains(count), "the number of keys")
        }
        (b"rl.check" | b"rl.gcra" | b"rl.peek" | b"rl.refund", reply) => {
            let reads = matches!(name.as_slice(), b"rl.peek" | b"rl.refund");
            let [granted, _, _, retry_after, _] =
                row(if reads { &line[..2] } else { line }, reply)?;
            // A refund tells when the next unit would be granted, whatever was given back. One that waits for its turn
            // is granted.
            let waits =
                name == b"rl.refund" || !reads && granted > 0 && has_option(line, "maxwait");
            ensure(
                waits || (granted > 0) == (retry_after == 0),
                "granted, or a wait",
            )
        }
        _ => Err("its type"),
    }
}

/// What must be true of every reply. On failure, what is not.
pub fn check_reply(line: &[Vec<u8>], reply: &Value) -> Result<(), String> {
    check(line, reply).map_err(|what| format!("{}: {what}: {reply:?}", shown(line)))
}

/// A line as `redis-cli` takes it.
pub fn shown(line: &[Vec<u8>]) -> String {
    let word = |word: &Vec<u8>| {
        if !word.is_empty()
            && word
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(byte))
        {
            return String::from_utf8(word.clone()).unwrap();
        }
        let escaped = word.iter().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(*byte)),
            b' '..=b'~' => char::from(*byte).to_string(),
            byte => format!("\\x{byte:02x}"),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    line.iter().map(word).collect::<Vec<_>>().join(" ")
}
