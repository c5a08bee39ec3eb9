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
#![deny(unsafe_code)]

pub mod limiter;

mod commands;
#[allow(unsafe_code, reason = "what the server owns is reached by pointers")]
mod server;
mod stats;

use server::{Load, MainThread};
use stats::{counters, denied_keys};

/// Called when the server loads the module. On failure, why it does not load.
fn start(load: &Load<'_>) -> Result<(), String> {
    counters::start();
    server::prepare(load);
    let settings = server::configure(load)?;
    // The server sets only what differs from the default.
    denied_keys::start(
        load.main_thread(),
        settings.top_keys,
        settings.top_half_life,
    );
    server::register_info(load);
    commands::register_all(load, settings)?;
    server::subscribe(load);
    Ok(())
}

/// Called when the module goes. Its statics go with it, or stay as they are (on musl), but what they own is the server's.
fn stop(main_thread: MainThread<'_>) {
    denied_keys::drop_all(main_thread);
}
