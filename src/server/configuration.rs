//! The configuration: `ratelimit.<name>` for `CONFIG GET` and `CONFIG SET`, and in configuration files; `<name> <value>`
//! as arguments of `loadmodule`, which count as the defaults.

use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis_module::raw;

use super::Inside;
use super::api::api;
use crate::stats::denied_keys;

const OK: c_int = raw::REDISMODULE_OK as c_int;

/// The most keys that `RL.TOP` can keep.
const MOST_TOP_KEYS: usize = 10_000;

/// What the module was loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `cl-throttle`: whether `CL.THROTTLE` is registered.
    pub(crate) cl_throttle: bool,
    /// `top-keys`: how many keys `RL.TOP` keeps.
    pub(crate) top_keys: usize,
}

impl Settings {
    const DEFAULT: Self = Self {
        cl_throttle: true,
        top_keys: 128,
    };

    /// The settings that pairs of names and values ask for. On failure, what is wrong with them.
    fn parse<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut settings = Self::DEFAULT;
        while let Some(name) = arguments.next() {
            let shown = name.escape_ascii();
            let name = name.to_ascii_lowercase();
            let name = name.strip_prefix(b"ratelimit.").unwrap_or(&name);
            if !matches!(name, b"cl-throttle" | b"top-keys") {
                return Err(format!(
                    "unknown argument '{shown}': there are 'cl-throttle yes|no' and 'top-keys 0-{MOST_TOP_KEYS}'"
                ));
            }
            let Some(value) = arguments.next() else {
                return Err(format!("the argument '{shown}' has no value"));
            };
            let text = std::str::from_utf8(value).unwrap_or_default();
            if name == b"cl-throttle" {
                settings.cl_throttle = match text.to_ascii_lowercase().as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(format!("'{shown}' must be yes or no")),
                };
            } else {
                settings.top_keys = Some(text)
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok())
                    .filter(|keys| (0..=MOST_TOP_KEYS).contains(keys))
                    .ok_or_else(|| {
                        format!("'{shown}' must be an integer from 0 to {MOST_TOP_KEYS}")
                    })?;
            }
        }
        Ok(settings)
    }
}

static CL_THROTTLE: AtomicBool = AtomicBool::new(Settings::DEFAULT.cl_throttle);
static TOP_KEYS: AtomicUsize = AtomicUsize::new(Settings::DEFAULT.top_keys);

/// Registers the configuration, with `arguments` as its defaults, and has the server set it from its own configuration.
/// On failure, why not.
pub(crate) fn configure<'a>(
    ctx: *mut raw::RedisModuleCtx,
    arguments: impl Iterator<Item = &'a [u8]>,
) -> Result<Settings, String> {
    let defaults = Settings::parse(arguments)?;
    // SAFETY: the context is that of the load; the functions have the types that the server calls them by, and stay
    // where they are until the module is unloaded.
    let throttle = unsafe {
        api!(RedisModule_RegisterBoolConfig)(
            ctx,
            c"cl-throttle".as_ptr(),
            c_int::from(defaults.cl_throttle),
            raw::REDISMODULE_CONFIG_IMMUTABLE,
            Some(cl_throttle),
            Some(set_cl_throttle),
            None,
            ptr::null_mut(),
        )
    };
    // SAFETY: as above.
    let top_keys = unsafe {
        api!(RedisModule_RegisterNumericConfig)(
            ctx,
            c"top-keys".as_ptr(),
            integer(defaults.top_keys),
            raw::REDISMODULE_CONFIG_DEFAULT,
            0,
            integer(MOST_TOP_KEYS),
            Some(top_keys),
            Some(set_top_keys),
            None,
            ptr::null_mut(),
        )
    };
    if [throttle, top_keys] != [OK, OK] {
        return Err("the server would not register the configuration".into());
    }
    // SAFETY: the context is that of the load.
    if unsafe { api!(RedisModule_LoadConfigs)(ctx) } != OK {
        return Err("the server's configuration of it is not valid".into());
    }
    Ok(Settings {
        cl_throttle: CL_THROTTLE.load(Ordering::Relaxed),
        top_keys: TOP_KEYS.load(Ordering::Relaxed),
    })
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

extern "C" fn set_top_keys(
    _name: *const c_char,
    value: c_longlong,
    _data: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // The server has made sure of the range.
    let keys = usize::try_from(value).unwrap_or(0);
    TOP_KEYS.store(keys, Ordering::Relaxed);
    // SAFETY: the server has called this function, and waits for it.
    denied_keys::resize(unsafe { Inside::new() }, keys);
    OK
}

/// A number of keys as the server has it.
fn integer(keys: usize) -> c_longlong {
    c_longlong::try_from(keys).unwrap_or(c_longlong::MAX)
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
        };
        for arguments in [
            ["cl-throttle", "no", "top-keys", "7"],
            ["ratelimit.top-keys", "7", "RateLimit.CL-Throttle", "NO"],
        ] {
            assert_eq!(parse(&arguments), Ok(expected));
        }
        assert_eq!(parse(&[]), Ok(Settings::DEFAULT));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for arguments in [
            ["wat", "1"].as_slice(),
            &["top-keys"],
            &["top-keys", "10001"],
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
