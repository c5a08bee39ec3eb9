//! What the server says of itself.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::api::api;
use super::called::Reply;
use super::context::Context;
use super::raw::{self, REDISMODULE_OK as OK};

/// A section of `INFO`.
#[derive(Debug)]
pub(super) struct ServerInfo<'a> {
    ctx: Context<'a>,
    info: *mut raw::RedisModuleServerInfoData,
}

impl<'a> ServerInfo<'a> {
    /// The section of this name, as it is now.
    pub(super) fn section(ctx: Context<'a>, name: &CStr) -> Self {
        // SAFETY: the context is alive; the server copies the string.
        let info = unsafe { api!(RedisModule_GetServerInfo)(ctx.as_ptr(), name.as_ptr()) };
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

impl Drop for ServerInfo<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `section`, and not used afterwards.
        unsafe { api!(RedisModule_FreeServerInfo)(self.ctx.as_ptr(), self.info) };
    }
}

static DATABASES_ARE_GUARDED: AtomicBool = AtomicBool::new(true);

/// Learns whether the rules of users can be about databases: then a user, as `ACL GETUSER` shows it, has a field for them.
/// If the server does not show users (`rename-command`), they are taken to be.
pub(super) fn learn_whether_databases_are_guarded(ctx: Context<'_>) {
    let user = Reply::to(ctx, c"ACL", c"GETUSER", Some(c"default"));
    let guarded = user.is_none_or(|user| user.texts().any(|text| text == "databases"));
    DATABASES_ARE_GUARDED.store(guarded, Ordering::Relaxed);
}

/// Whether the rules of users can be about databases.
pub(super) fn databases_are_guarded() -> bool {
    DATABASES_ARE_GUARDED.load(Ordering::Relaxed)
}

/// Whether the server is Valkey.
pub(super) fn is_valkey(ctx: Context<'_>) -> bool {
    let info = ServerInfo::section(ctx, c"server");
    info.text(c"valkey_version").is_some()
}
