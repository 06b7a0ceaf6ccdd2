// Compiled without -fno-gnu-unique: the static variable of an inline function is a unique symbol, which
// two versions of the library would share. Refused with the symbol's name.

#include "hostile.h"

__attribute__((visibility("default"))) inline int &count_of_calls() {
    static int count = 0;
    return count;
}

__attribute__((visibility("default"))) int next_count() {
    return ++count_of_calls();
}

extern "C" {
HOSTILE_LIBRARY("gnu_unique", GANTRY_ABI_MAJOR, 39100015, GANTRY_KIND_OTHER, create_well, call_well)
}
