//! The harness: each test starts a server of its own, with its own directory and unix socket, and the server is gone
//! when the test ends, also when it fails. With `REDIS_IMAGE`, in a container ([`container`]).

pub mod clock;
pub mod container;
pub mod features;
pub mod memory_check;
pub mod nodes;
pub mod python;
pub mod random;
pub mod traffic;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionLike, Value};
use tempfile::TempDir;

use container::Container;
use memory_check::Tool;

/// How long anything may take before a test gives up. Far more than it takes on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The module to test: in a container the image's, else `RATELIMIT_MODULE`, or the one that cargo has built beside this
/// program.
pub fn module() -> PathBuf {
    if container::image().is_some() {
        return container::module();
    }
    let module = std::env::var_os("RATELIMIT_MODULE").map_or_else(
        || {
            let program = std::env::current_exe().unwrap();
            program.with_file_name("libredis_ratelimit.so")
        },
        |path| std::path::absolute(path).unwrap(),
    );
    assert!(module.exists(), "no module at {}", module.display());
    module
}

/// Copies it to a place of this machine.
pub fn copy_module(to: &Path) {
    match container::image() {
        Some(image) => container::copy_module(image, to),
        None => drop(fs::copy(module(), to).unwrap()),
    }
}

/// The server to test with: `REDIS_SERVER`, or the one in the path.
pub fn server_binary() -> PathBuf {
    std::env::var_os("REDIS_SERVER").map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// Asks again and again until there is an answer; panics after [`DEADLINE`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < give_up, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A server that is about to be started.
pub struct Setup {
    dir: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    with_module: bool,
    module_arguments: Vec<String>,
    configuration_file: Option<PathBuf>,
    launcher: Vec<String>,
}

impl Setup {
    /// A server with the module, without persistence.
    pub fn new() -> Self {
        Self {
            dir: tempfile::Builder::new().prefix("rl").tempdir().unwrap(),
            program: server_binary(),
            arguments: Vec::new(),
            environment: Vec::new(),
            with_module: true,
            module_arguments: Vec::new(),
            configuration_file: None,
            launcher: Tool::in_use().map_or_else(Vec::new, Tool::launcher),
        }
    }

    /// Another server than the one to test with.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Leaves the module out.
    pub fn without_module(mut self) -> Self {
        self.with_module = false;
        self
    }

    /// Adds a configuration directive and its arguments: `["--appendonly", "yes"]`.
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds arguments of the module: `["top-keys", "10"]`.
    pub fn module_arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.module_arguments
            .extend(arguments.into_iter().map(String::from));
        self
    }

    /// Reads a configuration file first.
    pub fn configuration_file(mut self, file: &Path) -> Self {
        self.configuration_file = Some(file.to_owned());
        self
    }

    /// Adds a variable to the server's environment.
    pub fn environment(mut self, name: &str, value: &Path) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the server under another program, which is given its command line: `["valgrind"]`.
    pub fn launcher<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.launcher = words.into_iter().map(Into::into).collect();
        self
    }

    /// The server's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Server {
        let mut server = self.launch();
        server.wait_until_ready();
        server
    }

    /// Starts it and waits until it has ended, as one does that cannot start; returns its log.
    pub fn start_expecting_exit(self) -> String {
        let mut server = self.launch();
        eventually("the end of a server that cannot start", || {
            server.process.try_wait().unwrap()
        });
        server.log()
    }

    fn launch(self) -> Server {
        let Self {
            dir,
            program,
            arguments,
            environment,
            with_module,
            module_arguments,
            configuration_file,
            launcher,
        } = self;
        let socket = dir.path().join("socket");
        let container = container::image().map(Container::new);
        let mut all = Vec::new();
        all.extend(configuration_file.map(|file| file.display().to_string()));
        match container {
            Some(_) => all.extend(["--port", "6379", "--protected-mode", "no"].map(String::from)),
            None => {
                all.extend(["--port".into(), "0".into()]);
                all.extend(["--unixsocket".into(), socket.display().to_string()]);
            }
        }
        all.extend(["--save", "", "--daemonize", "no"].map(String::from));
        all.extend(["--dir".into(), dir.path().display().to_string()]);
        all.extend(["--logfile".into(), "log".into()]);
        // An image loads it by itself.
        if with_module && (container.is_none() || !module_arguments.is_empty()) {
            all.extend(["--loadmodule".into(), module().display().to_string()]);
            all.extend(module_arguments);
        }
        all.extend(arguments);
        let (command, environment): (Vec<String>, _) = match &container {
            Some(_) if !launcher.is_empty() => panic!("no launcher in containers"),
            Some(container) => (
                container.command(dir.path(), environment, with_module, all),
                Vec::new(),
            ),
            None => (
                launcher
                    .into_iter()
                    .chain([program.display().to_string()])
                    .chain(all)
                    .collect(),
                environment,
            ),
        };
        let mut server = Server {
            process: Self::spawn(dir.path(), &command, &environment),
            socket,
            container,
            command,
            environment,
            dir,
        };
        server.process.stdin.take();
        server
    }

    fn spawn(dir: &Path, command: &[String], environment: &[(String, PathBuf)]) -> Child {
        let (program, arguments) = command.split_first().unwrap();
        if container::image().is_some() {
            Container::hand_over(dir);
        }
        Command::new(program)
            .args(arguments)
            .envs(environment.iter().cloned())
            .envs(Tool::in_use().and_then(Tool::environment))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
    }
}

