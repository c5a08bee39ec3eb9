//! One key, as long as a command has it open.

use std::ffi::{c_char, c_int, c_longlong};
use std::{ptr, slice};

use super::api::api;
use super::raw::{
    self, REDISMODULE_KEYTYPE_EMPTY as EMPTY, REDISMODULE_KEYTYPE_STRING as STRING,
    REDISMODULE_OK as OK, REDISMODULE_READ as READ, REDISMODULE_WRITE as WRITE,
};
use super::{Call, Error, replication};
use crate::limiter::Timestamp;

const REFUSED: Error = Error::Server(c"ERR the server refused to write the key");

/// An open key.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    call: &'a Call<'a>,
    name: *mut raw::RedisModuleString,
    /// Null if a key that was opened for reading does not exist.
    handle: *mut raw::RedisModuleKey,
}

/// What a key holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// The key does not exist.
    Nothing,
    /// A string, these bytes.
    Bytes(&'a [u8]),
    /// A value of another type, or a string shorter than was asked for.
    SomethingElse,
}

impl<'a> Key<'a> {
    /// Opens the key named by an argument, for reading.
    pub(crate) fn read(call: &'a Call<'a>, at: usize) -> Result<Self, Error> {
        Self::open(call, at, READ)
    }

    /// Opens the key named by an argument, for reading and writing. The server deletes it first if it has expired.
    pub(crate) fn write(call: &'a Call<'a>, at: usize) -> Result<Self, Error> {
        Self::open(call, at, READ | WRITE)
    }

    fn open(call: &'a Call<'a>, at: usize, mode: c_int) -> Result<Self, Error> {
        let missing = Error::Server(c"ERR the key is missing");
        let name = *call.argv.get(at).ok_or(missing)?;
        // SAFETY: `name` is one of the call's arguments, and outlives the handle, as the call does.
        let handle = unsafe { api!(RedisModule_OpenKey)(call.ctx.as_ptr(), name, mode) };
        Ok(Self { call, name, handle })
    }

