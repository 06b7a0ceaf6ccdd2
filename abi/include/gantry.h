// The contract between the Gantry platform and a service library, for C and C++.
//
// A service library is a shared object that exports one symbol,
//
//     const GantryLibrary *gantry_service_entry(void);
//
// which returns a static descriptor: what the library is, its services, and the schema of its own
// tables. abi/README.md says which change of this file is compatible; services/cpp_example is a whole
// library. Compile with -fvisibility=hidden, C++ also with -fno-gnu-unique, and mark that one function
// with GANTRY_EXPORT. Texts are UTF-8 with a length and no terminating zero. Whoever allocates frees.
// Every array element and table begins with its size and may grow at its end.
//
// This file is generated from abi/src; do not edit it.

#ifndef GANTRY_H
#define GANTRY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GANTRY_EXPORT __attribute__((visibility("default")))
#else
#define GANTRY_EXPORT
#endif

// A GantryText of a string literal, also usable in a static initialiser.
#define GANTRY_TEXT(literal) { (literal), sizeof(literal) - 1 }

// Ids of the interfaces, for get_interface: GantrySql, GantrySerial, GantryLog,
// GantryDocument (since 1.1), GantryCalls (since 1.2).
#define GANTRY_INTERFACE_SQL "gantry.sql/1"
#define GANTRY_INTERFACE_SERIAL "gantry.serial/1"
#define GANTRY_INTERFACE_LOG "gantry.log/1"
#define GANTRY_INTERFACE_DOCUMENT "gantry.document/1"
#define GANTRY_INTERFACE_CALL "gantry.call/1"
// Reserved; no platform of ABI 1.2 has it.
#define GANTRY_INTERFACE_CACHE "gantry.cache/1"

// One call that is running. Opaque. Valid only until the library's function returns, and only on the
// thread on which the platform called it; a handle used later or elsewhere is recognised and refused.
typedef struct GantryCall GantryCall;

// Rows of a query that are being read. Opaque. The platform's; valid until rows_close or the end of
// the call, which closes them; a handle used later is recognised and refused.
typedef struct GantryRows GantryRows;

// Documents that came back and are being read. Opaque. The platform's; valid until documents_close or the
// end of the call, which closes them; a handle used later is recognised and refused.
typedef struct GantryDocuments GantryDocuments;


// Level of a log record: for the author of the service.
#define GANTRY_LOG_DEBUG 1

// Level of a log record: something is not as it should be, and the request goes on.
#define GANTRY_LOG_WARN 2

// Level of a log record: something failed.
#define GANTRY_LOG_ERROR 3

// Stands after the versions in a `GantryLibrary`: the letters `GANTRYSO` as a little-endian number. Tells a descriptor from something else that has the same symbol.
#define GANTRY_MAGIC 5716010562199896391

// Major version of this contract. A library of another major version is refused.
#define GANTRY_ABI_MAJOR 1

// Minor version of this contract. A library of a higher minor version is refused; a lower one loads.
#define GANTRY_ABI_MINOR 2

// The service only reads. Its requests go to the read queue.
#define GANTRY_KIND_READ 1

// The service writes. Its requests go to the write queue, and the platform makes each take effect once.
#define GANTRY_KIND_WRITE 2

// Neither a plain read nor a plain write; treated as a write.
#define GANTRY_KIND_OTHER 3

// The service may be run again for the same request without harm, even where the platform could not
// prove that the first run had no effect.
#define GANTRY_FLAG_IDEMPOTENT 1

// Most services in one library.
#define GANTRY_SERVICES_MAX 1024

// Most data sources that one service names.
#define GANTRY_SOURCES_MAX 16

// Most members of its configuration that one service names.
#define GANTRY_SETTINGS_MAX 64

// Most migrations in one library.
#define GANTRY_MIGRATIONS_MAX 1024

// Tag of a `GantryValue`: NULL.
#define GANTRY_VALUE_NULL 0