/// A running server.
pub struct Server {
    process: Child,
    socket: PathBuf,
    container: Option<Container>,
    command: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    dir: TempDir,
}

impl Server {
    /// A server with the module, without persistence.
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Client::open(self.url().unwrap())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    /// A new connection that speaks RESP3.
    pub fn connect_resp3(&self) -> Connection {
        Client::open(format!("{}?protocol=resp3", self.url().unwrap()))
            .unwrap()
            .get_connection()
            .unwrap()
    }

    /// Where it listens, as clients are told; none while it starts.
    pub fn url(&self) -> Option<String> {
        match &self.container {
            Some(container) => Some(format!("redis://127.0.0.1:{}/", container.port()?)),
            None => Some(format!("unix://{}", self.socket.display())),
        }
    }

    /// Its unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        match &self.container {
            Some(container) => container.pid(),
            None => self.process.id(),
        }
    }

    /// Whether its process lives.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Runs `redis-cli` against it.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("redis-cli");
        match &self.container {
            Some(container) => command.args(["-p", &container.port().unwrap().to_string()]),
            None => command.arg("-s").arg(&self.socket),
        };
        command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(container) = &mut self.container {
            container.remove();
        } else {
            self.process.kill().unwrap();
        }
        self.process.wait().unwrap();
        let _ = fs::remove_file(&self.socket);
    }

    /// Starts it again on the files that it left.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Setup::spawn(self.dir.path(), &self.command, &self.environment);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        eventually("a server that answers PING", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let client = Client::open(self.url()?).unwrap();
            let mut connection = client.get_connection().ok()?;
            match redis::cmd("PING").query::<String>(&mut connection) {
                Ok(_) => Some(()),
                // It answers, if only to ask for a password.
                Err(error) if error.code() == Some("NOAUTH") => Some(()),
                Err(_) => None,
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(container) = &mut self.container {
            container.remove();
        }
        // A test that has failed may have left it in any state.
        let checked = Tool::in_use().is_some();
        let ended = !checked || std::thread::panicking() || self.end();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let faults = if checked {
            self.take_reports()
        } else {
            String::new()
        };
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}---\n{faults}", self.log());
            return;
        }
        assert!(ended, "the server does not end");
        assert!(faults.is_empty(), "faults of memory:\n{faults}");
    }
}

/// Commands as lines of text, and replies as the tests compare them.
pub trait Ask {
    /// Sends a command whose words are separated by blanks.
    fn ask(&mut self, line: &str) -> Value;

    /// Sends a command made of any bytes.
    fn ask_bytes(&mut self, words: &[&[u8]]) -> Result<Value, String>;

    /// The five integers of a decision.
    fn decide(&mut self, line: &str) -> [i64; 5];

    /// The receipt of a decision that must have granted something.
    fn receipt(&mut self, line: &str) -> i64;

    /// The text of the error that a command must be answered with.
    fn refused(&mut self, line: &str) -> String;
}

