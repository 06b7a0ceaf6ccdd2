/* Another program's System V segment: `segment KEY BYTES` makes one under this key, writes its own name all over it, says
 * its id and stays attached until its standard input ends. The segment stays behind. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: segment KEY BYTES\n");
        return 2;
    }
    size_t bytes = strtoul(arguments[2], NULL, 0);
    int id = shmget((key_t)strtoul(arguments[1], NULL, 0), bytes, IPC_CREAT | IPC_EXCL | 0600);
    if (id < 0) {
        perror("shmget");
        return 1;
    }
    char *start = shmat(id, NULL, 0);
    if (start == (char *)-1) {
        perror("shmat");
        return 1;
    }
    const char name[] = "somebody else's data ";
    for (size_t at = 0; at + sizeof name <= bytes; at += sizeof name - 1) {
        memcpy(start + at, name, sizeof name - 1);
    }
    printf("%d\n", id);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
