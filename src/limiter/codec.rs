//! Bytes of a stored state: little-endian integers of a known width, and varints (LEB128) for what rarely changes.
//!
//! Reading is total, and accepts each value in one spelling only.

use arrayvec::ArrayVec;

/// Takes values from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer of `width` bytes, at most 16.
    pub(super) fn wide(&mut self, width: usize) -> Option<u128> {
        let (bytes, rest) = self.0.split_at_checked(width)?;
        let mut value = [0; 16];
        value.get_mut(..width)?.copy_from_slice(bytes);
        self.0 = rest;
        Some(u128::from_le_bytes(value))
    }

    /// An integer of `width` bytes, at most 8.
    pub(super) fn integer(&mut self, width: usize) -> Option<u64> {
        // Eight bytes at once where there are as many: a copy of a length known beforehand is one instruction.
        if let Some(eight) = self.0.first_chunk::<8>() {
            self.0 = self.0.get(width..)?;
            return Some(u64::from_le_bytes(*eight) & mask(width));
        }
        u64::try_from(self.wide(width)?).ok()
    }

    /// A varint in its shortest spelling.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let digits = u64::from(byte & 0x7f);
            let shifted = digits.checked_shl(shift)?;
            if shifted.checked_shr(shift)? != digits {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
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
fn put<const N: usize, const M: usize>(out: &mut ArrayVec<u8, N>, bytes: [u8; M], width: usize) {
    let end = out.len().saturating_add(width.min(M));
    let fits = out.try_extend_from_slice(&bytes).is_ok();
    debug_assert!(fits, "the capacity is that of the longest state, and slack");
    out.truncate(end);
}

/// Appends a varint.
pub(super) fn put_varint<const N: usize>(out: &mut ArrayVec<u8, N>, mut value: u64) {
    while value > 0x7f {
        // Lossless: seven bits and the mark that more follow.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The lowest `width` bytes of an integer.
pub(super) const fn mask(width: usize) -> u64 {
    match width {
        0 => 0,
        1..8 => (1_u64 << (width as u32).saturating_mul(8)).wrapping_sub(1),
        _ => u64::MAX,
    }
}

/// The bytes that `value` needs; at least one.
pub(super) const fn width_of(value: u128) -> usize {
    let bits = u128::BITS.saturating_sub(value.leading_zeros());
    let bytes = bits.div_ceil(8) as usize;
    if bytes == 0 { 1 } else { bytes }
}
