//! What not every server has, found by asking the server under test. A test about it says so, and is skipped by name
//! elsewhere.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use redis::Value;

use super::{Ask, Server, Setup, container, other_module, server_binary};

/// Something that not every server has.
pub struct Feature {
    what: &'static str,
    /// Whether this server has it; it runs without the module.
    is_there: fn(&Server) -> bool,
}

/// Redis 7.0 does not give its clock to modules: there, each command reads the system's.
pub const CLOCK_OF_THE_SERVER: Feature = Feature {
    what: "one time for a transaction or a script",
    is_there: |server| has_function(server, "RedisModule_CachedMicroseconds"),
};

/// Redis 7.2 and Valkey 7.2 have no categories but their own.
pub const ACL_CATEGORY_OF_A_MODULE: Feature = Feature {
    what: "ACL categories of modules",
    is_there: |server| has_function(server, "RedisModule_AddACLCategory"),
};

/// Clients tell their names and versions with it; before it came, a rule about it was refused.
pub const CLIENT_SETINFO: Feature = Feature {
    what: "CLIENT SETINFO",
    is_there: |server| accepts(server, "ACL SETUSER probe +client|setinfo"),
};

/// Redis 7.0 unloads a module also if users have rules that name its commands.
pub const UNLOADING_WHAT_ACL_RULES_NAME: Feature = Feature {
    what: "unloading of a module whose commands ACL rules name",
    is_there: |server| !(REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME.is_there)(server),
};

/// Later servers, which let modules put their commands into categories, would end by an assertion (acl.c), so the module
/// stays; Valkey 9.1 itself refuses.
pub const REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME: Feature = Feature {
    what: "refusal to unload a module whose commands ACL rules name",
    is_there: |server| has_function(server, "RedisModule_SetCommandACLCategories"),
};

/// Valkey 9 can change the number of I/O threads while it runs.
pub const IO_THREADS_WHILE_IT_RUNS: Feature = Feature {
    what: "CONFIG SET io-threads",
    is_there: |server| accepts(server, "CONFIG SET io-threads 2"),
};

/// Valkey 9.1 can keep users out of databases.
pub const ACL_RULES_ABOUT_DATABASES: Feature = Feature {
    what: "ACL rules about databases",
    is_there: |server| accepts(server, "ACL SETUSER probe resetdbs db=1"),
};

/// Redis 8 and Valkey 8 can send a replica the snapshot and what follows it at the same time.
pub const FULL_SYNC_ON_TWO_CONNECTIONS: Feature = Feature {
    what: "full synchronisation on two connections",
    is_there: |server| {
        let settings = server
            .connect()
            .ask(&format!("CONFIG GET {}", TWO_CONNECTIONS.join(" ")));
        matches!(settings, Value::Array(settings) if !settings.is_empty())
    },
};

/// The directives that ask for it: Redis' and Valkey's.
pub const TWO_CONNECTIONS: [&str; 2] = ["repl-rdb-channel", "dual-channel-replication-enabled"];

/// Valkey 9 can move slots as a whole.
pub const MIGRATION_OF_SLOTS: Feature = Feature {
    what: "CLUSTER MIGRATESLOTS",
    is_there: |server| accepts(server, "ACL SETUSER probe +cluster|migrateslots"),
};

/// Alpine's servers have musl: its C library is its loader, too, and has the name of either.
pub const GLIBC: Feature = Feature {
    what: "glibc",
    is_there: |server| {
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        let is_musl = |line: &str| line.ends_with("/libc.so") || line.contains("/ld-musl-");
        !maps.lines().any(is_musl)
    },
};

/// What a server takes for a key is documented for jemalloc, which servers have unless they are built without.
pub const JEMALLOC: Feature = Feature {
    what: "jemalloc",
    is_there: |server| {
        let memory: String = redis::from_redis_value(server.connect().ask("INFO memory")).unwrap();
        memory.contains("mem_allocator:jemalloc")
    },
};

/// Debian's servers have its jemalloc, which cannot tell what is worth moving; their own one can.
pub const ACTIVE_DEFRAGMENTATION: Feature = Feature {
    what: "active defragmentation",
    is_there: |server| accepts(server, "CONFIG SET activedefrag yes"),
};

/// All of them.
pub const NOT_EVERYWHERE: &[&Feature] = &[
    &CLOCK_OF_THE_SERVER,
    &ACL_CATEGORY_OF_A_MODULE,
    &CLIENT_SETINFO,
    &UNLOADING_WHAT_ACL_RULES_NAME,
    &REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME,
    &IO_THREADS_WHILE_IT_RUNS,
    &ACL_RULES_ABOUT_DATABASES,
    &FULL_SYNC_ON_TWO_CONNECTIONS,
    &MIGRATION_OF_SLOTS,
    &GLIBC,
    &JEMALLOC,
    &ACTIVE_DEFRAGMENTATION,
];

/// Whether the server has a function for modules.
fn has_function(server: &Server, name: &str) -> bool {
    let module = other_module(server.dir(), "api.c");
    accepts(server, &format!("MODULE LOAD {} {name}", module.display()))
}

/// Whether the server carries a command out.
fn accepts(server: &Server, line: &str) -> bool {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    server.connect().ask_bytes(&words).is_ok()
}

impl Feature {
    /// What it is.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Whether the server under test has it.
    pub fn is_there(&self) -> bool {
        static KNOWN: Mutex<Option<HashMap<&str, bool>>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap();
        *known
            .get_or_insert_default()
            .entry(self.what)
            .or_insert_with(|| {
                let server = Setup::new()
                    .without_module()
                    .arguments(["--enable-module-command", "yes"])
                    .start();
                (self.is_there)(&server)
            })
    }

    /// Whether the server under test lacks it: then says that `test` is skipped, and why.
    pub fn is_missing(&self, test: &str) -> bool {
        let missing = !self.is_there();
        if missing {
            skip(test, &format!("{} has no {}", server(), self.what));
        }
        missing
    }
}

/// Whether the server under test is Valkey.
pub fn is_valkey() -> bool {
    server().starts_with("Valkey")
}

/// Says that `test` is skipped, and why. (Straight to the standard error output: what tests print is not shown when they
/// pass.)
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The name and the version of the server under test.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        let output = match container::image() {
            Some(image) => container::version(image),
            None => {
                let output = Command::new(server_binary()).arg("--version").output();
                output.unwrap().stdout
            }
        };
        // "Redis server v=7.0.15 sha=00000000:0 …"
        let text = String::from_utf8(output).unwrap();
        let (name, rest) = text.split_once(" server v=").unwrap();
        let (version, _) = rest.split_once(' ').unwrap();
        format!("{name} {version}")
    })
}
