//! The log of one sliding window: a plain list of groups.

/// The most groups in a log.
const GROUPS: usize = 32;

#[derive(Clone, Debug, PartialEq)]
struct Group {
    /// Of its newest unit, in microseconds.
    time: i128,
    units: i128,
    /// Whether groups of other times have joined with it.
    joined: bool,
}

/// What was admitted, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log(Vec<Group>);

impl Log {
    /// As it is now: what lies in the future counts as now, and what is as old as the window has left.
    pub fn at(&self, now: i128, window: i128) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for group in &self.0 {
            let time = group.time.min(now);
            match groups.last_mut() {
                Some(last) if last.time == time => {
                    // All of them are admissions of now, and so of one time.
                    last.units += group.units;
                    last.joined |= group.joined;
                }
                _ => groups.push(Group {
                    time,
                    ..group.clone()
                }),
            }
        }
        groups.retain(|group| group.time + window > now);
        Self(groups)
    }

    pub fn used(&self) -> i128 {
        self.0.iter().map(|group| group.units).sum()
    }

    /// When the newest was admitted.
    pub fn newest(&self) -> Option<i128> {
        self.0.last().map(|group| group.time)
    }

    /// When each group leaves.
    pub fn departures(&self, window: i128) -> Vec<i128> {
        self.0.iter().map(|group| group.time + window).collect()
    }

    /// A grant is a group of its own, but for those of the same microsecond. Of more than 32 groups two neighbours join.
    pub fn admit(&mut self, now: i128, units: i128, limit: i128) {
        if units == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.time == now => last.units += units,
            _ => self.0.push(Group {
                time: now,
                units,
                joined: false,
            }),
        }
        if self.0.len() > GROUPS {
            self.join(limit);
        }
    }

    fn join(&mut self, limit: i128) {
        let together = |pair: &[Group]| pair[0].units + pair[1].units;
        // The limit may have been greater, and a debt may be there: then it is what is in use that counts.
        let most = 2 * ((limit.max(self.used()) + 31) / 32);
        let older = (0..GROUPS)
            .filter(|&at| together(&self.0[at..at + 2]) <= most)
            .min_by_key(|&at| self.0[at].units * (self.0[at + 1].time - self.0[at].time))
            .unwrap();
        let units = self.0.remove(older).units;
        self.0[older].units += units;
        self.0[older].joined = true;
    }

    /// Takes out units of one group; how many.
    fn take(&mut self, at: usize, units: i128) -> i128 {
        let taken = units.min(self.0[at].units);
        self.0[at].units -= taken;
        if self.0[at].units == 0 {
            self.0.remove(at);
        }
        taken
    }

    /// Gives back the most recent units; how many.
    pub fn give_back_newest(&mut self, units: i128) -> i128 {
        let mut given = 0;
        while given < units && !self.0.is_empty() {
            given += self.take(self.0.len() - 1, units - given);
        }
        given
    }

    /// Gives back units of one admission; how many.
    pub fn give_back(&mut self, units: i128, receipt: i128, now: i128, window: i128) -> i128 {
        if receipt + window <= now {
            return 0;
        }
        match self.0.iter().position(|group| group.time >= receipt) {
            Some(at) if self.0[at].time == receipt || self.0[at].joined => self.take(at, units),
            _ => 0,
        }
    }

    /// The units of it that are younger than another window.
    pub fn younger_than(&self, now: i128, window: i128) -> Self {
        self.at(now, window)
    }
}
