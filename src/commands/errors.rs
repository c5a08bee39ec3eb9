//! The errors, in one place: each begins with a code, names the argument and its range, and repeats nothing that the
//! client sent.

use super::mcheck::MAX_KEYS as MAX_KEYS_OF_ONE_CALL;
use super::reset::MAX_KEYS as MAX_KEYS_OF_A_RESET;
use crate::limiter::{
    AlgorithmKind, DecodeError, MAX_WINDOWS, QuotaError, RulesError, Units, VERSION, Window,
};
use crate::server::Error;
use crate::stats::denied_keys::MAX_KEYS;

// The numbers that the texts below name.
const _: () = {
    assert!(Units::MAX == 4_294_967_295);
    assert!(Window::MAX_MILLIS == 315_360_000 * 1_000, "10 years");
    assert!(MAX_WINDOWS == 8);
    assert!(MAX_KEYS_OF_ONE_CALL == 128);
    assert!(MAX_KEYS_OF_A_RESET == 1_024);
    assert!(MAX_KEYS == 1_000);
    assert!(VERSION == 2);
};

pub(super) const SYNTAX: Error = Error::Argument(c"ERR syntax error");
pub(super) const INVALID_LIMIT: Error =
    Error::Argument(c"ERR limit must be an integer from 1 to 4294967295");
pub(super) const INVALID_COST: Error =
    Error::Argument(c"ERR cost must be an integer from 1 to 4294967295");
pub(super) const INVALID_BURST: Error =
    Error::Argument(c"ERR burst must be an integer from 1 to 4294967295");
pub(super) const INVALID_WINDOW: Error = Error::Argument(
    c"ERR window must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const INVALID_BLOCK: Error = Error::Argument(
    c"ERR block must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const INVALID_UP_TO: Error = Error::Argument(
    c"ERR upto must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const UP_TO_BELOW_BLOCK: Error =
    Error::Argument(c"ERR upto must be at least as long as block");
pub(super) const INVALID_MAX_WAIT: Error = Error::Argument(
    c"ERR maxwait must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const INVALID_KEEP: Error =
    Error::Argument(c"ERR keep must be an integer from 0 to 4294967295");
pub(super) const INVALID_COSTS: Error = Error::Argument(
    c"ERR costs must be an integer from 0 to 4294967295 for each key, not all of them 0",
);
pub(super) const INVALID_RECEIPT: Error =
    Error::Argument(c"ERR receipt must be an integer from 0 to 9223372036854775807");
pub(super) const INVALID_UNITS: Error =
    Error::Argument(c"ERR units must be an integer from 1 to 4294967295");
pub(super) const INVALID_NUMKEYS: Error =
    Error::Argument(c"ERR numkeys must be an integer from 1 to 128");
pub(super) const DUPLICATE_KEY: Error =
    Error::Argument(c"ERR key must differ from the other keys named");
pub(super) const TOO_MANY_KEYS: Error =
    Error::Argument(c"ERR key must be named at most 1024 times");
pub(super) const INVALID_COUNT: Error =
    Error::Argument(c"ERR count must be an integer from 1 to 1000");
pub(super) const INVALID_DB: Error =
    Error::Argument(c"ERR db must be an integer from 0 to 2147483647");
pub(super) const INVALID_MAX_BURST: Error =
    Error::Argument(c"ERR max_burst must be an integer from 0 to 4294967294");
pub(super) const INVALID_COUNT_PER_PERIOD: Error =
    Error::Argument(c"ERR count_per_period must be an integer from 1 to 4294967295");
pub(super) const INVALID_PERIOD: Error =
    Error::Argument(c"ERR period must be an integer number of seconds from 1 to 315360000");
pub(super) const INVALID_QUANTITY: Error =
    Error::Argument(c"ERR quantity must be an integer from 0 to 4294967295");
pub(super) const TOO_FAST: Error =
    Error::Argument(c"ERR count_per_period must be at most one unit per nanosecond of the period");
pub(super) const REFILLS_TOO_SLOWLY: Error = Error::Argument(
    c"ERR max_burst must refill within 100 years ((max_burst + 1) x period / count_per_period)",
);
pub(super) const NOT_A_LIMITER: Error =
    Error::WrongType(c"WRONGTYPE the key holds a value that is not a rate limiter");

impl From<QuotaError> for Error {
    fn from(error: QuotaError) -> Self {
        Self::Argument(match error {
            QuotaError::TooFast => {
                c"ERR limit must be at most one unit per nanosecond of the window"
            }
            QuotaError::RefillsTooSlowly => {
                c"ERR burst must refill within 100 years (burst x window / limit)"
            }
        })
    }
}

impl From<RulesError> for Error {
    fn from(error: RulesError) -> Self {
        Self::Argument(match error {
            RulesError::TooMany => c"ERR window must be named at most 8 times",
            RulesError::Duplicate => c"ERR window must differ from the other windows named",
        })
    }
}

impl From<DecodeError> for Error {
    fn from(unreadable: DecodeError) -> Self {
        match unreadable {
            DecodeError::NotALimiter => NOT_A_LIMITER,
            DecodeError::OtherAlgorithm(AlgorithmKind::Gcra) => Self::WrongType(
                c"WRONGTYPE the key holds a gcra limiter (RL.GCRA), not a sliding-window one (RL.CHECK)",
            ),
            DecodeError::OtherAlgorithm(AlgorithmKind::SlidingWindow) => Self::WrongType(
                c"WRONGTYPE the key holds a sliding-window limiter (RL.CHECK), not a gcra one (RL.GCRA)",
            ),
            DecodeError::NewerVersion(version) => Self::NewerVersion(
                "ERR the key holds a limiter in state version ",
                version,
                ": a newer redis-ratelimit is needed, this one reads versions 1 and 2",
            ),
        }
    }
}
