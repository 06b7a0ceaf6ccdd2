/* Built for another major version of the contract. Refused with both versions named. */

#include "hostile.h"

HOSTILE_LIBRARY("wrong_abi", GANTRY_ABI_MAJOR + 1, 39100010, GANTRY_KIND_OTHER, create_well, call_well)
