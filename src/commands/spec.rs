//! What the decision commands tell the server: flags, categories and arguments that they share.

use std::ffi::{CStr, c_int};

use crate::server::{
    Argument, ArgumentKind, REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RW,
    REDISMODULE_CMD_KEY_UPDATE,
};

/// The flags of a decision command.
pub(super) const FLAGS: &CStr = c"write deny-oom fast";
/// Its ACL categories, and those of them that every server knows.
pub(super) const CATEGORIES: &CStr = c"ratelimit write fast";
pub(super) const CORE_CATEGORIES: &CStr = c"write fast";
/// What it does with its key.
pub(super) const KEY_FLAGS: c_int =
    REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_UPDATE;

/// Its key.
pub(super) const KEY: Argument = Argument::new(c"key", ArgumentKind::Key);
/// Its limit.
pub(super) const LIMIT: Argument = Argument::new(c"limit", ArgumentKind::Integer);
/// Its window.
pub(super) const WINDOW: Argument = Argument::new(c"window", ArgumentKind::String);
/// `COST n`
pub(super) const COST: Argument = Argument::option(c"COST", c"cost", ArgumentKind::Integer);
/// `KEEP n`
pub(super) const KEEP: Argument = Argument::option(c"KEEP", c"keep", ArgumentKind::Integer);
/// `ATMOST`
pub(super) const ATMOST: Argument = Argument::word(c"ATMOST", c"atmost");
/// `FORCE`
pub(super) const FORCE: Argument = Argument::word(c"FORCE", c"force");
/// `BLOCK duration [UPTO duration]`
pub(super) const BLOCK: Argument = Argument::new(
    c"block",
    ArgumentKind::Block(&[
        Argument::with_word(c"BLOCK", c"duration", ArgumentKind::String),
        Argument::option(c"UPTO", c"longest", ArgumentKind::String),
    ]),
)
.optional();
