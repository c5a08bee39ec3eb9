//! The server: the only unsafe code. Everything outside reaches it through the safe types of this module.

mod api;
mod call;
mod clock;
mod configuration;
mod error;
mod events;
mod info;
mod key;
mod listeners;
mod load;
mod main_thread;
mod registration;
mod server_info;
mod startup;
mod unload;
mod user;

pub(crate) use call::{Call, KeyRequest};
pub(crate) use configuration::{Settings, configure};
pub(crate) use error::Error;
pub(crate) use events::subscribe;
pub(crate) use info::register_info;
pub(crate) use key::{Key, Stored};
pub(crate) use load::Load;
pub(crate) use main_thread::{MainThread, MainThreadCell};
pub(crate) use registration::{Argument, ArgumentKind, Command, Keys, Spec, register};
pub(crate) use startup::prepare;
pub(crate) use user::User;
