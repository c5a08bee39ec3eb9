//! The document: what was measured, in the words of `template.md`.

use super::keys::Keys;
use super::latency::{CONNECTIONS, Latency};
use super::machine;
use super::many_keys::{Loss, MANY};
use super::memory::{self, Memory};
use super::others::Other;
use super::rounds::Row;
use super::statistics::Summary;
use super::table::{grouped, table};
use super::targets::verdicts;
use super::traffic::Traffic;
use super::workloads::{
    CHECK_DENIED, CHECK_FIFTH, FLOOR, GCRA_DENIED, GCRA_GRANTED, INCR_EXPIRE, LUA_FIXED, LUA_GCRA,
    LUA_LOG, MCHECK_TWO, SET,
};
use super::{Plan, Results};

/// The document, complete.
pub fn document(plan: &Plan, results: &Results) -> String {
    let (own, peers): (Vec<&Row>, _) = results.plain.iter().partition(|row| row.server == 0);
    let parts = [
        ("{python}", python()),
        ("{machine}", machine::description()),
        ("{command}", command(plan)),
        ("{rounds}", plan.rounds.to_string()),
        ("{rounds_with_sink}", plan.rounds_with_sink.to_string()),
        ("{latency_rounds}", plan.latency_rounds.to_string()),
        ("{choice}", choice(&own)),
        ("{targets}", targets(results)),
        ("{commands}", by_keys(own.iter().copied())),
        ("{peer}", peer(&own, &peers)),
        ("{aof}", by_keys(&results.aof)),
        ("{replica}", by_keys(&results.replica)),
        ("{instructions}", instructions()),
        ("{others}", others(&results.others)),
        ("{memory}", memory(&results.memory)),
        ("{traffic}", traffic(&results.traffic)),
        ("{many}", many(results.many.as_deref())),
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

/// What `make bench-python` has written, with its marks: it stays as it is.
fn python() -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (begin, end) = (
        "<!-- begin: make bench-python -->",
        "<!-- end: make bench-python -->",
    );
    let (_, rest) = text.split_once(begin).expect("the mark of the beginning");
    let (inside, _) = rest.split_once(end).expect("the mark of the end");
    format!("{begin}{inside}{end}")
}

fn command(plan: &Plan) -> String {
    let mut command = String::new();
    if let Some(module) = &plan.peer {
        // Its path on this machine is of no interest.
        let file = module.file_name().unwrap_or_default().to_string_lossy();
        command += &format!("PEER_MODULE={file} ");
    }
    command += "make bench";
    if plan.many.is_some() {
        command += " FULL=1";
    }
    // The folders that `scripts/fetch-program` unpacks them into.
    let folders = plan
        .others
        .iter()
        .filter_map(|program| program.ancestors().nth(2)?.file_name());
    let names: Vec<_> = folders.map(|name| name.to_string_lossy()).collect();
    if !names.is_empty() {
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
    let [base, floor] =
        ["SET PX", FLOOR].map(|name| count(rows.iter().find(|row| row[0] == name).unwrap(), 1));
    let head = [
        "one call",
        "instructions",
        "× SET PX",
        "× the floor",
        "the module's own",
        "without them, × SET PX",
        "allocations",
        "the module's own",
    ];
    let rows = rows.iter().map(|row| {
        let [all, own] = [1, 2].map(|at| count(row, at));
        vec![
            row[0].into(),
            grouped(all),
            format!("{:.2}", all / base),
            format!("{:.2}", all / floor),
            grouped(own),
            format!("{:.2}", (all - own) / base),
            row[3].into(),
            row[4].into(),
        ]
    });
    format!(
        "Counted on {server}, with {rustc}.\n\n{}",
        table(&head, rows)
    )
}

/// One table for each kind of keys, a column for each server.
fn others(others: &[Other]) -> String {
    if others.is_empty() {
        return "Not in this run: `make bench SERVERS=\"redis-8 valkey-sid\"` measures servers of `make test-matrix`.".into();
    }
    let of_keys = |keys: Keys| {
        let head = keys.to_string();
        let names = others.iter().map(|other| other.name.as_str());
        let head: Vec<&str> = [head.as_str()].into_iter().chain(names).collect();
        let rows = others[0]
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.keys == keys);
        let rows = rows.map(|(at, Row { name, .. })| {
            let cells = others.iter().map(|other| &other.rows[at]);
            assert!(
                cells
                    .clone()
                    .all(|row| row.name == *name && row.keys == keys)
            );
            match name.as_str() {
                SET => [format!("{SET}: CPU, ns")]
                    .into_iter()
                    .chain(cells.map(|row| nanos(row.cpu)))
                    .collect(),
                _ => [format!("{name}: × SET")]
                    .into_iter()
                    .chain(cells.map(|row| row.ratio.to_string()))
                    .collect(),
            }
        });
        table(&head, rows)
    };
    [Keys::One, Keys::HundredThousand].map(of_keys).concat()
}

const RATE: &str = "a rate and a burst";
const LIMIT: &str = "the limit in any window";
const TWICE: &str = "twice the limit around the end of a window";
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

/// The rows of [`CHOICE`] on random keys: every caller is another one.
fn choice(rows: &[&Row]) -> String {
    let rows = CHOICE.map(|(name, promise)| {
        let mut of_keys = rows.iter().filter(|row| row.keys == Keys::HundredThousand);
        let row = of_keys.find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{name} was not measured"));
        vec![name.into(), row.ratio.to_string(), promise.into()]
    });
    table(&["one decision", "CPU, × SET", "at most granted"], rows)
}

fn targets(results: &Results) -> String {
    let rows = verdicts(results).into_iter().map(|verdict| {
        let (reached, all) = (verdict.reached(), verdict.measured.len());
        let met = match all {
            0 => "not in this run",
            _ if reached == all => "yes",
            _ => "**no**",
        };
        vec![
            verdict.target.into(),
            verdict.bar.to_string(),
            met.into(),
            format!("{reached} of {all}"),
            verdict.worst().into(),
        ]
    });
    table(&["target", "bar", "met", "rows within", "worst"], rows)
}

/// One table for each kind of keys.
fn by_keys<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let of_keys = |keys: Keys| {
        let rows = rows.iter().filter(|row| row.keys == keys);
        let rows = rows.map(|row| {
            let state = row.state.map_or(String::new(), |bytes| bytes.to_string());
            cells(row, "").into_iter().chain([state]).collect()
        });
        let head = [
            &keys.to_string(),
            "CPU, ns",
            "× SET",
            "requests a second",
            "state, bytes",
        ];
        table(&head, rows)
    };
    let kinds = Keys::ALL
        .into_iter()
        .filter(|keys| rows.iter().any(|row| row.keys == *keys));
    kinds.map(of_keys).collect()
}

