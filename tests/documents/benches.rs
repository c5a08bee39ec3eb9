//! The bench of the commands runs: every request is answered as its row says, and the document is complete.

#[expect(dead_code, reason = "the bench uses the rest")]
#[path = "../../benches/server/mod.rs"]
mod server;

use crate::harness::server_binary;
use server::Plan;

#[test]
fn the_bench_runs_and_fills_in_its_document() {
    let plan = Plan::tiny(vec![server_binary()]);
    let results = server::everything(&plan);
    let document = server::document(&plan, &results);
    assert!(
        !document.contains('{'),
        "a place was not filled in:\n{document}"
    );
    for row in [
        "| RL.GCRA granted ",
        "| RL.CHECK denied, limit 10 ",
        "| RL.MCHECK of 100 keys",
    ] {
        assert!(document.contains(row), "there is no row {row}:\n{document}");
    }
}
