//! The beginning of a state: what both algorithms share.

use super::bytes::{Reader, put_byte, put_integer};
use super::{DecodeError, Encoded, VERSION};
use crate::limiter::{AlgorithmKind, Blocks, Duration, MAX_WINDOWS, Timestamp, Window};

const MAGIC: [u8; 2] = [b'R' | 0x80, b'L'];
/// The bytes that a timestamp or a duration takes.
pub(super) const TIME: usize = 7;
/// Magic, version and flags.
const START: usize = 4;
/// The bytes that the number of blocks in a row takes.
const IN_A_ROW: usize = size_of::<u32>();
/// The length of the longest header.
pub(super) const MAX_LEN: usize = START + 1 + 3 * TIME + IN_A_ROW;

/// The version without a byte of more flags, and the one with it.
const PLAIN: u8 = 1;
const EXTENDED: u8 = 2;
const _: () = assert!(EXTENDED == VERSION, "the newest");

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

/// The byte of more flags; it is there only if one is set.
#[derive(Clone, Copy)]
struct MoreFlags(u8);

impl MoreFlags {
    const IN_A_ROW: u8 = 1;
    const JOINED: u8 = 2;

    const fn new(in_a_row: bool, joined: bool) -> Self {
        Self(if in_a_row { Self::IN_A_ROW } else { 0 } | if joined { Self::JOINED } else { 0 })
    }

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// What both algorithms share.
pub struct Header {
    flags: HeaderFlags,
    more: MoreFlags,
    pub(super) written: Timestamp,
}

impl Header {
    pub(super) fn new(
        algorithm: AlgorithmKind,
        written: Timestamp,
        blocks: &Blocks,
        stored: usize,
        active: usize,
        joined: bool,
    ) -> Self {
        Self {
            flags: HeaderFlags::new(algorithm, blocks.is_blocked(), stored, active),
            more: MoreFlags::new(blocks.in_a_row > 0, joined),
            written,
        }
    }

    /// The header that `bytes` begin with, and what follows it. The blocks, of which most have none, are put into `blocks`.
    #[inline]
    pub(super) fn decode<'a>(
        bytes: &'a [u8],
        blocks: &mut Blocks,
    ) -> Result<(Self, Reader<'a>), DecodeError> {
        let (version, flags) = match bytes.first_chunk::<START>() {
            Some(&[a, b, version @ PLAIN..=EXTENDED, flags]) if [a, b] == MAGIC => {
                (version, HeaderFlags(flags))
            }
            Some(&[a, b, version, _]) if [a, b] == MAGIC && version > VERSION => {
                return Err(DecodeError::NewerVersion(version));
            }
            _ => return Err(DecodeError::NotALimiter),
        };
        let mut reader = Reader::from(bytes, START);
        let header =
            Self::read(version, flags, &mut reader, blocks).ok_or(DecodeError::NotALimiter)?;
        Ok((header, reader))
    }

    #[inline]
    fn read(
        version: u8,
        flags: HeaderFlags,
        reader: &mut Reader<'_>,
        blocks: &mut Blocks,
    ) -> Option<Self> {
        let written = Timestamp::from_micros(reader.integer(TIME)?);
        let mut header = Self {
            flags,
            more: MoreFlags(0),
            written,
        };
        if version == EXTENDED || flags.is_blocked() {
            header.more = read_more(version, flags, reader, blocks)?;
        }
        Some(header)
    }

    #[inline(always)]
    pub(super) fn encode(&self, blocks: &Blocks, out: &mut Encoded) {
        let [r, l] = MAGIC;
        let version = if self.more.0 == 0 { PLAIN } else { EXTENDED };
        let start = u32::from_le_bytes([r, l, version, self.flags.0]);
        put_integer(out, start.into(), START);
        put_integer(out, self.written.as_micros(), TIME);
        if version == EXTENDED || self.flags.is_blocked() {
            put_more(self.more, blocks, out);
        }
    }

    pub(super) const fn algorithm(&self) -> AlgorithmKind {
        self.flags.algorithm()
    }

    /// Whether there is a block, or blocks in a row are remembered.
    pub(super) const fn has_blocks(&self) -> bool {
        self.flags.is_blocked() || self.more.has(MoreFlags::IN_A_ROW)
    }

    /// Whether there are groups that have joined.
    pub(super) const fn has_joined(&self) -> bool {
        self.more.has(MoreFlags::JOINED)
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

/// Reads what only some states have.
#[cold]
fn read_more(
    version: u8,
    flags: HeaderFlags,
    reader: &mut Reader<'_>,
    blocks: &mut Blocks,
) -> Option<MoreFlags> {
    const KNOWN: u8 = MoreFlags::IN_A_ROW | MoreFlags::JOINED;
    let longest = Window::MAX.as_duration();
    let mut more = MoreFlags(0);
    if version == EXTENDED {
        more = MoreFlags(reader.byte().filter(|more| matches!(more, 1..=KNOWN))?);
    }
    if flags.is_blocked() {
        blocks.left = duration(reader, longest)?;
    }
    if more.has(MoreFlags::IN_A_ROW) {
        blocks.remembered = duration(reader, longest.saturating_add(longest))?;
        let in_a_row = u32::try_from(reader.integer(IN_A_ROW)?).ok()?;
        blocks.in_a_row = (in_a_row > 0).then_some(in_a_row)?;
    }
    Some(more)
}

/// Appends what only some states have.
#[cold]
fn put_more(more: MoreFlags, blocks: &Blocks, out: &mut Encoded) {
    if more.0 != 0 {
        put_byte(out, more.0);
    }
    if blocks.is_blocked() {
        put_integer(out, blocks.left.as_micros(), TIME);
    }
    if blocks.in_a_row > 0 {
        put_integer(out, blocks.remembered.as_micros(), TIME);
        put_integer(out, blocks.in_a_row.into(), IN_A_ROW);
    }
}

/// A length of time that is not zero, at most `max`.
fn duration(reader: &mut Reader<'_>, max: Duration) -> Option<Duration> {
    let duration = Duration::from_micros(reader.integer(TIME)?);
    (!duration.is_zero() && duration <= max).then_some(duration)
}
