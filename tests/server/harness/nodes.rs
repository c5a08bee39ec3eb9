//! Several servers that know each other, on TCP ports of 127.0.0.1: replicas, Sentinels, a cluster.

use std::fs;
use std::net::TcpListener;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Connection, Value};

use super::{Ask, Server, Setup, container, eventually, server_binary};

/// A port that nobody listens on at the moment, below those that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    eventually("a free port", || {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT).unwrap();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    })
}

/// A server that other servers can reach.
pub struct Node {
    server: Server,
    port: u16,
}

impl Node {
    /// A server with the module.
    pub fn start() -> Self {
        Self::start_with(Setup::new)
    }

    /// A server with this setup. (It is made anew for each attempt: another program may have taken the port meanwhile.)
    pub fn start_with(setup: impl Fn() -> Setup) -> Self {
        assert!(
            container::image().is_none(),
            "servers in containers do not reach each other"
        );
        eventually("a port that stays free", || {
            let port = free_port();
            let server = setup()
                .arguments(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .arguments(["--repl-diskless-sync-delay", "0"])
                .start_on_port()?;
            Some(Self { server, port })
        })
    }

    /// A replica of `primary` that has all its data.
    pub fn replica_of(primary: &Self) -> Self {
        Self::replica_with(primary, Setup::new)
    }

    /// The same with this setup.
    pub fn replica_with(primary: &Self, setup: impl Fn() -> Setup) -> Self {
        let replica = Self::start_with(setup);
        replica
            .connect()
            .ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        replica.wait_for_link();
        replica
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection by TCP.
    pub fn connect_tcp(&self) -> Connection {
        connect(self.port).unwrap()
    }

    /// Waits until it is a replica in touch with its primary.
    pub fn wait_for_link(&self) {
        let mut client = self.connect();
        eventually("a replica in touch with its primary", || {
            (info(&mut client, "master_link_status")? == "up").then_some(())
        });
    }

    /// Stops its process, which keeps its connections (SIGSTOP), or lets it go on (SIGCONT).
    pub fn signal(&self, signal: &str, pid: &str) {
        let sent = Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The number of its process.
    pub fn pid(&self) -> String {
        info(&mut self.connect(), "process_id").unwrap()
    }
}

impl Deref for Node {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Setup {
    /// Starts it and waits until it answers; `None` if the port that it was given has been taken.
    pub fn start_on_port(self) -> Option<Server> {
        let mut server = self.launch();
        answers(&mut server).then_some(server)
    }
}

impl Server {
    /// Starts it again on the files that it left; a connection to it while it loads them.
    pub fn restart_loading(&mut self) -> Connection {
        self.kill();
        self.process = Setup::spawn(self.dir.path(), &self.command, &self.environment);
        eventually("a server that is loading", || {
            let client = Client::open(format!("unix://{}", self.socket.display())).unwrap();
            let mut connection = client.get_connection().ok()?;
            let answer = redis::cmd("PING").query::<String>(&mut connection);
            (answer.err()?.code() == Some("LOADING")).then_some(connection)
        })
    }
}

/// Waits for an answer; false if the port was taken.
fn answers(server: &mut Server) -> bool {
    eventually("a server that answers PING", || {
        if let Some(status) = server.process.try_wait().unwrap() {
            let log = server.log();
            assert!(log.contains("in use"), "it ended with {status}:\n{log}");
            return Some(false);
        }
        let client = Client::open(format!("unix://{}", server.socket.display())).unwrap();
        let mut connection = client.get_connection().ok()?;
        match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => Some(true),
            Err(error) if error.code() == Some("NOAUTH") => Some(true),
            Err(_) => None,
        }
    })
}

/// A connection to a port of this machine, if somebody answers there.
pub fn connect(port: u16) -> Option<Connection> {
    Client::open(format!("redis://127.0.0.1:{port}"))
        .unwrap()
        .get_connection_with_timeout(Duration::from_secs(5))
        .ok()
}

/// A field of `INFO`.
pub fn info(client: &mut Connection, field: &str) -> Option<String> {
    let text: String = redis::from_redis_value(client.ask("INFO everything")).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(str::to_owned)
}

/// Three Sentinels that watch a primary under the name `main`.
pub struct Sentinels(Vec<Node>);

impl Sentinels {
    /// Starts them, and waits until they know each other and the primary's replicas.
    pub fn watch(primary: &Node, replicas: usize) -> Self {
        let sentinels: Vec<Node> = (0..3).map(|_| Self::start(primary.port)).collect();
        for sentinel in &sentinels {
            let mut client = sentinel.connect();
            eventually("Sentinels that know each other and the replicas", || {
                let Value::Array(fields) = client.ask("SENTINEL MASTER main") else {
                    return None;
                };
                let fields: Vec<String> = redis::from_redis_value(Value::Array(fields)).unwrap();
                let is = |name: &str, value: usize| {
                    fields
                        .chunks(2)
                        .any(|pair| pair[0] == name && pair[1] == value.to_string())
                };
                (is("num-slaves", replicas) && is("num-other-sentinels", 2)).then_some(())
            });
        }
        Self(sentinels)
    }

    fn start(primary: u16) -> Node {
        eventually("a Sentinel's port that stays free", || {
            let port = free_port();
            let dir = tempfile::Builder::new().prefix("rl").tempdir().unwrap();
            let socket = dir.path().join("socket");
            let file = dir.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nunixsocket {}\ndir {}\nlogfile log\n\
                 sentinel monitor main 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds main 1500\n\
                 sentinel failover-timeout main 4000\n",
                socket.display(),
                dir.path().display(),
            );
            fs::write(&file, text).unwrap();
            let command = vec![
                server_binary().display().to_string(),
                file.display().to_string(),
                "--sentinel".into(),
            ];
            let mut server = Server {
                process: Setup::spawn(dir.path(), &command, &[]),
                socket,
                container: None,
                command,
                environment: Vec::new(),
                dir,
            };
            if !answers(&mut server) {
                return None;
            }
            // They talk of each other and look for replicas more often than every few seconds, if that can be set.
            // (Not too often: one that has not heard of a failover after four times that long would undo it.)
            let _ = server.connect().ask_bytes(&[
                b"SENTINEL",
                b"DEBUG",
                b"publish-period",
                b"500",
                b"info-period",
                b"200",
            ]);
            Some(Node { server, port })
        })
    }

    /// The port of the primary, as the first Sentinel has it.
    pub fn primary(&self) -> u16 {
        Self::primary_of(&self.0[0])
    }

    /// The same if all of them agree.
    pub fn agreed(&self) -> Option<u16> {
        let ports: Vec<u16> = self.0.iter().map(Self::primary_of).collect();
        (ports[1..] == ports[..2]).then(|| ports[0])
    }

    fn primary_of(sentinel: &Node) -> u16 {
        let reply = sentinel
            .connect()
            .ask("SENTINEL GET-MASTER-ADDR-BY-NAME main");
        let address: Vec<String> = redis::from_redis_value(reply).unwrap();
        address[1].parse().unwrap()
    }
}

/// A cluster. The slots are spread evenly over the primaries, in order.
pub struct Cluster {
    /// The nodes that began as primaries.
    pub primaries: Vec<Node>,
    /// Their replicas, if there are, in the same order.
    pub replicas: Vec<Node>,
}

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;

impl Cluster {
    /// Starts `primaries` primaries, each with a replica or none, and waits until every node knows all of it.
    pub fn start(primaries: usize, with_replicas: bool) -> Self {
        let nodes = |count| -> Vec<Node> {
            (0..count)
                .map(|_| {
                    Node::start_with(|| {
                        Setup::new()
                            .arguments(["--cluster-enabled", "yes"])
                            .arguments(["--cluster-port", &free_port().to_string()])
                            .arguments(["--cluster-announce-ip", "127.0.0.1"])
                            .arguments(["--cluster-node-timeout", "1500"])
                            // A replica counts only after it has got something from its primary, at least a ping.
                            .arguments(["--repl-ping-replica-period", "1"])
                            .arguments(["--cluster-replica-validity-factor", "0"])
                            .arguments(["--cluster-allow-replica-migration", "no"])
                    })
                })
                .collect()
        };
        let cluster = Self {
            primaries: nodes(primaries),
            replicas: nodes(if with_replicas { primaries } else { 0 }),
        };
        cluster.meet();
        cluster
    }

    fn meet(&self) {
        let all: Vec<&Node> = self.nodes().collect();
        let count = self.primaries.len();
        for (at, node) in all.iter().enumerate() {
            let mut client = node.connect();
            client.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            if at < count {
                let (first, end) = (at * SLOTS / count, (at + 1) * SLOTS / count);
                client.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1));
            }
            for other in &all[..at] {
                let bus = other.connect().ask("CONFIG GET cluster-port");
                let bus: Vec<String> = redis::from_redis_value(bus).unwrap();
                client.ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", other.port, bus[1]));
            }
        }
        for (replica, primary) in self.replicas.iter().zip(&self.primaries) {
            let id = id(primary);
            let mut client = replica.connect();
            eventually("a replica that knows its primary", || {
                client
                    .ask_bytes(&[b"CLUSTER", b"REPLICATE", id.as_bytes()])
                    .ok()
            });
        }
        for replica in &self.replicas {
            replica.wait_for_link();
        }
        self.wait_until_agreed(all.len());
    }

