//! Bytes of a stored state: little-endian integers of a known width, and varints (LEB128) for what rarely changes.
//!
//! Any bytes can be read without a panic, and each value has only one spelling.

use arrayvec::ArrayVec;

use crate::limiter::MAX_GROUPS;

/// Takes values from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// How many have been read.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from `at` on.
    pub(super) const fn from(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// How many bytes there are, read or not.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// An integer of `width` bytes, from 1 to 16. At least 8 bytes have to be before its end.
    pub(super) fn wide(&mut self, width: usize) -> Option<u128> {
        let low = self.integer(width.min(8))?;
        let high = match width {
            9.. => self.integer(width.saturating_sub(8))?,
            _ => 0,
        };
        Some(u128::from(high) << u64::BITS | u128::from(low))
    }

    /// An integer of `width` bytes, from 1 to 8. At least 8 bytes have to be before its end.
    pub(super) fn integer(&mut self, width: usize) -> Option<u64> {
        let end = self.at.saturating_add(width);
        let value = last(self.bytes.get(..end)?.last_chunk()?, width);
        self.at = end;
        value
    }

    /// `count` integers of `width` bytes, as [`Reader::integer`].
    #[inline(always)]
    pub(super) fn integers(&mut self, count: usize, width: usize) -> Option<Integers<'a>> {
        let others = 8_usize.checked_sub(width)?;
        let end = self.at.saturating_add(count.saturating_mul(width));
        // From the eight bytes that end with the first one on.
        let start = self.at.checked_sub(others)?;
        let bytes = self.bytes.get(start..end)?;
        self.at = end;
        Some(Integers { bytes, width })
    }

    /// A varint in its shortest spelling, of at most nine bytes: 63 bits.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(first.into());
        }
        self.longer_varint(first)
    }

    fn longer_varint(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let shortest = byte != 0;
                return shortest.then_some(value);
            }
        }
        None
    }
}

/// Integers of a width of up to 8 bytes, one after the other.
#[derive(Debug)]
pub(super) struct Integers<'a> {
    /// They, from the eight bytes that end with the first one on.
    bytes: &'a [u8],
    width: usize,
}

impl Integers<'_> {
    /// The next `N` of them; `None` if there are less.
    #[inline(always)]
    pub(super) fn next<const N: usize>(&mut self) -> Option<[u64; N]> {
        let Self { bytes, width } = *self;
        let all = N.wrapping_mul(width);
        let others = 8_usize.wrapping_sub(width);
        let integers = bytes.get(..all.wrapping_add(others))?;
        self.bytes = bytes.get(all..)?;
        let mut values = [0; N];
        for (at, value) in values.iter_mut().enumerate() {
            let from = at.wrapping_mul(width);
            let bytes = *integers.get(from..)?.first_chunk()?;
            *value = u64::from_le_bytes(bytes).wrapping_shr((others as u32).wrapping_mul(8));
        }
        Some(values)
    }
}

/// What has to be left of the capacity after a value has been appended.
pub(super) const SLACK: usize = 16;

/// Appends `width` bytes of `value`, at most 16, the lowest first.
pub(super) fn put_wide<const N: usize>(out: &mut ArrayVec<u8, N>, value: u128, width: usize) {
    put(out, value.to_le_bytes(), width);
}

/// Appends `width` bytes of `value`, at most 8, the lowest first.
pub(super) fn put_integer<const N: usize>(out: &mut ArrayVec<u8, N>, value: u64, width: usize) {
    put(out, value.to_le_bytes(), width);
}

/// Appends the first `width` bytes. All are copied, as a copy of a length known beforehand is one instruction, and what
/// is too much is taken off again.
#[inline]
fn put<const N: usize, const M: usize>(out: &mut ArrayVec<u8, N>, bytes: [u8; M], width: usize) {
    let fits = out.try_extend_from_slice(&bytes).is_ok();
    debug_assert!(fits, "the capacity is that of the longest state, and slack");
    let others = M.saturating_sub(width);
    out.truncate(out.len().wrapping_sub(others));
}

/// Appends a pair of integers of these two widths, at most 8 each, for each item, eight at a time, as [`put_integer`]: those
/// of up to [`MAX_GROUPS`] groups.
#[inline(always)]
pub(super) fn put_eights<T, const CAPACITY: usize>(
    out: &mut ArrayVec<u8, CAPACITY>,
    eights: &[[T; 8]],
    pair: impl Fn(&T) -> [u64; 2],
    [first, second]: [usize; 2],
) {
    let both = first.wrapping_add(second);
    let eight = both.wrapping_mul(8);
    let all = eight.wrapping_mul(eights.len());
    let start = out.len();
    let zeros = const { &[0; MAX_GROUPS * 2 * 8 + 8] };
    let fits = zeros
        .get(..all.wrapping_add(8))
        .is_some_and(|zeros| out.try_extend_from_slice(zeros).is_ok());
    debug_assert!(fits, "the capacity is that of the longest state, and slack");
    let mut rest = out.get_mut(start..).unwrap_or_default();
    for items in eights {
        let Some(room) = rest.get_mut(..eight.wrapping_add(8)) else {
            break;
        };
        for (at, item) in items.iter().enumerate() {
            let [one, other] = pair(item);
            let from = at.wrapping_mul(both);
            // What is too much of one is overwritten by the next.
            for (from, value) in [(from, one), (from.wrapping_add(first), other)] {
                let bytes = room.get_mut(from..).and_then(<[u8]>::first_chunk_mut);
                if let Some(bytes) = bytes {
                    *bytes = value.to_le_bytes();
                }
            }
        }
        rest = rest.get_mut(eight..).unwrap_or_default();
    }
    out.truncate(start.wrapping_add(all));
}

/// Appends a byte.
pub(super) fn put_byte<const N: usize>(out: &mut ArrayVec<u8, N>, byte: u8) {
    let fits = out.try_push(byte).is_ok();
    debug_assert!(fits, "the capacity is that of the longest state, and slack");
}

/// Appends a varint.
pub(super) fn put_varint<const N: usize>(out: &mut ArrayVec<u8, N>, mut value: u64) {
    while value > 0x7f {
        // Lossless: seven bits and the mark that more follow.
        put_byte(out, (value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    put_byte(out, value as u8);
}

/// The last `width` bytes, from 1 to 8: all are loaded at once, as one integer, and the others shifted out.
fn last(bytes: &[u8; 8], width: usize) -> Option<u64> {
    let others = 8_usize.checked_sub(width)? as u32;
    u64::from_le_bytes(*bytes).checked_shr(others.saturating_mul(8))
}

/// The lowest `width` bytes of an integer, at most 8.
pub(super) const fn mask(width: usize) -> u64 {
    let others = 8_usize.saturating_sub(width) as u32;
    match u64::MAX.checked_shr(others.saturating_mul(8)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The bytes that `value` needs; at least one.
pub(super) const fn width_of(value: u128) -> usize {
    let bits = u128::BITS.saturating_sub(value.leading_zeros());
    let bytes = bits.div_ceil(8) as usize;
    if bytes == 0 { 1 } else { bytes }
}
