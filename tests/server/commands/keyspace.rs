//! Keys: any bytes are a name, and what is not a limiter is refused and survives untouched.

use crate::harness::{Ask, Server};
use redis::{Connection, Value};

/// The commands, each with the key `KEY`.
const COMMANDS: [&str; 9] = [
    "RL.CHECK KEY 5 60",
    "RL.CHECK KEY 5 60 7 3600 COST 2 FORCE",
    "RL.GCRA KEY 5 60",
    "RL.PEEK KEY",
    "RL.RESET KEY",
    "RL.INFO KEY",
    "RL.REFUND KEY 1",
    "RL.MCHECK 2 other KEY 5 60 5 60",
    "CL.THROTTLE KEY 4 5 5",
];

#[test]
fn any_bytes_are_a_key() {
    let server = Server::start();
    let mut client = server.connect();
    let long = vec![b'k'; 1 << 16];
    for key in [
        b"".as_slice(),
        b"\0",
        b"\xff\xfe\0\x80",
        b"two words\r\n",
        "schlüssel:пользователь".as_bytes(),
        &long,
    ] {
        let ask = |client: &mut Connection, words: [&[u8]; 4]| client.ask_bytes(&words).unwrap();
        let granted = |value| match value {
            Value::Array(fields) => fields[0] == Value::Int(1),
            _ => false,
        };
        assert!(granted(ask(&mut client, [b"RL.CHECK", key, b"1", b"1h"])));
        assert!(!granted(ask(&mut client, [b"RL.CHECK", key, b"1", b"1h"])));
        assert!(!granted(client.ask_bytes(&[b"RL.PEEK", key]).unwrap()));
        assert_eq!(client.ask_bytes(&[b"RL.RESET", key]), Ok(Value::Int(1)));
        assert!(granted(ask(&mut client, [b"RL.GCRA", key, b"1", b"1h"])));
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(6));
}

/// Everything that can be seen of a key.
fn everything(client: &mut Connection, key: &str) -> [Value; 4] {
    [
        client.ask(&format!("DUMP {key}")),
        client.ask(&format!("PEXPIRETIME {key}")),
        client.ask(&format!("TYPE {key}")),
        client.ask(&format!("OBJECT ENCODING {key}")),
    ]
}

#[test]
fn every_type_of_value_is_refused_and_survives_untouched() {
    let server = Server::start();
    let mut client = server.connect();
    for line in [
        "SET empty x",
        "SETRANGE empty 0 x",
        "SET text hello",
        "SET integer 42",
        "SET longest-integer -9223372036854775808",
        "SET float 3.14",
        "SETBIT bits 7 1",
        "PFADD hyperloglog a b c",
        "RPUSH list 1 2 3",
        "SADD set a b c",
        "SADD intset 1 2 3",
        "ZADD zset 1 a",
        "HSET hash field value",
        "XADD stream * field value",
        "GEOADD geo 13.4 52.5 berlin",
        "SET expiring hello EX 1000",
    ] {
        client.ask(line);
    }
    client.ask_bytes(&[b"SET", b"nothing", b""]).unwrap();
    let Value::Array(keys) = client.ask("KEYS *") else {
        panic!("no keys");
    };
    assert!(keys.len() > 15);
    for key in keys {
        let key: String = redis::from_redis_value(key).unwrap();
        let before = everything(&mut client, &key);
        for command in COMMANDS {
            let error = client.refused(&command.replace("KEY", &key));
            let expected = "WRONGTYPE the key holds a value that is not a rate limiter";
            assert_eq!(error, expected, "{command} on {key}");
        }
        assert_eq!(everything(&mut client, &key), before, "{key}");
    }
}

#[test]
fn strings_that_resemble_a_limiter_are_refused_and_keep_their_bytes() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK real 5 60 COST 2");
    client.decide("RL.GCRA realgcra 5 60 COST 2");
    for real in ["real", "realgcra"] {
        let Value::BulkString(state) = client.ask(&format!("GET {real}")) else {
            panic!("no state");
        };
        let mut lookalikes = vec![
            state[..state.len() - 1].to_vec(),
            [state.as_slice(), b"\0"].concat(),
            [state.as_slice(), &state].concat(),
            [b"x".as_slice(), &state].concat(),
            vec![0; state.len()],
            vec![0xff; state.len()],
            state.iter().rev().copied().collect(),
        ];
        for at in 0..4 {
            let mut damaged = state.clone();
            damaged[at] ^= 0x80;
            lookalikes.push(damaged);
        }
        for value in lookalikes {
            client.ask_bytes(&[b"SET", b"k", &value]).unwrap();
            for command in COMMANDS {
                let error = client.refused(&command.replace("KEY", "k"));
                let newer = value.starts_with(&state[..2]) && value[2] > 1;
                let code = if newer { "ERR " } else { "WRONGTYPE " };
                assert!(error.starts_with(code), "{command}: {error}");
            }
            assert_eq!(client.ask("GET k"), Value::BulkString(value));
            assert_eq!(client.ask("PTTL k"), Value::Int(-1));
        }
    }
}

