/* 29900012 runs the lines of its body one after the other, as a write on the data source `main`, and goes on whatever
 * they say. A line `wait PATH` makes the file PATH.reached and waits until there is a file PATH; a line that begins
 * with SELECT is a query, any other is executed. Replies the kind of each line's error, 99 for none, parted by blanks,
 * and says that all is well. */

#include "hostile.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WENT_WELL 99

static const GantryHost *host_table;
static const GantrySql *sql_table;

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    const GantryText id = GANTRY_TEXT(GANTRY_INTERFACE_SQL);
    host_table = host;
    sql_table = (const GantrySql *)host->get_interface(host, id);
    return create_well(host, call, config, instance);
}

/* At most a minute: whoever made us wait may have failed. */
static void wait_for(const char *path, size_t bytes) {
    char name[600], reached[620];
    snprintf(name, sizeof name, "%.*s", (int)bytes, path);
    snprintf(reached, sizeof reached, "%s.reached", name);
    FILE *file = fopen(reached, "w");
    if (file != NULL) {
        fclose(file);
    }
    for (int look = 0; look < 6000 && access(name, F_OK) != 0; look++) {
        usleep(10000);
    }
}

static unsigned run(GantryCall *call, GantryText text) {
    const GantryText main_source = GANTRY_TEXT("main");
    GantryCode code;
    if (text.bytes > 6 && memcmp(text.data, "SELECT", 6) == 0) {
        GantryRows *rows = NULL;
        code = sql_table->query(call, main_source, text, NULL, 0, 10, &rows);
        if (code == GANTRY_OK) {
            sql_table->rows_close(call, rows);
        }
    } else {
        code = sql_table->execute(call, main_source, text, NULL, 0, NULL);
    }
    if (code == GANTRY_OK) {
        return WENT_WELL;
    }
    GantrySqlError error = {.struct_bytes = sizeof error};
    sql_table->last_error(call, &error);
    return error.kind;
}

static GantryCode call(void *instance, GantryCall *call) {
    (void)instance;
    char told[400];
    size_t told_bytes = 0;
    GantryBytes request = host_table->request(call);
    const char *line = (const char *)request.data, *end = line + request.bytes;
    while (line < end && told_bytes + 8 < sizeof told) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t bytes = (size_t)((stop == NULL ? end : stop) - line);
        if (bytes > 5 && memcmp(line, "wait ", 5) == 0) {
            wait_for(line + 5, bytes - 5);
        } else if (bytes > 0) {
            unsigned kind = run(call, (GantryText){line, bytes});
            told_bytes += (size_t)snprintf(told + told_bytes, sizeof told - told_bytes, "%s%u",
                                           told_bytes == 0 ? "" : " ", kind);
        }
        line += bytes + 1;
    }
    uint8_t *room = host_table->reply_reserve(call, told_bytes, NULL);
    if (room == NULL) {
        return GANTRY_FAILED;
    }
    memcpy(room, told, told_bytes);
    return host_table->reply_commit(call, told_bytes);
}

static const GantryText sources[] = {GANTRY_TEXT("main")};
static const GantryService services[] = {
    {sizeof(GantryService), 29900012, GANTRY_KIND_WRITE, 0, 0, 1, GANTRY_TEXT("hostile.script"),
     GANTRY_TEXT("Runs a script and goes on after errors."), GANTRY_TEXT("SELECT 1"), GANTRY_TEXT("99"), sources,
     create, call, destroy_well}};
static const GantryLibrary library = {
    sizeof(GantryLibrary), GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_MAGIC, GANTRY_TEXT("hostile_script"),
    GANTRY_TEXT("1.0.0"),  GANTRY_TEXT(""),  1,                0,            services, NULL};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
