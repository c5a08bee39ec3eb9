//! Users: who may run which command on which keys is enforced as for core commands, on every key of every command.

use crate::harness::features::{ACL_CATEGORY_OF_A_MODULE, CLIENT_SETINFO};
use crate::harness::{Ask, Server, Setup, everything};
use redis::{Connection, Value};

/// Each command that takes keys, with `KEY` in their place, and whether users who may only read can run it.
const COMMANDS: [(&str, bool); 11] = [
    ("RL.CHECK KEY 5 60", false),
    ("RL.CHECK KEY 5 60 9 1h COST 2 BLOCK 1m", false),
    ("RL.GCRA KEY 5 60 BURST 9", false),
    ("CL.THROTTLE KEY 5 5 60", false),
    ("RL.MCHECK 1 KEY 5 60", false),
    ("RL.MCHECK 3 KEY KEY KEY 5 60 5 60 5 60", false),
    ("RL.PEEK KEY", true),
    ("RL.INFO KEY", true),
    ("RL.REFUND KEY 1", false),
    ("RL.RESET KEY", false),
    ("RL.RESET KEY KEY KEY", false),
];

/// The names of the commands that take keys.
fn names() -> Vec<String> {
    let mut names: Vec<String> = COMMANDS
        .iter()
        .map(|(line, _)| line.split(' ').next().unwrap().to_lowercase())
        .collect();
    names.dedup();
    names
}

