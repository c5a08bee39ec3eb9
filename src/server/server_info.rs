//! What the server says of itself: a section of its own `INFO`.

use std::ffi::{CStr, c_int};

use redis_module::raw;

use super::api::api;

const OK: c_int = raw::REDISMODULE_OK as c_int;

/// A section of `INFO`.
#[derive(Debug)]
pub(super) struct ServerInfo {
    ctx: *mut raw::RedisModuleCtx,
    info: *mut raw::RedisModuleServerInfoData,
}

impl ServerInfo {
    /// # Safety
    /// The context is that of a call that outlives the section.
    pub(super) unsafe fn section(ctx: *mut raw::RedisModuleCtx, name: &CStr) -> Self {
        // SAFETY: the caller's word; the server copies the string.
        let info = unsafe { api!(RedisModule_GetServerInfo)(ctx, name.as_ptr()) };
        Self { ctx, info }
    }

    /// A field that is a number.
    pub(super) fn number(&self, field: &CStr) -> Option<u64> {
        let mut failed = 0;
        // SAFETY: the section is alive; the server copies the string.
        let value = unsafe {
            api!(RedisModule_ServerInfoGetFieldUnsigned)(self.info, field.as_ptr(), &raw mut failed)
        };
        (failed == OK).then_some(value)
    }

    /// A field as text.
    pub(super) fn text(&self, field: &CStr) -> Option<&str> {
        // SAFETY: the section is alive; the server copies the string.
        let text = unsafe { api!(RedisModule_ServerInfoGetFieldC)(self.info, field.as_ptr()) };
        if text.is_null() {
            return None;
        }
        // SAFETY: a C string that lives as long as the section.
        unsafe { CStr::from_ptr(text) }.to_str().ok()
    }
}

impl Drop for ServerInfo {
    fn drop(&mut self) {
        // SAFETY: made by `section`, and not used afterwards.
        unsafe { api!(RedisModule_FreeServerInfo)(self.ctx, self.info) };
    }
}
