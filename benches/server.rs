//! The commands on real servers, beside what people use today, and the document that comes of it: `make bench`.
//!
//! Not with criterion, whose unit of work is a function of this process that is called for seconds, one benchmark after
//! the other. What counts here is the time that *another* process used, it is told apart from the machine's noise only by
//! what was measured beside it within milliseconds, and so the workloads have to alternate. The algorithms alone are
//! measured with criterion, in `limiter.rs`.

#[expect(dead_code, reason = "the tests of the server use the rest")]
#[path = "../tests/server/harness/mod.rs"]
mod harness;
#[expect(dead_code, reason = "the test of this bench uses the rest")]
#[path = "server/mod.rs"]
mod server;

fn main() {
    let plan = server::Plan::from_environment();
    print!("{}", server::document(&plan, &server::everything(&plan)));
}
