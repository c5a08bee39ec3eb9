/* A module that loads if the server has the function that its argument names; see features.rs. */
#include <stddef.h>

typedef struct Ctx Ctx;

int RedisModule_OnLoad(Ctx *ctx, void **argv, int argc) {
    /* The first thing in a context is the function that finds the others. */
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    void (*set_module_attribs)(Ctx *, const char *, int, int);
    const char *(*text)(void *, size_t *);
    void *function;
    if (argc != 1 || get_api("RedisModule_SetModuleAttribs", &set_module_attribs) != 0 ||
        get_api("RedisModule_StringPtrLen", &text) != 0)
        return 1;
    set_module_attribs(ctx, "api", 1, 1);
    return get_api(text(argv[0], NULL), &function);
}
