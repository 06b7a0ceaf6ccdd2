/* A library with one service, for the hostile plugins: each defines `create` and `call` of its own or
 * takes these, and ends with HOSTILE_LIBRARY. */

#ifndef HOSTILE_H
#define HOSTILE_H

#include "gantry.h"

#define UNUSED __attribute__((unused))

static UNUSED GantryCode create_well(const GantryHost *host, GantryCall *call, GantryText config,
                                     void **instance) {
    (void)call;
    (void)config;
    *instance = (void *)host;
    return GANTRY_OK;
}

/* Replies `ok`. */
static UNUSED GantryCode call_well(void *instance, GantryCall *call) {
    const GantryHost *host = (const GantryHost *)instance;
    uint8_t *room = host->reply_reserve(call, 2, NULL);
    if (room == NULL) {
        return GANTRY_FAILED;
    }
    room[0] = 'o';
    room[1] = 'k';
    return host->reply_commit(call, 2);
}

static UNUSED void destroy_well(void *instance, GantryCall *call) {
    (void)instance;
    (void)call;
}

/* The descriptor and the entry of a library `name` with one service of kind `kind`. */
#define HOSTILE_LIBRARY(name, major, number, kind, create, call)                                               \
    static const GantryService services[] = {{sizeof(GantryService), number, kind, 0, 0, 0,                    \
                                              GANTRY_TEXT("hostile." name), GANTRY_TEXT("Hostile."),           \
                                              GANTRY_TEXT(""), GANTRY_TEXT(""), NULL, create, call,            \
                                              destroy_well, NULL, 0, 0}};                                       \
    static const GantryLibrary library = {sizeof(GantryLibrary),                                               \
                                          major,                                                               \
                                          GANTRY_ABI_MINOR,                                                    \
                                          GANTRY_MAGIC,                                                        \
                                          GANTRY_TEXT("hostile_" name),                                        \
                                          GANTRY_TEXT("1.0.0"),                                                \
                                          GANTRY_TEXT(""),                                                     \
                                          1,                                                                   \
                                          0,                                                                   \
                                          services,                                                            \
                                          NULL};                                                               \
    GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {                                            \
        return &library;                                                                                       \
    }

#endif
