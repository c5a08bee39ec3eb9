// The floor: a module whose commands do what no command of a module can do without, and decide nothing. What they take
// is what the server takes. Only benches load it.
#include <stddef.h>

typedef void Context, String, Key;

static int (*create_command)(Context *, const char *, int (*)(Context *, String **, int), const char *, int, int, int);
static Key *(*open_key)(Context *, String *, int);
static void (*close_key)(Key *);
static char *(*string_dma)(Key *, size_t *, int);
static int (*set_abs_expire)(Key *, long long);
static int (*signal_modified_key)(Context *, String *);
static int (*replicate_verbatim)(Context *);
static int (*reply_with_array)(Context *, long);
static int (*reply_with_long_long)(Context *, long long);
static void (*set_module_options)(Context *, int);
static int (*set_module_attribs)(Context *, const char *, int, int);

enum { OK = 0, ERR = 1, READ_WRITE = 3, WRITE = 2, NO_IMPLICIT_SIGNAL_MODIFIED = 2, API_VERSION = 1 };

static const struct {
    const char *name;
    void *function;
} functions[] = {
    {"RedisModule_CreateCommand", &create_command},
    {"RedisModule_OpenKey", &open_key},
    {"RedisModule_CloseKey", &close_key},
    {"RedisModule_StringDMA", &string_dma},
    {"RedisModule_SetAbsExpire", &set_abs_expire},
    {"RedisModule_SignalModifiedKey", &signal_modified_key},
    {"RedisModule_ReplicateVerbatim", &replicate_verbatim},
    {"RedisModule_ReplyWithArray", &reply_with_array},
    {"RedisModule_ReplyWithLongLong", &reply_with_long_long},
    {"RedisModule_SetModuleOptions", &set_module_options},
    {"RedisModule_SetModuleAttribs", &set_module_attribs},
};

static int reply(Context *context) {
    reply_with_array(context, 5);
    reply_with_long_long(context, 1);
    reply_with_long_long(context, 10000);
    reply_with_long_long(context, 9999);
    reply_with_long_long(context, 0);
    reply_with_long_long(context, 3600000);
    return OK;
}

// FLOOR.OPEN key ...: what a denial cannot do without.
static int floor_open(Context *context, String **arguments, int count) {
    (void)count;
    close_key(open_key(context, arguments[1], READ_WRITE));
    return reply(context);
}

// FLOOR.WRITE key ...: and what a grant does with the string that is there. The bytes stay as they are.
static int floor_write(Context *context, String **arguments, int count) {
    (void)count;
    Key *key = open_key(context, arguments[1], READ_WRITE);
    size_t length;
    volatile char *bytes = string_dma(key, &length, WRITE);
    if (length > 0) bytes[0] = bytes[0];
    set_abs_expire(key, 4102444800000);
    signal_modified_key(context, arguments[1]);
    replicate_verbatim(context);
    close_key(key);
    return reply(context);
}

int RedisModule_OnLoad(Context *context, String **arguments, int count) {
    (void)arguments, (void)count;
    // A server hands out its functions by their names: the first field of a context is the function to ask.
    int (*get_function)(const char *, void *) = *(int (**)(const char *, void *))context;
    for (size_t at = 0; at < sizeof functions / sizeof functions[0]; at++)
        if (get_function(functions[at].name, functions[at].function) != OK) return ERR;
    set_module_attribs(context, "floor", 1, API_VERSION);
    set_module_options(context, NO_IMPLICIT_SIGNAL_MODIFIED);
    if (create_command(context, "floor.open", floor_open, "write deny-oom fast", 1, 1, 1) != OK) return ERR;
    return create_command(context, "floor.write", floor_write, "write deny-oom fast", 1, 1, 1);
}
