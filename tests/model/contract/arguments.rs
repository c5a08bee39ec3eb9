//! Command lines: what they mean, and how those that mean nothing are refused.

use super::bucket::Rate;
use super::limiter::{Mode, Parameters, Request};

/// What a command line asks for.
#[derive(Debug)]
pub enum Command {
    /// `RL.CHECK`, `RL.GCRA`: of one key.
    Decide {
        key: String,
        parameters: Parameters,
        request: Request,
    },
    /// `RL.MCHECK`.
    DecideAll(Vec<(String, Parameters, Request)>),
    /// `CL.THROTTLE`.
    Throttle {
        key: String,
        rate: Rate,
        quantity: i128,
    },
    Peek {
        key: String,
        cost: i128,
    },
    Info {
        key: String,
    },
    Refund {
        key: String,
        units: i128,
        receipt: Option<i128>,
    },
    Reset {
        keys: Vec<String>,
    },
}

const MAX: i128 = 4_294_967_295;
const SYNTAX: &str = "ERR syntax error";

/// A text of an error, or as much of it as the contract says.
pub type Refused = String;

fn integer(word: &str, name: &str, from: i128, to: i128) -> Result<i128, Refused> {
    digits(word)
        .filter(|number| (from..=to).contains(number))
        .ok_or_else(|| format!("ERR {name} must be an integer from {from} to {to}"))
}

/// Digits only, no sign, no leading zero.
fn digits(word: &str) -> Option<i128> {
    let plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

/// In microseconds.
fn duration(word: &str, name: &str) -> Result<i128, Refused> {
    const DAY: i128 = 86_400_000;
    let split = word
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(word.len());
    let (number, unit) = word.split_at(split);
    let unit = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(DAY),
        "w" => Some(7 * DAY),
        _ => None,
    };
    let millis = digits(number).zip(unit).map(|(number, unit)| number * unit);
    millis
        .filter(|millis| (1..=3_650 * DAY).contains(millis))
        .map(|millis| 1_000 * millis)
        .ok_or_else(|| format!("ERR {name} must be from 1ms to 10 years: …"))
}

/// The words that are left.
struct Words<'a>(&'a [String]);

impl Words<'_> {
    fn next(&mut self) -> Result<String, Refused> {
        let (first, rest) = self.0.split_first().ok_or(SYNTAX)?;
        self.0 = rest;
        Ok(first.clone())
    }

    fn starts_with_digit(&self) -> bool {
        self.0
            .first()
            .is_some_and(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))
    }
}

/// The options of a command, each at most once.
#[derive(Default)]
struct Options {
    seen: Vec<String>,
    burst: Option<i128>,
    cost: Option<i128>,
    costs: Option<Vec<i128>>,
    keep: Option<i128>,
    at_most: bool,
    force: bool,
    max_wait: Option<i128>,
    block: Option<i128>,
    up_to: Option<i128>,
    receipt: bool,
    renew: Option<i128>,
}

