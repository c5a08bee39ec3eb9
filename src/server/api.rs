//! The module API: a table of function pointers that the server fills in when it loads the module.

use redis_module::raw;

/// The function pointer `$name` of the module API, one of those that [`missing`] looks for before any command runs.
///
/// To be used in an unsafe block: the table is written while the module loads and never afterwards.
macro_rules! api {
    ($name:ident) => {{
        #[allow(
            clippy::unwrap_used,
            reason = "the module does not load where one of these is missing"
        )]
        redis_module::raw::$name.unwrap()
    }};
}
pub(super) use api;

/// The first function that this module cannot do without and the server does not have: it is older than Redis 7.0.
pub(super) fn missing() -> Option<&'static str> {
    macro_rules! required {
        ($($name:ident)*) => {
            [$((
                stringify!($name),
                // SAFETY: the table was filled before the module's initialisation began; nothing writes it now.
                unsafe { raw::$name }.is_some(),
            )),*]
        };
    }
    required![
        RedisModule_ACLCheckKeyPermissions
        RedisModule_Call
        RedisModule_CallReplyArrayElement
        RedisModule_CallReplyStringPtr
        RedisModule_CallReplyType
        RedisModule_CloseKey
        RedisModule_CreateCommand
        RedisModule_CreateString
        RedisModule_DeleteKey
        RedisModule_FreeCallReply
        RedisModule_FreeModuleUser
        RedisModule_FreeServerInfo
        RedisModule_FreeString
        RedisModule_GetAbsExpire
        RedisModule_GetClientId
        RedisModule_GetClientUserNameById
        RedisModule_GetCommand
        RedisModule_GetContextFlags
        RedisModule_GetCurrentUserName
        RedisModule_GetModuleUserFromUserName
        RedisModule_GetSelectedDb
        RedisModule_GetServerInfo
        RedisModule_GetServerVersion
        RedisModule_InfoAddFieldULongLong
        RedisModule_InfoAddSection
        RedisModule_IsKeysPositionRequest
        RedisModule_KeyAtPosWithFlags
        RedisModule_KeyType
        RedisModule_LoadConfigs
        RedisModule_NotifyKeyspaceEvent
        RedisModule_OpenKey
        RedisModule_RegisterBoolConfig
        RedisModule_RegisterInfoFunc
        RedisModule_RegisterNumericConfig
        RedisModule_Replicate
        RedisModule_ReplicateVerbatim
        RedisModule_ReplyWithArray
        RedisModule_ReplyWithError
        RedisModule_ReplyWithLongLong
        RedisModule_ReplyWithMap
        RedisModule_ReplyWithNull
        RedisModule_ReplyWithStringBuffer
        RedisModule_ServerInfoGetFieldC
        RedisModule_ServerInfoGetFieldUnsigned
        RedisModule_SetAbsExpire
        RedisModule_SetCommandInfo
        RedisModule_SetModuleOptions
        RedisModule_SignalModifiedKey
        RedisModule_StringDMA
        RedisModule_StringPtrLen
        RedisModule_StringTruncate
        RedisModule_SubscribeToServerEvent
        RedisModule_ValueLength
    ]
    .into_iter()
    .find_map(|(name, there)| (!there).then_some(name))
}
