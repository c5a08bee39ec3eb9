//! The user on whose behalf a command runs.

use std::ffi::c_char;

use super::Call;
use super::api::{api, optional};
use super::call::bytes;
use super::raw::{self, REDISMODULE_CTX_FLAGS_LUA as IN_A_SCRIPT};

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

    /// What the user's rules say of keys, as `ACL LIST` shows them: words, the first of a selector after a parenthesis.
    /// `None` if the server does not show them (before Redis 7.0.6).
    pub(crate) fn key_rules(&self) -> Option<KeyRules> {
        // SAFETY: the table is written while the module loads and never afterwards.
        let describe = unsafe { optional::RedisModule_GetModuleUserACLString }?;
        // SAFETY: the user is alive.
        let rules = unsafe { describe(self.handle) };
        // SAFETY: the string was just made, and is freed below.
        let found = KeyRules::of(unsafe { bytes(rules) });
        // SAFETY: made above, and not used afterwards.
        unsafe { api!(RedisModule_FreeString)(self.call.ctx.as_ptr(), rules) };
        Some(found)
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

/// What a user's rules say of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyRules {
    /// Whether the user may read every key, by the pattern `*`.
    pub(crate) read_all: bool,
    /// How many patterns a key is compared with, at most.
    pub(crate) patterns: usize,
}

impl KeyRules {
    fn of(text: &[u8]) -> Self {
        let words = text.split(|byte| *byte == b' ');
        let rules = words.map(|word| word.strip_prefix(b"(").unwrap_or(word));
        rules.fold(Self::default(), |found, rule| Self {
            read_all: found.read_all || matches!(rule, b"~*" | b"%R~*"),
            patterns: match rule {
                [b'~' | b'%', ..] => found.patterns.saturating_add(1),
                _ => found.patterns,
            },
        })
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and not used afterwards.
        unsafe { api!(RedisModule_FreeModuleUser)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::KeyRules;

    #[test]
    fn rules_tell_whether_a_user_reads_all_keys_and_how_many_patterns_there_are() {
        for (rules, read_all, patterns) in [
            ("on nopass sanitize-payload ~* &* +@all", true, 1),
            ("on nopass resetchannels -@all +rl.top", false, 0),
            (
                "on nopass ~a:* %R~b:* %W~* resetchannels -@all +rl.top",
                false,
                3,
            ),
            ("on nopass ~a:* %R~* resetchannels -@all", true, 2),
            (
                "on nopass ~a:* -@all (~* resetchannels -@all +get) (%W~b -@all)",
                true,
                3,
            ),
        ] {
            let expected = KeyRules { read_all, patterns };
            assert_eq!(KeyRules::of(rules.as_bytes()), expected, "{rules}");
        }
    }
}
