/* A module that has nothing to do with this one but the name of a command; see life_cycle.rs. */
#include <stddef.h>

typedef struct Ctx Ctx;

static int (*create_command)(Ctx *, const char *, int (*)(Ctx *, void **, int), const char *, int, int, int);
static int (*reply_with_long_long)(Ctx *, long long);
static void (*set_module_attribs)(Ctx *, const char *, int, int);

static int throttle(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    return reply_with_long_long(ctx, 4711);
}

int RedisModule_OnLoad(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    /* The first thing in a context is the function that finds the others. */
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    if (get_api("RedisModule_CreateCommand", &create_command) != 0 ||
        get_api("RedisModule_ReplyWithLongLong", &reply_with_long_long) != 0 ||
        get_api("RedisModule_SetModuleAttribs", &set_module_attribs) != 0)
        return 1;
    set_module_attribs(ctx, "other", 1, 1);
    return create_command(ctx, "cl.throttle", throttle, "readonly", 1, 1, 1);
}