    /// Waits until every living node finds the cluster whole, with `nodes` nodes that serve.
    pub fn wait_until_agreed(&self, nodes: usize) {
        for node in self.nodes() {
            // One that a test has killed is not asked.
            if !node.socket().exists() {
                continue;
            }
            let mut client = node.connect();
            eventually("a cluster that is whole", || {
                let state: String = redis::from_redis_value(client.ask("CLUSTER INFO")).unwrap();
                let slots: Vec<(usize, usize, Vec<Value>)> = slots(&mut client)?;
                let known: usize = slots.iter().map(|(_, _, nodes)| nodes.len()).sum();
                (state.contains("cluster_state:ok") && known == nodes).then_some(())
            });
        }
    }

    /// All nodes, primaries first.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.primaries.iter().chain(&self.replicas)
    }

    /// Which primary began with a slot.
    pub fn owner(&self, slot: usize) -> usize {
        let count = self.primaries.len();
        (0..count)
            .find(|at| slot < (at + 1) * SLOTS / count)
            .unwrap()
    }

    /// The addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes()
            .map(|node| format!("redis://127.0.0.1:{}", node.port))
            .collect()
    }

    /// A client that knows the cluster.
    pub fn client(&self) -> ClusterConnection {
        client(&self.addresses())
    }
}

