//! The configuration: `ratelimit.<name>` for `CONFIG GET` and `CONFIG SET`, and in configuration files; `<name> <value>`
//! as arguments of `loadmodule`, which count as the defaults.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::api::api;
use super::raw::{self, REDISMODULE_OK as OK};
use super::{Load, MainThread, clock};
use crate::stats::denied_keys;

/// What `top-keys` can be.
const TOP_KEYS_RANGE: RangeInclusive<u64> = 0..=denied_keys::MAX_KEYS;
/// What `top-half-life` can be.
const TOP_HALF_LIFE_RANGE: RangeInclusive<u64> = denied_keys::HALF_LIVES;

/// What the module was loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `cl-throttle`: whether `CL.THROTTLE` is registered.
    pub(crate) cl_throttle: bool,
    /// `top-keys`: how many keys `RL.TOP` keeps.
    pub(crate) top_keys: u64,
    /// `top-half-life`: in how many seconds the counts of `RL.TOP` halve; 0 if never.
    pub(crate) top_half_life: u64,
}

impl Settings {
    const DEFAULT: Self = Self {
        cl_throttle: true,
        top_keys: 128,
        top_half_life: 3_600,
    };

    /// The settings that pairs of names and values ask for. On failure, what is wrong with them.
    fn parse<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut settings = Self::DEFAULT;
        while let Some(name) = arguments.next() {
            let shown = name.escape_ascii();
            let name = name.to_ascii_lowercase();
            let name = name.strip_prefix(b"ratelimit.").unwrap_or(&name);
            if !matches!(name, b"cl-throttle" | b"top-keys" | b"top-half-life") {
                return Err(format!(
                    "unknown argument '{shown}': there are 'cl-throttle yes|no', 'top-keys {}' and 'top-half-life {}'",
                    from_to(&TOP_KEYS_RANGE, "-"),
                    from_to(&TOP_HALF_LIFE_RANGE, "-"),
                ));
            }
            let Some(value) = arguments.next() else {
                return Err(format!("the argument '{shown}' has no value"));
            };
            let number = |range: RangeInclusive<u64>| {
                number_within(value, &range).ok_or_else(|| {
                    let range = from_to(&range, " to ");
                    format!("'{shown}' must be an integer from {range}")
                })
            };
            match name {
                b"top-keys" => settings.top_keys = number(TOP_KEYS_RANGE)?,
                b"top-half-life" => settings.top_half_life = number(TOP_HALF_LIFE_RANGE)?,
                _ => {
                    settings.cl_throttle = match value.to_ascii_lowercase().as_slice() {
                        b"yes" => true,
                        b"no" => false,
                        _ => return Err(format!("'{shown}' must be yes or no")),
                    };
                }
            }
        }
        Ok(settings)
    }
}

fn from_to(range: &RangeInclusive<u64>, between: &str) -> String {
    format!("{}{between}{}", range.start(), range.end())
}

fn number_within(value: &[u8], range: &RangeInclusive<u64>) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    // Without a sign, which `parse` would accept.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    range.contains(&number).then_some(number)
}

static CL_THROTTLE: AtomicBool = AtomicBool::new(Settings::DEFAULT.cl_throttle);
static TOP_KEYS: AtomicU64 = AtomicU64::new(Settings::DEFAULT.top_keys);
static TOP_HALF_LIFE: AtomicU64 = AtomicU64::new(Settings::DEFAULT.top_half_life);

/// Registers the configuration, with the arguments of the load as its defaults, and has the server set it from its own
/// configuration. On failure, why not.
pub(crate) fn configure(load: &Load<'_>) -> Result<Settings, String> {
    let defaults = Settings::parse(load.arguments())?;
    // SAFETY: the context is that of the load; the functions have the types that the server calls them by, and stay
    // where they are until the module is unloaded.
    let throttle = unsafe {
        api!(RedisModule_RegisterBoolConfig)(
            load.ctx.as_ptr(),
            c"cl-throttle".as_ptr(),
            c_int::from(defaults.cl_throttle),
            raw::REDISMODULE_CONFIG_IMMUTABLE,
            Some(cl_throttle),
            Some(set_cl_throttle),
            None,
            ptr::null_mut(),
        )
    };
    let top_keys = register_number(
        load,
        c"top-keys",
        defaults.top_keys,
        &TOP_KEYS_RANGE,
        (top_keys, set_top_keys),
    );
    let top_half_life = register_number(
        load,
        c"top-half-life",
        defaults.top_half_life,
        &TOP_HALF_LIFE_RANGE,
        (top_half_life, set_top_half_life),
    );
    if [throttle, top_keys, top_half_life] != [OK; 3] {
        return Err("the server would not register the configuration".into());
    }
    // SAFETY: the context is that of the load.
    if unsafe { api!(RedisModule_LoadConfigs)(load.ctx.as_ptr()) } != OK {
        return Err("the server's configuration of it is not valid".into());
    }
    Ok(Settings {
        cl_throttle: CL_THROTTLE.load(Ordering::Relaxed),
        top_keys: TOP_KEYS.load(Ordering::Relaxed),
        top_half_life: TOP_HALF_LIFE.load(Ordering::Relaxed),
    })
}

