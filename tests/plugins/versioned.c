// A service library that the tests of hot operations compile several times, each time as another version:
//
//     cc -shared -fPIC -DVERSION='"1.0"' …
//
// 19900001 (read) and 29900001 (write) answer with VERSION, after as many milliseconds as their body says.
// With -DABORTS the body `abort` kills the worker, and `late 9` after 9 ms; with -DFAILS every call fails; with -DSLOW_MS=50 every call takes so
// much longer; with -DFEWER the last one is missing; with -DEXAMPLE the first two say an
// example; with -DNOWORK='"FILE"' it passes every check and no worker can make it
// while FILE is there.
// 29900002 starts a process that sleeps for an hour and answers with its pid: it must die with the worker.
#include <gantry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef SLOW_MS
#define SLOW_MS 0
#endif

static const GantryHost *platform;

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance)
{
    (void)call;
    (void)config;
    platform = host;
    *instance = NULL;
#ifdef NOWORK
    char words[512] = "";
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t length = file == NULL ? 0 : fread(words, 1, sizeof words - 1, file);
    if (file != NULL)
        fclose(file);
    for (size_t at = 0; at + 6 < length && access(NOWORK, F_OK) == 0; at++)
        if (memcmp(words + at, "child-", 6) == 0) {
            GantryText why = GANTRY_TEXT("not in a worker");
            return host->fail(call, why);
        }
#endif
    return GANTRY_OK;
}

static void destroy(void *instance, GantryCall *call)
{
    (void)instance;
    (void)call;
}

static GantryCode answer(GantryCall *call, const char *text)
{
    size_t bytes = strlen(text);
    uint8_t *room = platform->reply_reserve(call, bytes, NULL);
    if (room == NULL)
        return GANTRY_FAILED;
    memcpy(room, text, bytes);
    return platform->reply_commit(call, bytes);
}

static GantryCode say_version(void *instance, GantryCall *call)
{
    (void)instance;
    GantryBytes request = platform->request(call);
    char digits[16] = "0";
    if (request.bytes > 0 && request.bytes < sizeof digits) {
        memcpy(digits, request.data, request.bytes);
        digits[request.bytes] = 0;
    }
#ifdef ABORTS
    if (strncmp(digits, "late ", 5) == 0) {
        long late_ms = strtol(digits + 5, NULL, 10);
        struct timespec late = { late_ms / 1000, (late_ms % 1000) * 1000000L };
        nanosleep(&late, NULL);
    }
    if (strcmp(digits, "abort") == 0 || strncmp(digits, "late ", 5) == 0)
        abort();
#endif
#ifdef FAILS
    return GANTRY_FAILED;
#endif
    long ms = strtol(digits, NULL, 10) + SLOW_MS;
    struct timespec pause = { ms / 1000, (ms % 1000) * 1000000L };
    nanosleep(&pause, NULL);
    return answer(call, VERSION);
}

#ifndef FEWER
static GantryCode spawn(void *instance, GantryCall *call)
{
    (void)instance;
    pid_t pid = fork();
    if (pid < 0)
        return GANTRY_FAILED;
    if (pid == 0) {
        execl("/bin/sleep", "sleep", "3600", (char *)NULL);
        _exit(127);
    }
    char text[32];
    snprintf(text, sizeof text, "%ld", (long)pid);
    return answer(call, text);
}

#endif

#ifdef EXAMPLE
#undef EXAMPLE
#define EXAMPLE .flags = GANTRY_FLAG_IDEMPOTENT, .example = GANTRY_TEXT("0"), .example_reply = GANTRY_TEXT(VERSION),
#else
#define EXAMPLE
#endif

#define SERVICE(service_number, service_kind, service_name, function)                                             \
    {                                                                                                              \
        .struct_bytes = sizeof(GantryService), .number = (service_number), .kind = (service_kind),                 \
        .name = GANTRY_TEXT(service_name), .description = GANTRY_TEXT("made for the tests of hot operations"),     \
        .create = create, .call = (function), .destroy = destroy, EXAMPLE                                          \
    }

static const GantryService services[] = {
    SERVICE(19900001, GANTRY_KIND_READ, "versioned.read", say_version),
    SERVICE(29900001, GANTRY_KIND_WRITE, "versioned.write", say_version),
#ifndef FEWER
    SERVICE(29900002, GANTRY_KIND_WRITE, "versioned.spawn", spawn),
#endif
};

static const GantryLibrary library = {
    .struct_bytes = sizeof(GantryLibrary),
    .abi_major = GANTRY_ABI_MAJOR,
    .abi_minor = GANTRY_ABI_MINOR,
    .magic = GANTRY_MAGIC,
    .name = GANTRY_TEXT("versioned"),
    .version = GANTRY_TEXT(VERSION),
    .services_count = sizeof services / sizeof services[0],
    .services = services,
};

const GantryLibrary *gantry_service_entry(void)
{
    return &library;
}
