//! A module with faults of memory, which whatever looks for such faults has to find; see
//! tests/server/robustness/memory_faults.rs. scripts/test-memory compiles it as it compiles the module.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::hint::black_box;

type Command = unsafe extern "C" fn(*mut c_void, *mut *mut c_void, c_int) -> c_int;

static mut CREATE_STRING: Option<
    unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> *mut c_void,
> = None;
static mut REPLY: Option<unsafe extern "C" fn(*mut c_void, c_longlong) -> c_int> = None;

/// The bytes of a block on the heap.
fn block() -> Vec<u8> {
    black_box(vec![1; 32])
}

unsafe extern "C" fn read_beyond(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    let block = block();
    unsafe { REPLY.unwrap()(ctx, (*block.as_ptr().add(black_box(32))).into()) }
}

unsafe extern "C" fn use_after_free(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    let block = block();
    let bytes = black_box(block.as_ptr());
    drop(black_box(block));
    unsafe { REPLY.unwrap()(ctx, (*bytes).into()) }
}

/// Depends on what nobody has written.
unsafe extern "C" fn uninitialised(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    let block = black_box(Vec::<u8>::with_capacity(32));
    let is_zero = unsafe { *block.as_ptr() } == 0;
    unsafe { REPLY.unwrap()(ctx, if black_box(is_zero) { 1 } else { 2 }) }
}

/// Leaves what the server has made for the module.
unsafe extern "C" fn lose(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    unsafe {
        CREATE_STRING.unwrap()(std::ptr::null_mut(), c"lost".as_ptr(), 4);
        REPLY.unwrap()(ctx, 1)
    }
}

/// # Safety
/// It is the server that calls it.
#[unsafe(no_mangle)]
unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    type GetApi = unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int;
    type SetAttributes = unsafe extern "C" fn(*mut c_void, *const c_char, c_int, c_int);
    type CreateCommand = unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        Command,
        *const c_char,
        c_int,
        c_int,
        c_int,
    ) -> c_int;
    // The first thing in a context is the function that finds the others.
    let get_api = unsafe { *ctx.cast::<GetApi>() };
    let (mut set_attributes, mut create_command) = (None::<SetAttributes>, None::<CreateCommand>);
    let functions: [(&CStr, *mut c_void); 4] = [
        (
            c"RedisModule_SetModuleAttribs",
            (&raw mut set_attributes).cast(),
        ),
        (
            c"RedisModule_CreateCommand",
            (&raw mut create_command).cast(),
        ),
        (c"RedisModule_CreateString", (&raw mut CREATE_STRING).cast()),
        (c"RedisModule_ReplyWithLongLong", (&raw mut REPLY).cast()),
    ];
    for (name, to) in functions {
        unsafe { get_api(name.as_ptr(), to) };
    }
    let commands: [(&CStr, Command); 4] = [
        (c"faulty.read-beyond", read_beyond),
        (c"faulty.use-after-free", use_after_free),
        (c"faulty.uninitialised", uninitialised),
        (c"faulty.lose", lose),
    ];
    unsafe { set_attributes.unwrap()(ctx, c"faulty".as_ptr(), 1, 1) };
    for (name, command) in commands {
        unsafe {
            create_command.unwrap()(ctx, name.as_ptr(), command, c"readonly".as_ptr(), 0, 0, 0)
        };
    }
    0
}
