//! Case tables from the field: the replies that published implementations give.

use crate::oracle::{Answer, Key, START, at_most, millis, rules, units};
use redis_ratelimit::limiter::{Bucket, Quota, Request, Units, Windows};
use serde_json::Value;

const GCRA: &str = include_str!("../vectors/gcra-classic.json");
const SLIDING_WINDOW: &str = include_str!("../vectors/sliding-window.json");

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The rows of a table, and the place of each of `columns` in them.
fn rows<'a, const N: usize>(
    table: &'a Value,
    columns: [&str; N],
) -> impl Iterator<Item = [&'a Value; N]> {
    let names = table["columns"].as_array().unwrap();
    let places = columns.map(|column| names.iter().position(|name| name == column).unwrap());
    let rows = table["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    rows.iter().map(move |row| places.map(|place| &row[place]))
}

#[test]
fn gcra_decides_as_redis_cell_does() {
    let table: Value = serde_json::from_str(GCRA).unwrap();
    let quota = Quota::new(
        units(number(&table["limit"])),
        millis(number(&table["window_ms"])),
        units(number(&table["burst"])),
    )
    .unwrap();
    let mut key = Key::default();
    let columns = [
        "t",
        "cost",
        "granted",
        "remaining",
        "reset_after",
        "retry_after",
    ];
    for row in rows(&table, columns) {
        let [t, cost, granted, remaining, reset_after, retry_after] = row;
        let now = START + number(t) * 1_000;
        let answer = match Units::new(number(cost)) {
            Some(cost) => key.ask::<Bucket>(&quota, &Request::exact(cost), now),
            // A cost of nothing only reads.
            None => {
                let limiter = key.read::<Bucket>(now).unwrap();
                let decision = limiter.peek(Units::ONE).unwrap();
                Answer {
                    granted: 0,
                    ..Answer::new(decision, false)
                }
            }
        };
        let told = |micros: u64| micros.div_ceil(1_000);
        assert_eq!(answer.granted, number(granted), "{row:?}");
        assert_eq!(answer.limit, 5);
        assert_eq!(answer.remaining, number(remaining), "{row:?}");
        assert_eq!(told(answer.reset_after), number(reset_after), "{row:?}");
        let retry = answer
            .retry_after
            .map_or(-1, |wait| told(wait).cast_signed());
        assert_eq!(retry, retry_after.as_i64().unwrap(), "{row:?}");
    }
}

#[test]
fn the_sliding_window_decides_as_the_worked_examples_do() {
    let tables: Value = serde_json::from_str(SLIDING_WINDOW).unwrap();
    for table in tables.as_array().unwrap() {
        let rules = rules(&[at_most(
            number(&table["limit"]),
            number(&table["window_ms"]),
        )]);
        let mut key = Key::default();
        for row in rows(table, ["t", "cost", "granted"]) {
            let [t, cost, granted] = row.map(number);
            let request = Request::exact(units(cost));
            let answer = key.ask::<Windows>(&rules, &request, START + t * 1_000);
            assert_eq!(answer.granted, granted, "{}: {row:?}", table["name"]);
        }
    }
}
