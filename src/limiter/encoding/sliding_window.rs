//! The logs of windows as bytes. For each window the limit and the window in milliseconds as varints, a byte with the
//! number of groups (bits 0-5) and the width of their units (bits 6-7: 1, 2, 4 or 8 bytes), and the groups, oldest
//! first: the lowest bytes of the microsecond when it was admitted, as many as the window needs, and the units. The
//! full time follows from when the state was written, since no group is older than the window; so a group keeps its
//! bytes until it leaves. If the header says that groups have joined, a bit for each group of the window follows, the
//! oldest first, in as few bytes as hold them: whether it has. Zero bytes follow up to [`MIN_LEN`].

use super::bytes::{Reader, mask, put_byte, put_integer, put_integers, put_varint, width_of};
use super::header::{Header, TIME};
use super::{Encoded, Encoding, MIN_LEN};
use crate::limiter::{Duration, Group, Limit, MAX_GROUPS, Rule, Units, Window, WindowLog, Windows};

/// The length of the longest limit and window, as varints, and of the byte after them.
pub(super) const MAX_RULE_LEN: usize = 5 + 6 + 1;
/// The length of the longest group.
pub(super) const MAX_GROUP_LEN: usize = TIME + size_of::<u64>();

/// The bytes of the bits of the most groups.
pub(super) const JOINED_LEN: usize = MAX_GROUPS.div_ceil(8);
const _: () = assert!(
    JOINED_LEN <= size_of::<u32>(),
    "an integer holds the bits of all groups"
);

/// Twice the greatest limit: the most that a log can hold.
const MAX_UNITS_IN_LOG: u64 = 2 * Units::MAX;

/// Where the width of the units stands, in the byte that has the number of groups before it.
const CODE_FROM: u32 = 6;
const _: () = assert!(
    MAX_GROUPS < 1 << CODE_FROM,
    "their number fits before the code"
);

impl Encoding for Windows {
    fn windows(&self) -> (usize, usize) {
        (self.count(), self.count_active())
    }

    fn has_joined(&self) -> bool {
        // The bits of all logs together: nearly always there is one log.
        self.logs().fold(0, |bits, log| bits | log.joined()) != 0
    }

    fn encode_body(&self, joined: bool, out: &mut Encoded) {
        for log in self.logs() {
            encode_log(log, out);
            if joined {
                put_integer(out, log.joined(), joined_len(log));
            }
        }
        while out.len() < MIN_LEN {
            put_byte(out, 0);
        }
    }

    #[inline(always)]
    fn blank() -> Self {
        Self::one(Rule::MIN)
    }

    fn decode_body(&mut self, header: &Header, mut body: Reader<'_>) -> Option<()> {
        let (stored, active) = (header.stored(), header.active());
        if active > stored {
            return None;
        }
        let first = self.reset_to(decode_rule(&mut body)?);
        let mut any_joined = decode_groups(&mut body, header, first)?;
        if stored > 1 {
            self.reserve(stored.saturating_sub(1));
            for at in 1..stored {
                let log = self.restore(decode_rule(&mut body)?, at < active)?;
                any_joined |= decode_groups(&mut body, header, log)?;
                // What is not active is kept for what it holds.
                if at >= active && log.is_full() {
                    return None;
                }
            }
        }
        let padding = body.rest();
        let is_canonical = if padding.is_empty() {
            body.len() >= MIN_LEN
        } else {
            body.len() == MIN_LEN && padding.iter().all(|byte| *byte == 0)
        };
        let used = header.has_blocks() || self.logs().any(|log| !log.is_full());
        (is_canonical && used && any_joined == header.has_joined()).then_some(())
    }
}

/// The widths of the two fields of a group, in bytes.
#[derive(Clone, Copy)]
struct Widths {
    /// As many as tell apart all microseconds of the window.
    time: usize,
    /// 1, 2, 4 or 8.
    units: usize,
}

