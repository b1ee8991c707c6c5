/* SPDX-License-Identifier: Apache-2.0 */
/* The only program of a guest that QEMU saves by itself: it fills as much memory as the kernel's parameter
 * dirty=MIB says with what cannot be compressed, and prints "dirty" on the console. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

static void fill(uint64_t *words, size_t count)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
}

int main(void)
{
    const char *mib = getenv("dirty");
    size_t bytes = (size_t)strtoul(mib != NULL ? mib : "1", NULL, 10) << 20;
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int console;

    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    console = open("/dev/console", O_WRONLY);
    if (words != MAP_FAILED) {
        fill(words, bytes / sizeof *words);
        if (write(console, "dirty\n", 6) != 6)
            return 1;
    }
    for (;;)
        pause();
}
