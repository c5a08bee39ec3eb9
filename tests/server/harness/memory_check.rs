//! What finds faults of memory in a server while tests use it: AddressSanitizer, with which server and module are
//! compiled, or valgrind's memcheck, under which they run. `scripts/test-memory` says which, with the variable
//! `MEMORY_CHECK`, and starts the tests.
//!
//! Either writes what it finds to the server's directory. Lost memory is found when a server ends: so servers are not
//! killed then, but end by themselves.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{DEADLINE, Server};

/// What looks for faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tool {
    /// It is in the server, and reads its options from `ASAN_OPTIONS`.
    AddressSanitizer,
    /// The server runs under it.
    Memcheck,
}

/// How the names of reports begin. The rest is the number of the process.
const REPORT: &str = "memory-report.";

impl Tool {
    /// The one that this run of the tests is for.
    pub fn in_use() -> Option<Self> {
        match std::env::var("MEMORY_CHECK").ok()?.as_str() {
            "address" => Some(Self::AddressSanitizer),
            "memcheck" => Some(Self::Memcheck),
            other => panic!("MEMORY_CHECK={other}"),
        }
    }

    /// What a server is started with.
    pub(super) fn launcher(self) -> Vec<String> {
        let memcheck = [
            "valgrind",
            "--tool=memcheck",
            // Nothing, if nothing is found.
            "--quiet",
            "--log-file=memory-report.%p",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
            // For what is found when the module has gone.
            "--keep-debuginfo=yes",
            // Debian's servers take their memory from this library.
            "--soname-synonyms=somalloc=*jemalloc*",
        ];
        match self {
            Self::AddressSanitizer => Vec::new(),
            Self::Memcheck => memcheck.map(String::from).into(),
        }
    }

    /// The environment of a server.
    pub(super) fn environment(self) -> Option<(String, String)> {
        // The library of tests that have their own clock comes before that of the sanitizer.
        let options = format!(
            "log_path={}:verify_asan_link_order=0",
            REPORT.trim_end_matches('.')
        );
        (self == Self::AddressSanitizer).then(|| ("ASAN_OPTIONS".to_owned(), options))
    }
}

impl Server {
    /// Ends it as an administrator does; whether it has ended.
    pub fn end(&mut self) -> bool {
        let pid = self.process.id().to_string();
        let give_up = Instant::now() + DEADLINE;
        if self.is_alive() {
            let _ = Command::new("kill").arg(pid).status();
        }
        while self.is_alive() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(2));
        }
        !self.is_alive()
    }

    /// Takes what has been found in it: empty, if nothing has.
    pub fn take_reports(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(self.dir()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if name.starts_with(REPORT) {
                all += &String::from_utf8_lossy(&fs::read(&path).unwrap());
                fs::remove_file(&path).unwrap();
            }
        }
        all
    }
}