// Tag of a `GantryValue`: a 64-bit integer in `i64_value`. Money is an integer number of fen.
#define GANTRY_VALUE_I64 1

// Tag of a `GantryValue`: a floating-point number in `f64_value`.
#define GANTRY_VALUE_F64 2

// Tag of a `GantryValue`: text in `text_value`. Decimals, dates and times cross as text, exactly.
#define GANTRY_VALUE_TEXT 3

// Tag of a `GantryValue`: bytes in `blob_value`.
#define GANTRY_VALUE_BLOB 4

// Some error that has no kind of its own.
#define GANTRY_SQL_OTHER 0

// A unique or primary key would have been there twice.
#define GANTRY_SQL_UNIQUE 1

// A foreign key points to nothing, or something still points to the row.
#define GANTRY_SQL_FOREIGN_KEY 2

// A check constraint is not met.
#define GANTRY_SQL_CHECK 3

// NULL in a column that allows none.
#define GANTRY_SQL_NOT_NULL 4

// Some other constraint is not met.
#define GANTRY_SQL_CONSTRAINT 5

// Deadlock, serialisation failure or a lock that was not got: the whole request may be tried again.
// Return `GANTRY_FAILED`; the platform decides.
#define GANTRY_SQL_RETRYABLE 6

// The statement passed its time limit, which is the request's time left.
#define GANTRY_SQL_TIMEOUT 7

// The connection to the database was lost.
#define GANTRY_SQL_CONNECTION_LOST 8

// The statement is wrong: syntax, unknown table or column, wrong number of parameters.
#define GANTRY_SQL_BAD_STATEMENT 9

// A value does not fit: type, range, length, invalid UTF-8.
#define GANTRY_SQL_BAD_VALUE 10

// The answer has more than `rows_max` rows.
#define GANTRY_SQL_TOO_MANY_ROWS 11

// The platform has no data source of that name, or the service did not declare it in `sources`.
#define GANTRY_SQL_UNKNOWN_SOURCE 12

// A write in a service of kind read, or on a source that is read-only for this request.
#define GANTRY_SQL_READ_ONLY 13

// The platform ended the transaction: return at once; nothing more can succeed.
#define GANTRY_SQL_ABORTED 14

// Data sources are not lent here: while an instance is created or destroyed, or after the call.
#define GANTRY_SQL_UNAVAILABLE 15

// What `next` answers: done.
#define GANTRY_SERIAL_OK 0

// What `next` answers: the platform has no serial of this type.
#define GANTRY_SERIAL_UNKNOWN_TYPE 1

// What `next` answers: `count` is 0 or above 10000.
#define GANTRY_SERIAL_BAD_COUNT 2

// What `next` answers: the source of serials cannot be reached now.
#define GANTRY_SERIAL_UNAVAILABLE 3

// What `next` answers: the type's number space is used up.
#define GANTRY_SERIAL_EXHAUSTED 4

// Most serials in one `next`.
#define GANTRY_SERIALS_MAX 10000

// The data source is not configured on this node, or the service did not declare it in `sources`.
#define GANTRY_SOURCE_NONE 0

// A data source for statements, `gantry.sql/1`.
#define GANTRY_SOURCE_SQL 1

// A data source for documents, `gantry.document/1`.
#define GANTRY_SOURCE_DOCUMENT 2

// Documents that match `filter`. Options: `projection`, `sort`, `skip`, `limit`, `hint`.
#define GANTRY_DOCUMENT_FIND 1

// Stores `documents`, one after the other; stops at the first that is refused.
#define GANTRY_DOCUMENT_INSERT 2

// Changes the first document that matches as the one in `documents` says. Options: `upsert`, `hint`.
#define GANTRY_DOCUMENT_UPDATE_ONE 3

// Changes every document that matches. Options: `upsert`, `hint`.
#define GANTRY_DOCUMENT_UPDATE_MANY 4

// Changes one document and gives it. Options: `sort`, `projection`, `upsert`, `hint`, `return` (`"before"`
// or `"after"`; before when it is not said).
#define GANTRY_DOCUMENT_FIND_AND_UPDATE 5

