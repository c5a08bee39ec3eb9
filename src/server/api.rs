//! The module API's functions: a table of pointers that the server fills in when it loads the module.
//!
//! The lists below are the way to it: a function that is not on one of them does not compile. They are declared as the
//! server documents its API (`RedisModule_OpenKey` is `RM_OpenKey` there), in the same way for all servers that have them.

use std::ffi::{c_char, c_int, c_void};

use super::raw::RedisModuleCtx;

/// Gives a function by its name: writes its address to `place`, or nothing if the server does not have it.
type GetApi = unsafe extern "C" fn(name: *const c_char, place: *mut c_void) -> c_int;

/// Declares functions, each as a static that is `None` if the server does not have it, and `fill`, which asks for them all.
macro_rules! functions {
    ($($name:ident($($parameters:tt)*) $(-> $result:ty)?;)*) => {
        use std::ffi::{c_char, c_int, c_longlong};

        use super::GetApi;
        #[allow(clippy::wildcard_imports, reason = "what functions take and return")]
        use crate::server::raw::*;

        $(
            #[allow(non_upper_case_globals, reason = "the server's names")]
            pub(in crate::server) static mut $name:
                Option<unsafe extern "C" fn($($parameters)*) $(-> $result)?> = None;
        )*

        /// Asks for all of them; the first that the server does not have.
        ///
        /// # Safety
        /// `get` is what the server gives to a module that it loads, and nothing else reads or writes the table.
        pub(super) unsafe fn fill(get: GetApi) -> Option<&'static str> {
            let mut missing = None;
            $(
                let name = concat!(stringify!($name), "\0");
                // SAFETY: the caller promises `get`, which takes a C string and where to put the address of a function:
                // an `Option` of a pointer to a function is one that may be null.
                unsafe { get(name.as_ptr().cast(), (&raw mut $name).cast()) };
                // SAFETY: the caller promises that nothing else writes it.
                if unsafe { $name }.is_none() {
                    missing = missing.or(Some(stringify!($name)));
                }
            )*
            missing
        }
    };
}

/// The functions that all servers from Redis 7.0 on have. [`api!`] takes them, and the module does not load if one is
/// missing.
pub(super) mod required {
    use std::ffi::{c_long, c_uint, c_ulonglong, c_void};

