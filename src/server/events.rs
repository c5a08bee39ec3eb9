//! What the server tells without being asked: its events.

use std::ffi::c_void;

use super::api::api;
use super::{Load, raw, replication, unload};

/// The events that matter here. The server keeps one function of a module for each.
const EVENTS: [u64; 8] = [
    raw::REDISMODULE_EVENT_CONFIG,
    raw::REDISMODULE_EVENT_CRON_LOOP,
    raw::REDISMODULE_EVENT_FORK_CHILD,
    raw::REDISMODULE_EVENT_LOADING,
    raw::REDISMODULE_EVENT_PERSISTENCE,
    raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
    raw::REDISMODULE_EVENT_REPLICA_CHANGE,
    raw::REDISMODULE_EVENT_SHUTDOWN,
];

/// Asks the server to tell of them.
///
/// To be called as the last thing that a load does: if a load fails, Redis 7.0 still calls the function, in a library
/// that is gone.
pub(crate) fn subscribe(load: &Load<'_>) {
    let all = EVENTS.iter().all(|id| {
        let event = raw::RedisModuleEvent {
            id: *id,
            dataver: 1,
        };
        // SAFETY: the context is that of the load; the function stays where it is until the module is unloaded.
        let subscribed = unsafe {
            api!(RedisModule_SubscribeToServerEvent)(load.ctx.as_ptr(), event, Some(on_event))
        };
        subscribed == raw::REDISMODULE_OK
    });
    replication::begin(all);
    unload::begin(load);
}

/// # Safety
/// It is the server that calls it: `data` is what comes with the event.
unsafe extern "C" fn on_event(
    _ctx: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    _which: u64,
    data: *mut c_void,
) {
    match event.id {
        raw::REDISMODULE_EVENT_CRON_LOOP => unload::on_tick(),
        raw::REDISMODULE_EVENT_SHUTDOWN => unload::on_shutdown(),
        raw::REDISMODULE_EVENT_CONFIG => {
            // SAFETY: this is what comes with an event of this kind.
            unsafe { unload::on_configuration(data.cast()) };
            replication::on_server_event();
        }
        _ => replication::on_server_event(),
    }
}
