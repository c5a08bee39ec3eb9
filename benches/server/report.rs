//! The document: what was measured, in the words of `template.md`.

use super::keys::Keys;
use super::latency::{CONNECTIONS, Latency};
use super::machine;
use super::many_keys::MANY;
use super::memory::{self, Memory};
use super::others::Other;
use super::rounds::Row;
use super::statistics::Summary;
use super::table::{Table, grouped};
use super::targets::{Bar, Verdict, verdicts};
use super::workloads::{
    CHECK_DENIED, CHECK_FIFTH, GCRA_DENIED, GCRA_GRANTED, INCR_EXPIRE, LUA_FIXED, LUA_GCRA,
    LUA_LOG, MCHECK_TWO, PEER, SET,
};
use super::{Peer, Plan, Results};

/// The workload of `make bench-instructions` that the others are compared with.
const INSTRUCTIONS_BASE: &str = "SET PX";

/// The document, complete.
pub fn document(plan: &Plan, results: &Results) -> String {
    let own: Vec<&Row> = results.plain.iter().filter(|row| row.server == 0).collect();
    let parts = [
        ("{machine}", machine::description()),
        ("{command}", command(plan)),
        ("{rounds}", plan.rounds.to_string()),
        ("{rounds_with_sink}", plan.rounds_with_sink.to_string()),
        ("{latency_rounds}", plan.latency_rounds.to_string()),
        ("{choice}", choice(&own)),
        ("{targets}", targets(&verdicts(results))),
        ("{commands}", by_keys(&own)),
        ("{peer}", peer(plan.peer.as_ref(), &results.plain)),
        ("{aof}", by_keys(&results.aof.iter().collect::<Vec<_>>())),
        (
            "{replica}",
            by_keys(&results.replica.iter().collect::<Vec<_>>()),
        ),
        ("{instructions}", instructions()),
        ("{others}", others(&results.others)),
        ("{memory}", memory(&results.memory)),
        ("{traffic}", traffic(results)),
        ("{many}", many(results)),
        ("{latency}", latency(&results.latency)),
        ("{longest}", longest(results)),
    ];
    parts.iter().fold(
        include_str!("template.md").to_owned(),
        |text, (name, part)| {
            assert!(text.contains(name), "the template has no {name}");
            text.replace(name, part.trim_end())
        },
    )
}

/// The tables of some rows alone.
pub fn tables(rows: &[Row]) -> String {
    by_keys(&rows.iter().collect::<Vec<_>>())
}

fn command(plan: &Plan) -> String {
    let mut command = String::new();
    if let Some(Peer {
        module,
        command: request,
    }) = &plan.peer
    {
        // Its path on this machine is of no interest.
        let file = module.file_name().unwrap_or_default().to_string_lossy();
        command += &format!("PEER_MODULE={file} ");
        if let Some(request) = request {
            command += &format!("PEER_COMMAND='{request}' ");
        }
    }
    command += "make bench";
    if plan.many.is_some() {
        command += " FULL=1";
    }
    if !plan.others.is_empty() {
        // The folders that `scripts/fetch-server` unpacks them into.
        let names: Vec<_> = plan
            .others
            .iter()
            .filter_map(|program| program.parent()?.parent()?.file_name()?.to_str())
            .collect();
        command += &format!(" SERVERS=\"{}\"", names.join(" "));
    }
    command
}

/// What `make bench-instructions` has counted.
fn instructions() -> String {
    let mut lines = include_str!("../instructions.tsv").lines();
    let builds = lines.next().unwrap_or_default();
    let builds = builds.trim_start_matches("# ").replace(" server v=", " ");
    let (server, rustc) = builds.split_once("; ").unwrap();
    let server = server.split(" sha=").next().unwrap();
    let rows: Vec<Vec<&str>> = lines
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    let count = |row: &[&str], at: usize| -> f64 { row[at].parse().unwrap() };
    let base = rows.iter().find(|row| row[0] == INSTRUCTIONS_BASE).unwrap();
    let base = count(base, 1);
    let mut table = Table::new([
        "one call",
        "instructions",
        "× SET PX",
        "the module's own",
        "without them, × SET PX",
        "allocations",
        "the module's own",
    ]);
    for row in &rows {
        let [all, own] = [1, 2].map(|at| count(row, at));
        table.row([
            row[0].to_owned(),
            grouped(all),
            format!("{:.2}", all / base),
            grouped(own),
            format!("{:.2}", (all - own) / base),
            row[3].to_owned(),
            row[4].to_owned(),
        ]);
    }
    format!("Counted on {server}, with {rustc}.\n\n{table}")
}