impl Ask for Connection {
    fn ask(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        self.ask_bytes(&words)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn ask_bytes(&mut self, words: &[&[u8]]) -> Result<Value, String> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        match self.req_command(&command) {
            Ok(Value::ServerError(error)) => Err(error_text(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(error_text(&error)),
        }
    }

    fn decide(&mut self, line: &str) -> [i64; 5] {
        let value = self.ask(line);
        redis::from_redis_value::<Vec<i64>>(value)
            .ok()
            .and_then(|row| row.try_into().ok())
            .unwrap_or_else(|| panic!("{line}: not five integers"))
    }

    fn receipt(&mut self, line: &str) -> i64 {
        match redis::from_redis_value::<Vec<i64>>(self.ask(line)).as_deref() {
            Ok(&[granted, _, _, _, _, receipt]) if granted > 0 && receipt > 0 => receipt,
            other => panic!("{line}: no receipt in {other:?}"),
        }
    }

    fn refused(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        match self.ask_bytes(&words) {
            Ok(value) => panic!("{line}: answered {value:?}"),
            Err(error) => error,
        }
    }
}

/// An error as the server sent it: code and text.
fn error_text(error: &redis::RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// A module of `tests/other_module/` in a server's directory; its path.
pub fn other_module(dir: &Path, source: &str) -> PathBuf {
    let library = dir.join(source).with_extension("so");
    fs::copy(compile(&format!("other_module/{source}")), &library).unwrap();
    library
}

/// The shared library of a C source in `tests/`: compiled by the first test that asks for it, in whichever process, and
/// again if the source or the options have changed. It names no C library: it takes what it needs from the server's,
/// whichever that is. With `SERVER_CC`, if servers are of another processor than this one.
pub fn compile(source: &str) -> PathBuf {
    const OPTIONS: &[&str] = &["-shared", "-fPIC", "-O1", "-nostdlib"];
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let compiler = std::env::var_os("SERVER_CC").unwrap_or_else(|| "cc".into());
    let mut hash = DefaultHasher::new();
    (&compiler, OPTIONS, fs::read(&source).unwrap()).hash(&mut hash);
    let name = source.file_stem().unwrap().display();
    let library =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}.so", hash.finish()));
    if !library.exists() {
        // Other tests may do the same now: each compiles for itself, and puts a whole file in its place.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let compiled = dir.path().join("library.so");
        let status = Command::new(&compiler)
            .args(OPTIONS)
            .arg("-o")
            .args([&compiled, &source])
            .status()
            .unwrap();
        assert!(status.success());
        fs::rename(&compiled, &library).unwrap();
    }
    library
}

/// A connection to a server that may disconnect its clients just now.
pub fn connect_again(url: &str) -> Connection {
    eventually("a connection", || {
        Client::open(url).unwrap().get_connection().ok()
    })
}

/// Disconnects the other clients in the transaction of [`exchange_after`], so that none has a command of the module as its
/// last one.
pub const DISCONNECT: &[&str] = &["CLIENT KILL TYPE normal"];

/// Replaces the module by another build, as one step, in one transaction with the commands before it. On failure, what the
/// server says of each half.
pub fn exchange_after(
    client: &mut Connection,
    before: &[&str],
    library: &Path,
) -> Result<(), [String; 2]> {
    client.ask("MULTI");
    for line in before {
        client.ask(line);
    }
    client.ask("MODULE UNLOAD ratelimit");
    client.ask(&format!("MODULE LOAD {}", library.display()));
    let Value::Array(mut replies) = client.ask("EXEC") else {
        panic!("no transaction");
    };
    match <[Value; 2]>::try_from(replies.split_off(before.len())).unwrap() {
        [Value::Okay, Value::Okay] => Ok(()),
        [Value::ServerError(unload), Value::ServerError(load)] => {
            Err([unload, load].map(|error| error.details().unwrap_or_default().to_owned()))
        }
        replies => panic!("half an exchange: {replies:?}"),
    }
}

/// Disconnects the other clients and replaces the module by another build, as one step.
pub fn exchange(client: &mut Connection, library: &Path) {
    exchange_after(client, DISCONNECT, library).unwrap();
}

/// What a server has appended to its append-only file since the last rewrite.
pub fn aof_bytes(server: &Server) -> Vec<u8> {
    let mut files: Vec<_> = fs::read_dir(server.dir().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

/// The same as text.
pub fn aof(server: &Server) -> String {
    String::from_utf8_lossy(&aof_bytes(server)).into_owned()
}

impl Server {
    /// A cluster of one node with this setup, which has all slots and serves them.
    pub fn start_cluster_node(setup: impl Fn() -> Setup) -> Self {
        let node = || setup().arguments(["--cluster-enabled", "yes"]);
        let server = match container::image() {
            Some(_) => node().start(),
            // A port of its own for other nodes, although there are none: else all tests would want 10000.
            None => eventually("a port that stays free", || {
                let port = nodes::free_port().to_string();
                node()
                    .arguments(["--bind", "127.0.0.1", "--cluster-port", &port])
                    .start_on_port()
            }),
        };
        let mut client = server.connect();
        client.ask("CLUSTER ADDSLOTSRANGE 0 16383");
        eventually("a cluster that is up", || {
            let info: String = redis::from_redis_value(client.ask("CLUSTER INFO")).unwrap();
            info.contains("cluster_state:ok").then_some(())
        });
        server
    }
}

/// Everything that is stored: keys, states, expiries.
pub fn everything(client: &mut Connection) -> Vec<(String, Value, Value)> {
    let mut keys: Vec<String> = redis::from_redis_value(client.ask("KEYS *")).unwrap();
    keys.sort();
    keys.into_iter()
        .map(|key| {
            let [state, expiry] =
                ["DUMP", "PEXPIRETIME"].map(|command| client.ask(&format!("{command} {key}")));
            (key, state, expiry)
        })
        .collect()
}