    functions! {
        RedisModule_ACLCheckKeyPermissions(user: *mut RedisModuleUser, key: *mut RedisModuleString, flags: c_int) -> c_int;
        RedisModule_Call(ctx: *mut RedisModuleCtx, command: *const c_char, format: *const c_char, ...) -> *mut RedisModuleCallReply;
        RedisModule_CallReplyArrayElement(reply: *mut RedisModuleCallReply, at: usize) -> *mut RedisModuleCallReply;
        RedisModule_CallReplyStringPtr(reply: *mut RedisModuleCallReply, len: *mut usize) -> *const c_char;
        RedisModule_CallReplyType(reply: *mut RedisModuleCallReply) -> c_int;
        RedisModule_CloseKey(key: *mut RedisModuleKey);
        RedisModule_CreateCommand(
            ctx: *mut RedisModuleCtx,
            name: *const c_char,
            command: Option<RedisModuleCmdFunc>,
            flags: *const c_char,
            first_key: c_int,
            last_key: c_int,
            key_step: c_int,
        ) -> c_int;
        RedisModule_CreateString(ctx: *mut RedisModuleCtx, bytes: *const c_char, len: usize) -> *mut RedisModuleString;
        RedisModule_DeleteKey(key: *mut RedisModuleKey) -> c_int;
        RedisModule_FreeCallReply(reply: *mut RedisModuleCallReply);
        RedisModule_FreeModuleUser(user: *mut RedisModuleUser);
        RedisModule_FreeServerInfo(ctx: *mut RedisModuleCtx, info: *mut RedisModuleServerInfoData);
        RedisModule_FreeString(ctx: *mut RedisModuleCtx, string: *mut RedisModuleString);
        RedisModule_GetAbsExpire(key: *mut RedisModuleKey) -> c_longlong;
        RedisModule_GetClientId(ctx: *mut RedisModuleCtx) -> c_ulonglong;
        RedisModule_GetClientUserNameById(ctx: *mut RedisModuleCtx, client: u64) -> *mut RedisModuleString;
        RedisModule_GetCommand(ctx: *mut RedisModuleCtx, name: *const c_char) -> *mut RedisModuleCommand;
        RedisModule_GetContextFlags(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_GetCurrentUserName(ctx: *mut RedisModuleCtx) -> *mut RedisModuleString;
        RedisModule_GetModuleUserFromUserName(name: *mut RedisModuleString) -> *mut RedisModuleUser;
        RedisModule_GetSelectedDb(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_GetServerInfo(ctx: *mut RedisModuleCtx, section: *const c_char) -> *mut RedisModuleServerInfoData;
        RedisModule_InfoAddFieldULongLong(ctx: *mut RedisModuleInfoCtx, field: *const c_char, value: c_ulonglong) -> c_int;
        RedisModule_InfoAddSection(ctx: *mut RedisModuleInfoCtx, name: *const c_char) -> c_int;
        RedisModule_IsKeysPositionRequest(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_IsModuleNameBusy(name: *const c_char) -> c_int;
        RedisModule_KeyAtPosWithFlags(ctx: *mut RedisModuleCtx, at: c_int, flags: c_int);
        RedisModule_KeyType(key: *mut RedisModuleKey) -> c_int;
        RedisModule_LoadConfigs(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_NotifyKeyspaceEvent(
            ctx: *mut RedisModuleCtx,
            class: c_int,
            event: *const c_char,
            key: *mut RedisModuleString,
        ) -> c_int;
        RedisModule_OpenKey(ctx: *mut RedisModuleCtx, name: *mut RedisModuleString, mode: c_int) -> *mut RedisModuleKey;
        RedisModule_RegisterBoolConfig(
            ctx: *mut RedisModuleCtx,
            name: *const c_char,
            default: c_int,
            flags: c_uint,
            get: Option<RedisModuleConfigGetBoolFunc>,
            set: Option<RedisModuleConfigSetBoolFunc>,
            apply: Option<RedisModuleConfigApplyFunc>,
            data: *mut c_void,
        ) -> c_int;
        RedisModule_RegisterInfoFunc(ctx: *mut RedisModuleCtx, info: Option<RedisModuleInfoFunc>) -> c_int;
        RedisModule_RegisterNumericConfig(
            ctx: *mut RedisModuleCtx,
            name: *const c_char,
            default: c_longlong,
            flags: c_uint,
            min: c_longlong,
            max: c_longlong,
            get: Option<RedisModuleConfigGetNumericFunc>,
            set: Option<RedisModuleConfigSetNumericFunc>,
            apply: Option<RedisModuleConfigApplyFunc>,
            data: *mut c_void,
        ) -> c_int;
        RedisModule_Replicate(ctx: *mut RedisModuleCtx, command: *const c_char, format: *const c_char, ...) -> c_int;
        RedisModule_ReplicateVerbatim(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_ReplyWithArray(ctx: *mut RedisModuleCtx, len: c_long) -> c_int;
        RedisModule_ReplyWithError(ctx: *mut RedisModuleCtx, text: *const c_char) -> c_int;
        RedisModule_ReplyWithLongLong(ctx: *mut RedisModuleCtx, value: c_longlong) -> c_int;
        RedisModule_ReplyWithMap(ctx: *mut RedisModuleCtx, len: c_long) -> c_int;
        RedisModule_ReplyWithNull(ctx: *mut RedisModuleCtx) -> c_int;
        RedisModule_ReplyWithStringBuffer(ctx: *mut RedisModuleCtx, bytes: *const c_char, len: usize) -> c_int;
        RedisModule_ServerInfoGetFieldC(info: *mut RedisModuleServerInfoData, field: *const c_char) -> *const c_char;
        RedisModule_ServerInfoGetFieldUnsigned(
            info: *mut RedisModuleServerInfoData,
            field: *const c_char,
            error: *mut c_int,
        ) -> c_ulonglong;
        RedisModule_SetAbsExpire(key: *mut RedisModuleKey, millis: c_longlong) -> c_int;
        RedisModule_SetCommandInfo(command: *mut RedisModuleCommand, info: *const RedisModuleCommandInfo) -> c_int;
        RedisModule_SetModuleAttribs(ctx: *mut RedisModuleCtx, name: *const c_char, version: c_int, api_version: c_int);
        RedisModule_SetModuleOptions(ctx: *mut RedisModuleCtx, options: c_int);
        RedisModule_SignalModifiedKey(ctx: *mut RedisModuleCtx, name: *mut RedisModuleString) -> c_int;
        RedisModule_StringDMA(key: *mut RedisModuleKey, len: *mut usize, mode: c_int) -> *mut c_char;
        RedisModule_StringPtrLen(string: *const RedisModuleString, len: *mut usize) -> *const c_char;
        RedisModule_StringTruncate(key: *mut RedisModuleKey, len: usize) -> c_int;
        RedisModule_SubscribeToServerEvent(
            ctx: *mut RedisModuleCtx,
            event: RedisModuleEvent,
            callback: Option<RedisModuleEventCallback>,
        ) -> c_int;
        RedisModule_ValueLength(key: *mut RedisModuleKey) -> usize;
    }
}

/// The functions that some servers do not have, to be read in an unsafe block as `optional::NAME`: an `Option`.
pub(super) mod optional {
    functions! {
        RedisModule_AddACLCategory(ctx: *mut RedisModuleCtx, name: *const c_char) -> c_int;
        RedisModule_CachedMicroseconds() -> c_longlong;
        RedisModule_GetModuleOptionsAll() -> c_int;
        RedisModule_GetModuleUserACLString(user: *mut RedisModuleUser) -> *mut RedisModuleString;
        RedisModule_Log(ctx: *mut RedisModuleCtx, level: *const c_char, format: *const c_char, ...);
        RedisModule_SetCommandACLCategories(command: *mut RedisModuleCommand, categories: *const c_char) -> c_int;
    }
}

/// A function of [`required`]. It is there: the module does not load if one of them is missing.
///
/// To be used in an unsafe block: the table is written while the module loads and never afterwards.
macro_rules! api {
    ($name:ident) => {
        $crate::server::api::required::$name.unwrap()
    };
}
pub(super) use api;

/// Fills the table; the first of [`required`] that the server does not have.
///
/// # Safety
/// The context is that of a load, and nothing else of the module runs.
pub(super) unsafe fn fill(ctx: *mut RedisModuleCtx) -> Option<&'static str> {
    // SAFETY: the caller promises the context, which begins with the address of the function that gives all others.
    let get = unsafe { *ctx.cast::<GetApi>() };
    // SAFETY: the caller promises it.
    unsafe {
        optional::fill(get);
        required::fill(get)
    }
}
