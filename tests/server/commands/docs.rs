//! What the server tells about the commands: `COMMAND DOCS`, `COMMAND INFO`, `COMMAND GETKEYS`.

use crate::harness::{Ask, Server};
use redis::{Connection, Value};

fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) | Value::Set(items) => items.into_iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(name, value)| [texts(name), texts(value)].concat())
            .collect(),
        Value::BulkString(bytes) => vec![String::from_utf8(bytes).unwrap()],
        Value::SimpleString(text) => vec![text],
        Value::Int(number) => vec![number.to_string()],
        other => vec![format!("{other:?}")],
    }
}

fn info(client: &mut Connection, command: &str) -> Vec<String> {
    texts(client.ask(&format!("COMMAND INFO {command}")))
}

/// The syntax that a client makes of `COMMAND DOCS`, as `redis-cli` shows it.
fn syntax(client: &mut Connection, command: &str) -> String {
    let Value::Array(mut docs) = client.ask(&format!("COMMAND DOCS {command}")) else {
        panic!("no docs");
    };
    let fields = pairs(docs.remove(1));
    for (name, text) in [
        ("group", "module"),
        ("module", "ratelimit"),
        ("since", "0.1.0"),
    ] {
        assert_eq!(texts(field(&fields, name).unwrap()), [text], "{command}");
    }
    for name in ["summary", "complexity"] {
        assert!(field(&fields, name).is_some(), "{command} has no {name}");
    }
    arguments(field(&fields, "arguments").unwrap()).join(" ")
}

fn pairs(value: Value) -> Vec<(String, Value)> {
    let Value::Array(items) = value else {
        panic!("{value:?}");
    };
    let mut items = items.into_iter();
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        pairs.push((texts(name).remove(0), value));
    }
    pairs
}

fn field(fields: &[(String, Value)], name: &str) -> Option<Value> {
    let (_, value) = fields.iter().find(|(other, _)| other == name)?;
    Some(value.clone())
}

fn arguments(value: Value) -> Vec<String> {
    let Value::Array(items) = value else {
        panic!("{value:?}");
    };
    items
        .into_iter()
        .map(|item| {
            let fields = pairs(item);
            let text = |name| field(&fields, name).map(|value| texts(value).concat());
            let parts = field(&fields, "arguments").map(arguments);
            let mut shown = match text("type").unwrap().as_str() {
                "oneof" => parts.unwrap().join(" | "),
                "block" => parts.unwrap().join(" "),
                "pure-token" => String::new(),
                _ => text("name").unwrap(),
            };
            let flags = field(&fields, "flags").map(texts).unwrap_or_default();
            if flags.contains(&"multiple".to_owned()) {
                shown = format!("{shown} [{shown} ...]");
            }
            if let Some(token) = text("token") {
                shown = format!("{token} {shown}").trim_end().to_owned();
            }
            if flags.contains(&"optional".to_owned()) {
                shown = format!("[{shown}]");
            }
            shown
        })
        .collect()
}

#[test]
fn the_documentation_gives_each_commands_syntax() {
    let server = Server::start();
    let mut client = server.connect();
    for (command, expected) in [
        (
            "rl.check",
            "key limit window [limit window ...] [COST cost] [KEEP keep] [ATMOST | FORCE] \
             [BLOCK duration [UPTO longest]] [RECEIPT | RENEW renewed]",
        ),
        (
            "rl.gcra",
            "key limit window [BURST burst] [COST cost] [KEEP keep] [ATMOST | FORCE | MAXWAIT max_wait] \
             [BLOCK duration [UPTO longest]]",
        ),
        (
            "rl.mcheck",
            "numkeys key [key ...] limit window [limit window ...] [COST cost | COSTS cost [cost ...]] [FORCE] [RECEIPT]",
        ),
        ("rl.peek", "key [COST cost]"),
        ("rl.info", "key"),
        ("rl.refund", "key units [RECEIPT receipt]"),
        ("rl.reset", "key [key ...]"),
        ("rl.top", "[count] [DB db]"),
        (
            "cl.throttle",
            "key max_burst count_per_period period [quantity]",
        ),
    ] {
        assert_eq!(syntax(&mut client, command), expected);
    }
}

