/* A module that asks for a decision while the server starts, before it has loaded its data; see sinks.rs. */
#include <stddef.h>

typedef struct Ctx Ctx;

static void *(*call)(Ctx *, const char *, const char *, ...);
static void (*free_reply)(void *);
static void (*set_module_attribs)(Ctx *, const char *, int, int);

int RedisModule_OnLoad(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    /* The first thing in a context is the function that finds the others. */
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    if (get_api("RedisModule_Call", &call) != 0 || get_api("RedisModule_FreeCallReply", &free_reply) != 0 ||
        get_api("RedisModule_SetModuleAttribs", &set_module_attribs) != 0)
        return 1;
    set_module_attribs(ctx, "asker", 1, 1);
    void *granted = call(ctx, "RL.CHECK", "ccc", "asked", "1", "1h");
    /* The key must not be there twice when the data comes. */
    void *forgotten = call(ctx, "RL.RESET", "c", "asked");
    if (!granted || !forgotten) return 1;
    free_reply(granted);
    free_reply(forgotten);
    return 0;
}
