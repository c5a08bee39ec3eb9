//! The algorithms as functions of state, time and request, beside models that share no code with them. No server.

mod blocks;
mod gcra;
mod oracle;
mod receipts;
mod retry_after;
mod several_windows;
mod sliding_window;
mod state;
mod turns;
mod vectors;
