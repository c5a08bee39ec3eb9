//! `RL.TOP [count]`

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::arguments::integer;
use super::refusals::{COUNT, SYNTAX};
use super::reply::integer as reply_integer;
use crate::heavy_hitters::Slot;
use crate::metrics::{self, CommandCounters};
use crate::server::{Argument, Call, Command, Keys, Kind, Refusal, Spec, User};
use crate::top;

/// How many keys are shown where the caller does not say.
const DEFAULT_COUNT: usize = 10;
/// The most keys that can be asked for, and kept.
const MAX_COUNT: usize = 10_000;

pub(super) struct Top;

impl Command for Top {
    const SPEC: Spec = Spec {
        name: c"rl.top",
        flags: c"readonly",
        categories: c"read slow",
        core_categories: c"read slow",
        arity: -1,
        keys: Keys::No,
        key_flags: 0,
        summary: c"Lists the keys that rate limiters denied most since the module was loaded.",
        complexity: c"O(N) for the N keys that are kept",
        since: c"0.1.0",
        arguments: &[Argument::new(c"count", Kind::Integer).optional()],
    };

    const COUNTERS: &'static CommandCounters = &metrics::TOP;

    fn run(call: &Call<'_>) -> Result<(), Refusal> {
        if call.count() > 2 {
            return Err(SYNTAX);
        }
        let count = match call.argument(1) {
            None => DEFAULT_COUNT,
            Some(argument) => integer(argument)
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count <= MAX_COUNT)
                .ok_or(COUNT)?,
        };
        let user = User::of(call);
        // A key that was cut off may be another one than the user may read: only who may read any key may see it.
        let any_key = RandomState::new().hash_one(call.now().as_micros());
        let reads_all = user
            .as_ref()
            .is_some_and(|user| user.may_read(format!("{any_key:016x}").as_bytes()));
        let readable = |slot: &&Slot| {
            let user = user.as_ref();
            reads_all || !slot.cut && user.is_some_and(|user| user.may_read(&slot.key))
        };
        top::with(|sketch| {
            call.reply_array(sketch.ranking().filter(readable).take(count).count());
            for slot in sketch.ranking().filter(readable).take(count) {
                call.reply_array(4);
                call.reply_bytes(&slot.key);
                call.reply_integer(slot.database.into());
                call.reply_integer(reply_integer(slot.denials));
                call.reply_integer(reply_integer(slot.error));
            }
        })
        .unwrap_or_else(|| call.reply_array(0));
        Ok(())
    }
}
