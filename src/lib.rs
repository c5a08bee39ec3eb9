//! `redis-ratelimit`: a Redis and Valkey module whose commands decide rate limits inside the server.
//!
//! [`limiter`] holds the algorithms, pure and without knowledge of Redis. The commands parse, decide, store and reply;
//! the server module is the only one that touches what the server owns. The README says how to use it.

// A panic would take the user's server down: nothing that can panic is allowed here. (Not in `Cargo.toml`, whose lints
// hold for the tests, too.)
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod limiter;

mod commands;
mod server;
mod stats;

use redis_module::{Context, RedisString, Status};
use server::Inside;
use stats::denied_keys;

/// Called by the server when it loads the module.
fn start(ctx: &Context, arguments: &[RedisString]) -> Status {
    match set_up(ctx, arguments) {
        Ok(()) => Status::Ok,
        Err(why) => {
            ctx.log_warning(&format!("redis-ratelimit does not load: {why}"));
            Status::Err
        }
    }
}

fn set_up(ctx: &Context, arguments: &[RedisString]) -> Result<(), String> {
    server::prepare(ctx.ctx)?;
    let settings = server::configure(ctx.ctx, arguments.iter().map(RedisString::as_slice))?;
    // The server sets only what differs from the default.
    denied_keys::start(Inside::of(ctx), settings.top_keys, settings.top_half_life);
    server::register_info(ctx.ctx);
    commands::register_all(ctx.ctx, settings, |notice| ctx.log_notice(notice))?;
    server::watch_listeners(ctx.ctx);
    Ok(())
}

/// Called by the server when it unloads the module, which takes the statics away, but not what they own.
fn stop(ctx: &Context) -> Status {
    denied_keys::drop_all(Inside::of(ctx));
    Status::Ok
}

/// What the server finds in the library.
#[allow(
    missing_docs,
    reason = "the macro's functions are the server's business"
)]
mod entry {
    use redis_module::redis_module;

    use super::{start, stop};

    /// The version as `MODULE LIST` shows it: 10,000 for each major release, 100 for each minor one.
    const VERSION: i32 = 10_000 * number(env!("CARGO_PKG_VERSION_MAJOR"))
        + 100 * number(env!("CARGO_PKG_VERSION_MINOR"))
        + number(env!("CARGO_PKG_VERSION_PATCH"));

    const fn number(digits: &str) -> i32 {
        match i32::from_str_radix(digits, 10) {
            Ok(number) => number,
            Err(_) => 0,
        }
    }

    redis_module! {
        name: "ratelimit",
        version: VERSION,
        // The system's: the commands allocate next to nothing, and the server's cannot be used in tests.
        allocator: (std::alloc::System, std::alloc::System),
        data_types: [],
        init: start,
        deinit: stop,
    }
}
