/* A shared object that is no service library. Refused: it does not export the entry. */

__attribute__((visibility("default"))) int answer(void) {
    return 42;
}
