// A service library whose services call others: 19900101 (read), 29900101 and 29900102 (write).
//
// The body is "NUMBER HOW REST": the service NUMBER is called with REST. With HOW = p the inner reply or error is passed
// on; with HOW = i an inner error is ignored and told in the reply; with HOW = f this service fails after the inner one;
// with HOW = t the reply is the body of a second call, of 19000001; with HOW = b 29000004 is called as well; with HOW = l
// the reply is made long; with HOW = s the inner call comes after 1.5 s.
// With -DBARE it is another library (19900111, 29900111, 29900112), which names no source. With -DSETTING the read needs the settings `rate` and `limit`, and the write the source `archive`.
#include <gantry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const GantryHost *platform;
static const GantryCalls *calls;

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance)
{
    (void)config;
    platform = host;
    GantryText id = GANTRY_TEXT(GANTRY_INTERFACE_CALL);
    calls = host->get_interface(host, id);
    *instance = NULL;
    if (calls == NULL) {
        GantryText why = GANTRY_TEXT("the platform lends no calls");
        return host->fail(call, why);
    }
    return GANTRY_OK;
}

static void destroy(void *instance, GantryCall *call)
{
    (void)instance;
    (void)call;
}

static GantryCode answer(GantryCall *call, const void *bytes, size_t length)
{
    uint8_t *room = platform->reply_reserve(call, length, NULL);
    if (room == NULL)
        return GANTRY_FAILED;
    if (length > 0)
        memcpy(room, bytes, length);
    return platform->reply_commit(call, length);
}

static GantryCode pass(void *instance, GantryCall *call)
{
    (void)instance;
    GantryBytes request = platform->request(call);
    char head[16] = "";
    if (request.bytes < 11)
        return GANTRY_FAILED;
    memcpy(head, request.data, 8);
    const uint8_t *text = request.data;
    char how = (char)text[9];
    GantryBytes body = { text + 11, request.bytes - 11 }, reply = { NULL, 0 };
    if (how == 's') {
        struct timespec pause = { 1, 500000000L };
        nanosleep(&pause, NULL);
    }
    uint32_t code = calls->call(call, (uint32_t)strtoul(head, NULL, 10), body, &reply);
    if (code == GANTRY_CALL_DONE && how == 't')
        code = calls->call(call, 19000001, reply, &reply);
    if (code == GANTRY_CALL_DONE && how == 'b') {
        static const char add[] = "{\"key\":\"both\",\"add\":1}";
        GantryBytes addition = { (const uint8_t *)add, sizeof add - 1 };
        code = calls->call(call, 29000004, addition, &reply);
    }
    if (how == 'f') {
        GantryText why = GANTRY_TEXT("failed after the inner call");
        return platform->fail(call, why);
    }
    if (code == GANTRY_CALL_DONE && how == 'l') {
        static char line[3000];
        memset(line, 'l', sizeof line);
        return answer(call, line, sizeof line);
    }
    if (code == GANTRY_CALL_DONE)
        return answer(call, reply.data, reply.bytes);
    GantryText told = { NULL, 0 }, field = { NULL, 0 };
    GantryText message = calls->last_error(call, &told, &field);
    if (how == 'p')
        return code == GANTRY_CALL_BUSINESS ? platform->business_error(call, told, field, message)
                                            : platform->fail(call, message);
    char line[512];
    int length = snprintf(line, sizeof line, "%u %.*s %.*s", code, (int)told.bytes, told.data ? told.data : "",
                          (int)message.bytes, message.data ? message.data : "");
    return answer(call, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

static const GantryText main_source[] = { GANTRY_TEXT("main"), GANTRY_TEXT("archive") };
static const GantryText settings[] = { GANTRY_TEXT("rate"), GANTRY_TEXT("limit") };

#ifdef SETTING
#define SOURCES_COUNT 2
#define SETTINGS_COUNT 2
#elif defined BARE
#define SOURCES_COUNT 0
#define SETTINGS_COUNT 0
#else
#define SOURCES_COUNT 1
#define SETTINGS_COUNT 0
#endif

#define SERVICE(service_number, service_kind, service_name)                                                       \
    {                                                                                                              \
        .struct_bytes = sizeof(GantryService), .number = (service_number), .kind = (service_kind),                 \
        .name = GANTRY_TEXT(service_name), .description = GANTRY_TEXT("made for the tests of calls inside calls"), \
        .create = create, .call = pass, .destroy = destroy, .sources = main_source,                                \
        .sources_count = SOURCES_COUNT, .settings = settings, .settings_count = SETTINGS_COUNT,                    \
    }

#ifdef BARE
#define NAME "bare"
#define NUMBER 19900111
#else
#define NAME "calls"
#define NUMBER 19900101
#endif

static const GantryService services[] = {
    SERVICE(NUMBER, GANTRY_KIND_READ, NAME ".read"),
    SERVICE(NUMBER + 10000000, GANTRY_KIND_WRITE, NAME ".write"),
    SERVICE(NUMBER + 10000001, GANTRY_KIND_WRITE, NAME ".other"),
};

static const GantryLibrary library = {
    .struct_bytes = sizeof(GantryLibrary),
    .abi_major = GANTRY_ABI_MAJOR,
    .abi_minor = GANTRY_ABI_MINOR,
    .magic = GANTRY_MAGIC,
    .name = GANTRY_TEXT(NAME),
    .version = GANTRY_TEXT("1.0"),
    .services_count = sizeof services / sizeof services[0],
    .services = services,
};

const GantryLibrary *gantry_service_entry(void)
{
    return &library;
}
