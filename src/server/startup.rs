//! What the module asks of the server before it registers its commands.

use std::ffi::{CStr, c_int};

use redis_module::raw;

use super::api;
use super::api::api;

/// A key that was opened for writing counts as modified only where the module says so.
const NO_IMPLICIT_SIGNAL_MODIFIED: c_int = 1 << 1;
/// The module can be used while a replica loads a data set in the background.
const HANDLE_REPL_ASYNC_LOAD: c_int = 1 << 2;
/// Valkey 9: the module can be used while slots migrate atomically. Its state is strings, which the server migrates.
const VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

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
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(known) = unsafe { raw::RedisModule_GetModuleOptionsAll } {
        if is_valkey(ctx) {
            wanted |= VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION;
        }
        // SAFETY: takes nothing and returns an integer.
        wanted &= unsafe { known() };
    }
    // SAFETY: the context is that of the load.
    unsafe { api!(RedisModule_SetModuleOptions)(ctx, wanted) };
}

/// Makes the category, unless it is there: a category outlives the module that made it.
fn add_category(ctx: *mut raw::RedisModuleCtx) {
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(add) = unsafe { raw::RedisModule_AddACLCategory } {
        // SAFETY: the context is that of the load; the server copies the string.
        unsafe { add(ctx, CATEGORY.as_ptr()) };
    }
}

/// Whether the server calls itself Valkey: the bits of options do not mean the same everywhere.
fn is_valkey(ctx: *mut raw::RedisModuleCtx) -> bool {
    // SAFETY: the table is written while the module loads and never afterwards.
    let functions = unsafe {
        (
            raw::RedisModule_GetServerInfo,
            raw::RedisModule_ServerInfoGetFieldC,
            raw::RedisModule_FreeServerInfo,
        )
    };
    let (Some(get), Some(field), Some(free)) = functions else {
        return false;
    };
    // SAFETY: the context is that of the load; the server copies the string.
    let info = unsafe { get(ctx, c"server".as_ptr()) };
    // SAFETY: `info` was just made, and is freed below.
    let name = unsafe { field(info, c"server_name".as_ptr()) };
    let valkey = !name.is_null() && {
        // SAFETY: a C string that lives as long as `info`.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_bytes() == b"valkey"
    };
    // SAFETY: made above, and not used afterwards.
    unsafe { free(ctx, info) };
    valkey
}
