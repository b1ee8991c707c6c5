/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's search for the files of a program, on malformed programs and scripts. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/read_ahead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[] = "/tmp/agent-read-ahead-fuzz-XXXXXX";
static int root_fd = -1;

static void leave(void)
{
    unlinkat(root_fd, "program", 0);
    rmdir(root);
}

static void put(const uint8_t *data, size_t size)
{
    if (root_fd < 0) {
        if (mkdtemp(root) == NULL || (root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
            abort();
        atexit(leave);
    }
    int fd = openat(root_fd, "program", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "{\"process\":{\"args\":[\"/program\"]}}";
    ReadAheadFiles files;

    put(data, size);
    read_ahead_find(root_fd, (JsonSpan){config, sizeof config - 1}, &files);
    if (files.n_files == 0 || files.n_files > READ_AHEAD_FILES)
        abort();
    read_ahead_close(&files);
    return 0;
}
