/* Claims diag's echo, 19000001, under another library's name. Refused: the number is taken. */

#include "hostile.h"

HOSTILE_LIBRARY("taken_number", GANTRY_ABI_MAJOR, 19000001, GANTRY_KIND_READ, create_well, call_well)