impl Options {
    fn parse(words: &mut Words, allowed: &[&str], keys: usize) -> Result<Self, Refused> {
        let mut options = Self::default();
        while !words.0.is_empty() {
            let name = words.next()?.to_uppercase();
            if !allowed.contains(&name.as_str()) {
                return Err(SYNTAX.into());
            }
            if options.seen.contains(&name) {
                // Its second value may be wrong, too.
                return Err("ERR …".into());
            }
            match name.as_str() {
                "BURST" => options.burst = Some(integer(&words.next()?, "burst", 1, MAX)?),
                "COST" => options.cost = Some(integer(&words.next()?, "cost", 1, MAX)?),
                "KEEP" => options.keep = Some(integer(&words.next()?, "keep", 0, MAX)?),
                "ATMOST" => options.at_most = true,
                "FORCE" => options.force = true,
                "MAXWAIT" => options.max_wait = Some(duration(&words.next()?, "maxwait")?),
                "BLOCK" => options.block = Some(duration(&words.next()?, "block")?),
                "UPTO" => options.up_to = Some(duration(&words.next()?, "upto")?),
                "RECEIPT" => options.receipt = true,
                "RENEW" => {
                    options.renew = Some(integer(&words.next()?, "receipt", 0, i64::MAX.into())?)
                }
                "COSTS" => {
                    let mut costs = Vec::new();
                    while words.starts_with_digit() {
                        costs.push(
                            integer(&words.next()?, "costs", 0, MAX)
                                .map_err(|error| error + " …")?,
                        );
                    }
                    if costs.len() != keys || costs.iter().all(|&cost| cost == 0) {
                        return Err("ERR costs must be an integer from 0 to 4294967295 …".into());
                    }
                    options.costs = Some(costs);
                }
                _ => unreachable!(),
            }
            options.seen.push(name);
        }
        let has = |name: &str| options.seen.iter().any(|seen| seen == name);
        for [one, other] in [
            ["ATMOST", "FORCE"],
            ["ATMOST", "MAXWAIT"],
            ["FORCE", "MAXWAIT"],
            ["RECEIPT", "RENEW"],
            ["COST", "COSTS"],
            ["FORCE", "BLOCK"],
            ["KEEP", "FORCE"],
            ["KEEP", "MAXWAIT"],
        ] {
            if has(one) && has(other) {
                return Err(SYNTAX.into());
            }
        }
        match (options.block, options.up_to) {
            (None, Some(_)) => Err(SYNTAX.into()),
            (Some(block), Some(up_to)) if up_to < block => {
                Err("ERR upto must be at least as long as block".into())
            }
            _ => Ok(options),
        }
    }

    fn request(&self) -> Request {
        let mode = match (self.at_most, self.force, self.max_wait) {
            (true, ..) => Mode::AtMost,
            (_, true, _) => Mode::Force,
            (.., Some(longest)) => Mode::MaxWait(longest),
            _ => Mode::AllOrNothing,
        };
        Request {
            cost: self.cost.unwrap_or(1),
            keep: self.keep.unwrap_or(0),
            mode,
            block: self.block.map(|block| (block, self.up_to)),
            receipt: self.receipt || self.renew.is_some(),
            renew: self.renew,
        }
    }
}

fn pair(words: &mut Words) -> Result<(i128, i128), Refused> {
    if words.0.len() < 2 {
        return Err(SYNTAX.into());
    }
    let limit = integer(&words.next()?, "limit", 1, MAX)?;
    Ok((limit, duration(&words.next()?, "window")?))
}

fn rate(limit: i128, window: i128, burst: i128) -> Result<Rate, &'static str> {
    const CENTURY: i128 = 100 * 365 * 86_400_000_000;
    if limit > 1_000 * window {
        return Err("fast");
    }
    if burst * window > CENTURY * limit {
        return Err("slow");
    }
    Ok(Rate {
        limit,
        window,
        burst,
    })
}

