//! `RL.TOP`, and the event that a denial is.

use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::features::ACL_RULES_ABOUT_DATABASES;
use crate::harness::{Ask, Server, Setup, other_module};
use redis::{Connection, Value};

/// Key, database, denials, error bound.
type Row = (Vec<u8>, i64, i64, i64);

fn top(client: &mut Connection, line: &str) -> Vec<Row> {
    redis::from_redis_value(client.ask(line)).unwrap()
}

fn row(key: &str, database: i64, denials: i64) -> Row {
    (key.as_bytes().to_vec(), database, denials, 0)
}

/// Makes the server deny `key` `denials` times.
fn deny(client: &mut Connection, key: &str, denials: usize) {
    client.decide(&format!("RL.CHECK {key} 1 1h"));
    for _ in 0..denials {
        assert_eq!(client.decide(&format!("RL.CHECK {key} 1 1h"))[0], 0);
    }
}

#[test]
fn it_lists_the_keys_denied_most_first() {
    let server = Server::start();
    let mut client = server.connect();
    assert!(top(&mut client, "RL.TOP").is_empty());
    for key in 1..=12 {
        deny(&mut client, &format!("k{key}"), key);
    }
    let shown = top(&mut client, "RL.TOP 3");
    assert_eq!(
        shown,
        [row("k12", 0, 12), row("k11", 0, 11), row("k10", 0, 10)]
    );
    assert_eq!(top(&mut client, "RL.TOP").len(), 10);
    assert_eq!(top(&mut client, "RL.TOP 1000").len(), 12);
}

#[test]
fn every_deciding_command_counts_and_only_what_was_denied_for_now() {
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "check", 1);
    client.decide("RL.GCRA gcra 1 1h");
    client.decide("RL.GCRA gcra 1 1h");
    client.ask("CL.THROTTLE throttle 0 1 3600");
    client.ask("CL.THROTTLE throttle 0 1 3600");
    // Of several keys, those that had no room.
    client.ask("RL.MCHECK 3 a check b 5 1h 1 1h 5 1h");
    // What is never possible, a look and an error are no denials.
    client.decide("RL.CHECK check 1 1h COST 2");
    client.decide("RL.PEEK check");
    client.refused("RL.CHECK check 0 1h");
    let mut shown = top(&mut client, "RL.TOP");
    shown.sort();
    assert_eq!(
        shown,
        [row("check", 0, 2), row("gcra", 0, 1), row("throttle", 0, 1)]
    );
}

#[test]
fn the_same_key_in_two_databases_is_two() {
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "k", 2);
    client.ask("SELECT 3");
    deny(&mut client, "k", 1);
    let mut expected = vec![row("k", 0, 2), row("k", 3, 1)];
    // If users can be kept out of databases, only the selected one is shown.
    if ACL_RULES_ABOUT_DATABASES.is_there() {
        expected.remove(0);
    }
    assert_eq!(top(&mut client, "RL.TOP"), expected);
}

#[test]
fn only_keys_that_the_caller_may_read_are_listed() {
    let server = Server::start();
    let mut client = server.connect();
    let long = format!("app:{}", "x".repeat(200));
    for key in ["app:1", "other:1", &long] {
        deny(&mut client, key, 1);
    }
    // Patterns that many keys match, but not all.
    client.ask("ACL SETUSER lower on nopass ~[0-9a-n]* +rl.top");
    client.ask("ACL SETUSER begins on nopass ~[^o]* +rl.top");
    client.ask("ACL SETUSER ends on nopass ~*[^x] +rl.top");
    client.ask("ACL SETUSER five on nopass ~????? +rl.top");
    client.ask("ACL SETUSER reader on nopass %R~app:* +rl.top");
    client.ask("ACL SETUSER writer on nopass %W~* +rl.top");
    client.ask("ACL SETUSER nobody on nopass +rl.top");
    client.ask("ACL SETUSER all on nopass %R~* +rl.top");
    client.ask("ACL SETUSER selector on nopass +rl.top (~* -@all +get)");
    client.ask("ACL SETUSER star on nopass ~*\\* ~?* +rl.top");
    let listed = |user: &str| {
        let mut connection = server.connect();
        connection.ask(&format!("AUTH {user} x"));
        let mut keys: Vec<_> = top(&mut connection, "RL.TOP")
            .into_iter()
            .map(|row| String::from_utf8(row.0).unwrap())
            .collect();
        keys.sort();
        keys
    };
    // Of a long key only the beginning is kept, which does not tell whether a user may read it.
    assert_eq!(listed("reader"), ["app:1"]);
    assert_eq!(listed("lower"), ["app:1"]);
    assert_eq!(listed("begins"), ["app:1"]);
    assert_eq!(listed("ends"), ["app:1", "other:1"]);
    assert_eq!(listed("five"), ["app:1"]);
    assert!(listed("writer").is_empty());
    assert!(listed("nobody").is_empty());
    // Every key, but not by the one pattern that says so.
    assert_eq!(listed("star"), ["app:1", "other:1"]);
    for reads_all in ["default", "all", "selector"] {
        let everything = ["app:1", &long[..128], "other:1"];
        assert_eq!(listed(reads_all), everything, "{reads_all}");
    }
}

