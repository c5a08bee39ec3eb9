/* A module that calls RL.TOP on its own behalf, as no user; see tests/server/commands/top.rs. */
#include <stddef.h>

typedef struct Ctx Ctx;

static int (*create_command)(Ctx *, const char *, int (*)(Ctx *, void **, int), const char *, int, int, int);
static void *(*call)(Ctx *, const char *, const char *, ...);
static size_t (*length)(void *);
static void (*free_reply)(void *);
static int (*reply_with_long_long)(Ctx *, long long);
static void (*set_module_attribs)(Ctx *, const char *, int, int);

static int rows(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    void *reply = call(ctx, "RL.TOP", "");
    long long count = reply ? (long long)length(reply) : -1;
    if (reply) free_reply(reply);
    return reply_with_long_long(ctx, count);
}

int RedisModule_OnLoad(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    /* The first thing in a context is the function that finds the others. */
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    if (get_api("RedisModule_CreateCommand", &create_command) != 0 || get_api("RedisModule_Call", &call) != 0 ||
        get_api("RedisModule_CallReplyLength", &length) != 0 ||
        get_api("RedisModule_FreeCallReply", &free_reply) != 0 ||
        get_api("RedisModule_ReplyWithLongLong", &reply_with_long_long) != 0 ||
        get_api("RedisModule_SetModuleAttribs", &set_module_attribs) != 0)
        return 1;
    set_module_attribs(ctx, "caller", 1, 1);
    return create_command(ctx, "caller.rows", rows, "readonly", 0, 0, 0);
}