#[test]
fn flags_and_arity() {
    let server = Server::start();
    let mut client = server.connect();
    let deciding = ["write", "denyoom", "fast"].as_slice();
    let read_write = ["RW", "access", "update"].as_slice();
    for (command, arity, flags, key_flags) in [
        ("rl.check", "-4", deciding, read_write),
        ("rl.gcra", "-4", deciding, read_write),
        ("rl.mcheck", "-5", deciding, read_write),
        ("cl.throttle", "-5", deciding, read_write),
        ("rl.peek", "-2", &["readonly", "fast"], &["RO", "access"]),
        ("rl.info", "2", &["readonly", "fast"], &["RO", "access"]),
        ("rl.refund", "-3", &["write", "fast"], read_write),
        ("rl.reset", "-2", &["write"], &["RM", "delete"]),
        ("rl.top", "-1", &["readonly"], &[]),
    ] {
        let info = info(&mut client, command);
        assert_eq!(&info[..2], [command, arity]);
        for flag in ["write", "readonly", "denyoom", "fast"] {
            let has = info.iter().any(|text| text == flag);
            assert_eq!(has, flags.contains(&flag), "{command} {flag}");
        }
        // So the server refuses it while it loads its data, after it has lost its primary, and while it runs a long
        // script.
        for flag in ["loading", "stale", "allow_busy"] {
            assert!(info.iter().all(|text| text != flag), "{command} {flag}");
        }
        for flag in ["RW", "RO", "RM", "access", "update", "delete"] {
            let has = info.iter().any(|text| text == flag);
            assert_eq!(has, key_flags.contains(&flag), "{command} {flag}");
        }
    }
}

#[test]
fn the_server_finds_the_keys() {
    let server = Server::start();
    let mut client = server.connect();
    for (line, keys) in [
        ("RL.CHECK a 5 60 COST 2", ["a"].as_slice()),
        ("RL.GCRA a 5 60 BURST 9", &["a"]),
        ("RL.MCHECK 1 a 5 60", &["a"]),
        ("RL.MCHECK 3 a b c 5 60 5 60 5 60 COST 2", &["a", "b", "c"]),
        ("RL.PEEK a COST 2", &["a"]),
        ("RL.INFO a", &["a"]),
        ("RL.REFUND a 2", &["a"]),
        ("RL.RESET a b c", &["a", "b", "c"]),
        ("CL.THROTTLE a 14 30 60 2", &["a"]),
    ] {
        assert_eq!(
            texts(client.ask(&format!("COMMAND GETKEYS {line}"))),
            keys,
            "{line}"
        );
    }
}

#[test]
fn key_patterns_of_a_user_hold_for_every_key() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask(
        "ACL SETUSER app on nopass ~rl:* +rl.check +rl.gcra +rl.mcheck +rl.peek +rl.info +rl.refund +rl.reset \
         +cl.throttle",
    );
    let mut app = server.connect();
    app.ask("AUTH app x");
    assert_eq!(app.decide("RL.CHECK rl:k 5 60")[0], 1);
    for line in [
        "RL.CHECK k 5 60",
        "RL.GCRA k 5 60",
        "RL.PEEK k",
        "RL.RESET k",
        "RL.RESET rl:k k",
        "RL.MCHECK 2 rl:k k 5 60 5 60",
        "RL.MCHECK 2 k rl:k 5 60 5 60",
        "RL.INFO k",
        "RL.REFUND k 1",
        "CL.THROTTLE k 4 5 5",
    ] {
        assert!(app.refused(line).starts_with("NOPERM "), "{line}");
    }
    assert!(app.refused("GET rl:k").starts_with("NOPERM "));
    assert_eq!(app.ask("RL.RESET rl:k"), Value::Int(1));
}

#[test]
fn a_user_who_may_only_read_may_look() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60");
    client.ask(
        "ACL SETUSER reader on nopass %R~* +rl.check +rl.gcra +rl.mcheck +rl.peek +rl.info +rl.refund +rl.reset \
         +cl.throttle",
    );
    let mut reader = server.connect();
    reader.ask("AUTH reader x");
    assert_eq!(reader.decide("RL.PEEK k")[2], 4);
    assert_ne!(reader.ask("RL.INFO k"), Value::Nil);
    for line in [
        "RL.CHECK k 5 60",
        "RL.GCRA k 5 60",
        "RL.MCHECK 1 k 5 60",
        "RL.REFUND k 1",
        "RL.RESET k",
        "CL.THROTTLE k 4 5 5",
    ] {
        assert!(reader.refused(line).starts_with("NOPERM "), "{line}");
    }
}

#[test]
fn the_client_shows_a_hint_for_every_command() {
    let server = Server::start();
    for command in [
        "rl.check",
        "rl.gcra",
        "rl.mcheck",
        "rl.peek",
        "rl.info",
        "rl.refund",
        "rl.reset",
        "rl.top",
        "cl.throttle",
    ] {
        let help = server.cli(&["help", command]);
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(
            text.to_lowercase().contains(command) && text.contains("summary:"),
            "{text}"
        );
    }
}
