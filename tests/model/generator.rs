//! Random histories. Each has a few keys, windows and limits of its own and a tempo, so that requests meet; and it is told what
//! the contract answers, so that clocks are set to where something changes, and receipts are those of admissions.

use fastrand::Rng;

use crate::contract::{Contract, Reply};
use crate::harness::clock::Clock;
use crate::stage::micros;
use crate::step::{KEYS, Step};

/// Windows and what they are in microseconds.
const WINDOWS: [(&str, i128); 14] = [
    ("1ms", 1_000),
    ("2ms", 2_000),
    ("7ms", 7_000),
    ("50ms", 50_000),
    ("100ms", 100_000),
    ("1s", 1_000_000),
    ("1", 1_000_000),
    ("1500ms", 1_500_000),
    ("10", 10_000_000),
    ("1m", 60_000_000),
    ("60s", 60_000_000),
    ("1h", 3_600_000_000),
    ("4w", 2_419_200_000_000),
    ("3650d", 315_360_000_000_000),
];
const LIMITS: [i128; 16] = [
    1,
    2,
    3,
    5,
    7,
    10,
    31,
    32,
    33,
    40,
    64,
    65,
    100,
    1_000,
    1_000_000,
    4_294_967_295,
];
const JUNK: [&str; 14] = [
    "0",
    "-1",
    "+1",
    "01",
    "x",
    "4294967296",
    "99999999999999999999",
    "1.5",
    "5y",
    "COST",
    "FORCE",
    "BLOCK",
    "RENEW",
    "7",
];

/// What a key is usually asked.
struct Habit {
    bucket: bool,
    /// Limits and windows.
    pairs: Vec<(i128, usize)>,
    burst: Option<i128>,
}

/// A history that grows.
pub struct Generator {
    rng: Rng,
    contract: Contract,
    now: i128,
    history: Vec<Step>,
    windows: Vec<usize>,
    limits: Vec<i128>,
    habits: Vec<Habit>,
    /// Moments at which something may change, in microseconds after the start.
    moments: Vec<i128>,
    receipts: Vec<i128>,
    /// How often, of 100.
    clock: u32,
    changes: u32,
    options: u32,
    receipts_wanted: u32,
    /// The longest ordinary step of the clock.
    tempo: i128,
    /// Whether one key is asked so often that groups join.
    crowded: bool,
}

impl Generator {
    /// A history of so many steps.
    pub fn history(seed: u64, steps: usize) -> Vec<Step> {
        let mut generator = Self::new(Rng::with_seed(seed));
        while generator.history.len() < steps {
            generator.step();
        }
        generator.history
    }

    fn new(mut rng: Rng) -> Self {
        let windows: Vec<usize> = {
            let mut all: Vec<usize> = (0..WINDOWS.len()).collect();
            rng.shuffle(&mut all);
            let few = if rng.u32(..5) == 0 {
                rng.usize(9..12)
            } else {
                rng.usize(1..5)
            };
            all.truncate(few);
            all
        };
        let limits = (0..rng.usize(1..4))
            .map(|_| LIMITS[rng.usize(..LIMITS.len())])
            .collect::<Vec<_>>();
        let longest = windows
            .iter()
            .map(|&window| WINDOWS[window].1)
            .max()
            .unwrap();
        let tempo = match rng.u32(..4) {
            0 => 3,
            1 => longest / 200 + 1,
            2 => longest / 20 + 1,
            _ => longest / 2 + 1,
        };
        let mut generator = Self {
            contract: Contract::default(),
            now: 0,
            history: Vec::new(),
            windows,
            limits,
            habits: Vec::new(),
            moments: Vec::new(),
            receipts: Vec::new(),
            clock: [10, 30, 50][rng.usize(..3)],
            changes: [0, 3, 20, 60][rng.usize(..4)],
            options: [5, 20, 50][rng.usize(..3)],
            receipts_wanted: [0, 20, 60, 95][rng.usize(..4)],
            tempo,
            crowded: false,
            rng,
        };
        generator.contract.set_clock(micros(0));
        if generator.chance(33) {
            generator.crowd();
        }
        let keys = if generator.crowded {
            1
        } else {
            generator.rng.usize(1..5)
        };
        for _ in 0..keys {
            let bucket = !generator.crowded && generator.chance(35);
            let pairs = generator.pairs(bucket);
            let burst = (bucket && generator.rng.bool()).then(|| generator.limit());
            generator.habits.push(Habit {
                bucket,
                pairs,
                burst,
            });
        }
        generator
    }

