//! What SECURITY.md says that users trust is what there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The lines of code in a folder of `src/`, without comments.
fn code(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines
            .filter(|line| !line.starts_with("//"))
            .collect::<Vec<_>>()
    });
    folders
        .iter()
        .flat_map(|folder| code(folder))
        .chain(files)
        .collect()
}

/// The crates that the library is linked with, by name.
fn linked() -> Vec<String> {
    let cargo = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    let tree = String::from_utf8(cargo.stdout).unwrap();
    // The first is our own.
    let names = tree
        .lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn the_crates_and_the_unsafe_lines_are_as_many_as_security_md_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unsafe_lines = code(&root.join("src/server"))
        .iter()
        .filter(|line| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe")
        })
        .count();
    let crates = linked();
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let names: Vec<_> = crates.iter().map(|name| format!("`{name}`")).collect();
    for said in [
        format!("{} crates: {}.", crates.len(), names.join(" and ")),
        format!("{unsafe_lines} lines, all in `src/server/`"),
    ] {
        assert!(text.contains(&said), "SECURITY.md does not say \"{said}\"");
    }
}
