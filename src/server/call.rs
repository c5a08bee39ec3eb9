//! One call of a command: its arguments, its time, its reply.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_longlong};
use std::ops::Range;
use std::slice;

use super::api::api;
use super::context::Context;
use super::{Command, Error, Keys, MainThread, clock, raw, server_info};
use crate::limiter::Timestamp;

/// # Safety
/// The server keeps `argc` strings at `argv` as long as the slice lives.
pub(super) unsafe fn strings<'a>(
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> &'a [*mut raw::RedisModuleString] {
    match usize::try_from(argc) {
        // SAFETY: the caller promises it.
        Ok(count @ 1..) => unsafe { slice::from_raw_parts(argv, count) },
        _ => &[],
    }
}

/// # Safety
/// The string lives as long as the bytes.
pub(super) unsafe fn bytes<'a>(string: *mut raw::RedisModuleString) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: the caller promises it.
    let bytes = unsafe { api!(RedisModule_StringPtrLen)(string, &raw mut len) };
    // SAFETY: the server points at `len` bytes that live and stay as they are as long as the string.
    unsafe { slice::from_raw_parts(bytes.cast(), len) }
}

/// The server's question which arguments of a command are keys. It is not a call: Valkey 8 asks from its I/O threads, so
/// nothing here leads to what only the main thread may reach.
#[derive(Debug)]
pub(crate) struct KeyRequest<'a> {
    ctx: *mut raw::RedisModuleCtx,
    argv: &'a [*mut raw::RedisModuleString],
}

impl<'a> KeyRequest<'a> {
    /// The question, if that is what the server has called the handler for.
    ///
    /// # Safety
    /// The arguments are those that the server gave to a command's handler, which has not returned yet.
    unsafe fn of(
        ctx: *mut raw::RedisModuleCtx,
        argv: *mut *mut raw::RedisModuleString,
        argc: c_int,
    ) -> Option<Self> {
        // SAFETY: the caller promises it.
        let asked = unsafe { api!(RedisModule_IsKeysPositionRequest)(ctx) } != 0;
        asked.then(|| Self {
            ctx,
            // SAFETY: the caller promises it.
            argv: unsafe { strings(argv, argc) },
        })
    }

    /// How many arguments there are, with the command's name.
    pub(crate) const fn count(&self) -> usize {
        self.argv.len()
    }

    /// The bytes of an argument; the command's name is the first.
    pub(crate) fn argument(&self, at: usize) -> Option<&'a [u8]> {
        let string = *self.argv.get(at)?;
        // SAFETY: `string` is one of the command's arguments, alive until the handler returns.
        Some(unsafe { bytes(string) })
    }

    /// Tells the server which arguments are keys.
    fn answer(&self, keys: Range<usize>, flags: c_int) {
        for key in keys.filter_map(|key| c_int::try_from(key).ok()) {
            // SAFETY: `ctx` is the context of this request.
            unsafe { api!(RedisModule_KeyAtPosWithFlags)(self.ctx, key, flags) };
        }
    }
}

/// One call of a command, as long as it runs.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(super) ctx: Context<'a>,
    pub(super) argv: &'a [*mut raw::RedisModuleString],
    replicated_verbatim: Cell<bool>,
}

impl<'a> Call<'a> {
    /// # Safety
    /// The arguments are those that the server gave to a command's handler, which has not returned yet.
    unsafe fn new(
        ctx: *mut raw::RedisModuleCtx,
        argv: *mut *mut raw::RedisModuleString,
        argc: c_int,
    ) -> Self {
        Self {
            // SAFETY: the caller promises it.
            ctx: unsafe { Context::new(ctx) },
            // SAFETY: the caller promises it.
            argv: unsafe { strings(argv, argc) },
            replicated_verbatim: Cell::new(false),
        }
    }

    /// How many arguments there are, with the command's name.
    pub(crate) const fn count(&self) -> usize {
        self.argv.len()
    }

