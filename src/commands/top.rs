//! `RL.TOP [count]`

use std::cell::LazyCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use arrayvec::ArrayVec;

use super::arguments::integer;
use super::errors::{COUNT, SYNTAX};
use super::reply::integer as reply_integer;
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Keys, Spec, User};
use crate::stats::counters::{self, CommandCounters};
use crate::stats::denied_keys::{self, Slot};

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
        arguments: &[Argument::new(c"count", ArgumentKind::Integer).optional()],
    };

    const COUNTERS: &'static CommandCounters = &counters::TOP;

    fn run(call: &Call<'_>) -> Result<(), Error> {
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
        denied_keys::with(call.inside(), |sketch| {
            let shown: Vec<&Slot> = match &user {
                Some(user) => {
                    let reads_all = LazyCell::new(|| reads_all(user));
                    sketch
                        .ranking()
                        .filter(|slot| !slot.cut || *reads_all)
                        .filter(|slot| call.may_see_database(slot.database))
                        .filter(|slot| user.may_read(&slot.key))
                        .take(count)
                        .collect()
                }
                None => Vec::new(),
            };
            call.reply_array(shown.len());
            for slot in shown {
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

/// Whether the user may read every key, and so keys of which only the beginning is known. Patterns that not all keys
/// match refuse one of these names: random bytes of many lengths, between each byte that there is.
fn reads_all(user: &User<'_>) -> bool {
    let seed = RandomState::new();
    (0..=u8::MAX).all(|byte| {
        let random = [0, 1].map(|half| seed.hash_one((byte, half)).to_le_bytes());
        let random = random.as_flattened().iter().take(usize::from(byte % 16));
        let mut name: ArrayVec<u8, 18> = ArrayVec::new();
        name.push(byte);
        name.extend(random.copied());
        name.push(byte);
        user.may_read(&name)
    })
}
