//! The state of a limiter as bytes: a plain string, so that a server without the module can hold it, too.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | magic: `D2 4C`, which no UTF-8 text starts with |
//! | 1 | [`VERSION`] |
//! | 1 | shape: bit 0 GCRA, bit 1 locked out, bits 2-4 windows stored - 1, bits 5-7 windows in force - 1 |
//! | 7 | when it was written, in microseconds since the epoch |
//! | 7 | if locked out: for how long from then on, in microseconds |
//!
//! then for GCRA the limit, the window in milliseconds and the burst as varints, and, in the bytes that are left, what is
//! in use, in ticks of `1 / limit` nanosecond: as wide as twice the burst needs, so that its width hardly ever changes;
//!
//! or for each window the limit and the window in milliseconds as varints, a byte with the number of groups (bits 0-5)
//! and the width of their units (bits 6-7: 1, 2, 4 or 8 bytes), and the groups, oldest first: the lowest bytes of the
//! microsecond when it was admitted, as many as the window needs, and the units. The full time follows from when the
//! state was written, since no group is older than the window; so a group keeps its bytes until it leaves.
//!
//! Zero bytes follow up to [`MIN_LEN`]. Each state has one spelling; everything else is refused.

use arrayvec::ArrayVec;

use super::codec::{Reader, SLACK, mask, put_integer, put_varint, put_wide, width_of};
use super::limit::Limit;
use super::limiter::{Algorithm, AlgorithmKind, Limiter};
use super::sliding_window::{Group, MAX_GROUPS, Rule, WindowLog};
use super::windows::{MAX_WINDOWS, Windows};
use super::{Bucket, Duration, Quota, Timestamp, Units, Window};

/// The version of the layout that this release writes, and the newest that it reads.
pub const VERSION: u8 = 1;

/// The length of the shortest state, in bytes: longer than any integer that a server may hold in an encoding of its own.
pub const MIN_LEN: usize = 21;

/// The length of the longest state, in bytes.
pub const MAX_LEN: usize = HEADER + TIME + MAX_WINDOWS * (5 + 6 + 1 + MAX_GROUPS * (TIME + 8));

const MAGIC: [u8; 2] = [b'R' | 0x80, b'L'];
const HEADER: usize = 4 + TIME;
/// The bytes of an instant or of a span.
const TIME: usize = 7;
/// Twice the greatest limit: the most that a log can hold.
const MAX_UNITS_IN_LOG: u64 = 2 * Units::MAX;

/// A state as it is stored.
pub type Encoded = ArrayVec<u8, { MAX_LEN + SLACK }>;

/// Why bytes are not the state of a limiter as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They are something else.
    NotALimiter,
    /// They are a limiter that uses another algorithm, this one.
    OtherAlgorithm(AlgorithmKind),
    /// They are a limiter in a layout of this version, newer than [`VERSION`].
    NewerVersion(u8),
}

/// The algorithm of the limiter stored in `bytes`.
///
/// Only the first bytes are looked at; the rest may still turn out to be unreadable.
///
/// # Errors
/// [`DecodeError`] where they are not the beginning of a state.
pub fn algorithm_of(bytes: &[u8]) -> Result<AlgorithmKind, DecodeError> {
    Ok(HeaderFlags::of(bytes)?.kind())
}

/// The fourth byte.
#[derive(Clone, Copy)]
struct HeaderFlags(u8);

impl HeaderFlags {
    const GCRA: u8 = 1;
    const BLOCKED: u8 = 2;

    fn new(kind: AlgorithmKind, blocked_for: Duration, stored: usize, active: usize) -> Self {
        let algorithm = match kind {
            AlgorithmKind::SlidingWindow => 0,
            AlgorithmKind::Gcra => Self::GCRA,
        };
        let blocked = if blocked_for.is_zero() {
            0
        } else {
            Self::BLOCKED
        };
        // Lossless: both are from 1 to 8.
        let stored = (stored.saturating_sub(1) as u8 & 7) << 2;
        let active = (active.saturating_sub(1) as u8 & 7) << 5;
        Self(algorithm | blocked | stored | active)
    }

    /// That of a state.
    fn of(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first_chunk::<4>() {
            Some(&[a, b, 1..=VERSION, shape]) if [a, b] == MAGIC => Ok(Self(shape)),
            Some(&[a, b, version, _]) if [a, b] == MAGIC && version > VERSION => {
                Err(DecodeError::NewerVersion(version))
            }
            _ => Err(DecodeError::NotALimiter),
        }
    }

