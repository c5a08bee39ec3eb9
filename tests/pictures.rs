//! The pictures and tables of `docs/algorithms.md` are of what the algorithms do now.

#[path = "../examples/traffic/tables/mod.rs"]
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use tables::Results;

#[test]
fn the_pictures_and_tables_of_the_algorithms_are_of_what_they_do_now() {
    let results = Results::compute();
    for (name, expected) in results.files() {
        let written = read(&format!("docs/pictures/{name}"));
        let differs = written.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(
            written == expected,
            "docs/pictures/{name} is not what the code makes now (make plots), first at {differs:?}"
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
fn every_picture_is_drawn_of_the_data_beside_it_for_light_and_dark_pages_and_shown() {
    let document = read("docs/algorithms.md");
    let mut pictures = 0;
    for entry in fs::read_dir(path("docs/pictures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(picture) = name.strip_suffix(".csv") else {
            continue;
        };
        pictures += 1;
        let data = read(&format!("docs/pictures/{name}"));
        let drawn_of = format!("{name}, CRC-32 {:08x}", crc32(data.as_bytes()));
        for page in ["light", "dark"] {
            let file = format!("pictures/{picture}-{page}.svg");
            assert!(
                read(&format!("docs/{file}")).contains(&drawn_of),
                "docs/{file} is drawn of other data (make plots)"
            );
            assert!(
                document.contains(&format!("\"{file}\"")),
                "docs/algorithms.md does not show {file}"
            );
        }
    }
    assert!(pictures > 0);
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
