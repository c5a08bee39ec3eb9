//! Nothing that a client sends takes the server down or makes it break its own rules.

use super::requests::{Line, bytes, check_reply, line};
use super::states::States;
use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, random};
use redis::{Connection, ConnectionLike, Value};

const LINES: usize = 100_000;
const BATCH: usize = 500;

/// Sends many at once; the replies, errors among them.
fn send(client: &mut Connection, lines: &[Line]) -> Vec<Value> {
    let mut pipeline = redis::Pipeline::with_capacity(lines.len());
    for line in lines {
        let mut command = redis::Cmd::new();
        for word in line {
            command.arg(word.as_slice());
        }
        pipeline.add_command(command);
    }
    client
        .req_packed_commands(&pipeline.get_packed_pipeline(), 0, lines.len())
        .unwrap()
}

fn fill(client: &mut Connection) {
    for line in [
        "SET text some-text-that-is-longer-than-a-state",
        "SET int 12345678901",
        "RPUSH list a b c",
        "HSET hash field value",
        "ZADD zset 1 a",
        "SADD set a",
        "XADD stream * field value",
        "PFADD hll a",
    ] {
        client.ask(line);
    }
    client
        .ask_bytes(&[
            b"SET",
            b"fake",
            b"\xd2\x4c\x01\x00 looks like a limiter but is not one",
        ])
        .unwrap();
}

#[test]
fn a_hundred_thousand_random_command_lines() {
    let (mut server, clock) = Clock::start();
    let mut client = server.connect();
    fill(&mut client);
    let mut random = random::generator();
    let mut granted = 0;
    let mut denied = 0;
    let mut refused = 0;
    for batch in 0..LINES / BATCH {
        let lines: Vec<_> = std::iter::repeat_with(|| line(&mut random, Clock::START))
            .take(BATCH)
            .collect();
        for (line, reply) in lines.iter().zip(send(&mut client, &lines)) {
            check_reply(line, &reply).unwrap();
            match reply {
                Value::Array(fields) => match fields.first() {
                    Some(Value::Int(0)) => denied += 1,
                    Some(Value::Int(_)) => granted += 1,
                    _ => {}
                },
                Value::ServerError(_) => refused += 1,
                _ => {}
            }
        }
        // Time passes, mostly forwards.
        if batch % 10 == 9 {
            clock.step_back(std::time::Duration::from_millis(batch as u64 * 7));
        } else {
            clock.advance_millis([0, 1, 3, 40, 1_000][batch % 5]);
        }
    }
    assert!(server.is_alive());
    // Some lines were valid, and some were not.
    for (what, count) in [
        ("granted", granted),
        ("denied", denied),
        ("refused", refused),
    ] {
        assert!(count > LINES / 50, "{what}: {count}");
    }
    // What is not a limiter is as it was.
    assert_eq!(
        client.ask("GET int"),
        Value::BulkString(b"12345678901".to_vec())
    );
    assert_eq!(client.ask("LLEN list"), Value::Int(3));
    // Every limiter has an expiry.
    for key in ["a", "b", "c", "d", "e"] {
        let ttl = client.ask(&format!("PTTL {key}"));
        assert!(matches!(ttl, Value::Int(-2 | 0..)), "{key}: {ttl:?}");
    }
}

#[test]
fn random_bytes_as_the_value_of_a_key() {
    let mut server = Server::start();
    let mut client = server.connect();
    let states = States::of(&mut client);
    let mut random = random::generator();
    for _ in 0..5_000 {
        let value = match random.u8(..3) {
            0 => bytes(&mut random, 300),
            _ => states.mutated(&mut random),
        };
        let lines: Vec<_> = [
            [b"RL.PEEK".as_slice(), b"k"].as_slice(),
            &[b"RL.CHECK", b"k", b"5", b"60", b"7", b"1h"],
            &[b"RL.GCRA", b"k", b"5", b"60"],
            &[b"RL.CHECK", b"k", b"3", b"60", b"FORCE"],
            &[b"RL.MCHECK", b"2", b"k", b"l", b"5", b"60", b"5", b"60"],
            &[b"CL.THROTTLE", b"k", b"4", b"5", b"5"],
            &[b"RL.INFO", b"k"],
            &[b"RL.REFUND", b"k", b"1"],
            &[b"RL.RESET", b"k"],
        ]
        .into_iter()
        .map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>())
        .collect();
        let set = [b"SET".to_vec(), b"k".to_vec(), value].to_vec();
        let replies = send(&mut client, &[vec![set], lines.clone()].concat());
        for (line, reply) in lines.iter().zip(&replies[1..]) {
            check_reply(line, reply).unwrap();
        }
    }
    assert!(server.is_alive());
}