#[test]
fn for_a_user_of_many_patterns_only_the_keys_denied_most_are_looked_at() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("CONFIG SET ratelimit.top-keys 500");
    let mut pipeline = redis::pipe();
    for key in 0..500 {
        // The later ones are denied more often.
        for _ in 0..2 + key / 250 {
            pipeline
                .cmd("RL.CHECK")
                .arg(format!("k:{key}"))
                .arg(1)
                .arg("1h")
                .ignore();
        }
    }
    pipeline.query::<()>(&mut client).unwrap();
    let others: String = (0..39).map(|other| format!("~other{other}:* ")).collect();
    for (patterns, listed) in [
        ("~k:*", 500),
        // 10,000 comparisons are 250 keys with 40 patterns each.
        (&format!("{others}~k:*"), 250),
        (&format!("{others}%R~*"), 500),
    ] {
        client.ask(&format!(
            "ACL SETUSER reader reset on nopass {} +rl.top",
            patterns.trim()
        ));
        let mut reader = server.connect();
        reader.ask("AUTH reader x");
        let shown = top(&mut reader, "RL.TOP 1000");
        assert_eq!(shown.len(), listed, "{patterns}");
        assert!(shown[..250].iter().all(|row| row.2 == 2), "{patterns}");
    }
}

#[test]
fn a_flood_of_new_keys_neither_grows_it_nor_hides_the_worst() {
    let server = Setup::new().module_arguments(["top-keys", "20"]).start();
    let mut client = server.connect();
    deny(&mut client, "worst", 500);
    let mut pipeline = redis::pipe();
    for key in 0..2_000 {
        for _ in 0..2 {
            pipeline.cmd("RL.CHECK").arg(key).arg(1).arg("1h").ignore();
        }
    }
    pipeline.query::<()>(&mut client).unwrap();
    let shown = top(&mut client, "RL.TOP 1000");
    assert_eq!(shown.len(), 20);
    let (key, _, denials, error) = &shown[0];
    assert_eq!(key, b"worst");
    // 2,500 denials in 20 slots: the count is at most 125 too high.
    assert!((500..=625).contains(denials) && *error <= 125, "{shown:?}");
}

#[test]
fn its_size_can_be_set_while_running_which_starts_anew() {
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "k", 2);
    client.ask("CONFIG SET ratelimit.top-keys 1");
    assert!(top(&mut client, "RL.TOP").is_empty());
    deny(&mut client, "a", 1);
    deny(&mut client, "b", 1);
    assert_eq!(top(&mut client, "RL.TOP"), [(b"b".to_vec(), 0, 2, 1)]);
    client.ask("CONFIG SET ratelimit.top-keys 0");
    deny(&mut client, "c", 1);
    assert!(top(&mut client, "RL.TOP").is_empty());
}