    /// What the key holds. A string of less than `min_len` bytes counts as something else and is not looked at: asking
    /// for the bytes of an integer or of a short string would make the server store it in another encoding.
    pub(crate) fn stored(&self, min_len: usize) -> Stored<'_> {
        // SAFETY: the handle is open (or null, which counts as empty).
        match unsafe { api!(RedisModule_KeyType)(self.handle) } {
            EMPTY => Stored::Nothing,
            STRING if self.len() >= min_len => {
                let mut len = 0;
                // SAFETY: the handle is open, and holds a string.
                let bytes = unsafe { api!(RedisModule_StringDMA)(self.handle, &raw mut len, READ) };
                if bytes.is_null() {
                    return Stored::SomethingElse;
                }
                // SAFETY: the server points at `len` bytes that stay as they are until this key is written, which
                // takes it mutably and so ends the borrow.
                Stored::Bytes(unsafe { slice::from_raw_parts(bytes.cast(), len) })
            }
            _ => Stored::SomethingElse,
        }
    }

    /// When the key expires, in milliseconds since the epoch; `None` if it does not.
    pub(crate) fn expires_at_millis(&self) -> Option<u64> {
        if self.handle.is_null() {
            return None;
        }
        // SAFETY: the handle is open.
        let millis = unsafe { api!(RedisModule_GetAbsExpire)(self.handle) };
        u64::try_from(millis).ok()
    }

    /// The length of the string that it holds, or the number of elements.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the handle is open (or null, which has no length).
        unsafe { api!(RedisModule_ValueLength)(self.handle) }
    }

    /// Stores `state` until `expires_at`, and has replicas and the AOF do the same.
    ///
    /// The key must hold nothing or a string. State and expiry are replicated, not the command: a replica that decided
    /// by itself, at another time, would decide differently.
    pub(crate) fn store(&mut self, state: &[u8], expires_at: Timestamp) -> Result<(), Error> {
        let millis = c_longlong::try_from(expires_at.as_millis_ceil()).unwrap_or(c_longlong::MAX);
        if self.len() != state.len() {
            // SAFETY: the handle is open for writing.
            let resized = unsafe { api!(RedisModule_StringTruncate)(self.handle, state.len()) };
            if resized != OK {
                return Err(REFUSED);
            }
        }
        if let Err(error) = self.overwrite(state, millis) {
            // Neither half a state may stay, nor one that never expires.
            self.delete();
            return Err(error);
        }
        self.signal_modified();
        // SAFETY: the format names what follows: a module string, bytes with their length, a C string, an integer.
        // The server copies all of it.
        self.replicate(|ctx| unsafe {
            api!(RedisModule_Replicate)(
                ctx,
                c"SET".as_ptr(),
                c"sbcl".as_ptr(),
                self.name,
                state.as_ptr().cast::<c_char>(),
                state.len(),
                c"PXAT".as_ptr(),
                millis,
            )
        });
        Ok(())
    }

    /// Writes bytes of the length that the key has, and the expiry. On failure, it may hold anything.
    fn overwrite(&mut self, state: &[u8], millis: c_longlong) -> Result<(), Error> {
        let mut len = 0;
        // SAFETY: the handle is open for writing, and holds a string.
        let bytes = unsafe { api!(RedisModule_StringDMA)(self.handle, &raw mut len, WRITE) };
        if bytes.is_null() || len != state.len() {
            return Err(REFUSED);
        }
        // SAFETY: the server gave `len` bytes to write to, until the next call on the handle; `state` is ours.
        unsafe { ptr::copy_nonoverlapping(state.as_ptr(), bytes.cast(), len) };
        // SAFETY: the handle is open for writing, and holds a value.
        let set = unsafe { api!(RedisModule_SetAbsExpire)(self.handle, millis) };
        if set == OK { Ok(()) } else { Err(REFUSED) }
    }

    /// Deletes the key here, on replicas and in the AOF. Returns whether there was one.
    pub(crate) fn delete(&mut self) -> bool {
        // SAFETY: the handle is open.
        if unsafe { api!(RedisModule_KeyType)(self.handle) } == EMPTY {
            return false;
        }
        // SAFETY: the handle is open for writing; it stays open, on an empty key.
        if unsafe { api!(RedisModule_DeleteKey)(self.handle) } != OK {
            return false;
        }
        self.signal_modified();
        // SAFETY: the format names what follows, a module string.
        self.replicate(|ctx| unsafe {
            api!(RedisModule_Replicate)(ctx, c"DEL".as_ptr(), c"s".as_ptr(), self.name)
        });
        // After the deletion is replicated: whoever hears of it may write the key again.
        // SAFETY: context and name are those of this call.
        unsafe {
            api!(RedisModule_NotifyKeyspaceEvent)(
                self.call.ctx.as_ptr(),
                raw::REDISMODULE_NOTIFY_GENERIC,
                c"del".as_ptr(),
                self.name,
            )
        };
        true
    }

    /// Has replicas and the AOF do what `command` hands to the server, if there is a sink.
    fn replicate(&self, command: impl FnOnce(*mut raw::RedisModuleCtx) -> c_int) {
        if replication::has_no_sink(self.call) {
            replication::count_change(self.call);
        } else if command(self.call.ctx.as_ptr()) != OK {
            self.call.replicate_verbatim();
        }
    }

    /// Tells WATCH and client-side caches. (The server would do so by itself for every key that was opened for writing,
    /// even if nothing was written; the module asked it not to.)
    fn signal_modified(&self) {
        // SAFETY: context and name are those of this call.
        unsafe { api!(RedisModule_SignalModifiedKey)(self.call.ctx.as_ptr(), self.name) };
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open (or null, which is nothing to close) and not used afterwards.
        unsafe { api!(RedisModule_CloseKey)(self.handle) };
    }
}