// Takes the first document that matches away. Option: `hint`.
#define GANTRY_DOCUMENT_DELETE_ONE 6

// Takes every document that matches away. Option: `hint`.
#define GANTRY_DOCUMENT_DELETE_MANY 7

// Runs the stages of a pipeline in `documents`, none of which writes. Option: `hint`.
#define GANTRY_DOCUMENT_AGGREGATE 8

// Makes an index over the keys of the one document in `documents`; nothing happens if it is there. Options:
// `name`, `unique`, `sparse`, `partialFilterExpression`, `expireAfterSeconds`.
#define GANTRY_DOCUMENT_CREATE_INDEX 9

// What `call` answers: done, and `reply` is the reply.
#define GANTRY_CALL_DONE 0

// What `call` answers: a business error; `last_error` tells it.
#define GANTRY_CALL_BUSINESS 1

// What `call` answers: the service failed.
#define GANTRY_CALL_FAILED 2

// What `call` answers: this worker has no such service, or it is stopped, quarantined or just being replaced.
#define GANTRY_CALL_UNKNOWN 3

// What `call` answers: not allowed: a read that calls a write, a service that is in the middle of a call,
// or too many calls inside each other.
#define GANTRY_CALL_REFUSED 4

// Most calls inside each other, the caller's own included.
#define GANTRY_CALL_DEPTH_MAX 8

// What a function of the contract answers: one of `GANTRY_OK`, `GANTRY_BUSINESS`, `GANTRY_FAILED`,
// `GANTRY_END`, `GANTRY_PANICKED`, `GANTRY_AGAIN`. A caller treats every other number as `GANTRY_FAILED`.
typedef int32_t GantryCode;

// UTF-8 text: `bytes` bytes at `data`, without a terminating zero.
//
// Thread: any. Ownership: borrowed; whoever made it keeps it and frees it. Lifetime: told by the
// function or struct that carries it. `data` may be null only when `bytes` is 0.
typedef struct GantryText {
    // First byte, or null when `bytes` is 0.
    const char *data;
    // Length in bytes, 0 to 2^31 - 1.
    size_t bytes;
} GantryText;

// Raw bytes: `bytes` of them at `data`.
//
// Thread: any. Ownership: borrowed; whoever made it keeps it and frees it. Lifetime: told by the
// function or struct that carries it. `data` may be null only when `bytes` is 0.
typedef struct GantryBytes {
    // First byte, or null when `bytes` is 0.
    const uint8_t *data;
    // Length in bytes, 0 to 2^31 - 1.
    size_t bytes;
} GantryBytes;