    const fn kind(self) -> AlgorithmKind {
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
        usize::from(self.0 >> 2 & 7).saturating_add(1)
    }

    fn active(self) -> usize {
        usize::from(self.0 >> 5).saturating_add(1)
    }
}

/// What both algorithms share.
struct Header {
    shape: HeaderFlags,
    written: Timestamp,
    blocked_for: Duration,
}

impl Header {
    fn decode(bytes: &[u8], wanted: AlgorithmKind) -> Result<(Self, Reader<'_>), DecodeError> {
        let shape = HeaderFlags::of(bytes)?;
        if shape.kind() != wanted {
            return Err(DecodeError::OtherAlgorithm(shape.kind()));
        }
        let mut reader = Reader::from(bytes, 4);
        let header = Self::read(shape, &mut reader).ok_or(DecodeError::NotALimiter)?;
        Ok((header, reader))
    }

    fn read(shape: HeaderFlags, reader: &mut Reader<'_>) -> Option<Self> {
        let written = Timestamp::from_micros(reader.integer(TIME)?);
        let blocked_for = if shape.is_blocked() {
            let blocked_for = reader.integer(TIME)?;
            let possible = 1..=Window::MAX_MILLIS.saturating_mul(1_000);
            possible
                .contains(&blocked_for)
                .then_some(Duration::from_micros(blocked_for))?
        } else {
            Duration::ZERO
        };
        Some(Self {
            shape,
            written,
            blocked_for,
        })
    }

    fn encode<A: Algorithm>(limiter: &Limiter<A>, stored: usize, active: usize, out: &mut Encoded) {
        let shape = HeaderFlags::new(A::KIND, limiter.blocked_for, stored, active);
        let [r, l] = MAGIC;
        put_integer(out, u32::from_le_bytes([r, l, VERSION, shape.0]).into(), 4);
        put_integer(out, limiter.now.as_micros(), TIME);
        if shape.is_blocked() {
            put_integer(out, limiter.blocked_for.as_micros(), TIME);
        }
    }
}

pub(super) fn decode_bucket(
    bytes: &[u8],
    limiter: &mut Limiter<Bucket>,
) -> Result<(), DecodeError> {
    let (header, mut body) = Header::decode(bytes, AlgorithmKind::Gcra)?;
    limiter.algorithm = bucket(&header, &mut body, bytes.len()).ok_or(DecodeError::NotALimiter)?;
    limiter.now = header.written;
    limiter.blocked_for = header.blocked_for;
    Ok(())
}

pub(super) fn encode_bucket(limiter: &Limiter<Bucket>, out: &mut Encoded) {
    let bucket = &limiter.algorithm;
    let quota = bucket.quota();
    Header::encode(limiter, 1, 1, out);
    put_varint(out, quota.limit().get());
    put_varint(out, quota.window().as_millis());
    put_varint(out, quota.burst().get());
    let width = in_use_width(quota, bucket.in_use(), out.len());
    put_wide(out, bucket.in_use(), width);
}

fn bucket(header: &Header, body: &mut Reader<'_>, len: usize) -> Option<Bucket> {
    if header.shape.stored() != 1 || header.shape.active() != 1 {
        return None;
    }
    let limit = Units::new(body.varint()?)?;
    let window = Window::from_millis(body.varint()?)?;
    let burst = Units::new(body.varint()?)?;
    let quota = Quota::new(limit, window, burst).ok()?;
    let width = body.rest().len();
    let in_use = body.wide(width)?;
    let used = in_use > 0 || !header.blocked_for.is_zero();
    let is_canonical = width == in_use_width(quota, in_use, len.checked_sub(width)?);
    if used && is_canonical {
        Bucket::restore(quota, in_use)
    } else {
        None
    }
}

/// The width of what is in use of `quota`, after `before` bytes.
fn in_use_width(quota: Quota, in_use: u128, before: usize) -> usize {
    width_of(quota.capacity().saturating_mul(2).max(in_use)).max(MIN_LEN.saturating_sub(before))
}

pub(super) fn decode_windows(
    bytes: &[u8],
    limiter: &mut Limiter<Windows>,
) -> Result<(), DecodeError> {
    let (header, mut body) = Header::decode(bytes, AlgorithmKind::SlidingWindow)?;
    windows(&header, &mut body, bytes.len(), &mut limiter.algorithm)
        .ok_or(DecodeError::NotALimiter)?;
    limiter.now = header.written;
    limiter.blocked_for = header.blocked_for;
    Ok(())
}

