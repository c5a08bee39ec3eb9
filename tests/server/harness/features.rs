//! What not every server has. A test about it says so, and is skipped by name elsewhere.

use std::io::Write;
use std::ops::Range;
use std::process::Command;
use std::sync::OnceLock;

use super::{container, server_binary};

/// A version: major and minor.
type Version = (u32, u32);

const NEVER: Version = (u32::MAX, 0);

/// Something that Redis and Valkey have in these versions.
pub struct Feature {
    what: &'static str,
    redis: Range<Version>,
    valkey: Range<Version>,
}

/// Redis 7.0 does not give its clock to modules: there, each command reads the system's.
pub const CLOCK_OF_THE_SERVER: Feature = Feature {
    what: "one time for a transaction or a script",
    redis: (7, 2)..NEVER,
    valkey: (7, 2)..NEVER,
};

/// Redis 7.2 and Valkey 7.2 have no categories but their own.
pub const ACL_CATEGORY_OF_A_MODULE: Feature = Feature {
    what: "ACL categories of modules",
    redis: (7, 4)..NEVER,
    valkey: (8, 0)..NEVER,
};

/// Clients tell their names and versions with it; before it came, a rule about it was refused.
pub const CLIENT_SETINFO: Feature = Feature {
    what: "CLIENT SETINFO",
    redis: (7, 2)..NEVER,
    valkey: (7, 2)..NEVER,
};

/// Redis 7.0 unloads a module also if users have rules that name its commands.
pub const UNLOADING_WHAT_ACL_RULES_NAME: Feature = Feature {
    what: "unloading of a module whose commands ACL rules name",
    redis: (7, 0)..(7, 2),
    valkey: NEVER..NEVER,
};

/// Later servers would end by an assertion (acl.c), so the module stays; Valkey 9.1 itself refuses.
pub const REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME: Feature = Feature {
    what: "refusal to unload a module whose commands ACL rules name",
    redis: (7, 2)..NEVER,
    valkey: (7, 2)..NEVER,
};

/// Valkey 9 can change the number of I/O threads while it runs.
pub const IO_THREADS_WHILE_IT_RUNS: Feature = Feature {
    what: "CONFIG SET io-threads",
    redis: NEVER..NEVER,
    valkey: (9, 0)..NEVER,
};

/// Valkey 9.1 looks up all commands that came in one piece before it carries out the first.
pub const LOOKING_UP_WHAT_FOLLOWS: Feature = Feature {
    what: "looking up of commands behind one that blocks",
    redis: (8, 1)..NEVER,
    valkey: (9, 0)..NEVER,
};

/// Valkey 9.1 can keep users out of databases.
pub const ACL_RULES_ABOUT_DATABASES: Feature = Feature {
    what: "ACL rules about databases",
    redis: NEVER..NEVER,
    valkey: (9, 1)..NEVER,
};

/// Redis 8 and Valkey 8 can send a replica the snapshot and what follows it at the same time.
pub const FULL_SYNC_ON_TWO_CONNECTIONS: Feature = Feature {
    what: "full synchronisation on two connections",
    redis: (8, 0)..NEVER,
    valkey: (8, 0)..NEVER,
};

/// Valkey 9 can move slots as a whole.
pub const MIGRATION_OF_SLOTS: Feature = Feature {
    what: "CLUSTER MIGRATESLOTS",
    redis: NEVER..NEVER,
    valkey: (9, 0)..NEVER,
};

/// All of them.
pub const NOT_EVERYWHERE: &[&Feature] = &[
    &CLOCK_OF_THE_SERVER,
    &ACL_CATEGORY_OF_A_MODULE,
    &CLIENT_SETINFO,
    &UNLOADING_WHAT_ACL_RULES_NAME,
    &REFUSAL_TO_UNLOAD_WHAT_ACL_RULES_NAME,
    &IO_THREADS_WHILE_IT_RUNS,
    &LOOKING_UP_WHAT_FOLLOWS,
    &ACL_RULES_ABOUT_DATABASES,
    &FULL_SYNC_ON_TWO_CONNECTIONS,
    &MIGRATION_OF_SLOTS,
];

impl Feature {
    /// What it is.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Whether the server under test has it.
    pub fn is_there(&self) -> bool {
        let (name, version) = server();
        match name.as_str() {
            "Valkey" => self.valkey.contains(version),
            _ => self.redis.contains(version),
        }
    }

    /// Whether the server under test lacks it: then says that `test` is skipped, and why.
    pub fn is_missing(&self, test: &str) -> bool {
        let missing = !self.is_there();
        if missing {
            let (name, (major, minor)) = server();
            skip(
                test,
                &format!("{name} {major}.{minor} has no {}", self.what),
            );
        }
        missing
    }
}

/// Whether the server under test is Valkey.
pub fn is_valkey() -> bool {
    server().0 == "Valkey"
}

/// Says that `test` is skipped, and why. (Straight to the standard error output: what tests print is not shown when they
/// pass.)
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The name and the version of the server under test.
fn server() -> &'static (String, Version) {
    static SERVER: OnceLock<(String, Version)> = OnceLock::new();
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
        let mut numbers = rest.split(['.', ' ']).map(|number| number.parse().unwrap());
        (
            name.to_owned(),
            (numbers.next().unwrap(), numbers.next().unwrap()),
        )
    })
}