// The platform's core table.
//
// Thread: any may read the table; the functions that take a `call` only on that call's thread.
// Ownership: the platform's. Lifetime: until the process ends. No function pointer in it is null.
// A function beyond `struct_bytes` does not exist in this platform.
typedef struct GantryHost {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // Major version of the platform's contract.
    uint16_t abi_major;
    // Minor version of the platform's contract.
    uint16_t abi_minor;
    // Name and version of the platform, for people. Lives until the process ends.
    struct GantryText platform;
    // Finds an interface by its versioned id, such as `gantry.sql/1`. Returns a table that lives
    // until the process ends, or null if this platform does not have it. Thread: any.
    const void *(*get_interface)(const struct GantryHost *host, struct GantryText id);
    // The request's body. Lives, unchanged, until the call ends.
    struct GantryBytes (*request)(struct GantryCall *call);
    // Name of the authenticated caller, or `anonymous`. Lives until the call ends.
    struct GantryText (*caller)(struct GantryCall *call);
    // The request's id, 24 bytes. Lives until the call ends.
    struct GantryText (*request_id)(struct GantryCall *call);
    // Number of the service that is called.
    uint32_t (*number)(struct GantryCall *call);
    // Nanoseconds until the request's deadline; 0 when it has passed.
    uint64_t (*time_left_ns)(struct GantryCall *call);
    // Not 0 when nobody waits for the reply any more, or the platform wants the call to end: return
    // at once, with any code.
    uint32_t (*is_cancelled)(struct GantryCall *call);
    // Makes room for a reply of at least `bytes` bytes and returns where it begins, in memory that
    // the platform sends from. Calling again with more grows it and keeps what was written, but may
    // move it: earlier pointers are void then. The room's size is stored in `capacity` unless that
    // is null. Null is returned when the reply would be larger than the platform allows or memory is
    // short; what was written before stays. The bytes may hold anything before they are written.
    // Lives until the call ends.
    uint8_t *(*reply_reserve)(struct GantryCall *call, size_t bytes, size_t *capacity);
    // Sets the reply's length to `bytes`, at most the room reserved. May be called again.
    GantryCode (*reply_commit)(struct GantryCall *call, size_t bytes);
    // Says which business error the call ends with: status 304 with the body
    // `{"error":code,"message":message}`, and `"field":field` in it if `field` is not empty (always
    // for `bad_request`). `code`: 1 to 64 bytes of `a-z 0-9 _`. The texts are copied. Returns
    // `GANTRY_BUSINESS`, to be returned from `call`.
    GantryCode (*business_error)(struct GantryCall *call,
                                 struct GantryText code,
                                 struct GantryText field,
                                 struct GantryText message);
    // Says why the call fails; the text goes to the platform's log, not to the caller, and is copied.
    // Returns `GANTRY_FAILED`, to be returned from `create` or `call`.
    GantryCode (*fail)(struct GantryCall *call, struct GantryText message);
} GantryHost;

// Makes an instance of a service.
//
// Thread: the worker's service thread, on which the instance is also called and destroyed.
// `host` and every table got from it live until the process ends. `call` is valid only until
// `create` returns and lends only logging, the service number and `fail`. `config` is the text of
// the service's configuration, empty if there is none, and valid only until `create` returns: copy
// what is kept. On `GANTRY_OK` the library has stored a pointer of its own, which may be null, in
// `instance`; the library frees it in `destroy`. On any other code nothing is kept and the platform
// does not load the library; say why with `fail`. Must return within the service's time-out.
typedef GantryCode (*GantryCreateFn)(const struct GantryHost *host,
                                     struct GantryCall *call,
                                     struct GantryText config,
                                     void **instance);

// Runs one request.
//
// Thread: the one that created the instance; never two calls of one instance at a time. `instance`
// is what `create` stored. `call` is valid only until this function returns, and only on this
// thread: request, reply and all that the platform lends are reached through it. Returns
// `GANTRY_OK` after `reply_commit` (no commit: an empty reply), `GANTRY_BUSINESS` after
// `business_error`, `GANTRY_FAILED` otherwise. No exception may leave it.
typedef GantryCode (*GantryCallFn)(void *instance, struct GantryCall *call);

// Frees an instance. Thread: the one that created it, after its last call. `call` lends only logging
// and the service number, until this function returns. Called once for each successful `create`,
// unless the process dies.
typedef void (*GantryDestroyFn)(void *instance, struct GantryCall *call);