    /// Many more than 32 admissions in a window.
    fn crowd(&mut self) {
        self.crowded = true;
        self.windows.truncate(2);
        self.windows.sort_unstable();
        self.limits = (0..2)
            .map(|_| [60, 100, 300, 1_000][self.rng.usize(..4)])
            .collect();
        self.tempo = WINDOWS[self.windows[0]].1 / 60 + 1;
        self.clock = 45;
        self.receipts_wanted = self.receipts_wanted.max(60);
        self.changes = self.changes.min(3);
    }

    fn chance(&mut self, of_100: u32) -> bool {
        self.rng.u32(..100) < of_100
    }

    fn limit(&mut self) -> i128 {
        let at = self.rng.usize(..self.limits.len());
        self.limits[at]
    }

    fn window(&mut self) -> usize {
        let at = self.rng.usize(..self.windows.len());
        self.windows[at]
    }

    /// Limits and windows of different lengths.
    fn pairs(&mut self, bucket: bool) -> Vec<(i128, usize)> {
        let count = match self.rng.u32(..10) {
            _ if bucket => 1,
            0..6 => 1,
            6..9 => self.rng.usize(2..4),
            _ => 8,
        };
        let mut pairs: Vec<(i128, usize)> = Vec::new();
        for _ in 0..count {
            let window = self.window();
            if pairs
                .iter()
                .all(|&(_, other)| WINDOWS[other].1 != WINDOWS[window].1)
            {
                pairs.push((self.limit(), window));
            }
        }
        pairs
    }

    fn key(&mut self) -> usize {
        self.rng.usize(..self.habits.len())
    }

    /// Mostly small, sometimes about the limit.
    fn cost(&mut self, limit: i128) -> i128 {
        let about =
            |rng: &mut Rng, number: i128| (number + rng.i128(-1..=1)).clamp(1, 4_294_967_295);
        match self.rng.u32(..10) {
            _ if self.crowded && self.chance(60) => 1,
            _ if self.crowded && self.chance(80) => self.rng.i128(1..=limit / 16 + 1),
            0..5 => 1,
            5..7 => self.rng.i128(1..4),
            7 => self.rng.i128(1..=(limit / 8).max(1)),
            8 => about(&mut self.rng, limit / 2),
            _ => about(&mut self.rng, limit),
        }
    }

    fn duration(&mut self) -> String {
        match self.rng.u32(..3) {
            0 => format!("{}ms", self.rng.u32(1..50)),
            _ => {
                let window = self.window();
                WINDOWS[window].0.to_owned()
            }
        }
    }

    fn receipt(&mut self) -> String {
        if self.receipts.is_empty() || self.chance(5) {
            return (micros(self.now) - self.rng.i128(-5..5_000).max(0)).to_string();
        }
        let recent = self.receipts.len().min(100);
        let at = self.receipts.len() - 1 - self.rng.usize(..recent);
        (self.receipts[at] - i128::from(self.chance(5))).to_string()
    }

    fn step(&mut self) {
        if self.chance(self.clock) {
            self.move_clock();
        } else if self.chance(if self.crowded { 1 } else { 3 }) {
            let step = self.intrusion();
            self.take(step);
        } else {
            let mut words = self.request();
            if self.chance(2) {
                self.spoil(&mut words);
            }
            self.take(Step::Command(words));
        }
    }

    /// Remembers a step, and what it leads to.
    fn take(&mut self, step: Step) {
        match &step {
            Step::Clock(now) => {
                self.now = *now;
                self.contract.set_clock(micros(*now));
            }
            Step::Reload => {}
            Step::Restore(from, to) | Step::Rewrite(from, to) => self.contract.copy(from, to),
            Step::Command(words) if step.is_ours() => {
                let reply = self.contract.ask(words);
                self.learn(&reply);
            }
            Step::Command(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.contract.server(&words);
            }
        }
        self.history.push(step);
    }

