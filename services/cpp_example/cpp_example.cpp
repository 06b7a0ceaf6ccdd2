// A service library in C++: the whole of it, against gantry.h alone.
//
//   19100001 cpp.reverse   any bytes -> the same bytes, reversed
//   29100001 cpp.note      1 to 200 bytes of text -> {"count":n}, the number of notes kept so far
//
// No exception may cross into the platform: every function that the platform calls is noexcept and
// catches what its body throws.

#include "gantry.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>

namespace {

constexpr std::size_t note_bytes_max = 200;

template <std::size_t N> GantryText text(const char (&literal)[N]) {
    return GantryText{literal, N - 1};
}

// What each instance keeps: the platform's tables, which live until the process ends.
struct Instance {
    const GantryHost *host;
    const GantrySql *sql;
};

GantryCode create(const GantryHost *host, GantryCall *call, GantryText, void **instance) noexcept {
    // A table may be shorter than the one compiled in; then it lacks functions that are used here.
    auto sql = static_cast<const GantrySql *>(host->get_interface(host, text(GANTRY_INTERFACE_SQL)));
    if (sql == nullptr || sql->struct_bytes < sizeof(GantrySql)) {
        return host->fail(call, text("this platform has no " GANTRY_INTERFACE_SQL));
    }
    auto made = new (std::nothrow) Instance{host, sql};
    if (made == nullptr) {
        return host->fail(call, text("out of memory"));
    }
    *instance = made;
    return GANTRY_OK;
}

void destroy(void *instance, GantryCall *) noexcept {
    delete static_cast<Instance *>(instance);
}

GantryCode reply(const GantryHost &host, GantryCall *call, const std::string &body) {
    std::uint8_t *room = host.reply_reserve(call, body.size(), nullptr);
    if (room == nullptr) {
        return host.fail(call, text("no room for the reply"));
    }
    std::copy(body.begin(), body.end(), room);
    return host.reply_commit(call, body.size());
}

// Fails the call with the reason of the last SQL error.
GantryCode fail_sql(const Instance &self, GantryCall *call) {
    GantrySqlError error{};
    error.struct_bytes = sizeof error;
    if (self.sql->last_error(call, &error) != GANTRY_OK) {
        return self.host->fail(call, text("SQL failed and gave no reason"));
    }
    return self.host->fail(call, error.message);
}

// Runs the body of a call and turns what it throws into a failure.
template <typename Body> GantryCode guarded(const Instance &self, GantryCall *call, Body body) noexcept {
    try {
        return body();
    } catch (const std::exception &error) {
        return self.host->fail(call, GantryText{error.what(), std::strlen(error.what())});
    } catch (...) {
        return self.host->fail(call, text("an exception of an unknown type"));
    }
}

GantryCode reverse(void *instance, GantryCall *call) noexcept {
    const Instance &self = *static_cast<Instance *>(instance);
    return guarded(self, call, [&] {
        GantryBytes request = self.host->request(call);
        // Straight into the memory that the reply is sent from, without a copy in between.
        std::uint8_t *room = self.host->reply_reserve(call, request.bytes, nullptr);
        if (room == nullptr) {
            return self.host->fail(call, text("no room for the reply"));
        }
        std::reverse_copy(request.data, request.data + request.bytes, room);
        return self.host->reply_commit(call, request.bytes);
    });
}

// Closes rows on every way out.
struct Rows {
    const GantrySql &sql;
    GantryCall *call;
    GantryRows *rows = nullptr;
    ~Rows() { sql.rows_close(call, rows); }
};

GantryValue value_of(GantryText content) {
    GantryValue value{};
    value.tag = GANTRY_VALUE_TEXT;
    value.data.text_value = content;
    return value;
}

GantryCode note(void *instance, GantryCall *call) noexcept {
    const Instance &self = *static_cast<Instance *>(instance);
    return guarded(self, call, [&]() -> GantryCode {
        const GantryHost &host = *self.host;
        const GantrySql &sql = *self.sql;
        GantryBytes request = host.request(call);
        if (request.bytes == 0 || request.bytes > note_bytes_max) {
            return host.business_error(call, text("bad_request"), text("body"),
                                       text("a note has 1 to 200 bytes"));
        }
        GantryText content{reinterpret_cast<const char *>(request.data), request.bytes};
        // (caller, request id) is unique: the platform runs a write once for each.
        const GantryValue params[] = {value_of(host.caller(call)), value_of(host.request_id(call)),
                                      value_of(content)};
        GantryCode code = sql.execute(
            call, text("main"),
            text("INSERT INTO cpp_note (caller, request_id, content) VALUES (?, ?, ?)"), params, 3, nullptr);
        if (code != GANTRY_OK) {
            GantrySqlError error{};
            error.struct_bytes = sizeof error;
            if (sql.last_error(call, &error) == GANTRY_OK && error.kind == GANTRY_SQL_BAD_VALUE) {
                return host.business_error(call, text("bad_request"), text("body"), error.message);
            }
            return fail_sql(self, call);
        }
        Rows open{sql, call};
        code = sql.query(call, text("main"), text("SELECT COUNT(*) FROM cpp_note"), nullptr, 0, 1, &open.rows);
        if (code != GANTRY_OK || sql.rows_next(call, open.rows) != GANTRY_OK) {
            return fail_sql(self, call);
        }
        GantryValue count{};
        if (sql.rows_value(call, open.rows, 0, &count) != GANTRY_OK) {
            return fail_sql(self, call);
        }
        if (count.tag != GANTRY_VALUE_I64) {
            return host.fail(call, text("the count is not an integer"));
        }
        return reply(host, call, "{\"count\":" + std::to_string(count.data.i64_value) + "}");
    });
}

const GantryText sources[] = {GANTRY_TEXT("main")};

const GantryService services[] = {
    {sizeof(GantryService), 19100001, GANTRY_KIND_READ, 0, GANTRY_FLAG_IDEMPOTENT, 0, GANTRY_TEXT("cpp.reverse"),
     GANTRY_TEXT("Replies the bytes it is sent, in reverse order."), GANTRY_TEXT("abc"), GANTRY_TEXT("cba"),
     nullptr, create, reverse, destroy, nullptr, 0, 0},
    {sizeof(GantryService), 29100001, GANTRY_KIND_WRITE, 0, 0, 1, GANTRY_TEXT("cpp.note"),
     GANTRY_TEXT("Keeps a note and gives the number of notes."), GANTRY_TEXT("hello"),
     GANTRY_TEXT("{\"count\":1}"), sources, create, note, destroy, nullptr, 0, 0},
};

const GantryMigration migrations[] = {
    {sizeof(GantryMigration), 1, GANTRY_TEXT("main"), GANTRY_TEXT("cpp_example"),
     GANTRY_TEXT("CREATE TABLE cpp_note (caller VARCHAR(32) NOT NULL, request_id VARCHAR(24) NOT NULL, "
                 "content VARCHAR(200) NOT NULL, PRIMARY KEY (caller, request_id))")},
};

const GantryLibrary library = {
    sizeof(GantryLibrary), GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_MAGIC, GANTRY_TEXT("cpp_example"),
    GANTRY_TEXT("1.0.0"),  GANTRY_TEXT(""),  2,                1,            services,
    migrations,
};

} // namespace

extern "C" GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