pub(super) fn encode_windows(limiter: &Limiter<Windows>, out: &mut Encoded) {
    let windows = &limiter.algorithm;
    Header::encode(limiter, windows.count(), windows.count_active(), out);
    for log in windows.logs() {
        encode_log(log, out);
    }
    let padding = MIN_LEN.saturating_sub(out.len());
    out.extend(std::iter::repeat_n(0, padding));
}

fn windows(
    header: &Header,
    body: &mut Reader<'_>,
    len: usize,
    windows: &mut Windows,
) -> Option<()> {
    let stored = header.shape.stored();
    let active = header.shape.active();
    let first = windows.reset_to_one(decode_rule(body)?);
    decode_log(body, header.written, first)?;
    for at in 1..stored {
        let log = windows.restore(decode_rule(body)?, at < active)?;
        decode_log(body, header.written, log)?;
        // What is not in force is kept for what it holds.
        if at >= active && log.is_full() {
            return None;
        }
    }
    let padding = body.rest();
    let is_canonical = if padding.is_empty() {
        len >= MIN_LEN
    } else {
        len == MIN_LEN && padding.iter().all(|byte| *byte == 0)
    };
    let used = !header.blocked_for.is_zero() || windows.logs().any(|log| !log.is_full());
    (active <= stored && is_canonical && used).then_some(())
}

/// How the groups of a log are spelled: the widths of their two fields, in bytes.
#[derive(Clone, Copy)]
struct Fields {
    /// As many as tell apart all microseconds of the window.
    time: usize,
    /// 1, 2, 4 or 8.
    units: usize,
}

impl Fields {
    fn new(window: Window, code: u8) -> Self {
        Self {
            time: width_of(u128::from(window.as_duration().as_micros())),
            units: 1_usize.wrapping_shl(code.into()),
        }
    }

    /// The code of the width that `most` units need.
    const fn code(most: u64) -> u8 {
        match most {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            0x1_0000..=0xffff_ffff => 2,
            _ => 3,
        }
    }

    const fn width(self) -> usize {
        self.time.saturating_add(self.units)
    }

    /// Where the units begin, in an integer that holds both.
    const fn units_from(self) -> u32 {
        (self.time as u32).saturating_mul(8)
    }

    /// Appends a group.
    #[inline]
    fn put(self, out: &mut Encoded, group: &Group) {
        let time = group.newest.as_micros();
        if self.width() <= 8 {
            // Both at once.
            let units = group.units.wrapping_shl(self.units_from());
            put_integer(out, time & mask(self.time) | units, self.width());
        } else {
            put_integer(out, time, self.time);
            put_integer(out, group.units, self.units);
        }
    }
}

fn encode_log(log: &WindowLog, out: &mut Encoded) {
    let Rule { limit, window } = log.rule();
    let groups = log.groups();
    let most = groups.iter().map(|group| group.units).fold(0, u64::max);
    let code = Fields::code(most);
    let fields = Fields::new(window, code);
    put_varint(out, limit.get());
    put_varint(out, window.as_millis());
    // Lossless: at most 32 groups.
    out.push(groups.len() as u8 | code << 6);
    for group in groups {
        fields.put(out, group);
    }
}

fn decode_rule(body: &mut Reader<'_>) -> Option<Rule> {
    Some(Rule {
        limit: Units::new(body.varint()?)?,
        window: Window::from_millis(body.varint()?)?,
    })
}

/// Reads the groups of an empty log.
fn decode_log(body: &mut Reader<'_>, written: Timestamp, log: &mut WindowLog) -> Option<()> {
    let byte = body.byte()?;
    let count = usize::from(byte & 0x3f);
    let code = byte >> 6;
    let fields = Fields::new(log.rule().window, code);
    let times = mask(fields.time);
    let mut most = 0_u64;
    let mut previous_age = log.rule().window.as_duration().as_micros();
    let mut restore = |time: u64, units: u64| {
        let age = written.as_micros().wrapping_sub(time) & times;
        if units == 0 || age >= previous_age {
            return None;
        }
        most = most.max(units);
        previous_age = age;
        let newest = Timestamp::from_micros(written.as_micros().checked_sub(age)?);
        log.restore(Group { newest, units })
    };
    if fields.width() <= 8 {
        for both in body.integers(count, fields.width())? {
            restore(both & times, both.wrapping_shr(fields.units_from()))?;
        }
    } else {
        for _ in 0..count {
            restore(body.integer(fields.time)?, body.integer(fields.units)?)?;
        }
    }
    let possible = log.used() <= MAX_UNITS_IN_LOG && code == Fields::code(most);
    possible.then_some(())
}
