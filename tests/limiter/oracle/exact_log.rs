//! The sliding window as it would be if memory did not matter: every admission is kept.

use redis_ratelimit::limiter::{Mode, Request, Rule, Rules, Units};

use super::{Answer, BlockHistory};

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

    /// Time until at least a part of `request` that counts as a grant has room; `None`: never.
    fn wait_for(&self, request: &Request, now: u64) -> Option<u64> {
        match request.mode {
            Mode::Exact | Mode::Wait(_) => self.wait(request.cost.get() + request.keep, now),
            Mode::AtMost => self.wait(1 + request.keep, now),
            Mode::Force => Some(0),
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

    /// Gives back up to `units`, those admitted last. Returns how many.
    pub fn refund(&mut self, units: u64) -> u64 {
        self.refund_where(units, |_| true)
    }

    /// Gives back up to `units` of those admitted at `receipt`. Returns how many.
    pub fn refund_receipt(&mut self, units: u64, receipt: u64) -> u64 {
        self.refund_where(units, |at| at == receipt)
    }

    fn refund_where(&mut self, units: u64, is_meant: impl Fn(u64) -> bool) -> u64 {
        let mut missing = units;
        for (at, left) in self.admitted.iter_mut().rev() {
            if is_meant(*at) {
                let given_back = missing.min(*left);
                *left -= given_back;
                missing -= given_back;
            }
        }
        self.admitted.retain(|(_, left)| *left > 0);
        units - missing
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
    blocks: BlockHistory,
}

impl State {
    fn expires_at_ms(&self) -> u64 {
        self.in_use_until().max(self.blocks.over()).div_ceil(1_000)
    }

    /// When the last unit leaves; 0 if there is none.
    fn in_use_until(&self) -> u64 {
        let ends = self
            .logs
            .iter()
            .flat_map(|log| log.admitted.last().map(|(at, _)| at + log.window));
        ends.max().unwrap_or(0)
    }

    /// Moves it on to `now`. Returns whether the clock stepped back.
    fn advance(&mut self, now: u64) -> bool {
        let back = self.written.saturating_sub(now);
        self.blocks.advance(back, now);
        for log in &mut self.logs {
            log.step_back(now);
            log.expire(now);
        }
        self.drop_emptied();
        back > 0
    }

    /// Drops the windows that are not active and hold nothing.
    fn drop_emptied(&mut self) {
        let mut at = 0;
        self.logs.retain(|log| {
            at += 1;
            at <= self.active || !log.admitted.is_empty()
        });
    }

    /// Gives back up to `units` from each window, under a receipt or the newest. Returns the most that one gave back.
    fn refund(&mut self, units: u64, receipt: Option<u64>) -> u64 {
        let given_back = self.logs.iter_mut().map(|log| match receipt {
            Some(receipt) => log.refund_receipt(units, receipt),
            None => log.refund(units),
        });
        let most = given_back.max().unwrap();
        self.drop_emptied();
        most
    }

    /// The longest time until `request` passes, and the first window for which that is so. `None`, never, is the longest.
    fn longest_wait(&self, request: &Request, now: u64) -> (u64, usize) {
        let blocked = self.blocks.left(now);
        let mut longest = (0, 0);
        for (at, log) in self.logs[..self.active].iter().enumerate() {
            let wait = log.wait_for(request, now).unwrap_or(u64::MAX).max(blocked);
            if at == 0 || wait > longest.0 {
                longest = (wait, at);
            }
        }
        longest
    }

    /// The active window with the fewest units left; of equals, the first.
    fn tightest(&self) -> &ExactLog {
        let logs = &self.logs[..self.active];
        logs.iter().min_by_key(|log| log.free()).unwrap()
    }

    fn answer(&self, binding: &ExactLog, granted: u64, wait: u64, now: u64) -> Answer {
        Answer {
            granted,
            limit: binding.limit,
            remaining: binding.free(),
            retry_after: (wait < u64::MAX).then_some(wait),
            reset_after: binding.reset(now).max(self.blocks.left(now)),
            stored: true,
        }
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

    /// The same as they stand at `now`, if the server still has them.
    pub fn rows_at(&self, now: u64) -> Vec<(u64, u64, u64)> {
        let mut moved = self.clone();
        moved.0 = moved.take(now);
        if let Some(state) = &mut moved.0 {
            state.advance(now);
        }
        moved.rows()
    }

    pub fn ask(&mut self, rules: &Rules, request: &Request, now: u64) -> Answer {
        self.ask_or_renew(rules, request, None, now)
    }

    /// As [`ExactWindows::ask`], in the place of what was admitted at `receipt`.
    pub fn renew(&mut self, rules: &Rules, request: &Request, receipt: u64, now: u64) -> Answer {
        self.ask_or_renew(rules, request, Some(receipt), now)
    }

    /// What is stored, unless the server has dropped it.
    fn take(&mut self, now: u64) -> Option<State> {
        self.0
            .take()
            .filter(|state| now / 1_000 <= state.expires_at_ms())
    }

    fn ask_or_renew(
        &mut self,
        rules: &Rules,
        request: &Request,
        receipt: Option<u64>,
        now: u64,
    ) -> Answer {
        let old = self.take(now);
        let mut state = old.clone().unwrap_or_else(|| State {
            logs: rules.iter().map(ExactLog::new).collect(),
            active: rules.iter().count(),
            written: now,
            blocks: BlockHistory::default(),
        });
        let stepped_back = state.advance(now);
        let changed = state.set_parameters(rules, now) || stepped_back;

        let mut later = state.clone();
        let cost = request.cost.get();
        if let Some(receipt) = receipt {
            later.refund(cost, Some(receipt));
        }
        let (wait, _) = later.longest_wait(request, now);
        if wait == 0 {
            let granted = match request.mode {
                Mode::AtMost => cost.min(later.tightest().free() - request.keep),
                _ => cost,
            };
            for log in &mut later.logs[..later.active] {
                let debt_room = (2 * log.limit).saturating_sub(log.used());
                log.admit(granted.min(debt_room), now);
            }
            later.written = now;
            let answer = later.answer(later.tightest(), granted, 0, now);
            self.0 = Some(later);
            return answer;
        }

        let mut stored = false;
        if wait < u64::MAX {
            stored = state.blocks.start(request, now) || changed;
            later.blocks = state.blocks;
        }
        // The wait is that of the same request again, which gives back the same units; the rest is what there is.
        let (wait, binding) = later.longest_wait(request, now);
        let answer = state.answer(&state.logs[binding], 0, wait, now);
        self.0 = if stored {
            state.written = now;
            Some(state)
        } else {
            old
        };
        Answer { stored, ..answer }
    }

    /// Gives back units, under a receipt or those admitted last. `None` if nothing is in use.
    pub fn refund(&mut self, units: u64, receipt: Option<u64>, now: u64) -> Option<Answer> {
        let old = self.take(now);
        let mut state = old.clone()?;
        self.0 = old;
        state.advance(now);
        if state.in_use_until() == 0 && state.blocks.left(now) == 0 {
            return None;
        }
        let given_back = state.refund(units, receipt);
        let (wait, binding) = state.longest_wait(&Request::exact(Units::ONE), now);
        let binding = match wait {
            0 => state.tightest(),
            _ => &state.logs[binding],
        };
        let answer = Answer {
            granted: given_back,
            stored: given_back > 0,
            ..state.answer(binding, 0, wait, now)
        };
        if given_back > 0 {
            state.written = now;
            let matters = state.in_use_until() > 0 || state.blocks.over() > now;
            self.0 = matters.then_some(state);
        }
        Some(answer)
    }
}