/// One table for each kind of keys, a column for each server.
fn others(others: &[Other]) -> String {
    let Some(first) = others.first() else {
        return "Not in this run: `make bench SERVERS=\"redis-8 valkey-9\"` measures servers of `make test-matrix`.".into();
    };
    let mut text = String::new();
    for keys in Keys::ALL {
        let of_keys: Vec<usize> = (0..first.rows.len())
            .filter(|at| first.rows[*at].keys == keys)
            .collect();
        if of_keys.is_empty() {
            continue;
        }
        let names = others.iter().map(|other| other.name.clone());
        let mut table = Table::new([keys.to_string()].into_iter().chain(names));
        for at in of_keys {
            let rows = || others.iter().map(|other| &other.rows[at]);
            let name = &first.rows[at].name;
            assert!(rows().all(|row| row.name == *name && row.keys == keys));
            if name == SET {
                let cells = rows().map(|row| nanos(row.cpu));
                table.row([format!("{SET}: CPU, ns")].into_iter().chain(cells));
            } else {
                let cells = rows().map(|row| row.ratio.to_string());
                table.row([format!("{name}: × SET")].into_iter().chain(cells));
            }
        }
        text += &format!("{table}\n");
    }
    text
}

/// What a user can choose between, and what each holds a caller to.
const CHOICE: [(&str, &str); 9] = [
    (GCRA_GRANTED, RATE),
    (GCRA_DENIED, RATE),
    (CHECK_FIFTH, LIMIT),
    (CHECK_DENIED, LIMIT),
    (MCHECK_TWO, "the limit of each, all or nothing"),
    (INCR_EXPIRE, TWICE),
    (LUA_FIXED, TWICE),
    (LUA_GCRA, RATE),
    (LUA_LOG, LIMIT),
];
const RATE: &str = "a rate and a burst";
const LIMIT: &str = "the limit in any window";
const TWICE: &str = "twice the limit around the end of a window";

/// The rows of [`CHOICE`] on random keys: every caller is another one.
fn choice(rows: &[&Row]) -> String {
    let mut table = Table::new(["one decision", "CPU, × SET", "at most granted"]);
    for (name, promise) in CHOICE {
        let row = rows
            .iter()
            .find(|row| row.name == name && row.keys == Keys::HundredThousand)
            .unwrap_or_else(|| panic!("{name} was not measured"));
        table.row([name, &row.ratio.to_string(), promise]);
    }
    table.to_string()
}

fn targets(verdicts: &[Verdict]) -> String {
    let mut table = Table::new(["target", "bar", "met", "rows within", "worst"]);
    for verdict in verdicts {
        let bar = match verdict.bar {
            Bar::AtMost(most) => format!("≤ {most}"),
            Bar::AtLeast(least) => format!("≥ {least}"),
        };
        let met = match verdict.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not in this run",
        };
        let within = format!("{} of {}", verdict.reached(), verdict.measured.len());
        let worst = verdict.worst().map_or("", |worst| &worst.1);
        table.row([verdict.target, &bar, met, &within, worst]);
    }
    table.to_string()
}

/// One table for each kind of keys.
fn by_keys(rows: &[&Row]) -> String {
    let mut text = String::new();
    for keys in Keys::ALL {
        let rows: Vec<&&Row> = rows.iter().filter(|row| row.keys == keys).collect();
        if rows.is_empty() {
            continue;
        }
        let head = keys.to_string();
        let mut table = Table::new([
            &head,
            "CPU, ns",
            "× SET",
            "requests a second",
            "state, bytes",
        ]);
        for row in rows {
            table.row([
                row.name.clone(),
                nanos(row.cpu),
                row.ratio.to_string(),
                thousands(row.throughput),
                row.state.map_or(String::new(), |bytes| bytes.to_string()),
            ]);
        }
        text += &format!("{table}\n");
    }
    text
}

fn nanos(summary: Summary) -> String {
    format!("{} ± {}", grouped(summary.median), grouped(summary.spread))
}

/// In thousands.
fn thousands(summary: Summary) -> String {
    let digits = if summary.median < 20_000.0 { 1 } else { 0 };
    format!(
        "{:.digits$} k ± {:.digits$}",
        summary.median / 1e3,
        summary.spread / 1e3
    )
}

