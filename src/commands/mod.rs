//! The commands, one file each: parse, decide, store, reply.

mod args;
mod check;
mod errors;
mod execute;
mod gcra;
mod info;
mod mcheck;
mod options;
mod peek;
mod refund;
mod reply;
mod reset;
mod spec;
mod throttle;
mod top;

use redis_module::raw;

use crate::server::{Command, Settings, register};

/// Registers every command. On failure, what could not be done.
pub(crate) fn register_all(
    ctx: *mut raw::RedisModuleCtx,
    settings: Settings,
    log: impl Fn(&str),
) -> Result<(), String> {
    add::<check::Check>(ctx)?;
    add::<gcra::Gcra>(ctx)?;
    add::<mcheck::Mcheck>(ctx)?;
    add::<peek::Peek>(ctx)?;
    add::<info::Info>(ctx)?;
    add::<refund::Refund>(ctx)?;
    add::<reset::Reset>(ctx)?;
    add::<top::Top>(ctx)?;
    if settings.cl_throttle
        && let Err(why) = add::<throttle::Throttle>(ctx)
    {
        log(&format!("going on without CL.THROTTLE: {why}"));
    }
    Ok(())
}

fn add<C: Command>(ctx: *mut raw::RedisModuleCtx) -> Result<(), String> {
    register::<C>(ctx).map_err(|what| {
        let name = C::SPEC.name.to_string_lossy();
        format!("the server would not {what} the command {name}: does another module have one of that name?")
    })
}
