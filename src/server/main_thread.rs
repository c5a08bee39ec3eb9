//! What is reached only while the server waits for the module, which it does in one thread at a time.

use std::cell::RefCell;
use std::marker::PhantomData;

/// Proof that the server has called the module and waits for it: whoever runs module code holds the server's lock, so
/// there is no other thread that could have one, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MainThread<'a>(PhantomData<*const &'a ()>);

impl MainThread<'_> {
    /// # Safety
    /// The server has called the module, and the proof does not outlive the call. (It cannot leave the thread: the
    /// compiler sees to that.)
    pub(super) const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// A value for the main thread. With a lock nobody would ever wait, but the lock would take longer than what is done
/// with the value.
#[derive(Debug)]
pub(crate) struct MainThreadCell<T>(RefCell<T>);

// SAFETY: the value is reached only with a proof that no other thread can reach it, and may go from one to the next.
unsafe impl<T: Send> Sync for MainThreadCell<T> {}

impl<T> MainThreadCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Hands out the value; `None` if it is handed out already, further up in the same call.
    pub(crate) fn with<R>(&self, _: MainThread<'_>, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0
            .try_borrow_mut()
            .ok()
            .map(|mut value| look(&mut value))
    }
}
