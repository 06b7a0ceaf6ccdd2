/* 39100001 asks for a reply of 64 MiB, far over every limit. With the body `s` it says so and fails; with
 * any other it overlooks the refusal and reports success. Both are a 306. */

#include "hostile.h"
#include <string.h>

#define REPLY_BYTES ((size_t)64 << 20)

static GantryCode call(void *instance, GantryCall *call) {
    const GantryHost *host = (const GantryHost *)instance;
    GantryBytes request = host->request(call);
    uint8_t *room = host->reply_reserve(call, REPLY_BYTES, NULL);
    if (room == NULL) {
        const GantryText reason = GANTRY_TEXT("64 MiB do not fit");
        return request.bytes == 1 && request.data[0] == 's' ? host->fail(call, reason) : GANTRY_OK;
    }
    memset(room, 'x', REPLY_BYTES);
    return host->reply_commit(call, REPLY_BYTES);
}

HOSTILE_LIBRARY("oversized_reply", GANTRY_ABI_MAJOR, 39100001, GANTRY_KIND_OTHER, create_well, call)