/// What a line means.
pub fn parse(line: &[String]) -> Result<Command, Refused> {
    let name = line[0].to_lowercase();
    let (least, most) = match name.as_str() {
        "rl.peek" | "rl.reset" => (1, usize::MAX),
        "rl.info" => (1, 1),
        "rl.refund" => (2, usize::MAX),
        "cl.throttle" => (4, usize::MAX),
        "rl.mcheck" => (4, usize::MAX),
        _ => (3, usize::MAX),
    };
    if !(least..=most).contains(&(line.len() - 1)) {
        return Err(format!(
            "ERR wrong number of arguments for '{name}' command"
        ));
    }
    let mut words = Words(&line[1..]);
    if name == "rl.mcheck" {
        return many(&mut words);
    }
    if name == "rl.reset" {
        return Ok(Command::Reset {
            keys: words.0.to_vec(),
        });
    }
    let key = words.next()?;
    Ok(match name.as_str() {
        "rl.check" => {
            let mut pairs = vec![pair(&mut words)?];
            while words.starts_with_digit() {
                let (limit, window) = pair(&mut words)?;
                if pairs.iter().any(|pair| pair.1 == window) {
                    return Err("ERR window must differ from the other windows named".into());
                }
                if pairs.len() == 8 {
                    return Err("ERR window must be named at most 8 times".into());
                }
                pairs.push((limit, window));
            }
            let allowed = [
                "COST", "KEEP", "ATMOST", "FORCE", "BLOCK", "UPTO", "RECEIPT", "RENEW",
            ];
            let request = Options::parse(&mut words, &allowed, 1)?.request();
            Command::Decide {
                key,
                parameters: Parameters::Windows(pairs),
                request,
            }
        }
        "rl.gcra" => {
            let (limit, window) = pair(&mut words)?;
            let allowed = [
                "BURST", "COST", "KEEP", "ATMOST", "FORCE", "MAXWAIT", "BLOCK", "UPTO",
            ];
            let options = Options::parse(&mut words, &allowed, 1)?;
            let rate =
                rate(limit, window, options.burst.unwrap_or(limit)).map_err(|what| match what {
                    "fast" => "ERR limit must be at most one unit per nanosecond of the window",
                    _ => "ERR burst must refill within 100 years (burst x window / limit)",
                })?;
            Command::Decide {
                key,
                parameters: Parameters::Rate(rate),
                request: options.request(),
            }
        }
        "cl.throttle" => {
            let burst = integer(&words.next()?, "max_burst", 0, MAX - 1)? + 1;
            let count = integer(&words.next()?, "count_per_period", 1, MAX)?;
            let period = digits(&words.next()?).filter(|period| (1..=315_360_000).contains(period));
            let period = period.ok_or("ERR period …")?;
            let quantity = match words.next() {
                Ok(word) => integer(&word, "quantity", 0, MAX)?,
                Err(_) => 1,
            };
            if !words.0.is_empty() {
                return Err(SYNTAX.into());
            }
            let rate = rate(count, 1_000_000 * period, burst).map_err(|what| match what {
                "fast" => "ERR count_per_period …",
                _ => "ERR max_burst …",
            })?;
            Command::Throttle {
                key,
                rate,
                quantity,
            }
        }
        "rl.peek" => Command::Peek {
            key,
            cost: Options::parse(&mut words, &["COST"], 1)?.cost.unwrap_or(1),
        },
        "rl.info" => Command::Info { key },
        "rl.refund" => {
            let units = integer(&words.next()?, "units", 1, MAX)?;
            let receipt = match words.next() {
                Err(_) => None,
                Ok(word) if word.eq_ignore_ascii_case("RECEIPT") => {
                    Some(integer(&words.next()?, "receipt", 0, i64::MAX.into())?)
                }
                Ok(_) => return Err(SYNTAX.into()),
            };
            if !words.0.is_empty() {
                return Err(SYNTAX.into());
            }
            Command::Refund {
                key,
                units,
                receipt,
            }
        }
        _ => unreachable!("{name}"),
    })
}

/// `RL.MCHECK`.
fn many(words: &mut Words) -> Result<Command, Refused> {
    let count = digits(&words.next()?)
        .filter(|count| (1..=128).contains(count))
        .ok_or("ERR …")?;
    if words.0.len() < 3 * usize::try_from(count).unwrap() {
        // The server itself may say so.
        return Err("ERR …".into());
    }
    let keys = (0..count)
        .map(|_| words.next())
        .collect::<Result<Vec<_>, _>>()?;
    let pairs = (0..count)
        .map(|_| pair(words))
        .collect::<Result<Vec<_>, _>>()?;
    if (1..keys.len()).any(|at| keys[..at].contains(&keys[at])) {
        return Err("ERR key must differ from the other keys named".into());
    }
    let options = Options::parse(words, &["COST", "COSTS", "FORCE", "RECEIPT"], keys.len())?;
    let asked = keys
        .into_iter()
        .zip(pairs)
        .enumerate()
        .map(|(at, (key, pair))| {
            let mut request = options.request();
            if let Some(costs) = &options.costs {
                request.cost = costs[at];
            }
            (key, Parameters::Windows(vec![pair]), request)
        });
    Ok(Command::DecideAll(asked.collect()))
}