/// The line with these keys, in turn.
fn with_keys(line: &str, keys: &[&str]) -> String {
    let mut keys = keys.iter().cycle();
    line.split(' ')
        .map(|word| match word {
            "KEY" => keys.next().unwrap(),
            other => other,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A client of a user with these rules.
fn user(server: &Server, rules: &str) -> Connection {
    let mut client = server.connect();
    client.ask(&format!("ACL SETUSER user reset on >password {rules}"));
    client.ask("AUTH user password");
    client
}

/// The category; if the server has none, its commands by name.
fn category() -> String {
    if ACL_CATEGORY_OF_A_MODULE.is_there() {
        "+@ratelimit".into()
    } else {
        let names: Vec<String> = names().iter().map(|name| format!("+{name}")).collect();
        names.join(" ")
    }
}

#[test]
fn the_category_holds_the_commands_that_take_keys_and_no_other() {
    if ACL_CATEGORY_OF_A_MODULE
        .is_missing("the_category_holds_the_commands_that_take_keys_and_no_other")
    {
        return;
    }
    let server = Server::start();
    let mut client = server.connect();
    let mut members: Vec<String> =
        redis::from_redis_value(client.ask("ACL CAT ratelimit")).unwrap();
    members.sort();
    let mut expected = names();
    expected.sort();
    assert_eq!(members, expected);
}

#[test]
fn a_user_of_the_category_may_rate_limit_on_keys_of_the_pattern_and_do_nothing_else() {
    let server = Server::start();
    let mut client = user(&server, &format!("~rl:* {}", category()));
    for (line, _) in COMMANDS {
        client.ask(&with_keys(line, &["rl:a", "rl:b", "rl:c"]));
        client.ask("RL.RESET rl:a rl:b rl:c");
    }
    for line in [
        "GET rl:a",
        "SET rl:a x",
        "DEL rl:a",
        "EXPIRE rl:a 1",
        "RENAME rl:a rl:b",
        "KEYS *",
        "FLUSHALL",
        "CONFIG GET *",
        "MODULE LIST",
        "ACL LIST",
        "EVAL return 0",
        "RL.TOP",
    ] {
        let error = client.refused(line);
        assert!(error.starts_with("NOPERM"), "{line}: {error}");
    }
}

#[test]
fn key_patterns_hold_for_every_key_of_every_command() {
    let server = Server::start();
    let mut admin = server.connect();
    for key in ["rl:a", "rl:b", "foreign"] {
        admin.decide(&format!("RL.CHECK {key} 5 60"));
    }
    let before = everything(&mut admin);
    let mut client = user(&server, "~rl:* +@all");
    let expected = client.refused("SET foreign x");
    assert!(expected.starts_with("NOPERM"), "{expected}");
    for (line, _) in COMMANDS {
        let count = line.matches("KEY").count();
        for foreign in 0..count {
            let mut keys = ["rl:a", "rl:b", "rl:c"];
            keys[foreign] = "foreign";
            let line = with_keys(line, &keys);
            assert_eq!(client.refused(&line), expected, "{line}");
        }
    }
    assert_eq!(everything(&mut admin), before);
}

#[test]
fn the_errors_are_those_of_core_commands() {
    let server = Server::start();
    let mut client = user(&server, "~rl:* -@all +get +rl.peek");
    let command = client.refused("SET rl:a x");
    let key = client.refused("GET foreign");
    assert!(command.contains("'set'"), "{command}");
    for name in names().iter().filter(|name| *name != "rl.peek") {
        let line = COMMANDS
            .iter()
            .find(|(line, _)| line.to_lowercase().starts_with(name.as_str()))
            .unwrap()
            .0;
        assert_eq!(
            client.refused(&with_keys(line, &["rl:a", "rl:b", "rl:c"])),
            command.replace("'set'", &format!("'{name}'"))
        );
    }
    assert_eq!(
        client.refused("RL.TOP"),
        command.replace("'set'", "'rl.top'")
    );
    assert_eq!(client.refused("RL.PEEK foreign"), key);

    // Before the client has said who it is.
    server.connect().ask("CONFIG SET requirepass secret");
    let mut nobody = server.connect();
    let error = nobody.refused("GET x");
    assert!(error.starts_with("NOAUTH"), "{error}");
    // (Servers take only ten words from a client that has not.)
    for (line, _) in COMMANDS
        .iter()
        .filter(|(line, _)| line.split(' ').count() <= 10)
    {
        assert_eq!(nobody.refused(&with_keys(line, &["a", "b", "c"])), error);
    }
    assert_eq!(nobody.refused("RL.TOP"), error);
}

#[test]
fn a_user_who_may_only_read_keys_may_peek_and_inform_and_nothing_else() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.decide("RL.CHECK rl:a 5 60 COST 2");
    let before = everything(&mut admin);
    let mut reader = user(&server, "%R~rl:* +@all");
    let expected = reader.refused("SET rl:a x");
    assert!(expected.starts_with("NOPERM"), "{expected}");
    for (line, reads) in COMMANDS {
        let line = with_keys(line, &["rl:a", "rl:b", "rl:c"]);
        if reads {
            reader.ask(&line);
        } else {
            assert_eq!(reader.refused(&line), expected, "{line}");
        }
    }
    assert_eq!(reader.decide("RL.PEEK rl:a COST 9")[..3], [0, 5, 3]);

    // A user who may only write keys may not look, nor decide: a decision tells what is stored.
    let mut writer = user(&server, "%W~rl:* +@all");
    let expected = writer.refused("GET rl:a");
    for (line, _) in COMMANDS.iter().filter(|(line, _)| !line.contains("RESET")) {
        let line = with_keys(line, &["rl:a", "rl:b", "rl:c"]);
        assert_eq!(writer.refused(&line), expected, "{line}");
    }
    assert_eq!(everything(&mut admin), before);
    assert_eq!(writer.ask("RL.RESET rl:a"), Value::Int(1));
}

#[test]
fn a_reader_can_be_given_peek_and_info_by_name_or_by_category() {
    let server = Server::start();
    server.connect().decide("RL.CHECK rl:a 5 60");
    let mut rules = vec!["+rl.peek +rl.info"];
    if ACL_CATEGORY_OF_A_MODULE.is_there() {
        // Both are commands that read; those that write are not.
        rules.push("+@ratelimit -@write");
    }
    for rules in rules {
        let mut client = user(&server, &format!("~rl:* -@all {rules}"));
        for (line, reads) in COMMANDS {
            let line = with_keys(line, &["rl:a", "rl:b", "rl:c"]);
            if reads {
                client.ask(&line);
            } else {
                assert!(client.refused(&line).starts_with("NOPERM"), "{line}");
            }
        }
    }
}

/// The keys that `RL.TOP` shows.
fn top(client: &mut Connection) -> Vec<String> {
    let Value::Array(rows) = client.ask("RL.TOP") else {
        panic!("no rows");
    };
    let mut keys: Vec<String> = rows
        .into_iter()
        .map(|row| match row {
            Value::Array(mut fields) => redis::from_redis_value(fields.remove(0)).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    keys.sort();
    keys
}

#[test]
fn rl_top_lists_only_keys_that_the_caller_may_read() {
    let server = Server::start();
    let mut admin = server.connect();
    let long = format!("rl:{}", "x".repeat(200));
    for key in ["rl:a", "rl:b", "other:c", &long] {
        for _ in 0..3 {
            admin.ask(&format!("RL.CHECK {key} 1 1h"));
        }
    }
    let cut = long[..128].to_owned();
    let all = vec!["other:c".to_owned(), "rl:a".into(), "rl:b".into(), cut];
    assert_eq!(top(&mut admin), all);
    for (rules, expected) in [
        // What was cut off may have been another key.
        ("~rl:*", ["rl:a", "rl:b"].as_slice()),
        ("%R~rl:a", &["rl:a"]),
        ("~rl:a (~other:* +rl.top)", &["other:c", "rl:a"]),
        // The right to write is not the right to read.
        ("%W~rl:*", &[]),
        ("resetkeys", &[]),
    ] {
        let mut client = user(&server, &format!("{rules} +rl.top"));
        assert_eq!(top(&mut client), expected, "{rules}");
    }
    assert_eq!(top(&mut user(&server, "allkeys +rl.top")), all);
}

#[test]
fn scripts_and_transactions_give_nobody_more() {
    let server = Server::start();
    let mut client = user(&server, "~rl:* -@all +eval +multi +exec +set +rl.check");
    let mut eval = |script: &str| {
        let error = client.ask_bytes(&[b"EVAL", script.as_bytes(), b"0"]);
        // The rest names the script.
        error
            .unwrap_err()
            .split(" script:")
            .next()
            .unwrap()
            .to_owned()
    };
    let expected = eval("return redis.call('SET', 'foreign', 'x')");
    let error = eval("return redis.call('RL.CHECK', 'foreign', 1, 60)");
    assert_eq!(error, expected);
    client
        .ask_bytes(&[
            b"EVAL",
            b"return redis.call('RL.CHECK', KEYS[1], 1, 60)",
            b"1",
            b"rl:a",
        ])
        .unwrap();
    client.ask("MULTI");
    assert!(
        client
            .refused("RL.CHECK foreign 1 60")
            .starts_with("NOPERM")
    );
    assert!(client.refused("EXEC").starts_with("EXECABORT"));
    assert_eq!(server.connect().ask("EXISTS foreign"), Value::Int(0));
}

#[test]
fn acl_log_and_dryrun_know_the_commands() {
    let server = Server::start();
    let mut admin = server.connect();
    let mut client = user(&server, "~rl:* -@all +rl.mcheck");
    assert_eq!(
        admin.ask("ACL DRYRUN user RL.MCHECK 2 rl:a rl:b 1 60 1 60"),
        Value::Okay
    );
    assert_ne!(
        admin.ask("ACL DRYRUN user RL.MCHECK 2 rl:a foreign 1 60 1 60"),
        Value::Okay
    );
    client.refused("RL.MCHECK 2 rl:a foreign 1 60 1 60");
    let log = format!("{:?}", admin.ask("ACL LOG"));
    let foreign = format!("{:?}", Value::BulkString(b"foreign".to_vec()));
    assert!(log.contains(&foreign), "{log}");
}

#[test]
fn users_are_kept_in_an_acl_file_across_restarts() {
    let setup = Setup::new();
    let file = setup.dir().join("users.acl");
    std::fs::write(&file, "user default on nopass ~* &* +@all\nuser app on >password resetchannels ~rl:* -@all +rl.check\n").unwrap();
    let mut server = setup
        .arguments(["--aclfile", file.to_str().unwrap()])
        .start();
    for _ in 0..2 {
        let mut client = server.connect();
        client.ask("AUTH app password");
        client.decide("RL.CHECK rl:a 5 60");
        assert!(client.refused("RL.PEEK rl:a").starts_with("NOPERM"));
        server.connect().ask("ACL SAVE");
        server.restart();
    }
}

#[test]
fn the_users_of_the_documentation_can_do_what_it_says() {
    let server = Server::start();
    let mut admin = server.connect();
    let mut users = 0;
    for line in include_str!("../../../docs/operations.md").lines() {
        if line.starts_with("ACL SETUSER ") {
            let mut line = line.replace("+@ratelimit", &category());
            if !CLIENT_SETINFO.is_there() {
                line = line.replace("+client|setinfo", "");
            }
            admin.ask(&line);
            users += 1;
        }
    }
    assert_eq!(users, 4);
    let as_user = |name: &str| {
        let mut client = server.connect();
        client.ask(&format!("AUTH {name} secret"));
        client
    };
    let mut app = as_user("app");
    let mut reader = as_user("reader");
    let mut support = as_user("support");
    let mut metrics = as_user("metrics");
    for (line, reads) in COMMANDS {
        let line = with_keys(line, &["rl:a", "rl:b", "rl:c"]);
        app.ask(&line);
        if reads {
            reader.ask(&line);
        } else {
            assert!(reader.refused(&line).starts_with("NOPERM"), "{line}");
        }
        if reads || line.starts_with("RL.RESET") {
            support.ask(&line);
        } else {
            assert!(support.refused(&line).starts_with("NOPERM"), "{line}");
        }
        assert!(metrics.refused(&line).starts_with("NOPERM"), "{line}");
        admin.ask("RL.RESET rl:a rl:b rl:c");
    }
    app.ask("RL.CHECK rl:a 1 1h COST 1");
    app.ask("RL.CHECK rl:a 1 1h COST 1");
    assert_eq!(top(&mut metrics), ["rl:a"]);
    metrics.ask("INFO ratelimit");
}
