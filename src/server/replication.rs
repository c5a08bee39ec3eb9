//! Whether anybody hears what is replicated: an append-only file, a replica, or the backlog for those that come back.
//!
//! `RedisModule_Replicate` builds the whole command before the server looks whether anybody wants it, which takes as long
//! as half a grant; `RedisModule_ReplicateVerbatim` looks first. So the latter is called where nobody listens: it only
//! counts the change, for the save points.
//!
//! The server tells when it is asked, which takes too long to be done every time. But its answer "nobody" holds until an
//! event says otherwise:
//!
//! - A replica of whatever kind begins with a snapshot, and takes up what is replicated after it. A forked child writes
//!   it; or the server itself, to a file that a replica begins with. The server tells of either before it carries out
//!   another command.
//! - A replica that comes back needs no snapshot where the server has a backlog. A backlog begins with a replica that
//!   waits for its snapshot. What it keeps from before the snapshot no replica asks for: it belongs to a new history, whose
//!   name they are told with the snapshot. Or a backlog begins with the role of a replica, or with data loaded that came
//!   from a primary. The server tells of these, too.
//! - An append-only file is switched on by a change of the configuration, or begins with a role or a fork as above.
//!
//! In a cluster, whose slots move by other ways, the answer is never "nobody".
//!
//! Were all that wrong, the request itself would be replicated, and a replica would decide by itself: less exact, but
//! within the limit.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering};

use redis_module::raw;

use super::Call;
use super::api::api;
use super::server_info::ServerInfo;

/// What is known. Only the server's main thread comes here.
static SINKS: AtomicU8 = AtomicU8::new(MAYBE);

/// Nothing: the server has to be asked.
const UNKNOWN: u8 = 0;
/// There are none, and the server will tell when that ends.
const NONE: u8 = 1;
/// There may be some.
const MAYBE: u8 = 2;
/// There may always be some: the server does not tell of all that matters.
const CANNOT_TELL: u8 = 3;

/// An append-only file listens; a replica has its primary's word; and in a cluster slots move, with what is written.
const HAS_SINK: c_int = (raw::REDISMODULE_CTX_FLAGS_AOF
    | raw::REDISMODULE_CTX_FLAGS_SLAVE
    | raw::REDISMODULE_CTX_FLAGS_CLUSTER) as c_int;

/// The load is at its end. `told`: whether the server tells of everything that matters here. If it does not, somebody may
/// always listen.
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

/// Whether certainly nobody hears what the call would replicate.
#[inline]
pub(super) fn has_no_sink(call: &Call<'_>) -> bool {
    match SINKS.load(Ordering::Relaxed) {
        NONE => true,
        UNKNOWN => ask(call),
        _ => false,
    }
}

/// Counts a change for the save points, where nobody listens.
pub(super) fn count_change(call: &Call<'_>) {
    // SAFETY: the context is that of the call.
    unsafe { api!(RedisModule_ReplicateVerbatim)(call.ctx) };
}

#[cold]
fn ask(call: &Call<'_>) -> bool {
    // SAFETY: the context is that of the call.
    let flags = unsafe { api!(RedisModule_GetContextFlags)(call.ctx) };
    let nobody = flags & HAS_SINK == 0 && no_replicas(call);
    let known = if nobody { NONE } else { MAYBE };
    SINKS.store(known, Ordering::Relaxed);
    nobody
}

/// Whether the server says that it has no replicas, and no backlog for replicas that come back.
fn no_replicas(call: &Call<'_>) -> bool {
    // SAFETY: the context is that of the call, which outlives the section.
    let info = unsafe { ServerInfo::section(call.ctx, c"replication") };
    [c"connected_slaves", c"repl_backlog_active"]
        .iter()
        .all(|field| info.number(field) == Some(0))
}