// One service of a library.
//
// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. Elements of an
// array are `struct_bytes` apart, so all elements of one array carry the same `struct_bytes`.
typedef struct GantryService {
    // Size of this struct as the library was compiled, in bytes.
    uint32_t struct_bytes;
    // Service number, 10000000 to 99999999.
    uint32_t number;
    // `GANTRY_KIND_READ`, `GANTRY_KIND_WRITE` or `GANTRY_KIND_OTHER`.
    uint32_t kind;
    // Time-out in milliseconds, 0 (the platform's default) to 86400000.
    uint32_t timeout_ms;
    // Sum of `GANTRY_FLAG_…`; unknown flags are ignored.
    uint32_t flags;
    // Number of names at `sources`, 0 to `GANTRY_SOURCES_MAX`.
    uint32_t sources_count;
    // Name, 1 to 64 bytes of `a-z 0-9 . _ -`, such as `card.recharge`.
    struct GantryText name;
    // One line for people, at most 512 bytes.
    struct GantryText description;
    // A request that works, as JSON or text, at most 65536 bytes; may be empty.
    struct GantryText example;
    // The reply to `example`; may be empty.
    struct GantryText example_reply;
    // Names of the data sources it uses. Empty: it touches none, and the platform opens no transaction.
    const struct GantryText *sources;
    // Makes an instance. Not null.
    GantryCreateFn create;
    // Runs one request. Not null.
    GantryCallFn call;
    // Frees an instance. Not null.
    GantryDestroyFn destroy;
    // Names of the members of its configuration (`[service.NAME]`) that it cannot do without, such as
    // `charset`. The platform refuses the library where one is missing. Since ABI 1.2.
    const struct GantryText *settings;
    // Number of names at `settings`, 0 to `GANTRY_SETTINGS_MAX`. Since ABI 1.2.
    uint32_t settings_count;
    // 0. Since ABI 1.2.
    uint32_t reserved;
} GantryService;

// One step of the schema of a library's own tables.
//
// The platform applies the steps that a data source does not have yet, each once per
// (`source`, `schema`, `version`), in the order of `version`, when the library is deployed. Several
// libraries may carry the same step, word for word; the first one deployed applies it.
//
// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. Elements of an
// array are `struct_bytes` apart.
typedef struct GantryMigration {
    // Size of this struct as the library was compiled, in bytes.
    uint32_t struct_bytes;
    // Version of the schema that this step leads to, from 1.
    uint32_t version;
    // Name of the data source.
    struct GantryText source;
    // Name of the set of tables, such as `ledger`; steps of different sets are independent.
    struct GantryText schema;
    // Portable SQL statements, separated by a semicolon and a line feed.
    struct GantryText sql;
} GantryMigration;

// What a library says of itself.
//
// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. The fields up
// to and including `magic` keep their place in every major version, so that a refusal can name
// both versions.
typedef struct GantryLibrary {
    // Size of this struct as the library was compiled, in bytes.
    uint32_t struct_bytes;
    // `GANTRY_ABI_MAJOR` of the header that the library was compiled with.
    uint16_t abi_major;
    // `GANTRY_ABI_MINOR` of the header that the library was compiled with.
    uint16_t abi_minor;
    // `GANTRY_MAGIC`.
    uint64_t magic;
    // Name, 1 to 64 bytes of `a-z 0-9 . _ -`, such as `card`.
    struct GantryText name;
    // Version, 1 to 64 bytes, such as `1.4.0`.
    struct GantryText version;
    // What tells two builds of one version apart, at most 128 bytes; may be empty (the platform then
    // uses the file's own build id or its hash).
    struct GantryText build;
    // Number of services, 1 to `GANTRY_SERVICES_MAX`.
    uint32_t services_count;
    // Number of migrations, 0 to `GANTRY_MIGRATIONS_MAX`.
    uint32_t migrations_count;
    // The services.
    const struct GantryService *services;
    // The migrations; may be null when there are none.
    const struct GantryMigration *migrations;
} GantryLibrary;

// The part of a `GantryValue` that its tag names.
typedef union GantryValueData {
    // With `GANTRY_VALUE_I64`.
    int64_t i64_value;
    // With `GANTRY_VALUE_F64`.
    double f64_value;
    // With `GANTRY_VALUE_TEXT`.
    struct GantryText text_value;
    // With `GANTRY_VALUE_BLOB`.
    struct GantryBytes blob_value;
} GantryValueData;

// One value: a bound parameter or a column of a row.
//
// Thread: that of the call. Ownership and lifetime: a parameter is the library's and is read before
// the function returns; a column's text or bytes are the platform's and live until the next
// `rows_next` or `rows_close` on the same rows, or the end of the call.
typedef struct GantryValue {
    // One of `GANTRY_VALUE_…`.
    uint32_t tag;
    // 0.
    uint32_t reserved;
    // The value.
    union GantryValueData data;
} GantryValue;

