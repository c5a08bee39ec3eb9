//! What a limiter takes of the server's memory.

use super::keys::{Order, Sizes};
use super::request::{Request, key};
use super::scripts;
use super::target::{Sink, Target};
use super::wire::{Stream, Wanted};
use super::workloads::{FULL, eight_windows, entries};

pub const SET: &str = "SET, 8 bytes";
pub const GCRA: &str = "RL.GCRA";
pub const ONE: &str = "RL.CHECK, 1 admission";
const FULL_LOGS: &str = "RL.CHECK, 8 windows, 33 admissions and more";

/// One kind of key.
#[derive(Clone, Debug)]
pub struct Memory {
    pub name: &'static str,
    /// The bytes of the value, if it is a string.
    pub value: Option<usize>,
    /// What `MEMORY USAGE` says.
    pub memory_usage: u64,
    /// By how much `used_memory` grows for each key: with its share of the server's tables.
    pub used: f64,
}

/// Fills a server with each kind in turn.
pub fn measure(sizes: Sizes) -> Vec<Memory> {
    let many = sizes.hundred_thousand;
    // As full as the server's tables are with 100,000, in an eighth of the time.
    let fewer = many / 8;
    let mut target = Target::start(Sink::None);
    let mut of = |name, count, times, request: &str| {
        eprintln!("memory: {name}");
        fill(&mut target, name, count, times, request)
    };
    let (check, eight) = ("RL.CHECK {key} 100 1h", eight_windows(1_000));
    let rows = vec![
        of(SET, many, 1, "SET {key} abcdefgh PX 3600000"),
        of("INCR and EXPIRE", many, 1, "INCR {key};EXPIRE {key} 3600"),
        of(GCRA, many, 1, "RL.GCRA {key} 100 1h"),
        of(ONE, many, 1, check),
        of("RL.CHECK, 10 admissions", many, 10, check),
        of("RL.CHECK, 33 admissions and more", fewer, FULL, check),
        of("RL.CHECK, 8 windows, 1 admission", many, 1, &eight),
        of(FULL_LOGS, fewer, FULL, &eight),
        of("Lua: GCRA", many, 1, "EVALSHA <gcra> 1 {key} 36000000 100"),
        of("Lua: sorted set, 1 admission", many, 1, &entries(1)),
        of("Lua: sorted set, 100 admissions", fewer, 1, &entries(100)),
    ];
    rows
}

fn fill(
    target: &mut Target,
    name: &'static str,
    count: u32,
    times: usize,
    request: &str,
) -> Memory {
    target.pipe.ask("FLUSHALL SYNC");
    let before = target.info("memory", "used_memory");
    let request = Request::parse(&scripts::fill_in(request, &target.scripts));
    let mut order = Order::random(count);
    for _ in 0..times {
        send_to_all(target, name, &request, &mut order);
    }
    // Each look moves the growing tables of the server on a little: now they are through.
    let looks = Request::parse("PTTL {key};PTTL {key}");
    send_to_all(target, name, &looks, &mut order);
    let after = target.info("memory", "used_memory");
    let name_of_one = key(0);
    let usage = target.pipe.ask(&format!("MEMORY USAGE {name_of_one}"));
    let is_string = target.pipe.ask(&format!("TYPE {name_of_one}")) == "+string\r\n";
    Memory {
        name,
        value: is_string
            .then(|| target.pipe.string_length(&name_of_one))
            .flatten(),
        memory_usage: usage.trim_end()[1..].parse().unwrap(),
        used: (after - before) as f64 / f64::from(count),
    }
}

fn send_to_all(target: &mut Target, name: &str, request: &Request, order: &mut Order) {
    let mut stream = Stream::default();
    for _ in 0..order.len() {
        stream.push(request, &mut || order.next(), Wanted::Answer);
    }
    target.pipe.run(name, &mut stream);
}
