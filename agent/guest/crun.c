/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/crun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/fault.h"
#include "agent/guest/walk.h"

const char crun_root[] = "--root=" CRUN_STATE_DIR;

/* crun recognises a safe copy of itself by exactly these seals. */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static bool crun_copy(int from, int to)
{
    struct stat info;
    bool ok = fstat(from, &info) == 0;

    while (ok && info.st_size > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)info.st_size);
        ok = n > 0;
        info.st_size -= n;
    }
    return ok && fchmod(to, 0755) == 0 && fcntl(to, F_ADD_SEALS, SEALS) == 0;
}

/* Return: a descriptor, which stays open while the agent runs; -1 with errno. */
static int crun_seal(const char *path)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = from >= 0 ? memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;

    if (to >= 0 && !crun_copy(from, to)) {
        close(to);
        to = -1;
    }
    if (from >= 0)
        close(from);
    return to;
}

/* Return: the file of crun. That of a bundle (common/bundle.h) is found relative to the agent's program. */
static const char *crun_file(void)
{
    static const char agent[] = "/lib/crivirt/crivirt-agent";
    static const char crun[] = "/bin/crun";
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof crun);
    size_t rest = sizeof agent - 1;

    if (length < (ssize_t)rest || memcmp(path + length - rest, agent, rest) != 0)
        return CRUN_PATH;
    memcpy(path + length - rest, crun, sizeof crun);
    return access(path, X_OK) == 0 ? path : CRUN_PATH;
}

const char *crun_program(void)
{
    static char path[PATH_MAX];

    if (path[0] == '\0') {
        const char *file = crun_file();
        int fd = crun_seal(file);
        if (fd >= 0) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        } else {
            complain("cannot make a sealed copy of %s, so each run of it makes its own: %s", file,
                     strerror(errno));
            snprintf(path, sizeof path, "%s", file);
        }
    }
    return path;
}

/* The process opened the FIFO's other end when it was created, so a FIFO without a reader belongs to a
 * process that has ended. crun takes a container for running once the FIFO is gone. */
bool crun_release(const char *id)
{
    char path[256];
    snprintf(path, sizeof path, CRUN_STATE_DIR "/%s/exec.fifo", id);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    bool ok = fd >= 0 && unlink(path) == 0 && write(fd, "", 1) == 1;

    if (fd >= 0)
        close(fd);
    return ok;
}

static bool is_own_cgroup(const char *cgroup, const char *id)
{
    const char *name = strrchr(cgroup, '/');
    return name != NULL && strcmp(name + 1, id) == 0;
}

bool crun_forget(const char *id, const char *cgroup)
{
    char path[256];
    snprintf(path, sizeof path, CRUN_STATE_DIR "/%s", id);
    return is_own_cgroup(cgroup, id) && cgroup_remove(cgroup) && walk_remove(path);
}