/// What the server calls to read and to set a number.
type Accessors = (
    extern "C" fn(*const c_char, *mut c_void) -> c_longlong,
    unsafe extern "C" fn(
        *const c_char,
        c_longlong,
        *mut c_void,
        *mut *mut raw::RedisModuleString,
    ) -> c_int,
);

fn register_number(
    load: &Load<'_>,
    name: &CStr,
    default: u64,
    range: &RangeInclusive<u64>,
    (get, set): Accessors,
) -> c_int {
    // SAFETY: the context is that of the load; the functions have the types that the server calls them by, and stay
    // where they are until the module is unloaded; the server copies the name.
    unsafe {
        api!(RedisModule_RegisterNumericConfig)(
            load.ctx.as_ptr(),
            name.as_ptr(),
            integer(default),
            raw::REDISMODULE_CONFIG_DEFAULT,
            integer(*range.start()),
            integer(*range.end()),
            Some(get),
            Some(set),
            None,
            ptr::null_mut(),
        )
    }
}

extern "C" fn cl_throttle(_name: *const c_char, _data: *mut c_void) -> c_int {
    c_int::from(CL_THROTTLE.load(Ordering::Relaxed))
}

extern "C" fn set_cl_throttle(
    _name: *const c_char,
    value: c_int,
    _data: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    CL_THROTTLE.store(value != 0, Ordering::Relaxed);
    OK
}

extern "C" fn top_keys(_name: *const c_char, _data: *mut c_void) -> c_longlong {
    integer(TOP_KEYS.load(Ordering::Relaxed))
}

/// # Safety
/// It is the server that calls it.
unsafe extern "C" fn set_top_keys(
    _name: *const c_char,
    value: c_longlong,
    _data: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    TOP_KEYS.store(number(value), Ordering::Relaxed);
    let half_life = TOP_HALF_LIFE.load(Ordering::Relaxed);
    // SAFETY: the server has called this function, and waits until it returns.
    denied_keys::start(unsafe { MainThread::new() }, number(value), half_life);
    OK
}

extern "C" fn top_half_life(_name: *const c_char, _data: *mut c_void) -> c_longlong {
    integer(TOP_HALF_LIFE.load(Ordering::Relaxed))
}

/// # Safety
/// It is the server that calls it.
unsafe extern "C" fn set_top_half_life(
    _name: *const c_char,
    value: c_longlong,
    _data: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    TOP_HALF_LIFE.store(number(value), Ordering::Relaxed);
    // SAFETY: the server has called this function, and waits until it returns.
    denied_keys::set_half_life(unsafe { MainThread::new() }, clock::now(), number(value));
    OK
}

/// A number as the server takes it.
fn integer(number: u64) -> c_longlong {
    c_longlong::try_from(number).unwrap_or(c_longlong::MAX)
}

/// A number from the server, which has made sure of the range.
fn number(value: c_longlong) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn parse(arguments: &[&str]) -> Result<Settings, String> {
        Settings::parse(arguments.iter().map(|argument| argument.as_bytes()))
    }

    #[test]
    fn names_may_have_the_prefix_and_any_case() {
        let expected = Settings {
            cl_throttle: false,
            top_keys: 7,
            top_half_life: 0,
        };
        for arguments in [
            "cl-throttle no top-keys 7 top-half-life 0",
            "ratelimit.top-keys 7 RateLimit.Top-Half-Life 0 RateLimit.CL-Throttle NO",
        ] {
            let arguments: Vec<_> = arguments.split(' ').collect();
            assert_eq!(parse(&arguments), Ok(expected));
        }
        assert_eq!(parse(&[]), Ok(Settings::DEFAULT));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for arguments in [
            ["wat", "1"].as_slice(),
            &["top-keys"],
            &["top-keys", "1001"],
            &["top-half-life"],
            &["top-half-life", "2592001"],
            &["top-half-life", "-1"],
            &["top-half-life", "1h"],
            &["top-keys", "-1"],
            &["top-keys", "many"],
            &["top-keys", "+7"],
            &["top-keys", ""],
            &["cl-throttle", "maybe"],
            &["top-keys", "7", ""],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