    /// The bytes of an argument; the command's name is the first.
    pub(crate) fn argument(&self, at: usize) -> Option<&'a [u8]> {
        let string = *self.argv.get(at)?;
        // SAFETY: `string` is one of the call's arguments, alive until the handler returns.
        Some(unsafe { bytes(string) })
    }

    /// The time of the call. Ask for it once: Redis 7.0 would give another time when asked again.
    pub(crate) fn now(&self) -> Timestamp {
        clock::now()
    }

    /// Proof that the server waits for this call.
    pub(crate) const fn main_thread(&self) -> MainThread<'_> {
        self.ctx.main_thread()
    }

    /// The number of the database that the client has selected.
    pub(crate) fn database(&self) -> u32 {
        // SAFETY: `ctx` is the context of this call.
        let database = unsafe { api!(RedisModule_GetSelectedDb)(self.ctx.as_ptr()) };
        u32::try_from(database).unwrap_or(0)
    }

    /// Tells subscribers to keyspace events of the module class that `event` happened to the key named by an argument.
    pub(crate) fn notify(&self, event: &CStr, at: usize) {
        if let Some(key) = self.argv.get(at) {
            // SAFETY: context and key are those of this call; the event's name is constant.
            unsafe {
                api!(RedisModule_NotifyKeyspaceEvent)(
                    self.ctx.as_ptr(),
                    raw::REDISMODULE_NOTIFY_MODULE,
                    event.as_ptr(),
                    *key,
                )
            };
        }
    }

    /// Whether the caller may see what is in a database. If users can be kept out of databases (Valkey 9.1), the caller
    /// may see only the selected one: the server tells modules nothing about the others.
    pub(crate) fn may_see_database(&self, database: u32) -> bool {
        !server_info::databases_are_guarded() || database == self.database()
    }

    /// Replicates the call itself, at most once, for a server that has no `SET` or `DEL` (`rename-command`). Replicas
    /// then decide by themselves, which is less exact, but keeps the limit.
    pub(super) fn replicate_verbatim(&self) {
        if !self.replicated_verbatim.replace(true) {
            // SAFETY: `ctx` is the context of this call.
            unsafe { api!(RedisModule_ReplicateVerbatim)(self.ctx.as_ptr()) };
        }
    }

    /// Begins a reply: an array of `len` replies, which follow.
    pub(crate) fn reply_array(&self, len: usize) {
        // SAFETY: `ctx` is the context of this call.
        unsafe { api!(RedisModule_ReplyWithArray)(self.ctx.as_ptr(), len.try_into().unwrap_or(0)) };
    }

    /// Begins a reply: a map of `len` names and values, which follow. RESP2 has no maps: it gets a flat array.
    pub(crate) fn reply_map(&self, len: usize) {
        // SAFETY: `ctx` is the context of this call.
        unsafe { api!(RedisModule_ReplyWithMap)(self.ctx.as_ptr(), len.try_into().unwrap_or(0)) };
    }

    /// Replies with an array of integers.
    pub(crate) fn reply_integers(&self, values: &[i64]) {
        self.reply_array(values.len());
        for value in values {
            self.reply_integer(*value);
        }
    }

    /// Replies with an integer.
    pub(crate) fn reply_integer(&self, value: i64) {
        // SAFETY: `ctx` is the context of this call.
        unsafe { api!(RedisModule_ReplyWithLongLong)(self.ctx.as_ptr(), c_longlong::from(value)) };
    }

    /// Replies with bytes.
    pub(crate) fn reply_bytes(&self, bytes: &[u8]) {
        // SAFETY: `ctx` is the context of this call; the server copies the bytes.
        unsafe {
            api!(RedisModule_ReplyWithStringBuffer)(
                self.ctx.as_ptr(),
                bytes.as_ptr().cast::<c_char>(),
                bytes.len(),
            )
        };
    }

    /// Replies with null.
    pub(crate) fn reply_null(&self) {
        // SAFETY: `ctx` is the context of this call.
        unsafe { api!(RedisModule_ReplyWithNull)(self.ctx.as_ptr()) };
    }

    /// Replies with an error.
    fn reply_error(&self, error: &Error) {
        error.with_text(|text| {
            // SAFETY: `ctx` is the context of this call; the server copies the text.
            unsafe { api!(RedisModule_ReplyWithError)(self.ctx.as_ptr(), text.as_ptr()) };
        });
    }
}

/// What the server calls for the command `C`.
///
/// # Safety
/// It is the server that calls it, with a context and `argc` arguments that live until this function returns.
pub(super) unsafe extern "C" fn handle<C: Command>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    if matches!(C::SPEC.keys, Keys::Counted) {
        // SAFETY: the server's own arguments, handed on; the request ends with this block.
        if let Some(request) = unsafe { KeyRequest::of(ctx, argv, argc) } {
            request.answer(C::keys(&request), C::SPEC.key_flags);
            return raw::REDISMODULE_OK;
        }
    }
    // SAFETY: the server's own arguments, handed on; the call ends with this function.
    let call = unsafe { Call::new(ctx, argv, argc) };
    C::COUNTERS.count_call();
    if let Err(error) = C::run(&call) {
        C::COUNTERS.count_error(error.counter());
        call.reply_error(&error);
    }
    raw::REDISMODULE_OK
}
