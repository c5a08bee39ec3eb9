//! The module API: a table of function pointers that the server fills in when it loads the module.
//!
//! The lists below are the way to it: a function that is not on one of them does not compile.

/// The functions that all servers from Redis 7.0 on have. [`api!`] takes them, and the module does not load if one is
/// missing.
pub(super) mod required {
    /// Makes the functions reachable, and [`missing`] look for all of them.
    macro_rules! functions {
        ($($name:ident,)*) => {
            pub(in crate::server) use redis_module::raw::{$($name),*};

            /// The first of them that the server does not have: it is older than Redis 7.0.
            pub(in crate::server) fn missing() -> Option<&'static str> {
                [$((
                    stringify!($name),
                    // SAFETY: the table was filled before the module's initialisation began; nothing writes it now.
                    unsafe { $name }.is_some(),
                )),*]
                .into_iter()
                .find_map(|(name, there)| (!there).then_some(name))
            }
        };
    }
    functions! {
        RedisModule_ACLCheckKeyPermissions,
        RedisModule_Call,
        RedisModule_CallReplyArrayElement,
        RedisModule_CallReplyStringPtr,
        RedisModule_CallReplyType,
        RedisModule_CloseKey,
        RedisModule_CreateCommand,
        RedisModule_CreateString,
        RedisModule_DeleteKey,
        RedisModule_FreeCallReply,
        RedisModule_FreeModuleUser,
        RedisModule_FreeServerInfo,
        RedisModule_FreeString,
        RedisModule_GetAbsExpire,
        RedisModule_GetClientId,
        RedisModule_GetClientUserNameById,
        RedisModule_GetCommand,
        RedisModule_GetContextFlags,
        RedisModule_GetCurrentUserName,
        RedisModule_GetModuleUserFromUserName,
        RedisModule_GetSelectedDb,
        RedisModule_GetServerInfo,
        RedisModule_InfoAddFieldULongLong,
        RedisModule_InfoAddSection,
        RedisModule_IsKeysPositionRequest,
        RedisModule_KeyAtPosWithFlags,
        RedisModule_KeyType,
        RedisModule_LoadConfigs,
        RedisModule_NotifyKeyspaceEvent,
        RedisModule_OpenKey,
        RedisModule_RegisterBoolConfig,
        RedisModule_RegisterInfoFunc,
        RedisModule_RegisterNumericConfig,
        RedisModule_Replicate,
        RedisModule_ReplicateVerbatim,
        RedisModule_ReplyWithArray,
        RedisModule_ReplyWithError,
        RedisModule_ReplyWithLongLong,
        RedisModule_ReplyWithMap,
        RedisModule_ReplyWithNull,
        RedisModule_ReplyWithStringBuffer,
        RedisModule_ServerInfoGetFieldC,
        RedisModule_ServerInfoGetFieldUnsigned,
        RedisModule_SetAbsExpire,
        RedisModule_SetCommandInfo,
        RedisModule_SetModuleOptions,
        RedisModule_SignalModifiedKey,
        RedisModule_StringDMA,
        RedisModule_StringPtrLen,
        RedisModule_StringTruncate,
        RedisModule_SubscribeToServerEvent,
        RedisModule_ValueLength,
    }
}

/// The functions that some servers do not have, to be read in an unsafe block as `optional::NAME`: an `Option`.
pub(super) mod optional {
    pub(in crate::server) use redis_module::raw::{
        RedisModule_AddACLCategory, RedisModule_CachedMicroseconds,
        RedisModule_GetModuleOptionsAll, RedisModule_GetModuleUserACLString, RedisModule_Log,
        RedisModule_SetCommandACLCategories,
    };
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
