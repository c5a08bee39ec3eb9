//! Rate limits decided inside the server.

// A panic would take the user's server down: nothing that can panic is allowed here. (Not in `Cargo.toml`, whose lints
// hold for the tests, too.)
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

pub mod limiter;
