//! The module's section of `INFO`.

use std::ffi::c_int;

use super::Load;
use super::api::api;
use super::raw;
use crate::stats::info_section;

/// Registers the section.
pub(crate) fn register_info(load: &Load<'_>) {
    // SAFETY: the context is that of the load; the function stays where it is until the module is unloaded.
    unsafe { api!(RedisModule_RegisterInfoFunc)(load.ctx.as_ptr(), Some(info)) };
}

/// # Safety
/// It is the server that calls it, with a context that lives until this function returns.
unsafe extern "C" fn info(ctx: *mut raw::RedisModuleInfoCtx, _for_crash_report: c_int) {
    // SAFETY: the context is that of this call; no name: the section is named after the module.
    let wanted = unsafe { api!(RedisModule_InfoAddSection)(ctx, c"".as_ptr()) };
    if wanted != raw::REDISMODULE_OK {
        return;
    }
    info_section::report(|name, value| {
        // SAFETY: the context is that of this call; the server copies the name.
        unsafe { api!(RedisModule_InfoAddFieldULongLong)(ctx, name.as_ptr(), value) };
    });
}