impl Widths {
    fn new(window: Window, code: u8) -> Self {
        Self {
            time: width_of(u128::from(window.as_duration().as_micros())),
            units: 1_usize.wrapping_shl(code.into()),
        }
    }

    /// The code of the width that numbers of units need; `bits` are the bits of all of them together.
    const fn code(bits: u64) -> u8 {
        match bits {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            0x1_0000..=0xffff_ffff => 2,
            _ => 3,
        }
    }

    const fn both(self) -> usize {
        self.time.saturating_add(self.units)
    }

    /// Where the units begin, in an integer that holds both.
    const fn units_from(self) -> u32 {
        (self.time as u32).saturating_mul(8)
    }
}

fn encode_log(log: &WindowLog, out: &mut Encoded) {
    let Rule { limit, window } = log.rule();
    let groups = log.groups();
    let code = Widths::code(groups.iter().fold(0, |bits, group| bits | group.units));
    let widths = Widths::new(window, code);
    put_varint(out, limit.get());
    put_varint(out, window.as_millis());
    // Lossless: at most 32 groups.
    put_byte(out, groups.len() as u8 | code << CODE_FROM);
    if widths.both() <= size_of::<u64>() {
        let times = mask(widths.time);
        let both = groups.iter().map(|group| {
            let units = group.units.wrapping_shl(widths.units_from());
            group.newest.as_micros() & times | units
        });
        put_integers::<{ 8 * (MAX_GROUPS + 1) }, _>(out, both, widths.both());
    } else {
        for group in groups {
            put_integer(out, group.newest.as_micros(), widths.time);
            put_integer(out, group.units, widths.units);
        }
    }
}

/// The bytes that hold a bit for each group.
fn joined_len(log: &WindowLog) -> usize {
    log.groups().len().div_ceil(8)
}

/// Reads those bits of a log. Returns whether one of them is set.
#[cold]
fn decode_joined(body: &mut Reader<'_>, log: &mut WindowLog) -> Option<bool> {
    let joined = match joined_len(log) {
        0 => 0,
        len => body.integer(len)?,
    };
    log.restore_joined(joined)?;
    Some(joined != 0)
}

fn decode_rule(body: &mut Reader<'_>) -> Option<Rule> {
    Some(Rule {
        limit: Units::new(body.varint()?)?,
        window: Window::from_millis(body.varint()?)?,
    })
}

/// Reads the groups of an empty log. Returns whether one of them has joined.
fn decode_groups(body: &mut Reader<'_>, header: &Header, log: &mut WindowLog) -> Option<bool> {
    let written = header.written;
    let window = log.rule().window;
    let byte = body.byte()?;
    let count = usize::from(byte & mask_of_count());
    let code = byte >> CODE_FROM;
    let widths = Widths::new(window, code);
    let times = mask(widths.time);
    let mut bits = 0_u64;
    let mut previous_age = window.as_duration().as_micros();
    // Only the lowest bytes of `time` count.
    let mut group = |time: u64, units: u64| {
        let age = written.as_micros().wrapping_sub(time) & times;
        if units == 0 || age >= previous_age {
            return None;
        }
        bits |= units;
        previous_age = age;
        let newest = written.checked_sub(Duration::from_micros(age))?;
        Some(Group { newest, units })
    };
    if widths.both() <= size_of::<u64>() {
        let both = body.integers(count, widths.both())?;
        log.restore(both.map(|both| group(both, both.wrapping_shr(widths.units_from()))))?;
    } else {
        let mut next = || group(body.integer(widths.time)?, body.integer(widths.units)?);
        log.restore((0..count).map(|_| next()))?;
    }
    let possible = log.used() <= MAX_UNITS_IN_LOG && code == Widths::code(bits);
    possible.then_some(())?;
    if header.has_joined() {
        decode_joined(body, log)
    } else {
        Some(false)
    }
}

/// The bits of the number of groups.
const fn mask_of_count() -> u8 {
    (1 << CODE_FROM) - 1
}
