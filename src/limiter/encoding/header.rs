//! The beginning of a state: what both algorithms share.

use super::bytes::{Reader, put_integer};
use super::{DecodeError, Encoded, VERSION};
use crate::limiter::{AlgorithmKind, Duration, MAX_WINDOWS, Timestamp, Window};

const MAGIC: [u8; 2] = [b'R' | 0x80, b'L'];
/// The bytes that a timestamp or a duration takes.
pub(super) const TIME: usize = 7;
/// Magic, version and flags.
const START: usize = 4;
/// The length of the longest header.
pub(super) const MAX_LEN: usize = START + 2 * TIME;

/// The fourth byte.
#[derive(Clone, Copy)]
struct HeaderFlags(u8);

impl HeaderFlags {
    const GCRA: u8 = 1;
    const BLOCKED: u8 = 2;
    const STORED_FROM: u32 = 2;
    const ACTIVE_FROM: u32 = 5;
    const COUNT: u8 = MAX_WINDOWS as u8 - 1;

    fn new(algorithm: AlgorithmKind, blocked: bool, stored: usize, active: usize) -> Self {
        // Lossless: both are from 1 to 8.
        let count = |count: usize| count.saturating_sub(1) as u8 & Self::COUNT;
        let gcra = match algorithm {
            AlgorithmKind::SlidingWindow => 0,
            AlgorithmKind::Gcra => Self::GCRA,
        };
        Self(
            gcra | if blocked { Self::BLOCKED } else { 0 }
                | count(stored) << Self::STORED_FROM
                | count(active) << Self::ACTIVE_FROM,
        )
    }

    const fn algorithm(self) -> AlgorithmKind {
        if self.0 & Self::GCRA == 0 {
            AlgorithmKind::SlidingWindow
        } else {
            AlgorithmKind::Gcra
        }
    }

    const fn is_blocked(self) -> bool {
        self.0 & Self::BLOCKED != 0
    }

    fn stored(self) -> usize {
        usize::from(self.0 >> Self::STORED_FROM & Self::COUNT).saturating_add(1)
    }

    fn active(self) -> usize {
        usize::from(self.0 >> Self::ACTIVE_FROM & Self::COUNT).saturating_add(1)
    }
}

/// What both algorithms share.
pub struct Header {
    flags: HeaderFlags,
    pub(super) written: Timestamp,
    pub(super) blocked_for: Duration,
}

impl Header {
    pub(super) fn new(
        algorithm: AlgorithmKind,
        written: Timestamp,
        blocked_for: Duration,
        stored: usize,
        active: usize,
    ) -> Self {
        Self {
            flags: HeaderFlags::new(algorithm, !blocked_for.is_zero(), stored, active),
            written,
            blocked_for,
        }
    }

    /// The header that `bytes` begin with, and what follows it.
    #[inline]
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Reader<'_>), DecodeError> {
        let flags = match bytes.first_chunk::<START>() {
            Some(&[a, b, 1..=VERSION, flags]) if [a, b] == MAGIC => HeaderFlags(flags),
            Some(&[a, b, version, _]) if [a, b] == MAGIC && version > VERSION => {
                return Err(DecodeError::NewerVersion(version));
            }
            _ => return Err(DecodeError::NotALimiter),
        };
        let mut reader = Reader::from(bytes, START);
        let header = Self::read(flags, &mut reader).ok_or(DecodeError::NotALimiter)?;
        Ok((header, reader))
    }

    fn read(flags: HeaderFlags, reader: &mut Reader<'_>) -> Option<Self> {
        let written = Timestamp::from_micros(reader.integer(TIME)?);
        let blocked_for = if flags.is_blocked() {
            let blocked_for = Duration::from_micros(reader.integer(TIME)?);
            let possible = !blocked_for.is_zero() && blocked_for <= Window::MAX.as_duration();
            possible.then_some(blocked_for)?
        } else {
            Duration::ZERO
        };
        Some(Self {
            flags,
            written,
            blocked_for,
        })
    }

    pub(super) fn encode(&self, out: &mut Encoded) {
        let [r, l] = MAGIC;
        let start = u32::from_le_bytes([r, l, VERSION, self.flags.0]);
        put_integer(out, start.into(), START);
        put_integer(out, self.written.as_micros(), TIME);
        if self.is_blocked() {
            put_integer(out, self.blocked_for.as_micros(), TIME);
        }
    }

    pub(super) const fn algorithm(&self) -> AlgorithmKind {
        self.flags.algorithm()
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.flags.is_blocked()
    }

    /// How many windows are stored.
    pub(super) fn stored(&self) -> usize {
        self.flags.stored()
    }

    /// How many of them are active.
    pub(super) fn active(&self) -> usize {
        self.flags.active()
    }
}