// Facts about the last statement of a call that failed.
//
// Thread: that of the call. Ownership: the struct is the library's; the text in it is the platform's
// and lives until the next function of `GantrySql` on the same call.
typedef struct GantrySqlError {
    // Size of this struct as the library was compiled, in bytes; set by the library before the call.
    uint32_t struct_bytes;
    // One of `GANTRY_SQL_…`; treat an unknown number as `GANTRY_SQL_OTHER`.
    uint32_t kind;
    // The database's own code, 0 if there is none.
    int32_t native_code;
    // SQLSTATE as five letters or digits and a zero; empty if there is none.
    char sqlstate[6];
    // 0.
    uint8_t reserved[6];
    // What happened, for people.
    struct GantryText message;
} GantrySqlError;

// The table of `gantry.sql/1`.
//
// Statements are portable SQL with `?` parameters, never values pasted into the text, and two
// escapes that the platform rewrites for the database: `{limit ?}` or `{limit 50}` at the end of a
// SELECT (at most so many rows), and `{for update}` at the very end (the rows stay locked until the
// transaction ends). The platform owns the transaction: it begins at the first statement and ends
// after the call; a service has no way to commit and must not try to in SQL.
//
// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
// pointer in it is null. Every function blocks at most for the request's time left.
typedef struct GantrySql {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // 0.
    uint32_t reserved;
    // Runs a statement that returns no rows. `params_count` (0 to 1000) values at `params` are bound
    // in order. The number of rows it touched is stored in `affected` unless that is null.
    // `GANTRY_OK`, or `GANTRY_FAILED` with the facts in `last_error`.
    GantryCode (*execute)(struct GantryCall *call,
                          struct GantryText source,
                          struct GantryText text,
                          const struct GantryValue *params,
                          size_t params_count,
                          uint64_t *affected);
    // Runs a statement that returns rows; at most `rows_max` (1 to 100000) of them, more is
    // `GANTRY_SQL_TOO_MANY_ROWS` from here or from `rows_next`, never a silent cut. On `GANTRY_OK`
    // `rows` stands before the first row.
    GantryCode (*query)(struct GantryCall *call,
                        struct GantryText source,
                        struct GantryText text,
                        const struct GantryValue *params,
                        size_t params_count,
                        uint32_t rows_max,
                        struct GantryRows **rows);
    // Number of columns; 0 for a handle that is not open.
    uint32_t (*rows_columns)(struct GantryCall *call, struct GantryRows *rows);
    // Goes to the next row: `GANTRY_OK`, `GANTRY_END` after the last, or `GANTRY_FAILED`.
    GantryCode (*rows_next)(struct GantryCall *call, struct GantryRows *rows);
    // Stores the value of a column (from 0) of the current row in `value`.
    GantryCode (*rows_value)(struct GantryCall *call,
                             struct GantryRows *rows,
                             uint32_t column,
                             struct GantryValue *value);
    // Closes rows. A handle that is not open any more is ignored.
    void (*rows_close)(struct GantryCall *call, struct GantryRows *rows);
    // Stores the facts of the last failure of this interface in `error`, as far as
    // `error->struct_bytes` reaches. `GANTRY_FAILED` if there was no failure in this call.
    GantryCode (*last_error)(struct GantryCall *call, struct GantrySqlError *error);
} GantrySql;

// The table of `gantry.serial/1`.
//
// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
// pointer in it is null. Blocks at most for the request's time left.
typedef struct GantrySerial {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // 0.
    uint32_t reserved;
    // Draws `count` serials of the type named `kind` and stores them in the array `serials`, which
    // is the library's and has room for `count`. The texts are the platform's and live until the
    // next `next` of the same call or its end. Serials drawn in a call that fails may be lost; none
    // is ever given twice. Returns `GANTRY_SERIAL_OK` or another of `GANTRY_SERIAL_…`.
    uint32_t (*next)(struct GantryCall *call,
                     struct GantryText kind,
                     uint32_t count,
                     struct GantryText *serials);
    // Why the last `next` of this call failed, for people; lives until the next `next`.
    struct GantryText (*last_message)(struct GantryCall *call);
} GantrySerial;

