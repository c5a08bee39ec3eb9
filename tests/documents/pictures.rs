//! The pictures and tables of `docs/algorithms.md` are of what the algorithms do now.

#[path = "../../examples/traffic/tables/mod.rs"]
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use tables::Results;

#[test]
fn the_pictures_and_tables_of_the_algorithms_are_of_what_they_do_now() {
    let results = Results::compute();
    for (name, data) in results.files() {
        let picture = name.replace(".csv", ".svg");
        assert!(
            read(&format!("docs/pictures/{picture}"))
                .contains(&format!("{name}, CRC-32 {:08x}", crc32(data.as_bytes()))),
            "docs/pictures/{picture} is drawn of other data (make plots)"
        );
    }
    let document = read("docs/algorithms.md");
    for table in results.tables() {
        assert!(
            document.contains(&table),
            "docs/algorithms.md does not have this table:\n{table}"
        );
    }
}

#[test]
fn the_front_page_shows_the_burst() {
    assert!(read("README.md").contains("](docs/pictures/boundary-burst.svg)"));
}

#[test]
fn every_picture_is_shown() {
    let document = read("docs/algorithms.md");
    for entry in fs::read_dir(path("docs/pictures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            document.contains(&format!("](pictures/{name})")),
            "docs/algorithms.md does not show docs/pictures/{name}"
        );
    }
}

/// The checksum of zlib and Ethernet, which the drawing program writes into each picture.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
