//! The servers that are measured, started with the harness of the tests: private, and gone at the end.

use std::path::Path;

use super::scripts;
use super::wire::Pipe;
use crate::harness::nodes::Node;
use crate::harness::{self, Setup};

/// Where what is written goes, beside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    None,
    /// An AOF with `appendfsync everysec`.
    Aof,
    Replica,
}

/// A server, and a connection to it.
pub struct Target {
    pub pipe: Pipe,
    pub primary: Node,
    /// The digests of the scripts that it has loaded.
    pub scripts: Vec<(&'static str, String)>,
    replica: Option<Node>,
    databases: usize,
}

impl Target {
    /// A server with our module.
    pub fn start(sink: Sink) -> Self {
        Self::start_with(&harness::server_binary(), &harness::module(), sink)
    }

    /// With another module.
    pub fn with_module(module: &Path) -> Self {
        Self::start_with(&harness::server_binary(), module, Sink::None)
    }

    /// Another server, with our module.
    pub fn of(program: &Path) -> Self {
        Self::start_with(program, &harness::module(), Sink::None)
    }

    fn start_with(program: &Path, module: &Path, sink: Sink) -> Self {
        let floor = harness::compile("../benches/floor.c");
        let mut options = vec!["--loadmodule", module.to_str().unwrap()];
        options.extend(["--loadmodule", floor.to_str().unwrap()]);
        options.extend(["--databases", "256", "--enable-debug-command", "yes"]);
        if sink == Sink::Aof {
            options.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
            // Never rewritten: a child that copies the memory would disturb.
            options.extend(["--auto-aof-rewrite-percentage", "0"]);
        }
        let plain = || Setup::new().program(program).without_module();
        let primary = Node::start_with(|| plain().arguments(options.clone()));
        let replica = (sink == Sink::Replica)
            .then(|| Node::replica_with(&primary, || plain().arguments(["--databases", "256"])));
        let mut pipe = Pipe::connect(primary.socket());
        let scripts = scripts::load(&mut pipe);
        Self {
            pipe,
            primary,
            scripts,
            replica,
            databases: 0,
        }
    }

    /// The number of a database that nobody uses.
    pub fn next_database(&mut self) -> usize {
        self.databases += 1;
        self.databases - 1
    }

    /// Waits until the replica, if there is one, has everything, so that it is no further behind in one slice than in
    /// another.
    pub fn settle(&mut self) {
        if self.replica.is_some() {
            let reply = self.pipe.ask("WAIT 1 30000");
            assert_eq!(reply, ":1\r\n", "the replica is not there any more");
        }
    }

    /// A number of `INFO`.
    pub fn info(&mut self, section: &str, name: &str) -> u64 {
        let info = self.pipe.ask(&format!("INFO {section}"));
        let (_, rest) = info.split_once(&format!("\n{name}:")).unwrap();
        rest.split("\r\n").next().unwrap().parse().unwrap()
    }
}
