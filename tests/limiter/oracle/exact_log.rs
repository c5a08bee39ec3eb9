//! The sliding window as it would be if memory did not matter: every admission is kept.

use redis_ratelimit::limiter::{Mode, Request, Rule, Rules};

use super::Answer;

/// Everything that one window admitted, oldest first: when (in microseconds), and how many units.
#[derive(Clone, Debug)]
pub struct ExactLog {
    pub limit: u64,
    pub window: u64,
    pub admitted: Vec<(u64, u64)>,
}

impl ExactLog {
    pub fn new(rule: Rule) -> Self {
        Self {
            limit: rule.limit.get(),
            window: rule.window.as_millis() * 1_000,
            admitted: Vec::new(),
        }
    }

    /// Forgets what has left the window.
    pub fn expire(&mut self, now: u64) {
        let window = self.window;
        self.admitted.retain(|(at, _)| now < at + window);
    }

    /// The units that the window holds.
    pub fn used(&self) -> u64 {
        self.admitted.iter().map(|(_, units)| units).sum()
    }

    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// At how many different times the units that the window holds were admitted.
    pub fn instants(&self) -> usize {
        let mut instants: Vec<u64> = self.admitted.iter().map(|(at, _)| *at).collect();
        instants.dedup();
        instants.len()
    }

    pub fn admit(&mut self, units: u64, now: u64) {
        if units > 0 {
            self.admitted.push((now, units));
        }
    }

    /// Time until `cost` units are free; `None`: never.
    fn wait(&self, cost: u64, now: u64) -> Option<u64> {
        let mut used = self.used();
        if cost > self.limit {
            return None;
        }
        if used + cost <= self.limit {
            return Some(0);
        }
        for (at, units) in &self.admitted {
            used -= units;
            if used + cost <= self.limit {
                return Some(at + self.window - now);
            }
        }
        unreachable!("everything leaves in the end")
    }

    fn reset(&self, now: u64) -> u64 {
        self.admitted
            .last()
            .map_or(0, |(at, _)| at + self.window - now)
    }

    fn step_back(&mut self, now: u64) {
        for (at, _) in &mut self.admitted {
            *at = (*at).min(now);
        }
    }
}

/// One key with any windows.
#[derive(Clone, Debug, Default)]
pub struct ExactWindows(Option<State>);

#[derive(Clone, Debug)]
struct State {
    /// Those that are active first.
    logs: Vec<ExactLog>,
    active: usize,
    written: u64,
    blocked_until: u64,
}

impl State {
    fn expires_at_ms(&self) -> u64 {
        let ends = self
            .logs
            .iter()
            .flat_map(|log| log.admitted.last().map(|(at, _)| at + log.window));
        ends.max()
            .unwrap_or(0)
            .max(self.blocked_until)
            .div_ceil(1_000)
    }

    fn set_parameters(&mut self, rules: &Rules, now: u64) -> bool {
        let wanted: Vec<ExactLog> = rules.iter().map(ExactLog::new).collect();
        let same = self.logs[..self.active]
            .iter()
            .map(|log| (log.limit, log.window))
            .eq(wanted.iter().map(|log| (log.limit, log.window)));
        if same {
            return false;
        }
        let mut kept = std::mem::take(&mut self.logs);
        let longest = kept.iter().max_by_key(|log| log.window).unwrap().clone();
        for mut log in wanted {
            match kept.iter().position(|other| other.window == log.window) {
                Some(at) => log.admitted = kept.remove(at).admitted,
                None => {
                    log.admitted = longest.admitted.clone();
                    log.expire(now);
                }
            }
            self.logs.push(log);
        }
        self.active = self.logs.len();
        kept.retain(|log| !log.admitted.is_empty());
        while self.logs.len() + kept.len() > 8 {
            let first_to_empty = (0..kept.len()).min_by_key(|at| kept[*at].reset(now));
            kept.remove(first_to_empty.unwrap());
        }
        self.logs.append(&mut kept);
        true
    }
}

impl ExactWindows {
    /// At how many different times the units that one window holds were admitted, at most.
    pub fn instants(&self) -> usize {
        let logs = self.0.iter().flat_map(|state| &state.logs);
        logs.map(ExactLog::instants).max().unwrap_or(0)
    }

    /// The windows stored, those that are active first: limit, microseconds, units in use.
    pub fn rows(&self) -> Vec<(u64, u64, u64)> {
        let logs = self.0.iter().flat_map(|state| &state.logs);
        logs.map(|log| (log.limit, log.window, log.used()))
            .collect()
    }

    pub fn ask(&mut self, rules: &Rules, request: &Request, now: u64) -> Answer {
        let old = self
            .0
            .take()
            .filter(|state| now / 1_000 <= state.expires_at_ms());
        let mut state = old.clone().unwrap_or_else(|| State {
            logs: rules.iter().map(ExactLog::new).collect(),
            active: rules.iter().count(),
            written: now,
            blocked_until: 0,
        });

        let mut changed = false;
        let back = state.written.saturating_sub(now);
        if back > 0 {
            state.blocked_until = state.blocked_until.saturating_sub(back);
            changed = true;
        }
        for log in &mut state.logs {
            log.step_back(now);
            log.expire(now);
        }
        let mut at = 0;
        state.logs.retain(|log| {
            at += 1;
            at <= state.active || !log.admitted.is_empty()
        });
        changed |= state.set_parameters(rules, now);

        let cost = request.cost.get();
        let logs = &mut state.logs[..state.active];
        let blocked = state.blocked_until.saturating_sub(now);
        let wait_of = |log: &ExactLog| match request.mode {
            Mode::Exact | Mode::Wait(_) => log.wait(cost, now),
            Mode::AtMost => log.wait(1, now),
            Mode::Force => Some(0),
        };
        // Never (`None`) is the longest wait.
        let longest = logs
            .iter()
            .map(|log| wait_of(log).unwrap_or(u64::MAX))
            .max()
            .unwrap();
        let least = logs.iter().map(ExactLog::free).min().unwrap();
        let granted = if blocked > 0 || longest > 0 {
            0
        } else if request.mode == Mode::AtMost {
            cost.min(least)
        } else {
            cost
        };

        let mut stored = true;
        let mut blocked_after = blocked;
        if granted > 0 {
            for log in logs.iter_mut() {
                let debt_room = (2 * log.limit).saturating_sub(log.used());
                log.admit(granted.min(debt_room), now);
            }
        } else if longest == u64::MAX {
            stored = false;
        } else {
            stored = changed;
            if let Some(block) = request.block
                && blocked == 0
            {
                blocked_after = block.as_millis() * 1_000;
                state.blocked_until = now + blocked_after;
                stored = true;
            }
        }

        let mut binding = &logs[0];
        let mut wait = 0;
        if granted > 0 {
            for log in logs.iter() {
                if log.free() < binding.free() {
                    binding = log;
                }
            }
        } else {
            let told = |log: &ExactLog| wait_of(log).unwrap_or(u64::MAX).max(blocked_after);
            for log in logs.iter() {
                if told(log) > told(binding) {
                    binding = log;
                }
            }
            wait = told(binding);
        }
        let answer = Answer {
            granted,
            limit: binding.limit,
            remaining: binding.free(),
            retry_after: (wait < u64::MAX).then_some(wait),
            reset_after: binding.reset(now).max(blocked_after),
            stored,
        };
        if stored {
            state.written = now;
            self.0 = Some(state);
        } else {
            self.0 = old;
        }
        answer
    }
}
