//! Whether the server may unload the module.
//!
//! A server looks a command up before it carries it out, and frees what it has found when the module goes. A request
//! that waits in between is carried out with what is in that memory afterwards: nothing, and the server crashes; or, if
//! another build was loaded, any command of that build. Requests wait in between
//!
//! - if there are I/O threads, which look commands up (Redis 8.0, Valkey 8.0 and later): at any time;
//! - in an open transaction (all servers);
//! - if they wait for the end of a pause, or to be retried after one (Redis 7.2, Valkey 7.2 and later);
//! - behind a command that blocks, if the server looks up all that came in one piece (Valkey 9.1).
//!
//! A server also keeps, for each client, the command that it has sent last, and `CLIENT LIST` reads its name (all
//! servers). If that command is gone and its memory has been taken by something else, the server crashes.
//!
//! So the module does not go while there are such requests or clients, or may be: a server does not show which of these
//! things it does.
//!
//! Nor does it go if users have rules that name its commands, and the server would end by an assertion.

use std::ffi::CStr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::Load;
use super::api::optional;
use super::called::Reply;
use super::context::Context;
use super::raw;
use super::server_info::ServerInfo;

/// How many commands the server had carried out when it loaded the module. As long as there are no more, the load is
/// not over, and the server may call it off: then the module has to go (Redis 8.0 ends if it does not), and nobody has
/// used it yet.
static COMMANDS_AT_LOAD: AtomicU64 = AtomicU64::new(0);

/// Whether the server ends. Valkey 9.1 unloads all modules as one of the last things that it does.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How often the server's cron has to run until nothing is left of I/O threads that have ended.
static TICKS_TO_WAIT: AtomicU8 = AtomicU8::new(0);

/// The event loop turns once between two runs of the cron, and with it comes everything that threads had read.
const TICKS: u8 = 2;

const INSTEAD: &str =
    "Upgrade by a replica with the new build and a failover to it, or by a restart";

/// The load is at its end.
pub(super) fn begin(load: &Load<'_>) {
    COMMANDS_AT_LOAD.store(commands_processed(load.ctx), Ordering::Relaxed);
}

fn commands_processed(ctx: Context<'_>) -> u64 {
    let stats = ServerInfo::section(ctx, c"stats");
    stats.number(c"total_commands_processed").unwrap_or(0)
}

pub(super) fn on_shutdown() {
    ENDING.store(true, Ordering::Relaxed);
}

pub(super) fn on_tick() {
    let ticks = TICKS_TO_WAIT.load(Ordering::Relaxed);
    TICKS_TO_WAIT.store(ticks.saturating_sub(1), Ordering::Relaxed);
}

/// # Safety
/// `change` is null or what the server gives with the event of a changed configuration.
pub(super) unsafe fn on_configuration(change: *const raw::RedisModuleConfigChangeV1) {
    // SAFETY: the caller promises it.
    let Some(change) = (unsafe { change.as_ref() }) else {
        return;
    };
    if change.config_names.is_null() {
        return;
    }
    let count = usize::try_from(change.num_changes).unwrap_or(0);
    // SAFETY: the server keeps that many C strings there until the event is over.
    let names = unsafe { slice::from_raw_parts(change.config_names, count) };
    let threads = names.iter().any(|name| {
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(*name) };
        name == c"io-threads"
    });
    if threads {
        TICKS_TO_WAIT.store(TICKS, Ordering::Relaxed);
    }
}

/// Why the module must not go now; `None` if it may.
pub(super) fn objection(ctx: Context<'_>) -> Option<String> {
    let commands = commands_processed(ctx);
    if ENDING.load(Ordering::Relaxed) || commands == COMMANDS_AT_LOAD.load(Ordering::Relaxed) {
        return None;
    }
    threads_work(ctx)
        .or_else(|| clients_hold_commands(ctx))
        .or_else(|| users_need_it(ctx))
}

fn threads_work(ctx: Context<'_>) -> Option<String> {
    let reply = Reply::to(ctx, c"CONFIG", c"GET", Some(c"io-threads"));
    let threads = reply.and_then(|reply| reply.texts().nth(1)?.parse::<u32>().ok());
    match threads {
        Some(1) if TICKS_TO_WAIT.load(Ordering::Relaxed) == 0 => None,
        Some(1) => Some("io-threads was changed a moment ago. Try again in a second".into()),
        Some(threads) => Some(format!(
            "io-threads is {threads}, and I/O threads hold requests by its commands at any time. {INSTEAD}"
        )),
        None => Some(format!(
            "CONFIG GET io-threads tells nothing here, and I/O threads would hold requests by its commands. {INSTEAD}"
        )),
    }
}