    fn learn(&mut self, reply: &Reply) {
        let Reply::Array(fields) = reply else { return };
        let integers: Vec<i128> = fields
            .iter()
            .filter_map(|field| match field {
                Reply::Int(number) => Some(*number),
                other => {
                    self.learn(other);
                    None
                }
            })
            .collect();
        if let [_, _, _, retry_after, reset_after, receipt @ ..] = &integers[..] {
            self.moments
                .extend([retry_after, reset_after].map(|&millis| self.now + 1_000 * millis));
            self.receipts
                .extend(receipt.iter().filter(|&&receipt| receipt > 0));
        }
        let kept = self.moments.len().saturating_sub(12);
        self.moments.drain(..kept);
    }

    fn move_clock(&mut self) {
        let window = WINDOWS[self.window()].1;
        let to = match self.rng.u32(..20) {
            // Else all would have left the window again and again.
            0..6 if self.crowded => self.now + self.rng.i128(1..5),
            _ if self.crowded && self.chance(95) => self.now + self.rng.i128(0..=self.tempo),
            0..9 => self.now + self.rng.i128(0..=self.tempo),
            9 => self.now + self.rng.i128(0..3),
            10 => self.now + self.rng.i128(0..3_000),
            11 => self.now + 1_000 * self.rng.i128(0..50),
            12 => self.now + window + self.rng.i128(-1..=1),
            13 => self.now + self.rng.i128(0..=window),
            14 => self.now - self.rng.i128(0..=self.tempo),
            15 if self.chance(50) => self.now - self.rng.i128(0..=2 * window),
            _ => match self.rng.choice(&self.moments) {
                Some(&moment) => moment + [0, 0, -1, -1_000, 1][self.rng.usize(..5)],
                None => self.now,
            },
        };
        // Not before 1970, nor where the server's own sums end.
        const FAR: i128 = 1_600_000_000_000_000;
        self.take(Step::Clock(to.clamp(-FAR, FAR)));
    }

    /// What others do to keys.
    fn intrusion(&mut self) -> Step {
        let [one, other] =
            [self.key(), self.rng.usize(..KEYS.len())].map(|key| KEYS[key].to_owned());
        let soon = (micros(self.now) / 1_000 + self.rng.i128(1..100_000)).to_string();
        match self.rng.u32(..12) {
            0 => Step::Reload,
            1 => Step::Restore(one, other),
            2 => Step::Rewrite(one, other),
            3 => Step::command(&["COPY", &one, &other, "REPLACE"]),
            4 => Step::command(&["RENAME", &one, &other]),
            5 => Step::command(&["PERSIST", &one]),
            6 => Step::command(&["PEXPIREAT", &one, &soon]),
            7 => Step::command(&["DEL", &one]),
            8 => Step::command(&["SET", &other, "a-text-that-is-no-limiter"]),
            9 => Step::command(&["RPUSH", &other, "value"]),
            _ => {
                // What redis-cell would have stored.
                let tat = micros(self.now) + self.rng.i128(0..3_000_000);
                let off = [0, 0, 1_000, -1_000, 5_000][self.rng.usize(..5)];
                let expiry = (tat / 1_000 + off)
                    .max(micros(self.now) / 1_000 + 1)
                    .to_string();
                Step::command(&["SET", &one, &format!("{tat}000"), "PXAT", &expiry])
            }
        }
    }

    fn request(&mut self) -> Vec<String> {
        let key = self.key();
        let name = KEYS[key].to_owned();
        let limit = self.habits[key].pairs[0].0;
        match self.rng.u32(..100) {
            0..6 => {
                let cost = self.cost(limit).to_string();
                let words = ["RL.PEEK".into(), name, "COST".into(), cost];
                words[..if self.rng.bool() { 2 } else { 4 }].to_vec()
            }
            6..10 => vec!["RL.INFO".into(), name],
            10..12 if self.crowded && self.chance(95) => vec!["RL.INFO".into(), name],
            10..12 => {
                let other = self.key();
                let words = ["RL.RESET".into(), name, KEYS[other].into()];
                words[..if self.rng.bool() { 2 } else { 3 }].to_vec()
            }
            12..22 => {
                let mut words = vec!["RL.REFUND".into(), name, self.cost(limit).to_string()];
                if self.chance(self.receipts_wanted) {
                    words.extend(["RECEIPT".into(), self.receipt()]);
                }
                words
            }
            22..35 => self.request_to_many(),
            _ => self.request_to_one(key),
        }
    }

