//! What the module asks of the server before it registers its commands.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::Load;
use super::api::{api, optional};
use super::server_info::ServerInfo;

/// A key that was opened for writing counts as modified only where the module says so.
const NO_IMPLICIT_SIGNAL_MODIFIED: c_int = 1 << 1;
/// The module can be used while a replica loads a data set in the background.
const HANDLE_REPL_ASYNC_LOAD: c_int = 1 << 2;
/// Valkey 9: the module can be used while slots migrate atomically. Its state is strings, which the server migrates.
const VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

static DATABASES_ARE_GUARDED: AtomicBool = AtomicBool::new(false);

/// The ACL category of the module's commands.
const CATEGORY: &CStr = c"ratelimit";

/// Prepares the server.
pub(crate) fn prepare(load: &Load<'_>) {
    set_options(load);
    add_category(load);
}

fn set_options(load: &Load<'_>) {
    let mut wanted = NO_IMPLICIT_SIGNAL_MODIFIED | HANDLE_REPL_ASYNC_LOAD;
    // SAFETY: the context is that of the load.
    let valkey = unsafe { valkey_version(load.ctx) };
    DATABASES_ARE_GUARDED.store(valkey >= Some((9, 1)), Ordering::Relaxed);
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(known) = unsafe { optional::RedisModule_GetModuleOptionsAll } {
        // The bits of options do not mean the same everywhere.
        if valkey.is_some() {
            wanted |= VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION;
        }
        // SAFETY: takes nothing and returns an integer.
        wanted &= unsafe { known() };
    }
    // SAFETY: the context is that of the load.
    unsafe { api!(RedisModule_SetModuleOptions)(load.ctx, wanted) };
}

/// Whether the rules of users can be about databases.
pub(super) fn databases_are_guarded() -> bool {
    DATABASES_ARE_GUARDED.load(Ordering::Relaxed)
}

/// Whether the server looks up all commands that came in one piece before it carries out the first, as Valkey 9.1 does;
/// servers that are newer than those that this module is tested on are taken to do so.
///
/// # Safety
/// The context is that of a call that has not returned yet.
pub(super) unsafe fn looks_ahead(ctx: *mut raw::RedisModuleCtx) -> bool {
    // SAFETY: the caller's word.
    if let Some(valkey) = unsafe { valkey_version(ctx) } {
        return valkey >= (9, 0);
    }
    // SAFETY: takes nothing and returns an integer: a byte each for major, minor and patch version.
    (unsafe { api!(RedisModule_GetServerVersion)() }) >= 0x08_01_00
}

/// Makes the category, unless it is there: a category outlives the module that made it.
fn add_category(load: &Load<'_>) {
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(add) = unsafe { optional::RedisModule_AddACLCategory } {
        // SAFETY: the context is that of the load; the server copies the string.
        unsafe { add(load.ctx, CATEGORY.as_ptr()) };
    }
}

/// Major and minor version of Valkey; `None` if the server is another one.
///
/// # Safety
/// The context is that of a call that has not returned yet.
unsafe fn valkey_version(ctx: *mut raw::RedisModuleCtx) -> Option<(u32, u32)> {
    // SAFETY: the caller's word.
    let info = unsafe { ServerInfo::section(ctx, c"server") };
    let mut numbers = info.text(c"valkey_version")?.split('.');
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next().unwrap_or(0), next().unwrap_or(0)))
}
