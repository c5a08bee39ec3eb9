/* A module that hears of what happens to keys, and writes to them while it does; see tests/server/robustness/other_writers.rs.
 *
 * writer.on TIMES EVENT WORD...: at the next events of that name, so many times, it carries out a command. The word KEY stands
 * for the key of the event. The answer is how often it has done so for the last writer.on. */
#include <stddef.h>
#include <string.h>

typedef struct Ctx Ctx;
typedef struct String String;

static int (*create_command)(Ctx *, const char *, int (*)(Ctx *, String **, int), const char *, int, int, int);
static void *(*call)(Ctx *, const char *, const char *, ...);
static void (*free_reply)(void *);
static int (*reply_with_long_long)(Ctx *, long long);
static void (*set_module_attribs)(Ctx *, const char *, int, int);
static int (*subscribe)(Ctx *, int, int (*)(Ctx *, int, const char *, String *));
static const char *(*text)(String *, size_t *);
static String *(*new_string)(Ctx *, const char *, size_t);
static void (*free_string)(Ctx *, String *);
static int (*to_integer)(String *, long long *);

enum { MAX_WORDS = 16 };

/* How often it has written, and will. */
static long long done, left;
static String *event;
static String *words[MAX_WORDS];
static int count;
/* Its own writes make events, too. */
static int busy;

static int is(String *string, const char *other) {
    size_t length;
    const char *bytes = text(string, &length);
    return strlen(other) == length && memcmp(bytes, other, length) == 0;
}

static int on_event(Ctx *ctx, int kind, const char *name, String *key) {
    (void)kind;
    String *arguments[MAX_WORDS];
    if (busy || left == 0 || !is(event, name)) return 0;
    for (int at = 1; at < count; at++) arguments[at - 1] = is(words[at], "KEY") ? key : words[at];
    busy = 1;
    void *reply = call(ctx, text(words[0], NULL), "!v", arguments, (size_t)(count - 1));
    busy = 0;
    done++;
    left--;
    if (reply) free_reply(reply);
    return 0;
}

static String *copy(String *string) {
    size_t length;
    const char *bytes = text(string, &length);
    return new_string(NULL, bytes, length);
}

static int on(Ctx *ctx, String **argv, int argc) {
    long long times, last = done;
    if (argc < 4 || argc - 3 > MAX_WORDS || to_integer(argv[1], &times) != 0) return 1;
    if (event) free_string(NULL, event);
    while (count) free_string(NULL, words[--count]);
    event = copy(argv[2]);
    for (int at = 3; at < argc; at++) words[count++] = copy(argv[at]);
    done = 0;
    left = times;
    return reply_with_long_long(ctx, last);
}

int RedisModule_OnLoad(Ctx *ctx, void **argv, int argc) {
    (void)argv;
    (void)argc;
    /* The first thing in a context is the function that finds the others. */
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    if (get_api("RedisModule_CreateCommand", &create_command) != 0 || get_api("RedisModule_Call", &call) != 0 ||
        get_api("RedisModule_FreeCallReply", &free_reply) != 0 ||
        get_api("RedisModule_ReplyWithLongLong", &reply_with_long_long) != 0 ||
        get_api("RedisModule_SubscribeToKeyspaceEvents", &subscribe) != 0 ||
        get_api("RedisModule_StringPtrLen", &text) != 0 || get_api("RedisModule_CreateString", &new_string) != 0 ||
        get_api("RedisModule_FreeString", &free_string) != 0 ||
        get_api("RedisModule_StringToLongLong", &to_integer) != 0 ||
        get_api("RedisModule_SetModuleAttribs", &set_module_attribs) != 0)
        return 1;
    set_module_attribs(ctx, "writer", 1, 1);
    /* Every kind of event, also of those that come with later servers. */
    if (subscribe(ctx, 0x7fffffff, on_event) != 0) return 1;
    return create_command(ctx, "writer.on", on, "admin", 0, 0, 0);
}
