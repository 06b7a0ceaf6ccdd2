/* Stores the document {"_id": "REST"} for a body "xREST", in the collection `papers` of the document source `passages`, and
 * then ends as the letter x says: `k` well, `b` with a business error, `f` as failed, `s` by stopping its own process.
 * `d` is well too, though the same document was stored twice. Number 29900020. The read 19900020 replies how many there
 * are. For tests of what is kept of a request's documents. */

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"

#define ID_BYTES_MAX 64

/* The document as BSON; gives its bytes. */
static size_t write_document(uint8_t *to, const uint8_t *id, size_t id_bytes) {
    const uint32_t text_bytes = (uint32_t)id_bytes + 1;
    const uint32_t all = 4 + 1 + 4 + 4 + text_bytes + 1;
    memcpy(to, &all, 4);
    memcpy(to + 4, "\x02_id", 5);
    memcpy(to + 9, &text_bytes, 4);
    memcpy(to + 13, id, id_bytes);
    to[13 + id_bytes] = 0;
    to[14 + id_bytes] = 0;
    return all;
}

static GantryCode run(const GantryHost *host, GantryCall *call, uint32_t operation, GantryBytes documents,
                      GantryDocumentAnswer *answer) {
    const GantryText interface = GANTRY_TEXT(GANTRY_INTERFACE_DOCUMENT);
    const GantryDocument *table = (const GantryDocument *)host->get_interface(host, interface);
    if (table == NULL) {
        return host->fail(call, (GantryText)GANTRY_TEXT("no documents"));
    }
    GantryDocumentCommand command = {
        .struct_bytes = sizeof command,
        .operation = operation,
        .source = GANTRY_TEXT("passages"),
        .collection = GANTRY_TEXT("papers"),
        .documents = documents,
        .documents_max = 1000,
    };
    *answer = (GantryDocumentAnswer){.struct_bytes = sizeof *answer};
    if (table->run(call, &command, answer) == GANTRY_OK) {
        return GANTRY_OK;
    }
    GantrySqlError error = {.struct_bytes = sizeof error};
    table->last_error(call, &error);
    return host->fail(call, error.message);
}

static GantryCode reply_number(const GantryHost *host, GantryCall *call, uint32_t number) {
    uint8_t *room = host->reply_reserve(call, 10, NULL);
    size_t bytes = 0;
    uint32_t divisor = 1;
    if (room == NULL) {
        return GANTRY_FAILED;
    }
    while (number / divisor >= 10) {
        divisor *= 10;
    }
    for (; divisor > 0; divisor /= 10) {
        room[bytes++] = (uint8_t)('0' + number / divisor % 10);
    }
    return host->reply_commit(call, bytes);
}

static GantryCode store(void *instance, GantryCall *call) {
    const GantryHost *host = (const GantryHost *)instance;
    const GantryBytes body = host->request(call);
    uint8_t bytes[ID_BYTES_MAX + 32];
    GantryDocumentAnswer answer;
    if (body.bytes < 2 || body.bytes > ID_BYTES_MAX) {
        return host->fail(call, (GantryText)GANTRY_TEXT("the body is xREST"));
    }
    const GantryBytes document = {bytes, write_document(bytes, body.data + 1, body.bytes - 1)};
    GantryCode code = run(host, call, GANTRY_DOCUMENT_INSERT, document, &answer);
    if (code != GANTRY_OK) {
        return code;
    }
    switch (body.data[0]) {
    case 'b':
        return host->business_error(call, (GantryText)GANTRY_TEXT("refused"), (GantryText)GANTRY_TEXT(""),
                                    (GantryText)GANTRY_TEXT("as asked"));
    case 'f':
        return host->fail(call, (GantryText)GANTRY_TEXT("as asked"));
    case 's':
        kill(getpid(), SIGSTOP);
        break;
    case 'd':
        /* Refused, which is nobody's business: the service says that all is well. */
        run(host, call, GANTRY_DOCUMENT_INSERT, document, &answer);
        break;
    default:
        break;
    }
    return reply_number(host, call, 1);
}

static GantryCode count(void *instance, GantryCall *call) {
    const GantryHost *host = (const GantryHost *)instance;
    GantryDocumentAnswer answer;
    const GantryBytes none = {NULL, 0};
    GantryCode code = run(host, call, GANTRY_DOCUMENT_FIND, none, &answer);
    return code == GANTRY_OK ? reply_number(host, call, answer.count) : code;
}

static const GantryText sources[] = {GANTRY_TEXT("main"), GANTRY_TEXT("passages")};

static const GantryService services[] = {
    {
        .struct_bytes = sizeof(GantryService),
        .number = 29900020,
        .kind = GANTRY_KIND_WRITE,
        .sources_count = 2,
        .name = GANTRY_TEXT("documents.store"),
        .description = GANTRY_TEXT("Stores a document and ends as its body says."),
        .sources = sources,
        .create = create_well,
        .call = store,
        .destroy = destroy_well,
    },
    {
        .struct_bytes = sizeof(GantryService),
        .number = 19900020,
        .kind = GANTRY_KIND_READ,
        .sources_count = 2,
        .name = GANTRY_TEXT("documents.count"),
        .description = GANTRY_TEXT("Says how many documents there are."),
        .sources = sources,
        .create = create_well,
        .call = count,
        .destroy = destroy_well,
    },
};

static const GantryLibrary library = {
    .struct_bytes = sizeof(GantryLibrary),
    .abi_major = GANTRY_ABI_MAJOR,
    .abi_minor = GANTRY_ABI_MINOR,
    .magic = GANTRY_MAGIC,
    .name = GANTRY_TEXT("documents"),
    .version = GANTRY_TEXT("1.0.0"),
    .services_count = 2,
    .services = services,
};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return &library;
}
