//! The commands, one file each: parse, decide, store, reply.

mod arguments;
mod check;
mod decide;
mod gcra;
mod options;
mod peek;
mod refusals;
mod reply;
mod reset;

use redis_module::raw;

use crate::server::{Command, register};

/// Registers every command. On failure, what could not be done.
pub(crate) fn register_all(ctx: *mut raw::RedisModuleCtx) -> Result<(), String> {
    add::<check::Check>(ctx)?;
    add::<gcra::Gcra>(ctx)?;
    add::<peek::Peek>(ctx)?;
    add::<reset::Reset>(ctx)
}

fn add<C: Command>(ctx: *mut raw::RedisModuleCtx) -> Result<(), String> {
    register::<C>(ctx).map_err(|what| {
        let name = C::SPEC.name.to_string_lossy();
        format!("the server would not {what} the command {name}: is another module using the name?")
    })
}
