/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's reader of /etc/passwd and /etc/group on malformed files. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[] = "/tmp/agent-user-fuzz-XXXXXX";

static void put(int directory, const char *name, const uint8_t *data, size_t size)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
}

static void leave(void)
{
    static const char *const names[] = {"etc/passwd", "etc/group"};
    int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlinkat(directory, names[i], 0);
    unlinkat(directory, "etc", AT_REMOVEDIR);
    close(directory);
    rmdir(root);
}

static int root_open(void)
{
    static int fd = -1;

    if (fd >= 0)
        return fd;
    if (mkdtemp(root) == NULL || (fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 ||
        mkdirat(fd, "etc", 0700) != 0)
        abort();
    atexit(leave);
    return fd;
}

/* Both files have the same content; the first byte selects the user and group that are looked up. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    User want = CRIVIRT__AGENT__V1__USER__INIT;
    static char json[64 << 10];
    static Identity identity;
    Fault fault;

    if (size == 0)
        return 0;
    put(root_open(), "etc/passwd", data + 1, size - 1);
    put(root_open(), "etc/group", data + 1, size - 1);
    want.name = (char *)((data[0] & 1) != 0 ? "a" : "");
    want.uid = (data[0] & 1) != 0 ? -1 : 1000;
    want.group = (char *)((data[0] & 2) != 0 ? "b" : "");
    want.gid = -1;
    want.strict_groups = (data[0] & 4) != 0;
    if (user_resolve(root_open(), &want, &identity, &fault) &&
        (identity.n_groups > USER_GROUPS_MAX || user_to_json(&identity, json, sizeof json) == 0))
        abort();
    return 0;
}
