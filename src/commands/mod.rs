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

use crate::server::{Command, Load, Settings, register};

/// Registers every command. On failure, what could not be done.
pub(crate) fn register_all(load: &Load<'_>, settings: Settings) -> Result<(), String> {
    add::<check::Check>(load)?;
    add::<gcra::Gcra>(load)?;
    add::<mcheck::Mcheck>(load)?;
    add::<peek::Peek>(load)?;
    add::<info::Info>(load)?;
    add::<refund::Refund>(load)?;
    add::<reset::Reset>(load)?;
    add::<top::Top>(load)?;
    if settings.cl_throttle
        && let Err(why) = add::<throttle::Throttle>(load)
    {
        load.log_notice(&format!("going on without CL.THROTTLE: {why}"));
    }
    Ok(())
}

fn add<C: Command>(load: &Load<'_>) -> Result<(), String> {
    register::<C>(load).map_err(|what| {
        let name = C::SPEC.name.to_string_lossy();
        format!("the server would not {what} the command {name}: does another module have one of that name?")
    })
}