/// The figures of a row.
fn cells(row: &Row, whose: &str) -> Vec<String> {
    let name = format!("{whose}{}", row.name);
    vec![
        name,
        nanos(row.cpu),
        row.ratio.to_string(),
        thousands(row.throughput),
    ]
}

fn nanos(summary: Summary) -> String {
    format!("{} ± {}", grouped(summary.median), grouped(summary.spread))
}

/// In thousands.
fn thousands(Summary { median, spread }: Summary) -> String {
    let digits = usize::from(median < 20_000.0);
    format!("{:.digits$} k ± {:.digits$}", median / 1e3, spread / 1e3)
}

fn peer(own: &[&Row], peers: &[&Row]) -> String {
    if peers.is_empty() {
        return "Not in this run: `PEER_MODULE=/path/to/libredis_cell.so make bench` measures it."
            .into();
    }
    let of_keys = |keys: Keys| {
        let shared = |row: &&&Row| row.name.starts_with("RL.GCRA") || row.name.starts_with("CL.");
        let own = own.iter().filter(|row| row.keys == keys).filter(shared);
        let peers = peers.iter().filter(|row| row.keys == keys);
        let rows = own
            .map(|row| cells(row, ""))
            .chain(peers.map(|row| cells(row, "redis-cell: ")));
        let head = [
            &keys.to_string(),
            "CPU, ns",
            "× SET on its server",
            "requests a second",
        ];
        table(&head, rows)
    };
    [Keys::One, Keys::HundredThousand, Keys::New]
        .map(of_keys)
        .concat()
}

fn memory(rows: &[Memory]) -> String {
    let set = rows.iter().find(|row| row.name == memory::SET).unwrap();
    let cells = rows.iter().map(|row| {
        vec![
            row.name.into(),
            row.value.map_or(String::new(), |bytes| bytes.to_string()),
            grouped(row.memory_usage as f64),
            grouped(row.used),
            format!("{:+.0}", row.used - set.used),
        ]
    });
    let head = [
        "key of 20 bytes with a TTL",
        "value, bytes",
        "`MEMORY USAGE`",
        "`used_memory` a key",
        "above SET",
    ];
    table(&head, cells)
}

fn traffic(rows: &[Traffic]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.state
                .map_or(String::new(), |bytes| grouped(bytes as f64)),
            grouped(row.aof),
            grouped(row.replica),
            format!("{:.1}", row.aof / rows[0].aof),
        ]
    });
    table(
        &["request", "state", "to the AOF", "to a replica", "× SET"],
        cells,
    )
}

fn many(rows: Option<&[Loss]>) -> String {
    let Some(rows) = rows else {
        return "Not in this run: `make bench FULL=1` measures it. It takes some minutes more, and some 6 GB of memory.".into();
    };
    let cells = rows.iter().map(|row| {
        let [median, spread] = [row.loss.median, row.loss.spread].map(|share| share * 100.0);
        vec![
            row.name.clone(),
            nanos(row.few),
            nanos(row.many),
            format!("{median:.0} ± {spread:.0}"),
            row.resizing.map_or(String::new(), nanos),
            grouped(row.memory as f64 / 1e6),
        ]
    });
    let head = [
        "random keys",
        "100,000 keys: CPU, ns",
        &format!("{} keys: CPU, ns", grouped(f64::from(MANY))),
        "throughput lost, %",
        "while resizing: CPU, ns",
        "server's memory, MB",
    ];
    table(&head, cells)
}

fn latency(rows: &[Latency]) -> String {
    let of_connections = |connections: usize| {
        let plural = if connections == 1 { "" } else { "s" };
        let head = format!("{connections} connection{plural}");
        let rows = rows.iter().filter(|row| row.connections == connections);
        let rows = rows.map(|row| {
            let [p50, p99, p999] = row.percentiles.map(nanos);
            vec![row.name.clone(), p50, p99, p999, thousands(row.throughput)]
        });
        table(
            &[&head, "p50, µs", "p99", "p99.9", "requests a second"],
            rows,
        )
    };
    CONNECTIONS.map(of_connections).concat()
}

fn longest(results: &Results) -> String {
    let rows = results.longest.iter();
    let rows = rows.map(|row| vec![row.name.clone(), grouped(row.median), grouped(row.p99)]);
    table(&["one command", "median, µs", "p99"], rows)
}
