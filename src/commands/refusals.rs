//! The errors, in one place: each begins with a code, names the argument and its range, and repeats nothing that the
//! client sent.

use crate::limiter::{Kind, QuotaError, RulesError, Unreadable, VERSION};
use crate::server::Refusal;

pub(super) const SYNTAX: Refusal = Refusal::Argument(c"ERR syntax error");
pub(super) const LIMIT: Refusal =
    Refusal::Argument(c"ERR limit must be an integer from 1 to 4294967295");
pub(super) const COST: Refusal =
    Refusal::Argument(c"ERR cost must be an integer from 1 to 4294967295");
pub(super) const BURST: Refusal =
    Refusal::Argument(c"ERR burst must be an integer from 1 to 4294967295");
pub(super) const WINDOW: Refusal = Refusal::Argument(
    c"ERR window must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const BLOCK: Refusal = Refusal::Argument(
    c"ERR block must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w",
);
pub(super) const UNITS: Refusal =
    Refusal::Argument(c"ERR units must be an integer from 1 to 4294967295");
pub(super) const NUMKEYS: Refusal =
    Refusal::Argument(c"ERR numkeys must be an integer from 1 to 128");
pub(super) const DUPLICATE_KEY: Refusal =
    Refusal::Argument(c"ERR key must differ from the other keys named");
pub(super) const COUNT: Refusal =
    Refusal::Argument(c"ERR count must be an integer from 1 to 10000");
pub(super) const MAX_BURST: Refusal =
    Refusal::Argument(c"ERR max_burst must be an integer from 0 to 4294967294");
pub(super) const COUNT_PER_PERIOD: Refusal =
    Refusal::Argument(c"ERR count_per_period must be an integer from 1 to 4294967295");
pub(super) const PERIOD: Refusal =
    Refusal::Argument(c"ERR period must be an integer number of seconds from 1 to 315360000");
pub(super) const QUANTITY: Refusal =
    Refusal::Argument(c"ERR quantity must be an integer from 0 to 4294967295");
pub(super) const TOO_FAST: Refusal = Refusal::Argument(
    c"ERR count_per_period must be at most one unit per nanosecond of the period",
);
pub(super) const REFILLS_TOO_SLOWLY: Refusal = Refusal::Argument(
    c"ERR max_burst must refill within 100 years ((max_burst + 1) x period / count_per_period)",
);
pub(super) const NOT_A_LIMITER: Refusal =
    Refusal::WrongType(c"WRONGTYPE the key holds a value that is not a rate limiter");

impl From<QuotaError> for Refusal {
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

impl From<RulesError> for Refusal {
    fn from(error: RulesError) -> Self {
        Self::Argument(match error {
            RulesError::TooMany => c"ERR window must be named at most 8 times",
            RulesError::Duplicate => c"ERR window must differ from the other windows named",
        })
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotALimiter => NOT_A_LIMITER,
            Unreadable::OtherAlgorithm(Kind::Gcra) => Self::WrongType(
                c"WRONGTYPE the key holds a gcra limiter (RL.GCRA), not a sliding-window one (RL.CHECK)",
            ),
            Unreadable::OtherAlgorithm(Kind::SlidingWindow) => Self::WrongType(
                c"WRONGTYPE the key holds a sliding-window limiter (RL.CHECK), not a gcra one (RL.GCRA)",
            ),
            Unreadable::NewerVersion(version) => Self::NewerVersion(
                "ERR the key holds a limiter in state version ",
                version,
                const {
                    assert!(VERSION == 1, "the text below names it");
                    ": a newer redis-ratelimit is needed, this one reads version 1"
                },
            ),
        }
    }
}
