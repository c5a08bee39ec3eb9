//! A clock that stands still unless a test moves it.
//!
//! A small library, preloaded into the server, answers the functions that tell the time of day from nanoseconds
//! in a file. The monotonic clock stays real, so that the server itself goes on working.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Server, Setup, compile};

/// The time of one server.
pub struct Clock {
    file: File,
    micros: AtomicU64,
}

impl Clock {
    /// When it begins: noon of some day.
    pub const START: Duration = Duration::from_secs(1_700_000_000);

    /// Starts a server whose time stands still.
    pub fn start() -> (Server, Self) {
        Self::start_with(Setup::new())
    }

    /// The same with more to set up.
    pub fn start_with(setup: Setup) -> (Server, Self) {
        let (clock, environment) = Self::prepare(setup.dir());
        let server = environment
            .iter()
            .fold(setup, |setup, (name, value)| setup.environment(name, value))
            .start();
        (server, clock)
    }

    /// A clock in this directory, and the environment of a server that goes by it.
    pub fn prepare(dir: &Path) -> (Self, [(&'static str, PathBuf); 2]) {
        // A copy, because a server in a container sees only its own directory.
        let library = dir.join("clock.so");
        fs::copy(compile("server/harness/clock.c"), &library).unwrap();
        let time = dir.join("time");
        let clock = Self {
            file: File::create(&time).unwrap(),
            micros: AtomicU64::new(0),
        };
        clock.set(Self::START);
        (clock, [("LD_PRELOAD", library), ("TEST_CLOCK", time)])
    }

    /// The time since the epoch.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// Sets the time.
    pub fn set(&self, now: Duration) {
        let micros = u64::try_from(now.as_micros()).unwrap();
        self.micros.store(micros, Ordering::Relaxed);
        self.file
            .write_all_at(&(micros * 1_000).to_ne_bytes(), 0)
            .unwrap();
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Moves it on by milliseconds.
    pub fn advance_millis(&self, millis: i64) {
        self.advance(Duration::from_millis(u64::try_from(millis).unwrap()));
    }

    /// Moves it back.
    pub fn step_back(&self, by: Duration) {
        self.set(self.now() - by);
    }
}
