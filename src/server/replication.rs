//! Whether what is replicated has a sink: an append-only file, a replica, or the backlog for replicas that come back.
//!
//! `RedisModule_Replicate` builds the whole command before the server looks for a sink, which takes as long as half a
//! grant; `RedisModule_ReplicateVerbatim` looks first. So the latter is called if there is no sink: it only counts the
//! change, for the save points.
//!
//! The server can be asked, but that takes too long to be done for every call. Its answer "none" holds until an event
//! says otherwise:
//!
//! - A replica begins with a snapshot, and takes what is replicated after it. A forked child writes the snapshot, or the
//!   server itself, to a file. The server tells of both before it carries out another command.
//! - A replica that comes back needs no snapshot if the server has a backlog. A backlog begins with a replica that
//!   waits for its snapshot. No replica asks for what the backlog keeps from before the snapshot: it belongs to a new
//!   history, whose name they are told with the snapshot. A backlog also begins with the role of a replica, or when
//!   data is loaded that came from a primary. The server tells of these, too.
//! - An append-only file begins with a change of the configuration, or with a role or a fork as above.
//!
//! In a cluster slots move in other ways, so the answer is never "none".
//!
//! If any of this were wrong, the request itself would be replicated, and a replica would decide by itself: less exact,
//! but within the limit.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Call;
use super::api::api;
use super::raw;
use super::server_info::ServerInfo;

/// What is known of sinks. Only the server's main thread comes here.
static SINKS: AtomicU8 = AtomicU8::new(MAYBE);

/// Nothing: the server has to be asked.
const UNKNOWN: u8 = 0;
/// There are none, and the server will tell when that ends.
const NONE: u8 = 1;
/// There may be some.
const MAYBE: u8 = 2;
/// There may always be some: the server does not tell of all that matters.
const CANNOT_TELL: u8 = 3;

/// An append-only file is a sink; on a replica, the primary decides what is replicated; and in a cluster slots move,
/// with what is written.
const HAS_SINK: c_int = (raw::REDISMODULE_CTX_FLAGS_AOF
    | raw::REDISMODULE_CTX_FLAGS_SLAVE
    | raw::REDISMODULE_CTX_FLAGS_CLUSTER) as c_int;

/// The load is at its end. `told`: whether the server tells of everything that matters here. If it does not, there may
/// always be a sink.
pub(super) fn begin(told: bool) {
    let known = if told { UNKNOWN } else { CANNOT_TELL };
    SINKS.store(known, Ordering::Relaxed);
}

/// Something has happened after which the server has to be asked again.
pub(super) fn on_server_event() {
    if SINKS.load(Ordering::Relaxed) != CANNOT_TELL {
        SINKS.store(UNKNOWN, Ordering::Relaxed);
    }
}

/// Whether there is certainly no sink for what the call would replicate.
#[inline]
pub(super) fn has_no_sink(call: &Call<'_>) -> bool {
    match SINKS.load(Ordering::Relaxed) {
        NONE => true,
        UNKNOWN => ask(call),
        _ => false,
    }
}

/// Counts a change for the save points, if there is no sink.
pub(super) fn count_change(call: &Call<'_>) {
    // SAFETY: the context is that of the call.
    unsafe { api!(RedisModule_ReplicateVerbatim)(call.ctx.as_ptr()) };
}

#[cold]
fn ask(call: &Call<'_>) -> bool {
    // SAFETY: the context is that of the call.
    let flags = unsafe { api!(RedisModule_GetContextFlags)(call.ctx.as_ptr()) };
    let none = flags & HAS_SINK == 0 && no_replicas(call);
    let known = if none { NONE } else { MAYBE };
    SINKS.store(known, Ordering::Relaxed);
    none
}

/// Whether the server says that it has no replicas, and no backlog for replicas that come back.
fn no_replicas(call: &Call<'_>) -> bool {
    let info = ServerInfo::section(call.ctx, c"replication");
    [c"connected_slaves", c"repl_backlog_active"]
        .iter()
        .all(|field| info.number(field) == Some(0))
}
