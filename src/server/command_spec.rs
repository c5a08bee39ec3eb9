//! What a command is told to the server as: name, flags, keys, arguments, documentation.

use std::ffi::{CStr, c_int};
use std::ops::Range;
use std::ptr;

use super::api::{api, optional};
use super::{Call, Error, KeyRequest, raw};
use crate::stats::counters::CommandCounters;

/// A command.
pub(crate) trait Command {
    /// What the server is told about it.
    const SPEC: Spec;

    /// Where its calls are counted.
    const COUNTERS: &'static CommandCounters;

    /// Which arguments are keys, if the server cannot tell ([`Keys::Counted`]): Redis 7.0 does not understand its own
    /// key specifications when it routes a command in a cluster.
    fn keys(_request: &KeyRequest<'_>) -> Range<usize> {
        0..0
    }

    /// Carries out one call and replies. After an error, nothing was changed and nothing was replied.
    fn run(call: &Call<'_>) -> Result<(), Error>;
}

/// What the server is told about a command. The texts are what `COMMAND DOCS` shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// Its name, in lower case as core commands have theirs.
    pub(crate) name: &'static CStr,
    /// Its flags, as `RedisModule_CreateCommand` spells them.
    pub(crate) flags: &'static CStr,
    /// Its ACL categories, for servers that let modules set them (not Redis 7.0).
    pub(crate) categories: &'static CStr,
    /// The same for servers that do not let modules make categories of their own (Redis 7.2).
    pub(crate) core_categories: &'static CStr,
    /// The number of arguments with the name; negative: at least as many. The server refuses calls with fewer.
    pub(crate) arity: c_int,
    /// Where its keys are.
    pub(crate) keys: Keys,
    /// What is done with them: `REDISMODULE_CMD_KEY_…`.
    pub(crate) key_flags: c_int,
    /// One line.
    pub(crate) summary: &'static CStr,
    /// What its time depends on.
    pub(crate) complexity: &'static CStr,
    /// The release that it came with.
    pub(crate) since: &'static CStr,
    /// Its arguments.
    pub(crate) arguments: &'static [Argument],
}

/// Which arguments are keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// None.
    No,
    /// The first.
    First,
    /// All.
    All,
    /// As many as the first argument says, after it; needs the flag `getkeys-api`.
    Counted,
}

/// An argument, or a group of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// What it is.
    pub(crate) kind: ArgumentKind,
    /// The word before it.
    pub(crate) token: Option<&'static CStr>,
    /// Whether it can be left out.
    pub(crate) optional: bool,
    /// Whether it can be given several times.
    pub(crate) multiple: bool,
}

/// What an argument is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ArgumentKind {
    /// A key.
    Key,
    /// An integer.
    Integer,
    /// Any bytes.
    String,
    /// A word.
    Word,
    /// One of several arguments.
    OneOf(&'static [Argument]),
    /// Several arguments together.
    Block(&'static [Argument]),
}

impl Argument {
    /// An argument that has to be there.
    pub(crate) const fn new(name: &'static CStr, kind: ArgumentKind) -> Self {
        Self {
            name,
            kind,
            token: None,
            optional: false,
            multiple: false,
        }
    }

    /// A word with a value.
    pub(crate) const fn with_word(
        token: &'static CStr,
        name: &'static CStr,
        kind: ArgumentKind,
    ) -> Self {
        Self {
            token: Some(token),
            ..Self::new(name, kind)
        }
    }

    /// An option: a word with a value, which may be missing.
    pub(crate) const fn option(
        token: &'static CStr,
        name: &'static CStr,
        kind: ArgumentKind,
    ) -> Self {
        Self::with_word(token, name, kind).optional()
    }

    /// A word that stands for itself.
    pub(crate) const fn word(token: &'static CStr, name: &'static CStr) -> Self {
        Self {
            token: Some(token),
            ..Self::new(name, ArgumentKind::Word)
        }
    }

    /// The same, but it can be left out.
    pub(crate) const fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The same, but it can be given several times.
    pub(crate) const fn multiple(self) -> Self {
        Self {
            multiple: true,
            ..self
        }
    }
}

/// Tells the server what `spec` says beside what it needed to create the command. On failure, what it would not do.
///
/// # Safety
/// The command is one of this module, which is still loading.
pub(super) unsafe fn describe(
    command: *mut raw::RedisModuleCommand,
    spec: &Spec,
) -> Result<(), &'static str> {
    // SAFETY: the caller promises it.
    unsafe { document(command, spec) }?;
    // SAFETY: the caller promises it.
    unsafe { categorise(command, spec) }
}