fn clients_hold_commands(ctx: Context<'_>) -> Option<String> {
    let reply = Reply::to(ctx, c"CLIENT", c"LIST", None);
    let Some(clients) = reply.as_ref().and_then(|reply| reply.texts().next()) else {
        return Some(format!(
            "CLIENT LIST tells nothing here about requests that wait. {INSTEAD}"
        ));
    };
    let id_of = |holds: &dyn Fn(&str) -> bool| {
        let client = clients.lines().find(|client| holds(client))?;
        Some(field(client, "id"))
    };
    if let Some(id) = id_of(&waits_with_requests) {
        return Some(format!(
            "the client with id={id} waits with requests, in a transaction or blocked. Try again when it does not"
        ));
    }
    let id = id_of(&|client| is_ours(field(client, "cmd")))?;
    Some(format!(
        "the last command of the client with id={id} is one of its own, and CLIENT LIST would read what is gone. \
         Disconnect clients first, in the same transaction: CLIENT KILL TYPE normal"
    ))
}

/// Whether a client, as `CLIENT LIST` shows it, may hold a command that was looked up and not carried out.
fn waits_with_requests(client: &str) -> bool {
    let flags = field(client, "flags");
    let is_held_up = flags.contains(['b', 'u']);
    // The transaction that unloads is under way itself.
    let is_executing = field(client, "cmd") == "exec";
    let has_queue = field(client, "multi")
        .parse()
        .is_ok_and(|queued: i64| queued > 0);
    is_held_up || has_queue && !is_executing
}

/// The value of a field of a client.
fn field<'a>(client: &'a str, name: &str) -> &'a str {
    client
        .split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_default()
}

/// Whether a command is, by its name, one of the module's.
fn is_ours(command: &str) -> bool {
    command.starts_with("rl.") || command == "cl.throttle"
}

fn users_need_it(ctx: Context<'_>) -> Option<String> {
    // SAFETY: the table is written while the module loads and never afterwards.
    unsafe { optional::RedisModule_SetCommandACLCategories }?;
    let rules = Reply::to(ctx, c"ACL", c"LIST", None)?;
    rules.texts().any(|user| names_ours(&user)).then(|| {
        "the rules of a user name its commands, and this server would end. Give users +@ratelimit instead".into()
    })
}

/// Whether a user's rules, as `ACL LIST` shows them, name commands of the module.
fn names_ours(rules: &str) -> bool {
    rules
        .split([' ', '(', ')'])
        .filter_map(|rule| rule.strip_prefix(['+', '-']))
        .any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::{names_ours, waits_with_requests};

    #[test]
    fn a_client_waits_with_requests_in_an_open_transaction_or_when_it_is_held_up() {
        for (client, waits) in [
            ("flags=N multi=-1 cmd=rl.check", false),
            ("flags=N multi=0 cmd=rl.check", false),
            ("flags=x multi=0 cmd=multi", false),
            ("flags=x multi=2 cmd=get", true),
            // The exchange itself.
            ("flags=x multi=2 cmd=exec", false),
            // Paused.
            ("flags=xb multi=2 cmd=exec", true),
            ("flags=b multi=-1 cmd=rl.check", true),
            ("flags=b multi=-1 cmd=cl.throttle", true),
            ("flags=u multi=-1 cmd=rl.check", true),
            // What came behind a command that blocks.
            ("flags=b multi=-1 cmd=blpop", true),
        ] {
            let client = format!("id=7 addr=/a b/s:0 name= {client} user=default");
            assert_eq!(waits_with_requests(&client), waits, "{client}");
        }
    }

    #[test]
    fn rules_name_commands_of_the_module_also_in_selectors_and_when_they_take_them_away() {
        for rules in [
            "user a on nopass ~* resetchannels -@all +get +rl.check",
            "user a on nopass ~* +@all -rl.reset",
            "user a on nopass -@all (~x +cl.throttle)",
        ] {
            assert!(names_ours(rules), "{rules}");
        }
        for rules in [
            "user a on nopass ~rl.check &* -@all +@ratelimit +get",
            "user rl.check on nopass ~* +@all",
        ] {
            assert!(!names_ours(rules), "{rules}");
        }
    }
}