/// A client of the cluster of which `addresses` are nodes.
pub fn client(addresses: &[String]) -> ClusterConnection {
    let client = ClusterClient::builder(addresses.iter().map(String::as_str))
        .retries(16)
        .min_retry_wait(5)
        .max_retry_wait(200)
        .connection_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    eventually("a connection to the cluster", || {
        client.get_connection().ok()
    })
}

/// The identity of a node of a cluster.
pub fn id(node: &Node) -> String {
    redis::from_redis_value(node.connect().ask("CLUSTER MYID")).unwrap()
}

fn slots(client: &mut Connection) -> Option<Vec<(usize, usize, Vec<Value>)>> {
    let Value::Array(ranges) = client.ask("CLUSTER SLOTS") else {
        return None;
    };
    ranges
        .into_iter()
        .map(|range| match range {
            Value::Array(mut fields) => {
                let nodes = fields.split_off(2);
                match fields[..] {
                    [Value::Int(first), Value::Int(last)] => {
                        Some((first as usize, last as usize, nodes))
                    }
                    _ => None,
                }
            }
            _ => None,
        })
        .collect()
}

/// The slot of a key.
pub fn slot(client: &mut Connection, key: &str) -> usize {
    match client.ask(&format!("CLUSTER KEYSLOT {key}")) {
        Value::Int(slot) => slot as usize,
        other => panic!("{other:?}"),
    }
}
