/* Dies of a wild pointer in its constructor, while it is loaded: the probe dies, and no worker. */

#include "hostile.h"

__attribute__((constructor)) static void crash(void) {
    *(volatile int *)16 = 1;
}

HOSTILE_LIBRARY("crash_on_load", GANTRY_ABI_MAJOR, 39100011, GANTRY_KIND_OTHER, create_well, call_well)
