//! TLS and passwords, end to end: clients, replication and a failover over encrypted connections only.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::features::skip;
use crate::harness::nodes::free_port;
use crate::harness::{Ask, Server, Setup, eventually};
use redis::Value;
use tempfile::TempDir;

/// A certificate authority, and a certificate of 127.0.0.1.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let dir = tempfile::Builder::new().prefix("rl").tempdir().unwrap();
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(dir.path())
                .output()
                .unwrap_or_else(|error| panic!("openssl: {error}"));
            assert!(output.status.success(), "{output:?}");
        };
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=authority"];
        openssl(
            &[
                &authority[..],
                &key,
                &["-keyout", "ca.key", "-out", "ca.crt"],
            ]
            .concat(),
        );
        let request = ["req", "-subj", "/CN=server"];
        openssl(
            &[
                &request[..],
                &key,
                &["-keyout", "server.key", "-out", "server.csr"],
            ]
            .concat(),
        );
        std::fs::write(dir.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let sign = [
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-days",
            "2",
            "-out",
            "server.crt",
        ];
        let by = [
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "names",
        ];
        openssl(&[&sign[..], &by].concat());
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server that can be reached by TLS only, and with the password `secret` only: with what docs/operations.md says.
    fn server(&self) -> (Server, u16) {
        let lines = documented("docs/operations.md", "tls");
        let server = |port: u16| {
            let mut setup = Setup::new()
                .arguments(["--bind", "127.0.0.1"])
                .arguments(["--repl-diskless-sync-delay", "0"]);
            for line in lines.lines() {
                let (name, value) = line.split_once(' ').unwrap();
                let value = match (name, value.strip_prefix("/etc/redis/")) {
                    ("tls-port", _) => port.to_string(),
                    ("requirepass" | "masterauth", _) => "secret".into(),
                    (_, Some(file)) => self.file(file).display().to_string(),
                    _ => value.into(),
                };
                setup = setup.arguments([format!("--{name}"), value]);
            }
            setup
        };
        eventually("a port that stays free", || {
            let port = free_port();
            server(port).start_on_port().map(|server| (server, port))
        })
    }

    /// Runs `redis-cli` by TLS, with a certificate of its own and the password.
    fn cli(&self, port: u16, arguments: &[&str]) -> String {
        let output = cli(port, &self.file("ca.crt"))
            .args(["--cert", self.file("server.crt").to_str().unwrap()])
            .args(["--key", self.file("server.key").to_str().unwrap()])
            .args(["--no-auth-warning", "-a", "secret"])
            .args(arguments)
            .output()
            .unwrap();
        text(&output)
    }
}

/// The block of a document that has this name.
fn documented(document: &str, name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/block"))
        .args([document, name])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn cli(port: u16, authority: &Path) -> Command {
    let mut command = Command::new("redis-cli");
    command
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["--tls", "--cacert", authority.to_str().unwrap()]);
    command
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(all).unwrap().trim().to_owned()
}

/// Whether server and `redis-cli` were built with TLS; if they were not, says so.
fn has_tls(test: &str) -> bool {
    let server = Server::start();
    let settings: Vec<String> =
        redis::from_redis_value(server.connect().ask("CONFIG GET tls-port")).unwrap();
    let help = Command::new("redis-cli").arg("--help").output().unwrap();
    let missing = if settings.is_empty() {
        "the server"
    } else if !text(&help).contains("--tls") {
        "redis-cli"
    } else {
        return true;
    };
    skip(test, &format!("{missing} was built without TLS"));
    false
}

#[test]
fn limits_work_by_tls_and_with_a_password_and_not_otherwise() {
    if !has_tls("limits_work_by_tls_and_with_a_password_and_not_otherwise") {
        return;
    }
    let certificates = Certificates::make();
    let (_server, port) = certificates.server();
    for expected in ["1\n2\n1", "1\n2\n0", "0\n2\n0"] {
        let row = certificates.cli(port, &["RL.CHECK", "k", "2", "1h"]);
        assert!(row.starts_with(expected), "{row}");
    }
    assert!(
        certificates
            .cli(port, &["RL.PEEK", "k"])
            .starts_with("0\n2\n0")
    );

    // Without the password.
    let output = cli(port, &certificates.file("ca.crt"))
        .args(["--cert", certificates.file("server.crt").to_str().unwrap()])
        .args(["--key", certificates.file("server.key").to_str().unwrap()])
        .args(["RL.CHECK", "k", "2", "1h"])
        .output()
        .unwrap();
    assert!(text(&output).starts_with("NOAUTH"), "{output:?}");
    // Without a certificate.
    let output = cli(port, &certificates.file("ca.crt"))
        .args(["-a", "secret", "RL.CHECK", "k", "2", "1h"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    // If the client does not trust the server's.
    let others = Certificates::make();
    let output = cli(port, &others.file("ca.crt"))
        .args(["-a", "secret", "RL.CHECK", "k", "2", "1h"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    // Without TLS.
    let output = Command::new("redis-cli")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-a",
            "secret",
            "RL.PEEK",
            "k",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn replication_and_a_failover_work_by_tls_and_with_a_password() {
    if !has_tls("replication_and_a_failover_work_by_tls_and_with_a_password") {
        return;
    }
    let certificates = Certificates::make();
    let (mut primary, port) = certificates.server();
    let (replica, replica_port) = certificates.server();
    certificates.cli(replica_port, &["REPLICAOF", "127.0.0.1", &port.to_string()]);
    eventually("a replica in touch with its primary", || {
        let info = certificates.cli(replica_port, &["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    });
    let row = certificates.cli(port, &["RL.CHECK", "k", "1", "1h"]);
    assert!(row.starts_with("1\n1\n0"), "{row}");
    let mut client = primary.connect();
    client.ask("AUTH secret");
    client.decide("RL.CHECK other 1 1h");
    assert_eq!(client.ask("WAIT 1 0"), Value::Int(1));
    primary.kill();
    assert_eq!(
        certificates.cli(replica_port, &["REPLICAOF", "NO", "ONE"]),
        "OK"
    );
    let row = certificates.cli(replica_port, &["RL.CHECK", "k", "1", "1h"]);
    assert!(row.starts_with("0\n1\n0"), "{row}");
    drop(replica);
}
