//! The users that documents and configurations show: real clients connect as they do, to any database, and the server
//! forbids nothing that clients send by themselves.

use std::collections::HashMap;
use std::fs;

use crate::blocks::{self, root};
use crate::harness::features::{ACL_CATEGORY_OF_A_MODULE, CLIENT_SETINFO};
use crate::harness::nodes::{Node, free_port};
use crate::harness::python::run_script;
use crate::harness::{Ask, Setup};
use redis::cluster::ClusterClient;
use redis::{Client, Connection, Value};

/// What shows users, beside the documents.
const CONFIGURATIONS: [&str; 3] = [
    "redis.conf.example",
    "deploy/image/ratelimit.conf",
    "deploy/packages/loadmodule.conf",
];

const SETINFO: &str = "+client|setinfo";

/// The rules of a user, and where they are shown.
struct Shown {
    place: String,
    rules: String,
}

/// All of them: what looks like a rule in every line, span of code or value in quotes with `-@all`.
fn shown() -> Vec<Shown> {
    let documents = blocks::documents();
    let names = documents.iter().map(|document| document.name.as_str());
    let mut found = Vec::new();
    for name in names.chain(CONFIGURATIONS) {
        let text = fs::read_to_string(root().join(name)).unwrap();
        for (line, number) in text.lines().zip(1..) {
            for span in line.split(['`', '"']).filter(|span| span.contains("-@all")) {
                let rules: Vec<&str> = span
                    .split_whitespace()
                    .filter(|word| word.starts_with(['~', '%', '+', '-']))
                    .collect();
                found.push(Shown {
                    place: format!("{name}:{number}"),
                    rules: rules.join(" "),
                });
            }
        }
    }
    found
}

impl Shown {
    /// Makes such a user, whose password is `secret`. What this server does not know is left out, as documents say.
    fn create(&self, admin: &mut Connection, name: &str) {
        let mut rules = self.rules.clone();
        if !CLIENT_SETINFO.is_there() {
            rules = rules.replace(SETINFO, "");
        }
        if !ACL_CATEGORY_OF_A_MODULE.is_there() {
            rules = rules.replace("+@ratelimit", "+rl.check");
        }
        admin.ask(&format!("ACL SETUSER {name} on >secret {rules}"));
    }
}

/// Panics if the server has forbidden anything to one of these users, but for what the rules leave out because Redis 7.0
/// does not know it.
fn nothing_was_forbidden(users: &[(String, Shown)], admin: &mut Connection) {
    let log: Vec<HashMap<String, Value>> = redis::from_redis_value(admin.ask("ACL LOG")).unwrap();
    for entry in log {
        let text =
            |field: &str| -> String { redis::from_redis_value(entry[field].clone()).unwrap() };
        let (name, object) = (text("username"), text("object"));
        let (_, shown) = users.iter().find(|(user, _)| *user == name).unwrap();
        assert!(
            object == "client|setinfo" && !shown.rules.contains(SETINFO),
            "{}: {object} is forbidden to {}",
            shown.place,
            text("client-info")
        );
    }
}

#[test]
fn clients_connect_as_every_user_that_is_shown_to_any_database() {
    let node = Node::start();
    let port = node.port().to_string();
    let mut admin = node.connect();
    let users: Vec<(String, Shown)> = shown()
        .into_iter()
        .zip(1..)
        .map(|(user, number)| (format!("user{number}"), user))
        .collect();
    assert!(users.len() >= 14, "only {} are found", users.len());
    for (name, user) in &users {
        user.create(&mut admin, name);
        for protocol in ["resp2", "resp3"] {
            let url = format!("redis://{name}:secret@127.0.0.1:{port}/1?protocol={protocol}");
            let asked = Client::open(url)
                .unwrap()
                .get_connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            assert!(asked.is_ok(), "{}: redis-rs: {asked:?}", user.place);
        }
    }
    nothing_was_forbidden(&users, &mut admin);
    let names = users.iter().map(|(name, _)| name.as_str());
    run_script(
        "connect.py",
        &[&[port.as_str()], &names.collect::<Vec<_>>()[..]].concat(),
    );
    nothing_was_forbidden(&users, &mut admin);
}

#[test]
fn clients_of_a_cluster_connect_as_the_application_with_what_is_said_to_be_added() {
    let node = Node::start_with(|| {
        let bus = free_port().to_string();
        Setup::new().arguments(["--cluster-enabled", "yes", "--cluster-port", &bus])
    });
    let mut admin = node.connect();
    admin.ask("CLUSTER ADDSLOTSRANGE 0 16383");
    let port = node.port().to_string();
    let document = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let more = document
        .lines()
        .find_map(|line| line.trim().strip_prefix("| `+cluster"))
        .and_then(|line| line.split('`').next())
        .unwrap()
        .replace("\\|", "|");
    let mut user = shown()
        .into_iter()
        .find(|user| user.place.starts_with("docs/operations.md"))
        .unwrap();
    user.rules = format!("{} +cluster{more}", user.rules);
    user.create(&mut admin, "user");
    let users = [("user".to_owned(), user)];

    let url = format!("redis://user:secret@127.0.0.1:{port}");
    let mut client = ClusterClient::new([url.as_str()])
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("RL.CHECK")
        .arg("rl:k")
        .arg(1)
        .arg(60)
        .query::<Vec<i64>>(&mut client)
        .unwrap();
    run_script("connect.py", &["--cluster", &port, "user"]);
    nothing_was_forbidden(&users, &mut admin);
    // What clients send when a key moves, and to a replica.
    let mut connection = Client::open(url).unwrap().get_connection().unwrap();
    connection.ask("ASKING");
    connection.ask("READONLY");
}