// The table of `gantry.log/1`.
//
// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
// pointer in it is null. Nothing in it blocks.
typedef struct GantryLog {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // 0.
    uint32_t reserved;
    // Not 0 if a record of this level (`GANTRY_LOG_…`) would be written; saves making its text.
    uint32_t (*is_enabled)(struct GantryCall *call, uint32_t level);
    // Writes a record with the service, the caller and the request id. The text is copied; the part
    // beyond 16384 bytes is cut off.
    void (*write)(struct GantryCall *call, uint32_t level, struct GantryText text);
} GantryLog;

// One command. Documents are BSON; several stand one after the other.
//
// Thread: that of the call. Ownership: the library's, with all it points to. Lifetime: read before `run` returns.
typedef struct GantryDocumentCommand {
    // Size of this struct as the library was compiled, in bytes.
    uint32_t struct_bytes;
    // One of `GANTRY_DOCUMENT_…`.
    uint32_t operation;
    // The data source.
    struct GantryText source;
    // The collection.
    struct GantryText collection;
    // Which documents: a BSON document; no bytes for all.
    struct GantryBytes filter;
    // What is stored, changed, run or indexed: BSON documents.
    struct GantryBytes documents;
    // The operation's options by name: a BSON document; no bytes for none.
    struct GantryBytes options;
    // Documents that may come back, 1 to 100000; more is `GANTRY_SQL_TOO_MANY_ROWS`, never a silent cut.
    uint32_t documents_max;
    // 0.
    uint32_t reserved;
} GantryDocumentCommand;

// What a command gave.
//
// Thread: that of the call. Ownership: the library's; it is filled as far as `struct_bytes` reaches.
typedef struct GantryDocumentAnswer {
    // Size of this struct as the library was compiled, in bytes; set by the library before the call.
    uint32_t struct_bytes;
    // Documents that came back.
    uint32_t count;
    // Documents that matched, were inserted or were deleted.
    uint64_t matched;
    // Documents that are different now, those that an upsert made included.
    uint64_t modified;
    // The documents, to be read with `documents_next`; null if none came back.
    struct GantryDocuments *documents;
} GantryDocumentAnswer;

// The table of `gantry.document/1`.
//
// Where a write service uses a document source, what it does there is kept after the call succeeded and undone
// if it failed, provided that the source has transactions (`[data.NAME] transactions`); without them each command
// is kept at once. A request that uses a SQL source too has its truth there: documents are kept just before the
// SQL transaction is committed, so they may be there although it was not.
//
// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
// pointer in it is null. Every function blocks at most for the request's time left.
typedef struct GantryDocument {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // 0.
    uint32_t reserved;
    // What a data source is: one of `GANTRY_SOURCE_…`. A service may declare a source that it can do without
    // (`sources` names it with a `?` at its end) and ask here whether this node has it.
    uint32_t (*source_kind)(struct GantryCall *call, struct GantryText source);
    // Runs a command. `GANTRY_OK`, or `GANTRY_FAILED` with the facts in `last_error`.
    GantryCode (*run)(struct GantryCall *call,
                      const struct GantryDocumentCommand *command,
                      struct GantryDocumentAnswer *answer);
    // Stores the next document in `document`, which lives until the documents are closed: `GANTRY_OK`,
    // `GANTRY_END` after the last, or `GANTRY_FAILED`.
    GantryCode (*documents_next)(struct GantryCall *call,
                                 struct GantryDocuments *documents,
                                 struct GantryBytes *document);
    // Closes documents. A handle that is not open any more is ignored.
    void (*documents_close)(struct GantryCall *call, struct GantryDocuments *documents);
    // Stores the facts of the last failure of this interface in `error`, as far as `error->struct_bytes`
    // reaches; kinds are those of `gantry.sql/1`, and `sqlstate` is empty. `GANTRY_FAILED` if there was no
    // failure in this call.
    GantryCode (*last_error)(struct GantryCall *call, struct GantrySqlError *error);
} GantryDocument;

