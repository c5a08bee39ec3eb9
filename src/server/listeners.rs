//! Whether anybody hears what is replicated: an append-only file, a replica, or the backlog for those that come back.
//!
//! `RedisModule_Replicate` builds the whole command before the server looks whether anybody wants it, which takes as long
//! as half a grant; `RedisModule_ReplicateVerbatim` looks first. So the latter is called where nobody listens: it only
//! counts the change, for the save points.
//!
//! The flags of the context tell of everything but replicas. Of them `INFO replication` tells, which takes too long to be
//! asked every time. Its answer "none" holds until an event says otherwise. A replica of whatever kind begins with a
//! snapshot, which a forked child writes: it is sent what happens after the fork, and the server tells of the fork before
//! it carries out another command. It takes no fork where the server has a backlog already; then the answer was not
//! "none", or the server has loaded its data or changed its role since, which it tells of, too.
//!
//! Were all that wrong, the request itself would be replicated, and a replica would decide by itself: less exact, but
//! within the limit.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicU8, Ordering};

use redis_module::raw;

use super::api::api;

/// Nothing is known: `INFO replication` has to be asked.
const UNKNOWN: u8 = 0;
/// There is neither a replica nor a backlog, and the server will tell when one begins.
const NO_REPLICAS: u8 = 1;
/// There may be.
const PERHAPS: u8 = 2;

/// What is known of replicas. Only the server's main thread comes here.
static REPLICAS: AtomicU8 = AtomicU8::new(PERHAPS);

/// The events after which it has to be asked again.
const EVENTS: [u64; 4] = [
    raw::REDISMODULE_EVENT_FORK_CHILD,
    raw::REDISMODULE_EVENT_LOADING,
    raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
    raw::REDISMODULE_EVENT_REPLICA_CHANGE,
];

/// An append-only file listens; a replica has its primary's word; and in a cluster slots move, with what is written.
const LISTENING: c_int = (raw::REDISMODULE_CTX_FLAGS_AOF
    | raw::REDISMODULE_CTX_FLAGS_SLAVE
    | raw::REDISMODULE_CTX_FLAGS_CLUSTER) as c_int;

/// Has the server tell of everything that matters here. Where it does not, somebody may always listen.
///
/// To be called while the module loads.
pub(super) fn watch(ctx: *mut raw::RedisModuleCtx) {
    let told_of_all = EVENTS.iter().all(|id| {
        let event = raw::RedisModuleEvent {
            id: *id,
            dataver: 1,
        };
        // SAFETY: the context is that of the load; the function stays where it is until the module is unloaded.
        let told =
            unsafe { api!(RedisModule_SubscribeToServerEvent)(ctx, event, Some(something_began)) };
        told == raw::REDISMODULE_OK as c_int
    });
    REPLICAS.store(
        if told_of_all { UNKNOWN } else { PERHAPS },
        Ordering::Relaxed,
    );
}

extern "C" fn something_began(
    _ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _which: u64,
    _data: *mut c_void,
) {
    REPLICAS.store(UNKNOWN, Ordering::Relaxed);
}

/// Whether certainly nobody hears what the call with this context would replicate.
pub(super) fn nobody_listens(ctx: *mut raw::RedisModuleCtx) -> bool {
    match REPLICAS.load(Ordering::Relaxed) {
        PERHAPS => return false,
        NO_REPLICAS => {}
        _ => {
            let none = no_replicas(ctx);
            REPLICAS.store(if none { NO_REPLICAS } else { PERHAPS }, Ordering::Relaxed);
            if !none {
                return false;
            }
        }
    }
    // SAFETY: the context is that of a call.
    unsafe { api!(RedisModule_GetContextFlags)(ctx) & LISTENING == 0 }
}

/// Whether the server says that it has no replicas, and no backlog for replicas to come.
fn no_replicas(ctx: *mut raw::RedisModuleCtx) -> bool {
    // SAFETY: the context is that of a call; the server copies the string.
    let info = unsafe { api!(RedisModule_GetServerInfo)(ctx, c"replication".as_ptr()) };
    let is_zero = |field: &CStr| {
        let mut unreadable = 0;
        // SAFETY: `info` was just made, and is freed below; the server copies the string.
        let value = unsafe {
            api!(RedisModule_ServerInfoGetFieldUnsigned)(info, field.as_ptr(), &raw mut unreadable)
        };
        unreadable == 0 && value == 0
    };
    let none = is_zero(c"connected_slaves") && is_zero(c"repl_backlog_active");
    // SAFETY: made above, and not used afterwards.
    unsafe { api!(RedisModule_FreeServerInfo)(ctx, info) };
    none
}
