//! The commands on real servers, beside what people use today, and the document that comes of it.
//!
//! ```text
//! make bench                                          everything: prints the tables, writes docs/benchmarks.md
//! cargo bench --bench server -- RL.GCRA               only what has this in its name, without AOF and replica
//! cargo bench --bench server -- --quick               everything once, in seconds: only to see that it runs
//!   --full            also ten million keys: some minutes more, and some 6 GB of memory
//!   --write FILE      writes the document
//! RATELIMIT_MODULE=/path.so                           another build of the module
//! PEER_MODULE=/path.so PEER_COMMAND='cl.throttle {key} 15 30 60'
//!                                                     another module beside it, on a server of its own
//! OTHER_SERVERS=/path/redis-server:/path/other        other servers, for some of the commands
//! ```
//!
//! Not with criterion, whose unit of work is a function of this process that is called for seconds, one benchmark after
//! the other. What counts here is the time that *another* process used, it is told apart from the machine's noise only by
//! what was measured beside it within milliseconds, and so the workloads have to alternate. The algorithms alone are
//! measured with criterion, in `limiter.rs`.

#[expect(dead_code, reason = "the tests of the server use the rest")]
#[path = "../tests/server/harness/mod.rs"]
mod harness;
#[path = "server/mod.rs"]
mod server;

use std::path::PathBuf;

use server::{Peer, Plan};

fn main() {
    let peer = std::env::var_os("PEER_MODULE")
        .filter(|module| !module.is_empty())
        .map(|module| Peer {
            module: PathBuf::from(module),
            command: std::env::var("PEER_COMMAND")
                .ok()
                .filter(|command| !command.is_empty()),
        });
    let others = std::env::var_os("OTHER_SERVERS").unwrap_or_default();
    let others = std::env::split_paths(&others)
        .filter(|program| !program.as_os_str().is_empty())
        .collect();
    let (mut quick, mut full, mut write, mut part) = (false, false, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // From cargo.
            "--bench" => {}
            "--quick" => quick = true,
            "--full" => full = true,
            "--write" => write = Some(arguments.next().expect("--write takes a file")),
            option if option.starts_with('-') => panic!("there is no {option}"),
            name => part = Some(name.to_owned()),
        }
    }
    let plan = if quick {
        Plan::tiny(peer, others)
    } else {
        Plan::real(full, peer, others)
    };
    if let Some(part) = part {
        print!("{}", server::some(&plan, &part));
        return;
    }
    let document = server::document(&plan, &server::everything(&plan));
    print!("{document}");
    if let Some(file) = write {
        std::fs::write(&file, document).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}
