//! The server's context: what everything that the server is asked for is asked with.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;

use super::MainThread;
use super::api::optional;
use super::raw;

/// The context with which the server has called the module, as long as it waits for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pointer: *mut raw::RedisModuleCtx,
    call: PhantomData<&'a ()>,
}

impl<'a> Context<'a> {
    /// # Safety
    /// The server has called the module with this context, in its main thread, and the value does not outlive the call.
    pub(super) const unsafe fn new(pointer: *mut raw::RedisModuleCtx) -> Self {
        Self {
            pointer,
            call: PhantomData,
        }
    }

    /// The context as the server takes it. It is alive as long as this value.
    pub(super) const fn as_ptr(self) -> *mut raw::RedisModuleCtx {
        self.pointer
    }

    /// Proof that the server waits for the module.
    pub(super) const fn main_thread(self) -> MainThread<'a> {
        // SAFETY: whoever made this value promised it.
        unsafe { MainThread::new() }
    }

    /// Writes a line to the server's log.
    pub(super) fn log(self, level: &CStr, text: &str) {
        // SAFETY: the table is written while the module loads and never afterwards. (A server that is too old to have
        // this function is too old for everything else.)
        let Some(log) = (unsafe { optional::RedisModule_Log }) else {
            return;
        };
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: the context is alive; the format names what follows, a C string, which the server copies.
        unsafe { log(self.pointer, level.as_ptr(), c"%s".as_ptr(), text.as_ptr()) };
    }
}
