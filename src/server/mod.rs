//! The server: the only unsafe code. Everything outside reaches it through the safe types of this module.

mod api;
mod call;
mod called;
mod clock;
mod command_spec;
mod configuration;
mod context;
mod error;
mod events;
mod info;
mod key;
mod load;
mod main_thread;
mod raw;
mod replication;
mod server_info;
mod unload;
mod user;

pub(crate) use call::{Call, KeyRequest};
pub(crate) use command_spec::{Argument, ArgumentKind, Command, Keys, Spec};
pub(crate) use configuration::{Settings, configure};
pub(crate) use error::Error;
pub(crate) use events::subscribe;
pub(crate) use info::register_info;
pub(crate) use key::{Key, Stored};
pub(crate) use load::{Load, prepare, register};
pub(crate) use main_thread::{MainThread, MainThreadCell};
pub(crate) use raw::{
    REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_DELETE, REDISMODULE_CMD_KEY_RM,
    REDISMODULE_CMD_KEY_RO, REDISMODULE_CMD_KEY_RW, REDISMODULE_CMD_KEY_UPDATE,
};
pub(crate) use user::{KeyRules, User};
