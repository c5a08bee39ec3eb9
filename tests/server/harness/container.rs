//! Servers in containers: if `REDIS_IMAGE` names an image, tests run against it, by TCP.
//!
//! The server has the module of the image, and its directory where tests look for it. Tests whose servers have to reach
//! each other are not for this.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The user that servers run as in the image.
const USER: u32 = 999;

/// The image to test, or none.
pub fn image() -> Option<&'static str> {
    static IMAGE: OnceLock<Option<String>> = OnceLock::new();
    IMAGE
        .get_or_init(|| std::env::var("REDIS_IMAGE").ok())
        .as_deref()
}

/// The path of the module in the image.
pub fn module() -> PathBuf {
    PathBuf::from("/usr/lib/redis/modules/libredis_ratelimit.so")
}

/// Copies the module out of the image.
pub fn copy_module(image: &'static str, to: &Path) {
    let mut container = Container::new(image);
    let from = format!("{}:{}", container.name, module().display());
    docker(&["create", "--name", &container.name, image]).unwrap();
    let copied = docker(&["cp", &from, to.to_str().unwrap()]);
    container.remove();
    copied.expect("a module in the image");
}

/// What the server in the image says of its version.
pub fn version(image: &str) -> Vec<u8> {
    const COMMAND: &str = "valkey-server --version 2>/dev/null || redis-server --version";
    let output = docker(&[
        "run",
        "--rm",
        "--network=none",
        "--entrypoint=sh",
        image,
        "-c",
        COMMAND,
    ]);
    output.expect("an image with a server")
}

/// The container of one server: it may be started several times, one after the other.
pub struct Container {
    image: &'static str,
    name: String,
    port: OnceLock<u16>,
}

impl Container {
    /// A container that is not there yet.
    pub fn new(image: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            image,
            name: format!("redis-ratelimit-test-{}-{number}", std::process::id()),
            port: OnceLock::new(),
        }
    }

    /// The command that runs a server in it, which has the environment.
    pub fn command(
        &self,
        dir: &Path,
        environment: Vec<(String, PathBuf)>,
        with_module: bool,
        arguments: Vec<String>,
    ) -> Vec<String> {
        let dir_text = dir.display();
        let mut command: Vec<String> = ["docker", "run", "--no-healthcheck"].map(Into::into).into();
        command.push(format!("--name={}", self.name));
        // So that one can see that none is left after the tests.
        let label = std::env::var("REDIS_IMAGE_LABEL");
        command.push(format!(
            "--label={}",
            label.as_deref().unwrap_or("redis-ratelimit-test")
        ));
        command.push("--publish=127.0.0.1::6379".into());
        command.push(format!("--volume={dir_text}:{dir_text}"));
        command.push(format!("--workdir={dir_text}"));
        if !is_root() {
            let owner = dir.metadata().unwrap();
            command.push(format!("--user={}:{}", owner.uid(), owner.gid()));
        }
        for (name, value) in environment {
            command.push(format!("--env={name}={}", value.display()));
        }
        if !with_module {
            command.push("--entrypoint=server-entrypoint.sh".into());
        }
        command.push(self.image.into());
        command.push("redis-server".into());
        command.extend(arguments);
        command
    }

    /// Lets the server write in its directory. If root runs the tests, the server is the image's user, else the user
    /// who runs them.
    pub fn hand_over(dir: &Path) {
        if !is_root() {
            return;
        }
        let mut paths = vec![dir.to_owned()];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            }
            chown(&path, Some(USER), None).unwrap();
        }
    }

    /// The port of this machine that leads to the server, as soon as it is known.
    pub fn port(&self) -> Option<u16> {
        if let Some(port) = self.port.get() {
            return Some(*port);
        }
        // "127.0.0.1:49153"
        let answer = docker(&["port", &self.name, "6379/tcp"])?;
        let answer = String::from_utf8(answer).unwrap();
        let port = answer.lines().next()?.rsplit(':').next()?.parse().unwrap();
        Some(*self.port.get_or_init(|| port))
    }

    /// The id of the server's process, as this machine has it. It may not be the container's first one: that may be an init.
    pub fn pid(&self) -> u32 {
        let answer = docker(&["top", &self.name, "-o", "pid,comm"]).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let server = answer.lines().find(|line| line.ends_with("-server"));
        let pid = server.and_then(|line| line.split_whitespace().next());
        pid.unwrap().parse().unwrap()
    }

    /// Kills the server at once, and removes the container with its volumes.
    pub fn remove(&mut self) {
        self.port = OnceLock::new();
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

fn is_root() -> bool {
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|process| process.uid() == 0)
}

/// What a command of docker's prints, if it succeeds.
fn docker(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}
