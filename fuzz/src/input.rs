//! Random bytes as numbers and requests. After the last byte come zeros.

use crate::limiter::{Mode, Request, Units, Window};

/// What is left of the bytes.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// The next bytes, as many as the two before them say.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()) | usize::from(self.byte() & 0x1f) << 8;
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A number of any size, mostly small: one byte says how many follow.
    pub fn number(&mut self) -> u64 {
        let first = self.byte();
        match first {
            0..=247 => u64::from(first),
            _ => (0..=first - 248).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    pub fn units(&mut self) -> Units {
        Units::new(1 + self.number() % Units::MAX).unwrap()
    }

    pub fn window(&mut self) -> Window {
        Window::from_millis(1 + self.number() % Window::MAX_MILLIS).unwrap()
    }

    /// One that costs at most a little more than `most`.
    pub fn request(&mut self, most: u64, mode: Mode) -> Request {
        let cost = match self.byte() {
            0..=127 => 1,
            128..=191 => self.number().max(1),
            192..=223 => most,
            _ => most.saturating_add(1).saturating_sub(self.number()),
        };
        let keep = match (mode, self.byte()) {
            (Mode::Exact | Mode::AtMost, 200..) => self.number().min(Units::MAX),
            _ => 0,
        };
        let block = (self.byte() > 150).then(|| self.window());
        let block_up_to = block.filter(|_| self.byte() > 100).map(|block| {
            let longest = block.as_millis().saturating_mul(1 + u64::from(self.byte()));
            Window::from_millis(longest.min(Window::MAX_MILLIS)).unwrap()
        });
        Request {
            cost: Units::new(cost.clamp(1, Units::MAX)).unwrap(),
            mode,
            keep,
            block,
            block_up_to,
        }
    }

    /// The time of the next command after one at `now` that was told to wait, in microseconds; none after `END`.
    pub fn time(&mut self, now: u64, window: u64, told: u64) -> u64 {
        let next = match self.byte() {
            0..=99 => now,
            100..=149 => now.saturating_add(self.number()),
            150..=179 => {
                let part = u128::from(window) * u128::from(self.byte()) / 200;
                now.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
            }
            180..=209 => now.saturating_add(told).saturating_add(self.number() % 3),
            210..=229 => now.saturating_add(told).saturating_sub(1),
            _ => now.saturating_sub(self.number()),
        };
        next.min(END)
    }
}

/// As long before the last timestamp that can be stored as the longest debt lasts.
pub const END: u64 = 60_000_000_000_000_000;
