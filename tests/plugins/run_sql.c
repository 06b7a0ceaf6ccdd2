/* Runs the SQL that its body is, on the data source `main`, as a read: for tests of what is told of a statement. Replies
 * `done` when the statement has ended. Number 19900010, and 29900010 as a write. What begins with `!` is run as a write.
 * With -DARCHIVE it is another library (19900020, 29900020), on the data source `archive`. */

#include "hostile.h"

#ifdef ARCHIVE
#define NAME "run_sql_archive"
#define NUMBER 19900020
#define SOURCE "archive"
#else
#define NAME "run_sql"
#define NUMBER 19900010
#define SOURCE "main"
#endif

/* Not static, and not inlined: a report of its death names it. */
__attribute__((noinline, visibility("hidden"))) GantryCode run_the_statement(const GantryHost *host, GantryCall *call) {
    const GantryText interface = GANTRY_TEXT(GANTRY_INTERFACE_SQL);
    const GantrySql *sql = (const GantrySql *)host->get_interface(host, interface);
    if (sql == NULL) {
        return GANTRY_FAILED;
    }
    GantryBytes body = host->request(call);
    GantryText text = {(const char *)body.data, body.bytes};
    GantryText source = GANTRY_TEXT(SOURCE);
    GantryRows *rows = NULL;
    if (text.bytes > 0 && text.data[0] == '!') {
        const GantryText write = {text.data + 1, text.bytes - 1};
        if (sql->execute(call, source, write, NULL, 0, NULL) == GANTRY_OK) {
            return GANTRY_OK;
        }
        GantrySqlError refusal = {.struct_bytes = sizeof refusal};
        sql->last_error(call, &refusal);
        return host->fail(call, refusal.message);
    }
    GantryCode code = sql->query(call, source, text, NULL, 0, 10, &rows);
    if (code == GANTRY_OK) {
        sql->rows_close(call, rows);
        return code;
    }
    GantrySqlError error = {.struct_bytes = sizeof error};
    sql->last_error(call, &error);
    return host->fail(call, error.message);
}

static GantryCode call(void *instance, GantryCall *call) {
    const GantryHost *host = (const GantryHost *)instance;
    GantryCode code = run_the_statement(host, call);
    if (code != GANTRY_OK) {
        return GANTRY_FAILED;
    }
    uint8_t *room = host->reply_reserve(call, 4, NULL);
    if (room == NULL) {
        return GANTRY_FAILED;
    }
    room[0] = 'd';
    room[1] = 'o';
    room[2] = 'n';
    room[3] = 'e';
    return host->reply_commit(call, 4);
}

static const GantryText sources[] = {GANTRY_TEXT(SOURCE)};

#define SERVICE(service_number, service_kind, service_name)                                                       \
    {                                                                                                              \
        .struct_bytes = sizeof(GantryService), .number = (service_number), .kind = (service_kind),                 \
        .sources_count = 1, .name = GANTRY_TEXT(service_name),                                                     \
        .description = GANTRY_TEXT("Runs the SQL that its body is."), .sources = sources, .create = create_well,   \
        .call = call, .destroy = destroy_well,                                                                     \
    }

static const GantryService services[] = {
    SERVICE(NUMBER, GANTRY_KIND_READ, NAME),
    SERVICE(NUMBER + 10000000, GANTRY_KIND_WRITE, NAME ".write"),
};

static const GantryLibrary library = {
    .struct_bytes = sizeof(GantryLibrary),
    .abi_major = GANTRY_ABI_MAJOR,
    .abi_minor = GANTRY_ABI_MINOR,
    .magic = GANTRY_MAGIC,
    .name = GANTRY_TEXT(NAME),
    .version = GANTRY_TEXT("1.0.0"),
    .services_count = 2,
    .services = services,
};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
