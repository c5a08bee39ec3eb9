//! What looks for faults of memory finds them: `scripts/test-memory` runs these beside the tests in which it finds none.

use std::path::PathBuf;

use crate::harness::memory_check::Tool;
use crate::harness::{Ask, Setup};

/// What is reported when a server with the faulty module has carried out `lines` and has ended.
fn report(lines: &[&str]) -> String {
    let module = PathBuf::from(std::env::var_os("FAULTY_MODULE").unwrap());
    let mut server = Setup::new()
        .without_module()
        .arguments(["--enable-module-command", "yes"])
        .arguments(["--loadmodule".into(), module.display().to_string()])
        .start();
    let mut client = server.connect();
    for line in lines {
        // AddressSanitizer ends the server at once.
        let _ = client.ask_bytes(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    assert!(server.end());
    server.take_reports()
}

/// One of the texts, that of the tool in use, is in what is reported.
fn finds(lines: &[&str], address_sanitizer: &str, memcheck: &str) {
    let text = match Tool::in_use().expect("MEMORY_CHECK") {
        Tool::AddressSanitizer => address_sanitizer,
        Tool::Memcheck => memcheck,
    };
    let report = report(lines);
    assert!(report.contains(text), "{lines:?}: {report}");
}

#[test]
#[ignore = "memory: what scripts/test-memory uses"]
fn a_read_beyond_a_block_is_found() {
    finds(
        &["faulty.read-beyond"],
        "heap-buffer-overflow",
        "is 0 bytes after a block of size 32",
    );
}

#[test]
#[ignore = "memory: what scripts/test-memory uses"]
fn a_use_of_a_block_that_was_freed_is_found() {
    finds(
        &["faulty.use-after-free"],
        "heap-use-after-free",
        "inside a block of size 32 free'd",
    );
}

#[test]
#[ignore = "memory: what scripts/test-memory uses"]
fn what_a_module_forgets_to_free_is_found() {
    finds(
        &["faulty.lose"],
        "LeakSanitizer: detected memory leaks",
        "definitely lost",
    );
}

#[test]
#[ignore = "memory: what scripts/test-memory uses"]
fn what_a_module_forgets_to_free_is_found_when_it_has_gone() {
    finds(
        &["faulty.lose", "MODULE UNLOAD faulty"],
        "LeakSanitizer: detected memory leaks",
        "definitely lost",
    );
}

/// AddressSanitizer does not look for it.
#[test]
#[ignore = "memory: what scripts/test-memory uses"]
fn a_decision_on_bytes_that_nobody_has_written_is_found() {
    let report = report(&["faulty.uninitialised"]);
    assert!(
        report.contains("depends on uninitialised value"),
        "{report}"
    );
}
