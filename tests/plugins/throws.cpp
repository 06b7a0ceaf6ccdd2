// 39100003 lets an exception leave its call: its worker dies (SIGABRT), as with a crash, and nobody else.

#include "hostile.h"

#include <stdexcept>

static GantryCode call(void *, GantryCall *) {
    throw std::runtime_error("nobody catches this");
}

extern "C" {
HOSTILE_LIBRARY("throws", GANTRY_ABI_MAJOR, 39100003, GANTRY_KIND_OTHER, create_well, call)
}
