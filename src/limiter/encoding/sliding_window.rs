//! The logs of windows as bytes. For each window the limit and the window in milliseconds as varints, a byte with the
//! number of groups (bits 0-5) and the width of their units (bits 6-7: 1, 2, 4 or 8 bytes), and the groups, oldest
//! first: the lowest bytes of the microsecond when it was admitted, as many as the window needs, and the units. The
//! full time follows from when the state was written, since no group is older than the window; so a group keeps its
//! bytes until it leaves. If the header says that groups have joined, a bit for each group of the window follows, the
//! oldest first, in as few bytes as hold them: whether it has. Zero bytes follow up to [`MIN_LEN`].

use super::bytes::{Reader, mask, put_byte, put_eights, put_integer, put_varint, width_of};
use super::header::{Header, TIME};
use super::{Encoded, Encoding, MIN_LEN};
use crate::limiter::{
    Group, Limit, MAX_GROUPS, Rule, Timestamp, Units, Window, WindowLog, Windows,
};

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

/// Does the same for all widths, but for those that nearly all states have once each, with widths that the compiler knows:
/// it makes a loop of its own for each, in which it knows how far to shift. That takes a third less.
macro_rules! by_widths {
    ($widths:expr, |$known:ident| $fast:expr, $other:expr) => {
        by_widths!($widths, |$known| $fast, $other, (3, 1) (4, 1) (5, 1) (6, 1) (4, 2) (5, 2) (6, 2))
    };
    ($widths:expr, |$known:ident| $fast:expr, $other:expr, $(($time:literal, $units:literal))*) => {
        match ($widths.time, $widths.units) {
            $(($time, $units) => {
                let $known = Widths { time: $time, units: $units };
                $fast
            })*
            _ => $other,
        }
    };
}

fn encode_log(log: &WindowLog, out: &mut Encoded) {
    let Rule { limit, window } = log.rule();
    let groups = log.groups();
    let code = match log.used() {
        // No group has more than all together.
        0..=0xff => 0,
        _ => Widths::code(bits_of_units(groups)),
    };
    let widths = Widths::new(window, code);
    put_varint(out, limit.get());
    put_varint(out, window.as_millis());
    // Lossless: at most 32 groups.
    put_byte(out, groups.len() as u8 | code << CODE_FROM);
    by_widths!(
        widths,
        |known| encode_groups(groups, known, out),
        encode_groups(groups, widths, out)
    );
}

/// The bits of the units of all groups together. Four at a time: what the compiler makes of one at a time takes half as
/// long again.
fn bits_of_units(groups: &[Group]) -> u64 {
    let (fours, others) = groups.as_chunks();
    let bits = fours.iter().fold(0, |bits, [a, b, c, d]: &[Group; 4]| {
        bits | a.units | b.units | c.units | d.units
    });
    others.iter().fold(bits, |bits, group| bits | group.units)
}

#[inline(always)]
fn encode_groups(groups: &[Group], widths: Widths, out: &mut Encoded) {
    let fields = |group: &Group| [group.newest.as_micros(), group.units];
    let (eights, others) = groups.as_chunks();
    if !eights.is_empty() {
        put_eights(out, eights, fields, [widths.time, widths.units]);
    }
    for group in others {
        let [time, units] = fields(group);
        if widths.both() <= size_of::<u64>() {
            let both = time & mask(widths.time) | units.wrapping_shl(widths.units_from());
            put_integer(out, both, widths.both());
        } else {
            put_integer(out, time, widths.time);
            put_integer(out, units, widths.units);
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
    let byte = body.byte()?;
    let count = usize::from(byte & mask_of_count());
    let code = byte >> CODE_FROM;
    let widths = Widths::new(log.rule().window, code);
    let written = header.written;
    by_widths!(
        widths,
        |known| decode_packed(body, written, log, count, known)?,
        decode_others(body, written, log, count, widths)?
    );
    if header.has_joined() {
        decode_joined(body, log)
    } else {
        Some(false)
    }
}

/// Reads groups of which an integer holds both fields.
#[inline(always)]
fn decode_packed(
    body: &mut Reader<'_>,
    written: Timestamp,
    log: &mut WindowLog,
    count: usize,
    widths: Widths,
) -> Option<()> {
    let mut packed = body.integers(count, widths.both())?;
    let mut decoder = GroupDecoder::new(written, log, widths);
    // Eight at a time, so that it is asked less often whether there are as many bytes.
    let (eights, others) = log.make_room(count)?.as_chunks_mut::<8>();
    for groups in eights {
        for (group, both) in groups.iter_mut().zip(packed.next::<8>()?) {
            *group = decoder.group(both, both.wrapping_shr(widths.units_from()))?;
        }
    }
    for group in others {
        let [both] = packed.next()?;
        *group = decoder.group(both, both.wrapping_shr(widths.units_from()))?;
    }
    log.restore_used(decoder.units()?);
    Some(())
}

/// Reads groups of any width.
#[inline(never)]
fn decode_others(
    body: &mut Reader<'_>,
    written: Timestamp,
    log: &mut WindowLog,
    count: usize,
    widths: Widths,
) -> Option<()> {
    if widths.both() <= size_of::<u64>() {
        return decode_packed(body, written, log, count, widths);
    }
    let mut decoder = GroupDecoder::new(written, log, widths);
    for group in log.make_room(count)? {
        *group = decoder.group(body.integer(widths.time)?, body.integer(widths.units)?)?;
    }
    log.restore_used(decoder.units()?);
    Some(())
}

/// Makes groups of what is stored of them, the oldest first.
struct GroupDecoder {
    widths: Widths,
    /// The earliest time that the lowest bytes can tell; it wraps if that is before the epoch.
    earliest: u64,
    /// How long after it the previous group was: the next one is later. For the first, what is too old for the window, or
    /// before the epoch.
    previous: u64,
    /// The units of all groups together.
    units: u64,
    /// The bits of their units, if they are wider than a byte, which is the narrowest.
    bits: u64,
}

impl GroupDecoder {
    #[inline(always)]
    fn new(written: Timestamp, log: &WindowLog, widths: Widths) -> Self {
        let written = written.as_micros();
        let window = log.rule().window.as_duration().as_micros();
        let max_age = mask(widths.time);
        Self {
            widths,
            earliest: written.wrapping_sub(max_age),
            previous: max_age.wrapping_sub(window.min(written.wrapping_add(1))),
            units: 0,
            bits: 0,
        }
    }

    /// The next group; only the lowest bytes of `time` count.
    #[inline(always)]
    fn group(&mut self, time: u64, units: u64) -> Option<Group> {
        let after = time.wrapping_sub(self.earliest) & mask(self.widths.time);
        if units == 0 || after <= self.previous {
            return None;
        }
        self.previous = after;
        // No overflow, unless the bits are more than a log can hold.
        self.units = self.units.wrapping_add(units);
        if self.widths.units > 1 {
            self.bits |= units;
        }
        Some(Group {
            newest: Timestamp::from_valid_micros(self.earliest.wrapping_add(after)),
            units,
        })
    }

    /// The units of all groups, if a log can hold them, and they are stored in the width that they need.
    #[inline(always)]
    fn units(&self) -> Option<u64> {
        let possible = self.bits.max(self.units) <= MAX_UNITS_IN_LOG;
        let narrowest = self.widths.units == 1_usize << Widths::code(self.bits);
        (possible && narrowest).then_some(self.units)
    }
}

/// The bits of the number of groups.
const fn mask_of_count() -> u8 {
    (1 << CODE_FROM) - 1
}
