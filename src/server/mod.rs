//! The server: the only unsafe code. Everything outside reaches it through the safe types of this module.

mod api;
mod call;
mod clock;
mod key;
mod refusal;
mod registration;
mod startup;

pub(crate) use call::Call;
pub(crate) use key::{Key, Stored};
pub(crate) use refusal::Refusal;
pub(crate) use registration::{Argument, Command, Keys, Kind, Spec, register};
pub(crate) use startup::prepare;
