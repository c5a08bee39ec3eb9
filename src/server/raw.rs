//! The module API's types and constants, as C has them. They are the same in all servers from Redis 7.0 on: a server only
//! adds to them, for a module is not compiled again for each. What is not used is not here.

use std::ffi::{c_char, c_int, c_longlong, c_uint, c_void};

/// Types that only the server looks into.
macro_rules! opaque {
    ($($(#[$documentation:meta])* $name:ident,)*) => {$(
        $(#[$documentation])*
        #[repr(C)]
        #[derive(Debug)]
        pub(super) struct $name {
            _private: [u8; 0],
        }
    )*};
}

opaque! {
    /// The context of a call of the module.
    RedisModuleCtx,
    /// The context in which a section of `INFO` is written.
    RedisModuleInfoCtx,
    /// A string of the server.
    RedisModuleString,
    /// An open key.
    RedisModuleKey,
    /// A user of `ACL`.
    RedisModuleUser,
    /// A command that a module has made.
    RedisModuleCommand,
    /// The reply of a command that a module has called.
    RedisModuleCallReply,
    /// A section of `INFO`, as it was read.
    RedisModuleServerInfoData,
}

pub(super) const REDISMODULE_OK: c_int = 0;
pub(super) const REDISMODULE_ERR: c_int = 1;
/// The version of the API that this is.
pub(super) const REDISMODULE_APIVER_1: c_int = 1;

// How a key is opened.
pub(super) const REDISMODULE_READ: c_int = 1 << 0;
pub(super) const REDISMODULE_WRITE: c_int = 1 << 1;

// What a key holds.
pub(super) const REDISMODULE_KEYTYPE_EMPTY: c_int = 0;
pub(super) const REDISMODULE_KEYTYPE_STRING: c_int = 1;

/// A reply that is a text.
pub(super) const REDISMODULE_REPLY_STRING: c_int = 0;

// Classes of keyspace events.
pub(super) const REDISMODULE_NOTIFY_GENERIC: c_int = 1 << 2;
pub(super) const REDISMODULE_NOTIFY_MODULE: c_int = 1 << 13;

// What a context is, and its server.
pub(super) const REDISMODULE_CTX_FLAGS_LUA: c_int = 1 << 0;
pub(super) const REDISMODULE_CTX_FLAGS_SLAVE: c_int = 1 << 3;
pub(super) const REDISMODULE_CTX_FLAGS_CLUSTER: c_int = 1 << 5;
pub(super) const REDISMODULE_CTX_FLAGS_AOF: c_int = 1 << 6;

// Options of a module.
/// A key that was opened for writing counts as modified only if the module says so.
pub(super) const REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED: c_int = 1 << 1;
/// The module can be used while a replica loads a data set in the background.
pub(super) const REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD: c_int = 1 << 2;
/// Valkey 9: the module can be used while slots migrate atomically.
pub(super) const VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

// Settings: whether they can be changed while the server runs.
pub(super) const REDISMODULE_CONFIG_DEFAULT: c_uint = 0;
pub(super) const REDISMODULE_CONFIG_IMMUTABLE: c_uint = 1 << 0;

/// Reads a setting that is a number.
pub(super) type RedisModuleConfigGetNumericFunc =
    unsafe extern "C" fn(name: *const c_char, data: *mut c_void) -> c_longlong;
/// Changes one.
pub(super) type RedisModuleConfigSetNumericFunc = unsafe extern "C" fn(
    name: *const c_char,
    value: c_longlong,
    data: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int;
/// Reads a setting that is yes or no.
pub(super) type RedisModuleConfigGetBoolFunc =
    unsafe extern "C" fn(name: *const c_char, data: *mut c_void) -> c_int;
/// Changes one.
pub(super) type RedisModuleConfigSetBoolFunc = unsafe extern "C" fn(
    name: *const c_char,
    value: c_int,
    data: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int;
/// Applies what was changed.
pub(super) type RedisModuleConfigApplyFunc = unsafe extern "C" fn(
    ctx: *mut RedisModuleCtx,
    data: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int;

/// Writes a section of `INFO`.
pub(super) type RedisModuleInfoFunc =
    unsafe extern "C" fn(ctx: *mut RedisModuleInfoCtx, for_crash_report: c_int);

/// Carries out a command.
pub(super) type RedisModuleCmdFunc = unsafe extern "C" fn(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
) -> c_int;

// Events of the server.
pub(super) const REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED: u64 = 0;
pub(super) const REDISMODULE_EVENT_PERSISTENCE: u64 = 1;
pub(super) const REDISMODULE_EVENT_LOADING: u64 = 3;
pub(super) const REDISMODULE_EVENT_SHUTDOWN: u64 = 5;
pub(super) const REDISMODULE_EVENT_REPLICA_CHANGE: u64 = 6;
pub(super) const REDISMODULE_EVENT_CRON_LOOP: u64 = 8;
pub(super) const REDISMODULE_EVENT_FORK_CHILD: u64 = 13;
pub(super) const REDISMODULE_EVENT_CONFIG: u64 = 16;

/// An event, and the version of what is told with it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct RedisModuleEvent {
    pub(super) id: u64,
    pub(super) dataver: u64,
}

/// Hears of an event.
pub(super) type RedisModuleEventCallback = unsafe extern "C" fn(
    ctx: *mut RedisModuleCtx,
    event: RedisModuleEvent,
    subevent: u64,
    data: *mut c_void,
);

/// What is told with [`REDISMODULE_EVENT_CONFIG`].
#[repr(C)]
#[derive(Debug)]
pub(super) struct RedisModuleConfigChangeV1 {
    pub(super) version: u64,
    pub(super) num_changes: u32,
    pub(super) config_names: *mut *const c_char,
}

// What a command does with its keys.
pub(crate) const REDISMODULE_CMD_KEY_RO: c_int = 1 << 0;
pub(crate) const REDISMODULE_CMD_KEY_RW: c_int = 1 << 1;
pub(crate) const REDISMODULE_CMD_KEY_RM: c_int = 1 << 3;
pub(crate) const REDISMODULE_CMD_KEY_ACCESS: c_int = 1 << 4;
pub(crate) const REDISMODULE_CMD_KEY_UPDATE: c_int = 1 << 5;
pub(crate) const REDISMODULE_CMD_KEY_DELETE: c_int = 1 << 7;

/// The first key is at a place.
pub(super) const REDISMODULE_KSPEC_BS_INDEX: c_int = 2;
/// All up to another place are keys.
pub(super) const REDISMODULE_KSPEC_FK_RANGE: c_int = 2;
/// An argument says how many are keys.
pub(super) const REDISMODULE_KSPEC_FK_KEYNUM: c_int = 3;

// Kinds of arguments.
pub(super) const REDISMODULE_ARG_TYPE_STRING: c_int = 0;
pub(super) const REDISMODULE_ARG_TYPE_INTEGER: c_int = 1;
pub(super) const REDISMODULE_ARG_TYPE_KEY: c_int = 3;
pub(super) const REDISMODULE_ARG_TYPE_PURE_TOKEN: c_int = 6;
pub(super) const REDISMODULE_ARG_TYPE_ONEOF: c_int = 7;
pub(super) const REDISMODULE_ARG_TYPE_BLOCK: c_int = 8;

pub(super) const REDISMODULE_CMD_ARG_OPTIONAL: c_int = 1 << 0;
pub(super) const REDISMODULE_CMD_ARG_MULTIPLE: c_int = 1 << 1;

/// What `COMMAND DOCS` shows of a command.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RedisModuleCommandInfo {
    pub(super) version: *const RedisModuleCommandInfoVersion,
    pub(super) summary: *const c_char,
    pub(super) complexity: *const c_char,
    pub(super) since: *const c_char,
    pub(super) history: *mut RedisModuleCommandHistoryEntry,
    pub(super) tips: *const c_char,
    pub(super) arity: c_int,
    pub(super) key_specs: *mut RedisModuleCommandKeySpec,
    pub(super) args: *mut RedisModuleCommandArg,
}

/// How large the structures are that a [`RedisModuleCommandInfo`] leads to.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RedisModuleCommandInfoVersion {
    pub(super) version: c_int,
    pub(super) sizeof_historyentry: usize,
    pub(super) sizeof_keyspec: usize,
    pub(super) sizeof_arg: usize,
}

/// What changed in a command, and in which release.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RedisModuleCommandHistoryEntry {
    pub(super) since: *const c_char,
    pub(super) changes: *const c_char,
}

/// Which arguments are keys.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RedisModuleCommandKeySpec {
    pub(super) notes: *const c_char,
    pub(super) flags: u64,
    pub(super) begin_search_type: c_int,
    pub(super) bs: BeginSearch,
    pub(super) find_keys_type: c_int,
    pub(super) fk: FindKeys,
}

/// Where the first key is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union BeginSearch {
    pub(super) index: Index,
    pub(super) keyword: Keyword,
}

/// At a place.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Index {
    pub(super) pos: c_int,
}

/// Behind a word.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Keyword {
    pub(super) keyword: *const c_char,
    pub(super) startfrom: c_int,
}

/// Where the others are.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union FindKeys {
    pub(super) range: KeyRange,
    pub(super) keynum: KeyNumber,
}

/// Up to a place.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct KeyRange {
    pub(super) lastkey: c_int,
    pub(super) keystep: c_int,
    pub(super) limit: c_int,
}

/// As many as an argument says.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct KeyNumber {
    pub(super) keynumidx: c_int,
    pub(super) firstkey: c_int,
    pub(super) keystep: c_int,
}

/// An argument of a command.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RedisModuleCommandArg {
    pub(super) name: *const c_char,
    pub(super) kind: c_int,
    pub(super) key_spec_index: c_int,
    pub(super) token: *const c_char,
    pub(super) summary: *const c_char,
    pub(super) since: *const c_char,
    pub(super) flags: c_int,
    pub(super) deprecated_since: *const c_char,
    pub(super) subargs: *mut RedisModuleCommandArg,
    pub(super) display_text: *const c_char,
}
