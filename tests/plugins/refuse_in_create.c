/* Will not be created, and says why. Refused with its reason. */

#include "hostile.h"

static GantryCode create(const GantryHost *host, GantryCall *call, GantryText config, void **instance) {
    const GantryText reason = GANTRY_TEXT("the toll tables are missing");
    (void)config;
    (void)instance;
    return host->fail(call, reason);
}

HOSTILE_LIBRARY("refuse_in_create", GANTRY_ABI_MAJOR, 39100014, GANTRY_KIND_OTHER, create, call_well)
