/* Answers the time of day from nanoseconds in the file TEST_CLOCK names; see clock.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *nanos;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(0, sizeof *nanos, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    nanos = page;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *out) {
    if (!nanos || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return syscall(SYS_clock_gettime, id, out);
    long long now = *nanos;
    out->tv_sec = now / 1000000000;
    out->tv_nsec = now % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* Valkey 9.1 asks for the time of day once in a millisecond and adds what the processor's own counter has moved since.
 * It uses that counter where /proc/cpuinfo says that it is steady, and asks each time where the file cannot be read.
 * (Processors other than x86 are not asked: there, the server's time does not stand still for this version.) */
static FILE *opened(const char *function, const char *path, const char *mode) {
    if (strcmp(path, "/proc/cpuinfo") == 0) {
        errno = ENOENT;
        return 0;
    }
    FILE *(*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, function);
    return real(path, mode);
}

FILE *fopen(const char *restrict path, const char *restrict mode) {
    return opened("fopen", path, mode);
}

FILE *fopen64(const char *restrict path, const char *restrict mode) {
    return opened("fopen64", path, mode);
}
