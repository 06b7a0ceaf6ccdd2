/* Dies of a wild pointer while its instance is created: the probe dies, and no worker. */

#include "hostile.h"

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    *(volatile int *)16 = 1;
    return create_well(host, call, config, instance);
}

HOSTILE_LIBRARY("crash_in_create", GANTRY_ABI_MAJOR, 39100012, GANTRY_KIND_OTHER, create, call_well)