#[test]
fn naming_the_default_size_changes_nothing() {
    for setup in [
        Setup::new().module_arguments(["top-keys", "128"]),
        Setup::new().arguments(["--ratelimit.top-keys", "128"]),
    ] {
        let server = setup.start();
        let mut client = server.connect();
        deny(&mut client, "k", 1);
        assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 1)]);
        client.ask("CONFIG SET ratelimit.top-keys 128");
        deny(&mut client, "k", 1);
        assert!(!top(&mut client, "RL.TOP").is_empty());
    }
}

#[test]
fn a_count_that_is_none_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    for count in ["0", "-1", "x", "1001", "1.5", "dbx"] {
        assert_eq!(
            client.refused(&format!("RL.TOP {count}")),
            "ERR count must be an integer from 1 to 1000"
        );
    }
    for database in ["-1", "x", "01", "2147483648", ""] {
        let words = [b"RL.TOP".as_slice(), b"DB", database.as_bytes()];
        assert_eq!(
            client.ask_bytes(&words).unwrap_err(),
            "ERR db must be an integer from 0 to 2147483647"
        );
    }
    for line in [
        "RL.TOP 1 2",
        "RL.TOP DB",
        "RL.TOP 1 DB",
        "RL.TOP DB 0 1",
        "RL.TOP 1 DB 0 DB 0",
    ] {
        assert_eq!(client.refused(line), "ERR syntax error", "{line}");
    }
}

#[test]
fn one_database_can_be_asked_for() {
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "a", 3);
    deny(&mut client, "b", 2);
    client.ask("SELECT 3");
    deny(&mut client, "k", 1);
    assert_eq!(top(&mut client, "RL.TOP DB 3"), [row("k", 3, 1)]);
    assert_eq!(top(&mut client, "RL.TOP 5 db 3"), [row("k", 3, 1)]);
    assert!(top(&mut client, "RL.TOP DB 2147483647").is_empty());
    client.ask("SELECT 0");
    // The count is that of the rows shown, not of those looked at.
    assert_eq!(top(&mut client, "RL.TOP 1 DB 0"), [row("a", 0, 3)]);
    if !ACL_RULES_ABOUT_DATABASES.is_there() {
        assert_eq!(top(&mut client, "RL.TOP 1 DB 3"), [row("k", 3, 1)]);
    }
}

#[test]
fn a_denial_counts_half_after_an_hour_and_a_key_denied_now_passes_one_denied_before() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    deny(&mut client, "before", 8);
    assert_eq!(top(&mut client, "RL.TOP"), [row("before", 0, 8)]);
    clock.advance(Duration::from_secs(3_600));
    deny(&mut client, "now", 5);
    assert_eq!(
        top(&mut client, "RL.TOP"),
        [row("now", 0, 5), row("before", 0, 4)]
    );
    clock.advance(Duration::from_secs(2 * 3_600));
    assert_eq!(
        top(&mut client, "RL.TOP"),
        [row("now", 0, 1), row("before", 0, 1)]
    );
    clock.advance(Duration::from_secs(3_600));
    // 5 / 8 is more than half a denial, 8 / 16 just that. A quarter is none.
    assert_eq!(
        top(&mut client, "RL.TOP"),
        [row("now", 0, 1), row("before", 0, 1)]
    );
    clock.advance(Duration::from_secs(3_600));
    assert!(top(&mut client, "RL.TOP").is_empty());
}

#[test]
fn the_half_life_can_be_set_while_running_and_forgets_nothing_by_that() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    deny(&mut client, "k", 80);
    clock.advance(Duration::from_secs(3_600));
    client.ask("CONFIG SET ratelimit.top-half-life 60");
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 40)]);
    clock.advance(Duration::from_secs(60));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 20)]);
    client.ask("CONFIG SET ratelimit.top-half-life 0");
    clock.advance(Duration::from_secs(365 * 24 * 3_600));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 20)]);
    client.ask("CONFIG SET ratelimit.top-half-life 3600");
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 10)]);
    // Another size starts anew, with the same half-life.
    client.ask("CONFIG SET ratelimit.top-keys 7");
    deny(&mut client, "k", 8);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 4)]);
}

