//! Bytes of a stored state: little-endian integers of a known width, and varints (LEB128) for what rarely changes.
//!
//! Any bytes can be read without a panic, and each value has only one spelling.

use arrayvec::ArrayVec;

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
    pub(super) fn integers(
        &mut self,
        count: usize,
        width: usize,
    ) -> Option<impl Iterator<Item = u64> + use<'a>> {
        let others = 8_usize.checked_sub(width)?;
        let end = self.at.saturating_add(count.saturating_mul(width));
        // From the eight bytes that end with the first one on.
        let start = self.at.checked_sub(others)?;
        let ends = self.bytes.get(start..end.max(start))?.windows(8);
        self.at = end;
        let shift = (others as u32).saturating_mul(8);
        Some(ends.step_by(width.max(1)).map(move |bytes| {
            let bytes = bytes.first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes).wrapping_shr(shift)
        }))
    }

    /// A varint in its shortest spelling.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        if first < 0x80 {
            return Some(value);
        }
        for shift in (7..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let digits = u64::from(byte & 0x7f);
            let shifted = digits.checked_shl(shift)?;
            if shifted.checked_shr(shift)? != digits {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                let shortest = byte != 0;
                return shortest.then_some(value);
            }
        }
        None
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

/// Appends `width` bytes of each value, as [`put_integer`]. Room is made for all of them at once: at most `ROOM` bytes,
/// eight of them behind the last value.
#[inline]
pub(super) fn put_integers<const ROOM: usize, const N: usize>(
    out: &mut ArrayVec<u8, N>,
    values: impl ExactSizeIterator<Item = u64>,
    width: usize,
) {
    let zeros = const { &[0; ROOM] };
    let start = out.len();
    let end = start.saturating_add(values.len().saturating_mul(width));
    let room = end.saturating_sub(start).saturating_add(8);
    let fits = zeros
        .get(..room)
        .is_some_and(|zeros| out.try_extend_from_slice(zeros).is_ok());
    debug_assert!(fits, "the capacity is that of the longest state, and slack");
    let mut at = start;
    for value in values {
        if let Some(bytes) = out.get_mut(at..at.wrapping_add(8)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        at = at.wrapping_add(width);
    }
    out.truncate(end);
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
