//! The user on whose behalf a command runs.

use std::ffi::{c_char, c_int};
use std::slice;

use super::api::{api, optional};
use super::{Call, raw};

const IN_A_SCRIPT: c_int = raw::REDISMODULE_CTX_FLAGS_LUA;

/// The user of a call.
#[derive(Debug)]
pub(crate) struct User<'a> {
    call: &'a Call<'a>,
    handle: *mut raw::RedisModuleUser,
}

impl<'a> User<'a> {
    /// The user of `call`; `None` if there is no user, as when another module calls on its own behalf.
    pub(crate) fn of(call: &'a Call<'a>) -> Option<Self> {
        // A script runs as its caller, but not as a client that has a number. Anywhere else the number is the safe way:
        // servers up to Redis 8.0 crash when they are asked for the name of a user that is not there.
        // SAFETY: the context is that of this call.
        let flags = unsafe { api!(RedisModule_GetContextFlags)(call.ctx.as_ptr()) };
        let name = if flags & IN_A_SCRIPT == 0 {
            // SAFETY: as above.
            let client = unsafe { api!(RedisModule_GetClientId)(call.ctx.as_ptr()) };
            // SAFETY: as above; a client that is not there is answered with null.
            unsafe { api!(RedisModule_GetClientUserNameById)(call.ctx.as_ptr(), client) }
        } else {
            // SAFETY: as above; a script's client has a user.
            unsafe { api!(RedisModule_GetCurrentUserName)(call.ctx.as_ptr()) }
        };
        if name.is_null() {
            return None;
        }
        // SAFETY: the name was just made; it is freed below.
        let handle = unsafe { api!(RedisModule_GetModuleUserFromUserName)(name) };
        // SAFETY: made above, and not used afterwards.
        unsafe { api!(RedisModule_FreeString)(call.ctx.as_ptr(), name) };
        (!handle.is_null()).then_some(Self { call, handle })
    }

    /// Whether the user may read every key, by the pattern `*`. The server can be asked about one key only, so this is
    /// read in the user's rules, as `ACL LIST` shows them: words, the first of a selector after a parenthesis. `false`
    /// if the server does not show them (before Redis 7.0.6).
    pub(crate) fn may_read_all(&self) -> bool {
        // SAFETY: the table is written while the module loads and never afterwards.
        let Some(describe) = (unsafe { optional::RedisModule_GetModuleUserACLString }) else {
            return false;
        };
        // SAFETY: the user is alive.
        let rules = unsafe { describe(self.handle) };
        let mut len = 0;
        // SAFETY: the string was just made, and is freed below.
        let bytes = unsafe { api!(RedisModule_StringPtrLen)(rules, &raw mut len) };
        // SAFETY: the server points at `len` bytes that stay as they are until the string is freed.
        let text: &[u8] = unsafe { slice::from_raw_parts(bytes.cast(), len) };
        let found = text.split(|byte| *byte == b' ').any(|word| {
            let rule = word.strip_prefix(b"(").unwrap_or(word);
            matches!(rule, b"~*" | b"%R~*")
        });
        // SAFETY: made above, and not used afterwards.
        unsafe { api!(RedisModule_FreeString)(self.call.ctx.as_ptr(), rules) };
        found
    }

    /// Whether the user may read `key`.
    pub(crate) fn may_read(&self, key: &[u8]) -> bool {
        // SAFETY: the server copies the bytes.
        let name = unsafe {
            api!(RedisModule_CreateString)(
                self.call.ctx.as_ptr(),
                key.as_ptr().cast::<c_char>(),
                key.len(),
            )
        };
        // SAFETY: user and name are alive.
        let allowed = unsafe {
            api!(RedisModule_ACLCheckKeyPermissions)(
                self.handle,
                name,
                raw::REDISMODULE_CMD_KEY_ACCESS,
            )
        };
        // SAFETY: made above, and not used afterwards.
        unsafe { api!(RedisModule_FreeString)(self.call.ctx.as_ptr(), name) };
        allowed == raw::REDISMODULE_OK
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and not used afterwards.
        unsafe { api!(RedisModule_FreeModuleUser)(self.handle) };
    }
}