// The table of `gantry.call/1`. Since ABI 1.2.
//
// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
// pointer in it is null.
typedef struct GantryCalls {
    // Size of this struct as the platform was compiled, in bytes.
    uint32_t struct_bytes;
    // 0.
    uint32_t reserved;
    // Calls the service `number` with `body`, and stores where its reply is in `reply` unless that is
    // null; empty when there is none. The reply is the platform's and lives until the next `call` of the
    // same call has returned, or the call's end. The body is the caller's, is only read, and may lie in the
    // reply of the last `call`.
    //
    // The service runs at once, on this thread, in the same transaction, for the same caller and request
    // id, and with the time that the request has left: blocks at most for that. What it does takes effect
    // with the request or not at all; if a service of kind write or other does not end with
    // `GANTRY_CALL_DONE`, the request cannot succeed any more. After an error of SQL in a service of kind
    // read, PostgreSQL lets nothing more be done in that transaction. A write may be done in one data source:
    // the first SQL source that the request's own service names, or, if it names none, the first that a
    // service called inside writes to (`main` if one of kind read asks that first).
    //
    // Rules, queues, counters, the time-out and what follows it are those of the request. A crash counts
    // against the service that ran; a time-out against the one called inside if it took at least half of
    // the time, otherwise against the request's own. No exception and no `longjmp` may leave a service.
    //
    // Returns `GANTRY_CALL_DONE` or another of `GANTRY_CALL_…`. From `create` and `destroy` nothing can be
    // called: `GANTRY_CALL_UNKNOWN`.
    uint32_t (*call)(struct GantryCall *call,
                     uint32_t number,
                     struct GantryBytes body,
                     struct GantryBytes *reply);
    // Why the last `call` did not end with `GANTRY_CALL_DONE`, for people. After `GANTRY_CALL_BUSINESS` the
    // error's code and field (may be empty) are stored in `code` and `field`, unless those are null. The
    // texts live until the next `call`.
    struct GantryText (*last_error)(struct GantryCall *call, struct GantryText *code, struct GantryText *field);
} GantryCalls;

// The one symbol that a library exports, by the name `gantry_service_entry`.
//
// Thread: any, once after loading. Returns a descriptor that is static: it and all it points to
// stay unchanged until the process ends. Must not fail and should do nothing else.
typedef const struct GantryLibrary *(*GantryEntryFn)(void);

// Done.
#define GANTRY_OK 0

// Only from `call`: a business error, told before by `business_error` (status 304). The
// transaction is rolled back.
#define GANTRY_BUSINESS 1

// Failed. From `call`: status 306; the transaction is rolled back.
#define GANTRY_FAILED 2

// Only from `rows_next`: there are no more rows.
#define GANTRY_END 3

// Only from `create` and `call`: the service panicked and the panic was caught at the border. As
// `GANTRY_FAILED`; besides, the platform makes a new instance before the next call.
#define GANTRY_PANICKED 4

// Only from `call`: what failed may succeed when all of it is run again, such as after another request
// was faster. The transaction is rolled back and the call is made again while the caller has time; then it
// is `GANTRY_FAILED`. Say why with `fail`. Since ABI 1.2.
#define GANTRY_AGAIN 5

#ifdef __cplusplus
extern "C" {
#endif

// The one symbol that a library exports; the library defines it, the platform looks it up.
//
// Thread: any, once after loading. Returns a descriptor that is static: it and all it points to stay
// unchanged until the process ends. Must not fail and should do nothing else.
GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void);

#ifdef __cplusplus
}
#endif

#endif // GANTRY_H
