//! What the server says of itself: a section of its own `INFO`, and what follows from its version.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::api::api;
use super::context::Context;

const OK: c_int = raw::REDISMODULE_OK as c_int;

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

static DATABASES_ARE_GUARDED: AtomicBool = AtomicBool::new(false);

pub(super) fn set_databases_are_guarded(guarded: bool) {
    DATABASES_ARE_GUARDED.store(guarded, Ordering::Relaxed);
}

/// Whether the rules of users can be about databases.
pub(super) fn databases_are_guarded() -> bool {
    DATABASES_ARE_GUARDED.load(Ordering::Relaxed)
}

/// Whether the server looks up all commands that came in one piece before it carries out the first, as Valkey 9.1 does;
/// servers that are newer than those that this module is tested on are taken to do so.
pub(super) fn looks_ahead(ctx: Context<'_>) -> bool {
    if let Some(valkey) = valkey_version(ctx) {
        return valkey >= (9, 0);
    }
    // SAFETY: takes nothing and returns an integer: a byte each for major, minor and patch version.
    (unsafe { api!(RedisModule_GetServerVersion)() }) >= 0x08_01_00
}

/// Major and minor version of Valkey; `None` if the server is another one.
pub(super) fn valkey_version(ctx: Context<'_>) -> Option<(u32, u32)> {
    let info = ServerInfo::section(ctx, c"server");
    let mut numbers = info.text(c"valkey_version")?.split('.');
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next().unwrap_or(0), next().unwrap_or(0)))
}
