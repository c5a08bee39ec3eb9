//! What happens in a history, each in a line of text, so that a case that fails can be pasted into a file.

use std::fmt::{self, Display, Formatter};

/// The keys of histories.
pub const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `at N`: the clock is set, to microseconds after its start, or before it.
    Clock(i128),
    /// `reload`: the server saves everything and loads it again.
    Reload,
    /// `restore FROM TO`: `DUMP` and `RESTORE`.
    Restore(String, String),
    /// `rewrite FROM TO`: `GET` and `SET`.
    Rewrite(String, String),
    /// Any other line: a command.
    Command(Vec<String>),
}

impl Step {
    /// A command of these words.
    pub fn command(words: &[&str]) -> Self {
        Self::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Whether it is a command of the module, not one of the server itself.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Command(words) if words[0].contains('.'))
    }

    /// What a line says.
    pub fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["at", micros] => Self::Clock(micros.parse().unwrap()),
            ["reload"] => Self::Reload,
            ["restore", from, to] => Self::Restore(from.into(), to.into()),
            ["rewrite", from, to] => Self::Rewrite(from.into(), to.into()),
            _ => Self::command(&words),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Clock(micros) => write!(f, "at {micros}"),
            Self::Reload => f.write_str("reload"),
            Self::Restore(from, to) => write!(f, "restore {from} {to}"),
            Self::Rewrite(from, to) => write!(f, "rewrite {from} {to}"),
            Self::Command(words) => f.write_str(&words.join(" ")),
        }
    }
}
