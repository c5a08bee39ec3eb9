//! Python with plain redis-py, the client of most applications.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script in `tests/python/`; panics if it fails.
pub fn run_script(script: &str, arguments: &[&str]) {
    run(Command::new(python())
        .arg(folder().join(script))
        .args(arguments));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The Python of a virtual environment with the packages of `tests/python/requirements.txt`, which is made once.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let requirements = folder().join("requirements.txt");
    let mut hasher = DefaultHasher::new();
    fs::read(&requirements).unwrap().hash(&mut hasher);
    let environment = target.join(format!("python-{:016x}", hasher.finish()));
    if !environment.exists() {
        let new = tempfile::tempdir_in(target).unwrap();
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(new.path().join("environment")));
        run(Command::new(new.path().join("environment/bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "-r"])
            .arg(&requirements));
        // Another test may have been faster: then this fails, and the environment of that test is used.
        let moved = fs::rename(new.path().join("environment"), &environment);
        assert!(environment.exists(), "{moved:?}");
    }
    environment.join("bin/python")
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