fn peer(peer: Option<&Peer>, rows: &[Row]) -> String {
    let Some(peer) = peer else {
        return "Not in this run: `PEER_MODULE=/path/to.so make bench` measures another module."
            .into();
    };
    let file = peer
        .module
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let mut text = format!("The peer is {file}.\n\n");
    for keys in Keys::ALL {
        let of_keys: Vec<&Row> = rows.iter().filter(|row| row.keys == keys).collect();
        if !of_keys.iter().any(|row| row.server == 1) {
            continue;
        }
        let head = keys.to_string();
        let mut table = Table::new([
            &head,
            "CPU, ns",
            "× SET on its server",
            "requests a second",
            "first number 0",
        ]);
        for row in of_keys {
            let shared = ["RL.GCRA", "CL.THROTTLE"];
            let beside = shared.iter().any(|name| row.name.starts_with(name));
            if row.server == 0 && !beside {
                continue;
            }
            let zeros = if row.name.starts_with(PEER) {
                format!("{:.0} %", row.zeros * 100.0)
            } else {
                String::new()
            };
            let name = match row.server {
                1 if !row.name.starts_with(PEER) => format!("{PEER}{}", row.name),
                _ => row.name.clone(),
            };
            table.row([
                name,
                nanos(row.cpu),
                row.ratio.to_string(),
                thousands(row.throughput),
                zeros,
            ]);
        }
        text += &format!("{table}\n");
    }
    text
}

fn memory(rows: &[Memory]) -> String {
    let mut table = Table::new([
        "key of 20 bytes with a TTL",
        "value, bytes",
        "`MEMORY USAGE`",
        "`used_memory` a key",
        "above SET",
    ]);
    let set = rows
        .iter()
        .find(|row| row.name == memory::SET)
        .unwrap()
        .used;
    for row in rows {
        table.row([
            row.name.to_owned(),
            row.value.map_or(String::new(), |bytes| bytes.to_string()),
            grouped(row.memory_usage as f64),
            grouped(row.used),
            format!("{:+.0}", row.used - set),
        ]);
    }
    table.to_string()
}

fn traffic(results: &Results) -> String {
    let mut table = Table::new(["request", "state", "to the AOF", "to a replica", "× SET"]);
    let set = results.traffic[0].aof;
    for row in &results.traffic {
        table.row([
            row.name.clone(),
            row.state
                .map_or(String::new(), |bytes| grouped(bytes as f64)),
            grouped(row.aof),
            grouped(row.replica),
            format!("{:.1}", row.aof / set),
        ]);
    }
    table.to_string()
}

fn many(results: &Results) -> String {
    let Some(rows) = &results.many else {
        return "Not in this run: `make bench FULL=1` measures it. It takes some minutes more, and some 6 GB of memory.".into();
    };
    let mut table = Table::new([
        "random keys",
        "100,000 keys: CPU, ns",
        &format!("{} keys: CPU, ns", grouped(f64::from(MANY))),
        "throughput lost, %",
        "while resizing: CPU, ns",
        "server's memory, MB",
    ]);
    for row in rows {
        table.row([
            row.name.clone(),
            nanos(row.few),
            nanos(row.many),
            format!(
                "{:.0} ± {:.0}",
                row.loss.median * 100.0,
                row.loss.spread * 100.0
            ),
            row.resizing.map_or(String::new(), nanos),
            grouped(row.memory as f64 / 1e6),
        ]);
    }
    table.to_string()
}

fn latency(rows: &[Latency]) -> String {
    let mut text = String::new();
    for connections in CONNECTIONS {
        let head = match connections {
            1 => "1 connection".into(),
            many => format!("{many} connections"),
        };
        let mut table = Table::new([&head, "p50, µs", "p99", "p99.9", "requests a second"]);
        for row in rows.iter().filter(|row| row.connections == connections) {
            let [p50, p99, p999] = row.percentiles.map(nanos);
            table.row([row.name.clone(), p50, p99, p999, thousands(row.throughput)]);
        }
        text += &format!("{table}\n");
    }
    text
}

fn longest(results: &Results) -> String {
    let mut table = Table::new(["one command", "median, µs", "p99"]);
    for row in &results.longest {
        table.row([row.name.clone(), grouped(row.median), grouped(row.p99)]);
    }
    table.to_string()
}
