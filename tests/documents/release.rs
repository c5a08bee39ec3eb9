//! A release is one command, and the version is the same wherever it stands.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the version stands, beside Cargo.toml, and what stands before it.
const PLACES: [(&str, &str); 5] = [
    ("Cargo.lock", "name = \"redis-ratelimit\"\nversion = \""),
    ("deploy/image/Dockerfile", "\nARG VERSION="),
    ("integrations/python/pyproject.toml", "\nversion = \""),
    ("docs/installing.md", "redis-ratelimit_"),
    (
        "docs/kubernetes.md",
        "IMAGE=registry.example/redis-ratelimit:",
    ),
];

fn assert_version(checkout: &Path, version: &str) {
    for (file, before) in PLACES {
        let text = fs::read_to_string(checkout.join(file)).unwrap();
        assert!(
            text.contains(&format!("{before}{version}")),
            "{file}: {version}"
        );
    }
}

fn run(checkout: &Path, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .current_dir(checkout)
        .args(arguments)
        .envs([("SKIP", "ci dist"), ("TZ", "UTC")]);
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "test")
            .env(format!("GIT_{who}_EMAIL"), "test");
    }
    command.output().unwrap()
}

/// What it says on success.
fn git(checkout: &Path, arguments: &[&str]) -> String {
    let output = run(checkout, "git", arguments);
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A copy of what is here, as a repository with one commit, in which no document says that nothing has been released.
fn checkout() -> TempDir {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = TempDir::new().unwrap();
    for name in git(here, &["ls-files"]).lines() {
        let to = copy.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if let Ok(text) = fs::read_to_string(here.join(name)) {
            let text = if name.ends_with(".md") {
                text.replace("in preparation", "here")
            } else {
                text
            };
            fs::write(&to, text).unwrap();
            fs::set_permissions(&to, fs::metadata(here.join(name)).unwrap().permissions()).unwrap();
        }
    }
    git(copy.path(), &["init", "--quiet"]);
    commit(copy.path());
    copy
}

fn commit(checkout: &Path) {
    git(checkout, &["add", "--all"]);
    git(checkout, &["commit", "--quiet", "--message", "A change"]);
}

#[test]
fn the_version_is_the_same_wherever_it_stands() {
    assert_version(Path::new(env!("CARGO_MANIFEST_DIR")), VERSION);
}

#[test]
fn a_release_sets_the_version_dates_the_changes_and_tags_the_commit() {
    let checkout = checkout();
    let checkout = checkout.path();
    let released = run(checkout, "bash", &["scripts/release", "98.7.6"]);
    assert!(released.status.success(), "{released:?}");
    assert_version(checkout, "98.7.6");
    assert_eq!(git(checkout, &["status", "--porcelain"]), "");
    assert_eq!(git(checkout, &["describe"]), "v98.7.6\n");
    let changes = git(
        checkout,
        &["diff", "HEAD~", "--unified=0", "--", "CHANGELOG.md"],
    );
    let today = git(
        checkout,
        &["log", "-1", "--format=%cd", "--date=format-local:%F"],
    );
    assert!(
        changes.contains(&format!("\n+## [98.7.6] - {today}")),
        "{changes}"
    );
}

#[test]
fn a_release_is_refused_of_changes_that_are_not_committed_or_not_described() {
    let checkout = checkout();
    let checkout = checkout.path();
    let refused = |version: &str, reason: &str| {
        let output = run(checkout, "bash", &["scripts/release", version]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    };
    refused("1.2", "usage: make release VERSION=x.y.z");
    refused("0.0.1", "0.0.1 is below");
    fs::write(checkout.join("README.md"), "in preparation").unwrap();
    refused("98.7.6", "not committed");
    commit(checkout);
    refused("98.7.6", "nothing has been released");
    fs::write(checkout.join("README.md"), "").unwrap();
    fs::write(
        checkout.join("CHANGELOG.md"),
        "## [Unreleased]\n\n## [0.1.0]\n\n- All.\n",
    )
    .unwrap();
    commit(checkout);
    refused("98.7.6", "no changes under [Unreleased]");
    git(checkout, &["tag", "v98.7.6"]);
    refused("98.7.6", "There is a tag v98.7.6");
}
