/* Never comes back from `create`: the probe is ended by its time limit, and no worker hangs. */

#include "hostile.h"
#include <unistd.h>

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    (void)host;
    (void)call;
    (void)config;
    (void)instance;
    while (pause() != 0) {
        /* A signal woke it; on it goes. */
    }
    return GANTRY_OK;
}

HOSTILE_LIBRARY("hang_in_create", GANTRY_ABI_MAJOR, 39100013, GANTRY_KIND_OTHER, create, call_well)
