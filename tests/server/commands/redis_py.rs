//! Plain redis-py, the client of most applications.

use crate::harness::clock::Clock;
use crate::harness::python::run_script;

#[test]
fn throttles_as_with_redis_cell() {
    let (server, _clock) = Clock::start();
    run_script("throttle.py", &[server.socket().to_str().unwrap()]);
}
