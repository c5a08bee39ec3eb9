//! What the documents say is run: their blocks, their figures, their pictures, and the texts that they quote.

mod benches;
mod blocks;
mod code_blocks;
mod configuration_example;
mod demo;
#[expect(dead_code, reason = "the tests of the server use the rest")]
#[path = "../server/harness/mod.rs"]
mod harness;
mod pictures;
mod release;
mod security;
mod sizing;
mod troubleshooting;
mod users;