#[test]
fn a_half_life_that_is_configured_at_load_holds() {
    let setup = Setup::new().module_arguments(["top-half-life", "1"]);
    let (server, clock) = Clock::start_with(setup);
    let mut client = server.connect();
    deny(&mut client, "k", 8);
    clock.advance(Duration::from_secs(2));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 2)]);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_fade_and_does_not_stop_it() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    deny(&mut client, "k", 8);
    clock.step_back(Duration::from_secs(24 * 3_600));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 8)]);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 4)]);
}

#[test]
fn subscribers_hear_of_a_denial_and_of_nothing_else() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("CONFIG SET notify-keyspace-events Ed");
    let mut listener = server.connect();
    let mut events = listener.as_pubsub();
    events.psubscribe("__keyevent@*__:*").unwrap();
    client.decide("RL.CHECK a 1 1h");
    client.decide("RL.PEEK a COST 1");
    client.decide("RL.CHECK a 1 1h COST 2");
    client.decide("RL.CHECK a 1 1h");
    client.ask("RL.MCHECK 3 b a c 1 1h 1 1h 1 1h");
    client.decide("RL.GCRA g 1 1h");
    client.decide("RL.GCRA g 1 1h");
    for key in ["a", "a", "g"] {
        let message = events.get_message().unwrap();
        assert_eq!(message.get_channel_name(), "__keyevent@0__:rl.denied");
        assert_eq!(message.get_payload::<String>().unwrap(), key);
    }
    drop(events);
    assert_eq!(client.ask("RL.RESET a"), Value::Int(1));
}

#[test]
fn a_user_kept_out_of_a_database_is_shown_no_key_of_it() {
    if ACL_RULES_ABOUT_DATABASES.is_missing("who_is_kept_out_of_a_database_is_shown_no_key_of_it") {
        return;
    }
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "k", 1);
    client.ask("ACL SETUSER elsewhere on nopass ~* +@all resetdbs db=1");
    let mut elsewhere = server.connect();
    elsewhere.ask("AUTH elsewhere x");
    assert!(elsewhere.refused("RL.TOP").starts_with("NOPERM "));
    elsewhere.ask("SELECT 1");
    assert!(top(&mut elsewhere, "RL.TOP").is_empty());
}

#[test]
fn if_the_server_does_not_show_users_only_the_selected_database_is_listed() {
    let setup = Setup::new().arguments(["--rename-command", "ACL", ""]);
    let server = setup.start();
    let mut client = server.connect();
    deny(&mut client, "k", 2);
    client.ask("SELECT 3");
    deny(&mut client, "k", 1);
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 3, 1)]);
}

#[test]
fn a_script_lists_what_its_caller_may_read() {
    let server = Server::start();
    let mut client = server.connect();
    deny(&mut client, "app:1", 1);
    deny(&mut client, "other:1", 1);
    client.ask("ACL SETUSER reader on nopass %R~app:* +rl.top +eval");
    let mut reader = server.connect();
    reader.ask("AUTH reader x");
    let script = "return redis.call('RL.TOP')[1][1]";
    let listed = reader.ask_bytes(&[b"EVAL", script.as_bytes(), b"0"]);
    assert_eq!(listed, Ok(Value::BulkString(b"app:1".to_vec())));
    let script = "return #redis.call('RL.TOP')";
    assert_eq!(
        reader.ask_bytes(&[b"EVAL", script.as_bytes(), b"0"]),
        Ok(Value::Int(1))
    );
    assert_eq!(
        client.ask_bytes(&[b"EVAL", script.as_bytes(), b"0"]),
        Ok(Value::Int(2))
    );
}

#[test]
fn a_module_that_calls_it_without_a_user_is_shown_nothing() {
    let setup = Setup::new();
    let library = other_module(setup.dir(), "caller.c");
    let mut server = setup
        .arguments(["--loadmodule".to_owned(), library.display().to_string()])
        .start();
    let mut client = server.connect();
    deny(&mut client, "k", 1);
    assert_eq!(client.ask("CALLER.ROWS"), Value::Int(0));
    assert_eq!(top(&mut client, "RL.TOP"), [row("k", 0, 1)]);
    assert!(server.is_alive());
}