/// # Safety
/// The command is one of this module, which is still loading.
unsafe fn document(command: *mut raw::RedisModuleCommand, spec: &Spec) -> Result<(), &'static str> {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    // SAFETY: plain C structures, for which all zeros is the valid "nothing": null pointers, zero numbers. An entry of
    // zeros also ends a list.
    let nothing: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    let mut keys = nothing;
    keys.flags = spec.key_flags as u64;
    keys.begin_search_type = raw::REDISMODULE_KSPEC_BS_INDEX;
    keys.bs.index.pos = 1;
    let range = |lastkey| raw::FindKeys {
        range: raw::KeyRange {
            lastkey,
            keystep: 1,
            limit: 0,
        },
    };
    let counted = raw::FindKeys {
        keynum: raw::KeyNumber {
            keynumidx: 0,
            firstkey: 1,
            keystep: 1,
        },
    };
    (keys.find_keys_type, keys.fk) = match spec.keys {
        Keys::No => {
            keys = nothing;
            (keys.find_keys_type, keys.fk)
        }
        Keys::First => (raw::REDISMODULE_KSPEC_FK_RANGE, range(0)),
        Keys::All => (raw::REDISMODULE_KSPEC_FK_RANGE, range(-1)),
        Keys::Counted => (raw::REDISMODULE_KSPEC_FK_KEYNUM, counted),
    };
    let mut key_specs = [keys, nothing];
    let mut lists = Vec::new();
    let info = raw::RedisModuleCommandInfo {
        version: &raw const version,
        summary: spec.summary.as_ptr(),
        complexity: spec.complexity.as_ptr(),
        since: spec.since.as_ptr(),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: spec.arity,
        key_specs: key_specs.as_mut_ptr(),
        args: list(spec.arguments, &mut lists),
    };
    // SAFETY: the caller promises the command; all that `info` points to lives until the end of this function, and the
    // server copies it.
    let documented = unsafe { api!(RedisModule_SetCommandInfo)(command, &raw const info) };
    if documented == raw::REDISMODULE_OK {
        Ok(())
    } else {
        Err("document")
    }
}

/// The arguments as the server takes them: a list that ends with an entry of zeros, kept alive in `lists`.
fn list(
    arguments: &[Argument],
    lists: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> *mut raw::RedisModuleCommandArg {
    let entries = arguments.iter().map(|argument| {
        // SAFETY: a plain C structure, for which all zeros is valid.
        let mut entry: raw::RedisModuleCommandArg = unsafe { std::mem::zeroed() };
        entry.name = argument.name.as_ptr();
        entry.key_spec_index = -1;
        entry.token = argument.token.map_or(ptr::null(), CStr::as_ptr);
        if argument.optional {
            entry.flags |= raw::REDISMODULE_CMD_ARG_OPTIONAL;
        }
        if argument.multiple {
            entry.flags |= raw::REDISMODULE_CMD_ARG_MULTIPLE;
        }
        entry.kind = match argument.kind {
            ArgumentKind::Key => {
                entry.key_spec_index = 0;
                raw::REDISMODULE_ARG_TYPE_KEY
            }
            ArgumentKind::Integer => raw::REDISMODULE_ARG_TYPE_INTEGER,
            ArgumentKind::String => raw::REDISMODULE_ARG_TYPE_STRING,
            ArgumentKind::Word => raw::REDISMODULE_ARG_TYPE_PURE_TOKEN,
            ArgumentKind::OneOf(parts) => {
                entry.subargs = list(parts, lists);
                raw::REDISMODULE_ARG_TYPE_ONEOF
            }
            ArgumentKind::Block(parts) => {
                entry.subargs = list(parts, lists);
                raw::REDISMODULE_ARG_TYPE_BLOCK
            }
        };
        entry
    });
    let mut entries = Vec::from_iter(entries);
    // SAFETY: as above.
    entries.push(unsafe { std::mem::zeroed() });
    let start = entries.as_mut_ptr();
    lists.push(entries);
    start
}

/// # Safety
/// The command is one of this module, which is still loading.
unsafe fn categorise(
    command: *mut raw::RedisModuleCommand,
    spec: &Spec,
) -> Result<(), &'static str> {
    // SAFETY: the table is written while the module loads and never afterwards.
    let Some(set) = (unsafe { optional::RedisModule_SetCommandACLCategories }) else {
        return Ok(());
    };
    // SAFETY: as above.
    let own_category = unsafe { optional::RedisModule_AddACLCategory }.is_some();
    let categories = if own_category {
        spec.categories
    } else {
        spec.core_categories
    };
    // SAFETY: the caller promises the command; the server copies the string.
    if unsafe { set(command, categories.as_ptr()) } == raw::REDISMODULE_OK {
        Ok(())
    } else {
        Err("put into its ACL categories")
    }
}
