/* 19900020 runs the query that its body is on the data source `main`, takes every value of every row through the host's
 * table, and writes them as `psql -At` does into a buffer that nobody reads. Replies how many rows and bytes that was. */

#include "gantry.h"
#include <stdio.h>
#include <string.h>

#define ROWS_MAX 100000
#define BUFFER_BYTES 65536

static const GantryHost *host_table;
static const GantrySql *sql_table;

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    const GantryText id = GANTRY_TEXT(GANTRY_INTERFACE_SQL);
    (void)call;
    (void)config;
    host_table = host;
    sql_table = (const GantrySql *)host->get_interface(host, id);
    *instance = (void *)host;
    return GANTRY_OK;
}

static void destroy(void *instance, GantryCall *call) {
    (void)instance;
    (void)call;
}

struct sink {
    char buffer[BUFFER_BYTES];
    size_t used;
    unsigned long long bytes;
};

static void put(struct sink *sink, const char *data, size_t bytes) {
    sink->bytes += bytes;
    if (bytes > BUFFER_BYTES - sink->used) {
        sink->used = 0;
    }
    if (bytes <= BUFFER_BYTES) {
        memcpy(sink->buffer + sink->used, data, bytes);
        sink->used += bytes;
    }
}

static void put_number(struct sink *sink, int64_t number) {
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        *--at = '-';
    }
    put(sink, at, (size_t)(digits + sizeof digits - at));
}

static void put_value(struct sink *sink, const GantryValue *value) {
    switch (value->tag) {
    case GANTRY_VALUE_I64:
        put_number(sink, value->data.i64_value);
        break;
    case GANTRY_VALUE_TEXT:
        put(sink, value->data.text_value.data, value->data.text_value.bytes);
        break;
    default:
        break;
    }
}

static GantryCode call(void *instance, GantryCall *call) {
    static struct sink sink;
    const GantryText source = GANTRY_TEXT("main");
    GantryBytes request = host_table->request(call);
    GantryText text = {(const char *)request.data, request.bytes};
    GantryRows *rows = NULL;
    unsigned long count = 0;
    (void)instance;
    if (sql_table->query(call, source, text, NULL, 0, ROWS_MAX, &rows) != GANTRY_OK) {
        GantrySqlError error = {.struct_bytes = sizeof error};
        sql_table->last_error(call, &error);
        return host_table->fail(call, error.message);
    }
    uint32_t columns = sql_table->rows_columns(call, rows);
    sink.used = 0;
    sink.bytes = 0;
    while (sql_table->rows_next(call, rows) == GANTRY_OK) {
        count++;
        for (uint32_t column = 0; column < columns; column++) {
            GantryValue value;
            if (sql_table->rows_value(call, rows, column, &value) != GANTRY_OK) {
                return GANTRY_FAILED;
            }
            put_value(&sink, &value);
            put(&sink, column + 1 == columns ? "\n" : "|", 1);
        }
    }
    sql_table->rows_close(call, rows);
    char told[64];
    size_t bytes = (size_t)snprintf(told, sizeof told, "%lu %llu", count, sink.bytes);
    uint8_t *room = host_table->reply_reserve(call, bytes, NULL);
    if (room == NULL) {
        return GANTRY_FAILED;
    }
    memcpy(room, told, bytes);
    return host_table->reply_commit(call, bytes);
}

static const GantryText sources[] = {GANTRY_TEXT("main")};

static const GantryService services[] = {{
    .struct_bytes = sizeof(GantryService),
    .number = 19900020,
    .kind = GANTRY_KIND_READ,
    .sources_count = 1,
    .name = GANTRY_TEXT("bench.bulk"),
    .description = GANTRY_TEXT("Fetches all rows of a query."),
    .sources = sources,
    .create = create,
    .call = call,
    .destroy = destroy,
}};

static const GantryLibrary library = {
    .struct_bytes = sizeof(GantryLibrary),
    .abi_major = GANTRY_ABI_MAJOR,
    .abi_minor = GANTRY_ABI_MINOR,
    .magic = GANTRY_MAGIC,
    .name = GANTRY_TEXT("bench_bulk"),
    .version = GANTRY_TEXT("1.0.0"),
    .services_count = 1,
    .services = services,
};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
