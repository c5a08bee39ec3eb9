//! What the module asks of the server before it registers its commands.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::api;
use super::api::api;

/// A key that was opened for writing counts as modified only where the module says so.
const NO_IMPLICIT_SIGNAL_MODIFIED: c_int = 1 << 1;
/// The module can be used while a replica loads a data set in the background.
const HANDLE_REPL_ASYNC_LOAD: c_int = 1 << 2;
/// Valkey 9: the module can be used while slots migrate atomically. Its state is strings, which the server migrates.
const VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

static DATABASES_ARE_GUARDED: AtomicBool = AtomicBool::new(false);

/// The ACL category of the module's commands.
const CATEGORY: &CStr = c"ratelimit";

/// Prepares the server. On failure, why the module cannot be loaded.
pub(crate) fn prepare(ctx: *mut raw::RedisModuleCtx) -> Result<(), String> {
    if let Some(name) = api::missing() {
        return Err(format!(
            "Redis 7.0 or later, or Valkey 7.2 or later, is needed: this server has no {name}"
        ));
    }
    set_options(ctx);
    add_category(ctx);
    Ok(())
}

fn set_options(ctx: *mut raw::RedisModuleCtx) {
    let mut wanted = NO_IMPLICIT_SIGNAL_MODIFIED | HANDLE_REPL_ASYNC_LOAD;
    let valkey = valkey_version(ctx);
    DATABASES_ARE_GUARDED.store(valkey >= Some((9, 1)), Ordering::Relaxed);
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(known) = unsafe { raw::RedisModule_GetModuleOptionsAll } {
        // The bits of options do not mean the same everywhere.
        if valkey.is_some() {
            wanted |= VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION;
        }
        // SAFETY: takes nothing and returns an integer.
        wanted &= unsafe { known() };
    }
    // SAFETY: the context is that of the load.
    unsafe { api!(RedisModule_SetModuleOptions)(ctx, wanted) };
}

/// Whether the rules of users can be about databases.
pub(super) fn databases_are_guarded() -> bool {
    DATABASES_ARE_GUARDED.load(Ordering::Relaxed)
}

/// Makes the category, unless it is there: a category outlives the module that made it.
fn add_category(ctx: *mut raw::RedisModuleCtx) {
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(add) = unsafe { raw::RedisModule_AddACLCategory } {
        // SAFETY: the context is that of the load; the server copies the string.
        unsafe { add(ctx, CATEGORY.as_ptr()) };
    }
}

/// Major and minor version of Valkey; `None` where the server is another one.
fn valkey_version(ctx: *mut raw::RedisModuleCtx) -> Option<(u32, u32)> {
    // SAFETY: the table is written while the module loads and never afterwards.
    let functions = unsafe {
        (
            raw::RedisModule_GetServerInfo,
            raw::RedisModule_ServerInfoGetFieldC,
            raw::RedisModule_FreeServerInfo,
        )
    };
    let (Some(get), Some(field), Some(free)) = functions else {
        return None;
    };
    // SAFETY: the context is that of the load; the server copies the string.
    let info = unsafe { get(ctx, c"server".as_ptr()) };
    // SAFETY: `info` was just made, and is freed below.
    let version = unsafe { field(info, c"valkey_version".as_ptr()) };
    let version = if version.is_null() {
        None
    } else {
        // SAFETY: a C string that lives as long as `info`.
        let version = unsafe { CStr::from_ptr(version) };
        let mut numbers = version.to_str().unwrap_or_default().split('.');
        let mut next = || numbers.next().and_then(|number| number.parse().ok());
        Some((next().unwrap_or(0), next().unwrap_or(0)))
    };
    // SAFETY: made above, and not used afterwards.
    unsafe { free(ctx, info) };
    version
}
