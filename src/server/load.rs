//! Loading and unloading: the functions that the server finds in the library, and what is registered while it loads.

use std::ffi::{CStr, c_int};

use super::api::{self, api, optional, required};
use super::call::{bytes, handle, strings};
use super::context::Context;
use super::raw::{self, REDISMODULE_ERR as ERR, REDISMODULE_OK as OK};
use super::{Command, Keys, MainThread, command_spec, server_info, unload};

/// The module's name, as in `MODULE LIST`.
const NAME: &CStr = c"ratelimit";

/// Its version: 10,000 for each major release, 100 for each minor one.
const VERSION: c_int = 10_000 * number(env!("CARGO_PKG_VERSION_MAJOR"))
    + 100 * number(env!("CARGO_PKG_VERSION_MINOR"))
    + number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(digits: &str) -> c_int {
    match c_int::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => 0,
    }
}

/// The ACL category of the module's commands.
const CATEGORY: &CStr = c"ratelimit";

/// A load of the module, as long as the server waits for it: proof that the server can be asked for what it does only
/// during a load.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(super) ctx: Context<'a>,
    arguments: &'a [*mut raw::RedisModuleString],
}

impl<'a> Load<'a> {
    /// What follows the path after `loadmodule`.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.arguments.iter().map(|string| {
            // SAFETY: `string` is one of the load's arguments, alive until it ends.
            unsafe { bytes(*string) }
        })
    }

    /// Proof that the server waits for the module.
    pub(crate) const fn main_thread(&self) -> MainThread<'_> {
        self.ctx.main_thread()
    }

    /// Writes a line to the server's log.
    pub(crate) fn log_notice(&self, text: &str) {
        self.ctx.log(c"notice", text);
    }
}

/// Called by the server when it loads the module.
///
/// # Safety
/// It is the server that calls it, with a context and `argc` arguments that live until this function returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the context is that of the load, and this is the first that the module does.
    let missing = unsafe { api::fill(ctx) };
    // SAFETY: the table was just filled. All servers that load modules have these two.
    let (Some(is_busy), Some(introduce)) = (unsafe {
        (
            required::RedisModule_IsModuleNameBusy,
            required::RedisModule_SetModuleAttribs,
        )
    }) else {
        return ERR;
    };
    // SAFETY: the name is a C string. The server says itself that there is such a module already.
    if unsafe { is_busy(NAME.as_ptr()) } != 0 {
        return ERR;
    }
    // SAFETY: the context is that of the load; the server copies the name. Before this it logs nothing for the module.
    unsafe { introduce(ctx, NAME.as_ptr(), VERSION, raw::REDISMODULE_APIVER_1) };
    // SAFETY: the server waits until this function returns.
    let ctx = unsafe { Context::new(ctx) };
    if let Some(name) = missing {
        refuse(
            ctx,
            &format!(
                "Redis 7.0 or later, or Valkey 7.2 or later, is needed: this server has no {name}"
            ),
        );
        return ERR;
    }
    // SAFETY: the server keeps the strings until this function returns.
    let arguments = unsafe { strings(argv, argc) };
    let load = Load { ctx, arguments };
    match crate::start(&load) {
        Ok(()) => OK,
        Err(why) => {
            refuse(ctx, &why);
            crate::stop(load.main_thread());
            ERR
        }
    }
}

fn refuse(ctx: Context<'_>, why: &str) {
    ctx.log(c"warning", &format!("redis-ratelimit does not load: {why}"));
}

/// Called by the server when it is about to unload the module.
///
/// # Safety
/// It is the server that calls it, with a context that lives until this function returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn RedisModule_OnUnload(ctx: *mut raw::RedisModuleCtx) -> c_int {
    // SAFETY: the server waits until this function returns.
    let ctx = unsafe { Context::new(ctx) };
    if let Some(why) = unload::objection(ctx) {
        ctx.log(c"warning", &format!("redis-ratelimit stays loaded: {why}"));
        return ERR;
    }
    crate::stop(ctx.main_thread());
    OK
}

/// Prepares the server.
pub(crate) fn prepare(load: &Load<'_>) {
    set_options(load);
    add_category(load);
    server_info::learn_whether_databases_are_guarded(load.ctx);
}

fn set_options(load: &Load<'_>) {
    let mut wanted = raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD;
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(known) = unsafe { optional::RedisModule_GetModuleOptionsAll } {
        // The bits of options do not mean the same everywhere.
        if server_info::is_valkey(load.ctx) {
            wanted |= raw::VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION;
        }
        // SAFETY: takes nothing and returns an integer.
        wanted &= unsafe { known() };
    }
    // SAFETY: the context is that of the load.
    unsafe { api!(RedisModule_SetModuleOptions)(load.ctx.as_ptr(), wanted) };
}

/// Makes the category, unless it is there: a category outlives the module that made it.
fn add_category(load: &Load<'_>) {
    // SAFETY: the table is written while the module loads and never afterwards.
    if let Some(add) = unsafe { optional::RedisModule_AddACLCategory } {
        // SAFETY: the context is that of the load; the server copies the string.
        unsafe { add(load.ctx.as_ptr(), CATEGORY.as_ptr()) };
    }
}

/// Registers the command `C`. On failure, what the server would not do.
pub(crate) fn register<C: Command>(load: &Load<'_>) -> Result<(), &'static str> {
    let spec = C::SPEC;
    let (first, last, step) = match spec.keys {
        // `describe` tells how they are counted.
        Keys::No | Keys::Counted => (0, 0, 0),
        Keys::First => (1, 1, 1),
        Keys::All => (1, -1, 1),
    };
    // SAFETY: the context is that of the load; the server copies the strings.
    let created = unsafe {
        api!(RedisModule_CreateCommand)(
            load.ctx.as_ptr(),
            spec.name.as_ptr(),
            Some(handle::<C>),
            spec.flags.as_ptr(),
            first,
            last,
            step,
        )
    };
    if created != OK {
        return Err("create");
    }
    // SAFETY: as above.
    let command = unsafe { api!(RedisModule_GetCommand)(load.ctx.as_ptr(), spec.name.as_ptr()) };
    if command.is_null() {
        return Err("find");
    }
    // SAFETY: `command` was just made by this module, which is still loading.
    unsafe { command_spec::describe(command, &spec) }
}