    fn request_to_one(&mut self, key: usize) -> Vec<String> {
        let bucket = self.habits[key].bucket != self.chance(1);
        let (pairs, burst) = if bucket != self.habits[key].bucket || self.chance(self.changes) {
            let burst = self.rng.bool().then(|| self.limit());
            (self.pairs(bucket), burst)
        } else {
            (self.habits[key].pairs.clone(), self.habits[key].burst)
        };
        let least = pairs.iter().map(|pair| pair.0).min().unwrap();
        let cost = self.cost(burst.unwrap_or(least));
        if bucket && self.chance(20) {
            let (limit, window) = pairs[0];
            let seconds = (WINDOWS[window].1 / 1_000_000).max(1);
            let burst = burst.unwrap_or(limit);
            let mut words = vec!["CL.THROTTLE".into(), KEYS[key].into()];
            words.extend([burst - 1, limit, seconds, cost - 1].map(|number| number.to_string()));
            words.truncate(if self.chance(30) { 5 } else { 6 });
            return words;
        }
        let mut words: Vec<String> = vec![
            if bucket { "RL.GCRA" } else { "RL.CHECK" }.into(),
            KEYS[key].into(),
        ];
        for (limit, window) in pairs {
            words.extend([limit.to_string(), WINDOWS[window].0.into()]);
        }
        if cost > 1 || self.chance(5) {
            words.extend(["COST".into(), cost.to_string()]);
        }
        if let Some(burst) = burst.filter(|_| bucket) {
            words.extend(["BURST".into(), burst.to_string()]);
        }
        if !bucket && self.chance(self.receipts_wanted) {
            if self.chance(30) {
                words.extend(["RENEW".into(), self.receipt()]);
            } else {
                words.push("RECEIPT".into());
            }
        }
        if self.chance(self.options) {
            match self.rng.u32(..4) {
                0 => words.push("force".into()),
                1 => words.push("ATMOST".into()),
                2 if bucket => words.extend(["MAXWAIT".into(), self.duration()]),
                _ => {
                    let keep = self.cost(least) - 1;
                    words.extend(["KEEP".into(), keep.to_string()]);
                }
            }
        }
        if self.chance(self.options) && !words.contains(&"force".into()) {
            words.extend(["BLOCK".into(), self.duration()]);
            if self.rng.bool() {
                words.extend(["UPTO".into(), self.duration()]);
            }
        }
        words
    }

    fn request_to_many(&mut self) -> Vec<String> {
        let mut keys: Vec<usize> = (0..self.habits.len())
            .filter(|&key| !self.habits[key].bucket)
            .collect();
        self.rng.shuffle(&mut keys);
        keys.truncate(self.rng.usize(1..4));
        if keys.is_empty() || self.chance(1) {
            keys = vec![self.key()];
        }
        let mut words = vec!["RL.MCHECK".into(), keys.len().to_string()];
        words.extend(keys.iter().map(|&key| KEYS[key].to_owned()));
        let mut least = i128::MAX;
        for &key in &keys {
            let pairs = if self.chance(self.changes) {
                self.pairs(true)
            } else {
                self.habits[key].pairs.clone()
            };
            words.extend([pairs[0].0.to_string(), WINDOWS[pairs[0].1].0.into()]);
            least = least.min(pairs[0].0);
        }
        if self.chance(self.options) {
            words.push("COSTS".into());
            for _ in &keys {
                let cost = self.cost(least) - i128::from(self.chance(30));
                words.push(cost.to_string());
            }
        } else if self.chance(50) {
            words.extend(["COST".into(), self.cost(least).to_string()]);
        }
        if self.chance(self.options / 3) {
            words.push("FORCE".into());
        }
        if self.chance(self.receipts_wanted) {
            words.push("receipt".into());
        }
        words
    }

    /// Makes one mistake.
    fn spoil(&mut self, words: &mut Vec<String>) {
        let at = self.rng.usize(1..=words.len());
        let junk = JUNK[self.rng.usize(..JUNK.len())].to_owned();
        match self.rng.u32(..4) {
            0 => drop(words.pop()),
            1 => words.push(junk),
            2 => {
                let again = words.last().unwrap().clone();
                words.push(again);
            }
            _ if (2..words.len()).contains(&at) => words[at] = junk,
            _ => {}
        }
    }
}

const _: () = assert!(Clock::START.as_secs() > 1_600_000_000);
