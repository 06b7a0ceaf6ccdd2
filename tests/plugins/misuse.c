/* 39100002 breaks a rule of the contract, named by the first byte of its request, and replies `ok` where
 * the platform noticed and the call goes on:
 *
 *   c  returns a code that is none                  -> 306
 *   e  returns "business error" without telling one -> 306
 *   b  tells a business error with a broken code    -> 306
 *   m  commits more than it reserved, says OK       -> 306
 *   k  keeps its handle
 *   s  uses the handle kept by `k`                  -> ok: refused
 *   t  uses its handle on another thread            -> ok: refused
 *   r  uses rows after closing them                 -> ok: refused
 *   n  passes null where something must be          -> ok: refused
 *   v  binds a value with an unknown tag, and text that is not UTF-8 -> ok: refused
 *   d  uses a data source that it did not declare   -> ok: refused
 */

#include "hostile.h"
#include <pthread.h>

static const GantryHost *host_table;
static const GantrySql *sql_table;
static GantryCall *kept;

static const GantryText main_source = GANTRY_TEXT("main");
static const GantryText select_one = GANTRY_TEXT("SELECT 1");

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    const GantryText id = GANTRY_TEXT(GANTRY_INTERFACE_SQL);
    host_table = host;
    sql_table = (const GantrySql *)host->get_interface(host, id);
    return create_well(host, call, config, instance);
}

/* Not 0 if every function refuses the handle. */
static int is_refused(GantryCall *call) {
    GantryRows *rows = NULL;
    return host_table->number(call) == 0 && host_table->request(call).data == NULL &&
           host_table->reply_reserve(call, 1, NULL) == NULL && host_table->reply_commit(call, 0) != GANTRY_OK &&
           host_table->is_cancelled(call) != 0 && host_table->time_left_ns(call) == 0 &&
           sql_table->query(call, main_source, select_one, NULL, 0, 1, &rows) != GANTRY_OK && rows == NULL;
}

static void *use_elsewhere(void *call) {
    return is_refused((GantryCall *)call) ? call : NULL;
}

static int is_refused_elsewhere(GantryCall *call) {
    pthread_t thread;
    void *refused = NULL;
    return pthread_create(&thread, NULL, use_elsewhere, call) == 0 && pthread_join(thread, &refused) == 0 &&
           refused != NULL;
}

static int are_closed_rows_refused(GantryCall *call) {
    GantryRows *rows = NULL;
    GantryValue value;
    if (sql_table->query(call, main_source, select_one, NULL, 0, 1, &rows) != GANTRY_OK) {
        return 0;
    }
    /* Before the first row there is no value; and no 2nd column on it. */
    if (sql_table->rows_value(call, rows, 0, &value) == GANTRY_OK ||
        sql_table->rows_next(call, rows) != GANTRY_OK || sql_table->rows_columns(call, rows) != 1 ||
        sql_table->rows_value(call, rows, 1, &value) == GANTRY_OK ||
        sql_table->rows_value(call, rows, 0, &value) != GANTRY_OK || value.tag != GANTRY_VALUE_I64) {
        return 0;
    }
    sql_table->rows_close(call, rows);
    sql_table->rows_close(call, rows);
    return sql_table->rows_next(call, rows) == GANTRY_FAILED && sql_table->rows_columns(call, rows) == 0 &&
           sql_table->rows_value(call, rows, 0, &value) == GANTRY_FAILED;
}

static int are_nulls_refused(GantryCall *call) {
    const GantryText null_text = {NULL, 7};
    uint64_t affected;
    return sql_table->execute(call, null_text, select_one, NULL, 0, &affected) == GANTRY_FAILED &&
           sql_table->execute(call, main_source, null_text, NULL, 0, &affected) == GANTRY_FAILED &&
           sql_table->execute(call, main_source, select_one, NULL, 3, &affected) == GANTRY_FAILED &&
           sql_table->query(call, main_source, select_one, NULL, 0, 1, NULL) == GANTRY_FAILED &&
           sql_table->query(call, main_source, select_one, NULL, 0, 0, NULL) == GANTRY_FAILED &&
           sql_table->last_error(call, NULL) == GANTRY_FAILED &&
           host_table->get_interface(host_table, null_text) == NULL;
}

static int are_bad_values_refused(GantryCall *call) {
    GantryValue value = {77, 0, {0}};
    GantrySqlError error = {sizeof error, 0, 0, {0}, {0}, {NULL, 0}};
    const GantryText text = GANTRY_TEXT("SELECT ?");
    const GantryText latin1 = GANTRY_TEXT("caf\xe9");
    GantryRows *rows = NULL;
    if (sql_table->query(call, main_source, text, &value, 1, 1, &rows) != GANTRY_FAILED ||
        sql_table->last_error(call, &error) != GANTRY_OK || error.kind != GANTRY_SQL_BAD_VALUE) {
        return 0;
    }
    value.tag = GANTRY_VALUE_TEXT;
    value.data.text_value = latin1;
    return sql_table->query(call, main_source, text, &value, 1, 1, &rows) == GANTRY_FAILED;
}

static int is_undeclared_source_refused(GantryCall *call) {
    const GantryText other = GANTRY_TEXT("passages");
    GantrySqlError error = {sizeof error, 0, 0, {0}, {0}, {NULL, 0}};
    return sql_table->execute(call, other, select_one, NULL, 0, NULL) == GANTRY_FAILED &&
           sql_table->last_error(call, &error) == GANTRY_OK && error.kind == GANTRY_SQL_UNKNOWN_SOURCE;
}

static GantryCode call(void *instance, GantryCall *call) {
    const GantryText broken_code = GANTRY_TEXT("Not A Code");
    const GantryText nothing = GANTRY_TEXT("");
    GantryBytes request = host_table->request(call);
    int is_noticed = 0;
    switch (request.bytes == 0 ? 0 : request.data[0]) {
    case 'c':
        return 4711;
    case 'e':
        return GANTRY_BUSINESS;
    case 'b':
        return host_table->business_error(call, broken_code, nothing, nothing);
    case 'm':
        host_table->reply_reserve(call, 1, NULL);
        host_table->reply_commit(call, (size_t)1 << 40);
        return GANTRY_OK;
    case 'k':
        kept = call;
        is_noticed = 1;
        break;
    case 's':
        is_noticed = is_refused(kept);
        break;
    case 't':
        is_noticed = is_refused_elsewhere(call);
        break;
    case 'r':
        is_noticed = are_closed_rows_refused(call);
        break;
    case 'n':
        is_noticed = are_nulls_refused(call);
        break;
    case 'v':
        is_noticed = are_bad_values_refused(call);
        break;
    case 'd':
        is_noticed = is_undeclared_source_refused(call);
        break;
    }
    return is_noticed ? call_well(instance, call) : GANTRY_FAILED;
}

static const GantryText sources[] = {GANTRY_TEXT("main")};
static const GantryService services[] = {
    {sizeof(GantryService), 39100002, GANTRY_KIND_OTHER, 0, 0, 1, GANTRY_TEXT("hostile.misuse"),
     GANTRY_TEXT("Breaks rules of the contract."), GANTRY_TEXT("c"), GANTRY_TEXT(""), sources, create, call,
     destroy_well, NULL, 0, 0}};
static const GantryLibrary library = {
    sizeof(GantryLibrary), GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_MAGIC, GANTRY_TEXT("hostile_misuse"),
    GANTRY_TEXT("1.0.0"),  GANTRY_TEXT(""),  1,                0,            services, NULL};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
