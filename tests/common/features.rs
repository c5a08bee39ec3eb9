//! What not every server has. A test about it says so, and is skipped by name elsewhere.

use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;

use super::server_binary;

/// Something that came to Redis and to Valkey with these versions.
pub struct Feature {
    what: &'static str,
    redis: (u32, u32),
    valkey: (u32, u32),
}

/// Redis 7.0 does not give its clock to modules: there, each command reads the system's.
pub const CLOCK_OF_THE_SERVER: Feature = Feature {
    what: "a clock that stands still in transactions and scripts",
    redis: (7, 2),
    valkey: (7, 2),
};

impl Feature {
    /// Whether the server under test has it.
    pub fn is_there(&self) -> bool {
        let (name, version) = server();
        match name.as_str() {
            "Valkey" => *version >= self.valkey,
            _ => *version >= self.redis,
        }
    }

    /// Whether the server under test lacks it: then says that `test` is skipped, and why. (Straight to the standard
    /// error output: what tests print is not shown when they pass.)
    pub fn is_missing(&self, test: &str) -> bool {
        let missing = !self.is_there();
        if missing {
            let (name, (major, minor)) = server();
            let line = format!(
                "skipped: {test}: {name} {major}.{minor} has no {}\n",
                self.what
            );
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        missing
    }
}

/// The name and the version of the server under test.
fn server() -> &'static (String, (u32, u32)) {
    static SERVER: OnceLock<(String, (u32, u32))> = OnceLock::new();
    SERVER.get_or_init(|| {
        let output = Command::new(server_binary())
            .arg("--version")
            .output()
            .unwrap();
        // "Redis server v=7.0.15 sha=00000000:0 …"
        let text = String::from_utf8(output.stdout).unwrap();
        let (name, rest) = text.split_once(" server v=").unwrap();
        let mut numbers = rest.split(['.', ' ']).map(|number| number.parse().unwrap());
        (
            name.to_owned(),
            (numbers.next().unwrap(), numbers.next().unwrap()),
        )
    })
}
