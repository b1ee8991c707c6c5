/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as in the kernel */

/* A path that is being followed: `done` is resolved and has no links, `rest` is to come. Both are relative to
 * the rootfs. */
typedef struct {
    const MountpointRoot *root;
    const char *path; /* as it was given, for messages */
    char done[PATH_MAX], rest[PATH_MAX];
    unsigned links;
} Walk;

/* Return: the directory `done`, -1 with errno. */
static int walk_open(const Walk *walk)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    return (int)syscall(SYS_openat2, walk->root->rootfs_fd, walk->done[0] != '\0' ? walk->done : ".", &how,
                        sizeof how);
}

/* Takes the next name off `rest`. Return: false at the end. */
static bool walk_next_name(Walk *walk, char *ret_name, size_t room)
{
    const char *at = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(at, "/");
    if (length == 0 || length >= room)
        return false;
    memcpy(ret_name, at, length);
    ret_name[length] = '\0';
    at += length + strspn(at + length, "/");
    memmove(walk->rest, at, strlen(at) + 1);
    return true;
}

static bool walk_enter(Walk *walk, const char *name, Fault *ret_fault)
{
    size_t length = strlen(walk->done);
    if (strcmp(name, "..") == 0) {
        char *slash = strrchr(walk->done, '/');
        *(slash != NULL ? slash : walk->done) = '\0';
        return true;
    }
    int n = snprintf(walk->done + length, sizeof walk->done - length, "%s%s", length > 0 ? "/" : "", name);
    return n < (int)(sizeof walk->done - length) ||
           fault(ret_fault, FAULT_INVALID_ARGUMENT, "the mount point %s leads to a path that is too long",
                 walk->path);
}

/* Puts the link's target in front of `rest`. */
static bool walk_follow(Walk *walk, const char *target, Fault *ret_fault)
{
    char rest[PATH_MAX];
    if (++walk->links > LINKS_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "the mount point %s: %s", walk->path,
                     strerror(ELOOP));
    if (target[0] == '/')
        walk->done[0] = '\0';
    if (snprintf(rest, sizeof rest, "%s/%s", target, walk->rest) >= (int)sizeof rest)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "the mount point %s leads to a path that is too long",
                     walk->path);
    memcpy(walk->rest, rest, strlen(rest) + 1);
    return true;
}

static bool walk_make(const Walk *walk, int parent, const char *name, bool is_file, Fault *ret_fault)
{
    int made = 0;
    if (is_file) {
        int fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
        made = fd < 0 ? -1 : close(fd);
    } else {
        made = mkdirat(parent, name, 0755);
    }
    return (made == 0 &&
            fchownat(parent, name, walk->root->uid, walk->root->gid, AT_SYMLINK_NOFOLLOW) == 0) ||
           fault_errno(ret_fault, "making the mount point %s: making %s/%s in the container's root",
                       walk->path, walk->done, name);
}

/* Goes on by one name. *ret_over: the rest is crun's, because it exists or no link has been met. */
static bool walk_step(Walk *walk, int parent, const char *name, bool is_file, bool *ret_over,
                      Fault *ret_fault)
{
    char target[PATH_MAX];
    struct stat status;
    bool is_last = walk->rest[0] == '\0';

    ssize_t length = readlinkat(parent, name, target, sizeof target - 1);
    if (length >= 0) {
        target[length] = '\0';
        return walk_follow(walk, target, ret_fault);
    }
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        *ret_over = !S_ISDIR(status.st_mode);
    } else if (errno != ENOENT) {
        return fault_errno(ret_fault, "following the mount point %s", walk->path);
    } else if (walk->links == 0) {
        *ret_over = true;
    } else if (!walk_make(walk, parent, name, is_file && is_last, ret_fault)) {
        return false;
    }
    return walk_enter(walk, name, ret_fault);
}

bool mountpoint_make(const MountpointRoot *root, const char *path, bool is_file, Fault *ret_fault)
{
    Walk walk = {.root = root, .path = path};
    char name[NAME_MAX + 1];
    bool is_over = false;

    if (strlen(path) >= sizeof walk.rest)
        return true;         /* crun refuses it */
    strcpy(walk.rest, path); /* NOLINT: the length has been checked */
    while (!is_over && walk_next_name(&walk, name, sizeof name)) {
        bool ok = true;
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0) {
            ok = walk_enter(&walk, name, ret_fault);
        } else {
            int parent = walk_open(&walk);
            ok = parent >= 0 ? walk_step(&walk, parent, name, is_file, &is_over, ret_fault)
                             : fault_errno(ret_fault, "following the mount point %s", path);
            if (parent >= 0)
                close(parent);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* crun binds a file when the source of a bind mount is one. */
static bool source_is_file(JsonSpan mount)
{
    char path[PATH_MAX];
    JsonSpan source;
    struct stat status;
    return json_find(mount, "source", &source) && json_decode_string(source, path, sizeof path) &&
           path[0] == '/' && stat(path, &status) == 0 && !S_ISDIR(status.st_mode);
}

bool mountpoints_make(const MountpointRoot *root, JsonSpan config, Fault *ret_fault)
{
    JsonMembers mounts = {.at = 0};
    JsonSpan mount, destination;
    char path[PATH_MAX];

    if (!json_find(config, "mounts", &mounts.object))
        return true;
    while (json_next_element(&mounts, &mount))
        if (json_find(mount, "destination", &destination) &&
            json_decode_string(destination, path, sizeof path) &&
            !mountpoint_make(root, path, source_is_file(mount), ret_fault))
            return false;
    return true;
}