/// Only one function of the server shows a module the bytes of a string, and it first stores a string in an encoding of
/// its own (`int`, `embstr`) as a plain one (`raw`).
#[test]
fn strings_of_every_length_keep_bytes_and_ttl_though_not_always_their_encoding() {
    /// What is shorter than every limiter's state is not looked at, except what may be redis-cell's.
    const SHORTEST_STATE: usize = 21;
    const REDIS_CELLS: usize = 19;
    let server = Server::start();
    let mut client = server.connect();
    for length in 1..=64 {
        for (expiry, digit) in [("", '7'), ("", 'x'), (" EXAT 9999999999", 'x')] {
            let value = digit.to_string().repeat(length);
            for command in COMMANDS {
                client.ask(&format!("SET k {value}{expiry}"));
                let [.., kind, encoding] = everything(&mut client, "k");
                let expires = client.ask("PEXPIRETIME k");
                let error = client.refused(&command.replace("KEY", "k"));
                let shown = format!("{command} on {length} bytes, {encoding:?}");
                assert!(error.starts_with("WRONGTYPE "), "{shown}: {error}");
                assert_eq!(client.ask("GET k"), Value::BulkString(value.clone().into()));
                let [_, expires_after, kind_after, encoding_after] = everything(&mut client, "k");
                assert_eq!((expires_after, kind_after), (expires, kind), "{shown}");
                let may_be_redis_cells =
                    length == REDIS_CELLS && !expiry.is_empty() && command.starts_with("CL.");
                let looked_at = length >= SHORTEST_STATE || may_be_redis_cells;
                let to_raw = looked_at && encoding_after == Value::BulkString("raw".into());
                assert!(
                    encoding_after == encoding || to_raw,
                    "{shown} became {encoding_after:?}"
                );
            }
        }
    }
}

#[test]
fn a_key_belongs_to_the_algorithm_that_it_was_first_used_with() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK c 5 60");
    client.decide("RL.GCRA g 5 60");
    let before = [everything(&mut client, "c"), everything(&mut client, "g")];
    assert_eq!(
        client.refused("RL.GCRA c 5 60"),
        "WRONGTYPE the key holds a sliding-window limiter (RL.CHECK), not a gcra one (RL.GCRA)"
    );
    assert_eq!(
        client.refused("RL.CHECK g 5 60"),
        "WRONGTYPE the key holds a gcra limiter (RL.GCRA), not a sliding-window one (RL.CHECK)"
    );
    assert_eq!(
        [everything(&mut client, "c"), everything(&mut client, "g")],
        before
    );
}

#[test]
fn a_state_of_a_newer_version_is_an_error_that_names_the_version_needed() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60");
    let Value::BulkString(mut state) = client.ask("GET k") else {
        panic!("no state");
    };
    for version in [3_u8, 10, 255] {
        state[2] = version;
        client.ask_bytes(&[b"SET", b"k", &state]).unwrap();
        for command in COMMANDS {
            assert_eq!(
                client.refused(&command.replace("KEY", "k")),
                format!(
                    "ERR the key holds a limiter in state version {version}: a newer redis-ratelimit is needed, \
                     this one reads versions 1 and 2"
                )
            );
        }
    }
    assert_eq!(client.ask("GET k"), Value::BulkString(state));
}

#[test]
fn databases_have_limiters_of_their_own() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    client.ask("SELECT 1");
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 0);
}

#[test]
fn a_limiter_can_be_copied_renamed_dumped_and_restored() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 1 1h");
    client.ask("COPY a b");
    client.ask("RENAME a c");
    let Value::BulkString(dump) = client.ask("DUMP b") else {
        panic!("no dump");
    };
    client.ask_bytes(&[b"RESTORE", b"d", b"0", &dump]).unwrap();
    for key in ["b", "c", "d"] {
        assert_eq!(
            client.decide(&format!("RL.CHECK {key} 1 1h"))[0],
            0,
            "{key}"
        );
    }
}
