//! What the server answers to commands that the module calls.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::{ptr, slice};

use super::api::api;
use super::context::Context;
use super::raw::{self, REDISMODULE_REPLY_STRING as STRING};

/// The reply of a command that the module has called.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    reply: NonNull<raw::RedisModuleCallReply>,
    context: PhantomData<Context<'a>>,
}

impl<'a> Reply<'a> {
    /// Calls a command with one or two arguments; `None` if the server does not have it, as after `rename-command`.
    pub(super) fn to(
        ctx: Context<'a>,
        command: &CStr,
        argument: &CStr,
        second: Option<&CStr>,
    ) -> Option<Self> {
        let format = if second.is_some() { c"cc" } else { c"c" };
        let second = second.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the context is alive; the format names what follows, one or two C strings, which the server copies.
        let reply = unsafe {
            api!(RedisModule_Call)(
                ctx.as_ptr(),
                command.as_ptr(),
                format.as_ptr(),
                argument.as_ptr(),
                second,
            )
        };
        Some(Self {
            reply: NonNull::new(reply)?,
            context: PhantomData,
        })
    }

    /// The text that it is, or the texts that it is a list of.
    pub(super) fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let whole = self.reply.as_ptr();
        // SAFETY: the reply is alive; a text has no elements.
        let element = move |at| unsafe { api!(RedisModule_CallReplyArrayElement)(whole, at) };
        // SAFETY: as above.
        let is_text = unsafe { api!(RedisModule_CallReplyType)(whole) } == STRING;
        let text = is_text.then_some(whole);
        text.into_iter()
            .chain((0..).map(element).take_while(|element| !element.is_null()))
            .filter_map(|text| {
                let mut len = 0;
                // SAFETY: it lives as long as the reply; for what is no text, the server returns null.
                let bytes = unsafe { api!(RedisModule_CallReplyStringPtr)(text, &raw mut len) };
                if bytes.is_null() {
                    return None;
                }
                // SAFETY: the server points at `len` bytes that live as long as the reply.
                let bytes = unsafe { slice::from_raw_parts(bytes.cast(), len) };
                Some(String::from_utf8_lossy(bytes))
            })
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        // SAFETY: the reply is ours, and not used afterwards.
        unsafe { api!(RedisModule_FreeCallReply)(self.reply.as_ptr()) };
    }
}
