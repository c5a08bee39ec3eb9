//! The state of a limiter as bytes: a plain string, so that a server without the module can hold it, too.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | magic: `D2 4C`, which no UTF-8 text starts with |
//! | 1 | version: 1, or 2 if there is a byte of more flags |
//! | 1 | flags: bit 0 GCRA, bit 1 blocked, bits 2-4 windows stored - 1, bits 5-7 windows active - 1 |
//! | 7 | when it was written, in microseconds since the epoch |
//! | 1 | version 2: more flags, at least one: bit 0 blocks in a row, bit 1 groups that have joined |
//! | 7 | if blocked: for how long from then on, in microseconds |
//! | 7 | if there are blocks in a row: for how long from then on they are remembered, in microseconds |
//! | 4 | if there are blocks in a row: how many |
//!
//! Then comes what the algorithm stores: [`gcra`], [`sliding_window`]. Each state has only one spelling; everything else
//! is refused.

mod bytes;
mod gcra;
mod header;
mod sliding_window;

use arrayvec::ArrayVec;

use bytes::{Reader, SLACK};
use header::Header;

use super::{
    Algorithm, AlgorithmKind, Blocks, Bucket, Limiter, MAX_GROUPS, MAX_WINDOWS, Timestamp, Windows,
};

/// The newest version of the layout that this release reads and writes.
pub const VERSION: u8 = 2;

/// The length of the shortest state, in bytes: longer than any integer that a server may hold in an encoding of its own.
pub const MIN_LEN: usize = 21;

/// The length of the longest state, in bytes: all windows, all groups, and every number as wide as it can be.
pub const MAX_LEN: usize = header::MAX_LEN
    + MAX_WINDOWS
        * (sliding_window::MAX_RULE_LEN
            + MAX_GROUPS * sliding_window::MAX_GROUP_LEN
            + sliding_window::JOINED_LEN);

/// A state as it is stored.
pub type Encoded = ArrayVec<u8, { MAX_LEN + SLACK }>;

/// Why bytes are not the state of the limiter that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They are something else.
    NotALimiter,
    /// They are a limiter that uses another algorithm, this one.
    OtherAlgorithm(AlgorithmKind),
    /// They are a limiter in a layout of this version, newer than [`VERSION`].
    NewerVersion(u8),
}

/// An algorithm whose limiters can be stored.
pub trait Encoding: Algorithm {
    /// How many windows are stored, and how many of them are active.
    fn windows(&self) -> (usize, usize);

    /// Whether it has groups that have joined.
    fn has_joined(&self) -> bool;

    /// Appends what follows the header, with a bit for each group if there are some that have `joined`.
    fn encode_body(&self, joined: bool, out: &mut Encoded);

    /// One to be replaced by what is stored.
    fn blank() -> Self;

    /// Makes it what was stored behind `header`; `None` if no limiter is stored like this. In place, because each
    /// function that returns it would copy it.
    fn decode_body(&mut self, header: &Header, body: Reader<'_>) -> Option<()>;
}

impl<A: Encoding> Limiter<A> {
    /// The limiter stored in `stored`, if any, with `parameters` active from `now` on.
    ///
    /// # Errors
    /// [`DecodeError`] if `stored` is not the state of a limiter with this algorithm.
    #[inline(always)]
    pub fn open(
        stored: Option<&[u8]>,
        parameters: &A::Parameters,
        now: Timestamp,
    ) -> Result<Self, DecodeError> {
        let mut limiter = Self::new(parameters, now);
        if let Some(bytes) = stored {
            limiter.restore(bytes)?;
            limiter.set_parameters(parameters);
        }
        Ok(limiter)
    }

    /// The limiter stored in `bytes` with the parameters stored there, at `now`.
    ///
    /// # Errors
    /// [`DecodeError`] if `bytes` are not the state of a limiter with this algorithm.
    #[inline(always)]
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Self, DecodeError> {
        let mut limiter = Self::with(A::blank(), now);
        limiter.restore(bytes)?;
        Ok(limiter)
    }

    /// Makes it the limiter stored in `bytes`, with the parameters stored there. In place, because a limiter takes half
    /// a kilobyte, and each function that returns it would copy it. After an error it must not be used.
    ///
    /// # Errors
    /// [`DecodeError`] if `bytes` are not the state of a limiter with this algorithm.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let (header, body) = Header::decode(bytes, self.blocks_mut())?;
        if header.algorithm() != A::KIND {
            return Err(DecodeError::OtherAlgorithm(header.algorithm()));
        }
        let decoded = self.algorithm_mut().decode_body(&header, body);
        decoded.ok_or(DecodeError::NotALimiter)?;
        self.resume(header.has_blocks(), header.written);
        Ok(())
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let mut out = Encoded::new();
        self.encode_to(&mut out);
        out
    }

    /// Puts the bytes to store into `out`, whatever was there.
    pub fn encode_to(&self, out: &mut Encoded) {
        out.clear();
        let algorithm = self.algorithm();
        let (stored, active) = algorithm.windows();
        let joined = algorithm.has_joined();
        let blocks = self.blocks();
        Header::new(A::KIND, self.now(), blocks, stored, active, joined).encode(blocks, out);
        algorithm.encode_body(joined, out);
    }
}

/// A limiter of either algorithm, for commands that take both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack: a box would be an allocation"
)]
pub enum AnyLimiter {
    /// Of `RL.CHECK`.
    SlidingWindow(Limiter<Windows>),
    /// Of `RL.GCRA`.
    Gcra(Limiter<Bucket>),
}

impl AnyLimiter {
    /// The limiter stored in `bytes`, at `now`.
    ///
    /// # Errors
    /// [`DecodeError`] if `bytes` are not the state of a limiter.
    #[inline]
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Self, DecodeError> {
        let (header, _) = Header::decode(bytes, &mut { Blocks::NONE })?;
        Ok(match header.algorithm() {
            AlgorithmKind::SlidingWindow => Self::SlidingWindow(Limiter::read(bytes, now)?),
            AlgorithmKind::Gcra => Self::Gcra(Limiter::read(bytes, now)?),
        })
    }
}

/// Does the same with the limiter in an [`AnyLimiter`], whatever its algorithm.
macro_rules! with_limiter {
    ($any:expr, $limiter:ident => $body:expr) => {
        match $any {
            $crate::limiter::AnyLimiter::SlidingWindow($limiter) => $body,
            $crate::limiter::AnyLimiter::Gcra($limiter) => $body,
        }
    };
}
pub(crate) use with_limiter;
