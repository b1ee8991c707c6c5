/* SPDX-License-Identifier: Apache-2.0 */
/* The program of containerd's sandboxes in the benchmark. It waits for the signal to end. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void end(int number)
{
    (void)number;
    _exit(0);
}

int main(void)
{
    if (signal(SIGTERM, end) == SIG_ERR || signal(SIGINT, end) == SIG_ERR)
        return EXIT_FAILURE;
    for (;;)
        pause();
}
