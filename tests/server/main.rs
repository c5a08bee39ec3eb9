//! The module in real servers, which each test starts for itself.

#[expect(dead_code, reason = "documents and benches use the rest")]
mod harness;

/// Who may do what, and who may listen.
mod access {
    mod acl;
    mod tls;
}

/// Redis Cluster: whose keys they are, and what happens when they move.
mod cluster {
    mod slots;
}

/// What the commands take, answer and write.
mod commands {
    mod arguments;
    mod check;
    mod costs;
    mod docs;
    mod gcra;
    mod growing_blocks;
    mod info;
    mod keyspace;
    mod mcheck;
    mod metrics;
    mod peek;
    mod priorities;
    mod receipts;
    mod redis_py;
    mod refund;
    mod reset;
    mod threads;
    mod throttle;
    mod time;
    mod top;
    mod transactions;
    mod turns;
    mod writing;
}

/// The module itself: loaded, configured, replaced by the next build.
mod module {
    mod configuration;
    mod loading;
    mod unloading;
    mod upgrade;
}

/// Append-only files and snapshots.
mod persistence {
    mod aof;
    mod rdb;
}

/// What docs/recipes.md says about time, and about processes that die.
mod recipes {
    mod batch;
    mod concurrency;
    mod free_and_paid;
    mod gateway;
    mod login;
    mod plan;
    mod queue;
}

/// What others are sent, and what they do with it.
mod replication {
    mod failover;
    mod replicas;
    mod sinks;
}

/// What should not happen: full memory, full disks, random input, attacks.
mod robustness {
    mod hostile;
    mod memory;
    mod memory_faults;
    mod other_writers;
    mod random_input;
    mod requests;
    mod states;
}
