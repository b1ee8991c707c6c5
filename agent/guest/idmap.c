/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

static bool idmap_write(pid_t pid, const char *file, const IdMapping *mapping, Fault *ret_fault)
{
    char path[64], line[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    snprintf(line, sizeof line, "%u %u %u\n", mapping->container_id, mapping->guest_id, mapping->size);
    return sysfile_write(path, line) ||
           fault_errno(ret_fault, "mapping the ids \"%s\" of a user namespace", file);
}

/* A process in a user namespace that has the IPC namespace of the guest may not mount mqueue itself. */
static bool idmap_mount_mqueue(Fault *ret_fault)
{
    static bool mounted;
    if (!mounted) {
        if (!dir_put(SANDBOX_DIR "/mqueue", 01777, ret_fault))
            return false;
        if (mount("mqueue", SANDBOX_DIR "/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
            return fault_errno(ret_fault, "mounting the pod's message queues");
        mounted = true;
    }
    return true;
}

bool idmap_open(IdMapping *const *uids, size_t n_uids, IdMapping *const *gids, size_t n_gids, int *ret_fd,
                Fault *ret_fault)
{
    char path[64];

    *ret_fd = -1;
    if (n_uids == 0 && n_gids == 0)
        return true;
    if (n_uids != 1 || n_gids != 1)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "a user namespace takes one uid mapping and one gid mapping, not %zu and %zu", n_uids,
                     n_gids);
    if (!idmap_mount_mqueue(ret_fault))
        return false;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return fault_errno(ret_fault, "making a user namespace");
    if (pid == 0)
        for (;;)
            pause();
    bool ok =
        idmap_write(pid, "uid_map", uids[0], ret_fault) && idmap_write(pid, "gid_map", gids[0], ret_fault);
    if (ok) {
        snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
        *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
        ok = *ret_fd >= 0 || fault_errno(ret_fault, "opening %s", path);
    }
    kill(pid, SIGKILL); /* the loop reaps it, as it reaps every child */
    return ok;
}

bool idmap_bind(const char *from, const char *to, int userns_fd, Fault *ret_fault)
{
    struct mount_attr mapped = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns_fd};
    int tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return fault_errno(ret_fault, "copying the mount %s", from);
    bool ok = (userns_fd < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &mapped, sizeof mapped) == 0 ||
               fault_errno(ret_fault, "mapping the owners in %s", from)) &&
              (move_mount(tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) == 0 ||
               fault_errno(ret_fault, "mounting %s on %s", from, to));
    close(tree);
    return ok;
}
