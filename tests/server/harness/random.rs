//! Random numbers for tests: others at each run, and the same again if a failure needs them.

use std::sync::LazyLock;

/// That of the environment variable `SEED`, or else another one in each process.
static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("SEED") {
    Ok(seed) => seed.parse().expect("SEED is a number from 0 to 2^64 - 1"),
    Err(_) => fastrand::u64(..),
});

/// A generator, the same for all who ask in a run. What is printed is seen if the test fails.
pub fn generator() -> fastrand::Rng {
    println!("random numbers: SEED={} repeats them", *SEED);
    fastrand::Rng::with_seed(*SEED)
}
