/* A descriptor that breaks one rule, chosen when compiling with -DBROKEN=n. Each is refused with its reason.
 *
 *   1  no magic            2  struct_bytes too small     3  no services       4  number below 10000000
 *   5  kind 9              6  call is null               7  name not UTF-8    8  a number twice
 *   9  newer minor version  10  the entry returns null   11  name with a slash  12  too many sources
 */

#include "hostile.h"

#ifndef BROKEN
#define BROKEN 1
#endif

#if BROKEN == 7
#define NAME GANTRY_TEXT("hostile_\xff")
#elif BROKEN == 11
#define NAME GANTRY_TEXT("../hostile")
#else
#define NAME GANTRY_TEXT("hostile_bad_descriptor")
#endif

#define SERVICE                                                                                                \
    {sizeof(GantryService) - (BROKEN == 2 ? 24 : 0), BROKEN == 4 ? 9999999 : 39100016,                          \
     BROKEN == 5 ? 9 : GANTRY_KIND_OTHER, 0, 0, BROKEN == 12 ? 17 : 0, GANTRY_TEXT("hostile.bad_descriptor"),  \
     GANTRY_TEXT("Hostile."), GANTRY_TEXT(""), GANTRY_TEXT(""), NULL, create_well,                             \
     BROKEN == 6 ? NULL : call_well, destroy_well, NULL, 0, 0}

static const GantryService services[] = {SERVICE, SERVICE};
static const GantryLibrary library = {sizeof(GantryLibrary),
                                      GANTRY_ABI_MAJOR,
                                      GANTRY_ABI_MINOR + (BROKEN == 9 ? 1 : 0),
                                      BROKEN == 1 ? 0 : GANTRY_MAGIC,
                                      NAME,
                                      GANTRY_TEXT("1.0.0"),
                                      GANTRY_TEXT(""),
                                      BROKEN == 3 ? 0 : BROKEN == 8 ? 2 : 1,
                                      0,
                                      services,
                                      NULL};

GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) {
    return BROKEN == 10 ? NULL : &library;
}
