//! A bucket as bytes: the limit, the window in milliseconds and the burst as varints, and, in the bytes that are left,
//! what is in use, in ticks of `1 / limit` nanosecond: as wide as twice the burst needs, so that its width hardly ever
//! changes, and at least as wide as the shortest state needs.

use super::bytes::{Reader, put_varint, put_wide, width_of};
use super::header::Header;
use super::{Encoded, Encoding, MIN_LEN};
use crate::limiter::{Bucket, Quota, Units, Window};

impl Encoding for Bucket {
    fn windows(&self) -> (usize, usize) {
        (1, 1)
    }

    fn has_joined(&self) -> bool {
        false
    }

    fn encode_body(&self, _joined: bool, out: &mut Encoded) {
        let quota = self.quota();
        put_varint(out, quota.limit().get());
        put_varint(out, quota.window().as_millis());
        put_varint(out, quota.burst().get());
        let width = in_use_width(quota, self.in_use(), out.len());
        put_wide(out, self.in_use(), width);
    }

    fn blank() -> Self {
        Self::new(Quota::MIN)
    }

    fn decode_body(&mut self, header: &Header, mut body: Reader<'_>) -> Option<()> {
        if header.stored() != 1 || header.active() != 1 || header.has_joined() {
            return None;
        }
        let limit = Units::new(body.varint()?)?;
        let window = Window::from_millis(body.varint()?)?;
        let burst = Units::new(body.varint()?)?;
        let quota = Quota::new(limit, window, burst).ok()?;
        let width = body.rest().len();
        let in_use = body.wide(width)?;
        let used = in_use > 0 || header.has_blocks();
        let is_canonical = width == in_use_width(quota, in_use, body.len().checked_sub(width)?);
        if !used || !is_canonical {
            return None;
        }
        *self = Self::restore(quota, in_use)?;
        Some(())
    }
}

/// The width of what is in use of `quota`, after `before` bytes.
fn in_use_width(quota: Quota, in_use: u128, before: usize) -> usize {
    width_of(quota.capacity().saturating_mul(2).max(in_use)).max(MIN_LEN.saturating_sub(before))
}
