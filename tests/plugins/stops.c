/* 29900011 adds a row to the diag service's counters, with its request as the key, and stops its own process as the
 * last thing it does before it returns: between its last statement and the platform's commit. When it goes on, it says
 * that all is well.
 */

#include "hostile.h"
#include <signal.h>

static const GantryHost *host_table;
static const GantrySql *sql_table;

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    const GantryText id = GANTRY_TEXT(GANTRY_INTERFACE_SQL);
    host_table = host;
    sql_table = (const GantrySql *)host->get_interface(host, id);
    return create_well(host, call, config, instance);
}

static GantryCode call(void *instance, GantryCall *call) {
    const GantryText main_source = GANTRY_TEXT("main");
    const GantryText insert = GANTRY_TEXT("INSERT INTO diag_counter (counter_key, counter_value) VALUES (?, 1)");
    GantryBytes request = host_table->request(call);
    GantryValue key = {GANTRY_VALUE_TEXT, 0, {0}};
    key.data.text_value.data = (const char *)request.data;
    key.data.text_value.bytes = request.bytes;
    if (sql_table->execute(call, main_source, insert, &key, 1, NULL) != GANTRY_OK) {
        return GANTRY_FAILED;
    }
    raise(SIGSTOP);
    return call_well(instance, call);
}

static const GantryText sources[] = {GANTRY_TEXT("main")};
static const GantryService services[] = {
    {sizeof(GantryService), 29900011, GANTRY_KIND_WRITE, 0, 0, 1, GANTRY_TEXT("hostile.stops"),
     GANTRY_TEXT("Stops before its commit."), GANTRY_TEXT("key"), GANTRY_TEXT(""), sources, create, call,
     destroy_well, NULL, 0, 0}};
static const GantryLibrary library = {
    sizeof(GantryLibrary), GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_MAGIC, GANTRY_TEXT("hostile_stops"),
    GANTRY_TEXT("1.0.0"),  GANTRY_TEXT(""),  1,                0,            services, NULL};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
