/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/open_inside.h"

enum { LINKS_MAX = 40 }; /* as in the kernel */

struct MountpointVolume {
    const MountpointVolume *next; /* the one before */
    int fd;                       /* the directory that is mounted; -1: it has no links, or is a file */
    bool is_read_only;
    size_t length;
    char place[]; /* relative to the rootfs, without links */
};

/* A path that is being followed: `done` is resolved and has no links, `rest` is to come. Both are relative to
 * the rootfs. */
typedef struct {
    const MountpointRoot *root;
    const char *path; /* as it was given, for messages */
    char done[PATH_MAX], rest[PATH_MAX];
    unsigned links;
} Walk;

/* Return: the last volume that covers `done`, NULL: none. */
static const MountpointVolume *walk_volume(const Walk *walk)
{
    const MountpointVolume *volume = walk->root->volumes;
    while (volume != NULL && volume->length > 0 &&
           (strncmp(walk->done, volume->place, volume->length) != 0 ||
            (walk->done[volume->length] != '/' && walk->done[volume->length] != '\0')))
        volume = volume->next;
    return volume;
}

/* Return: the directory `done`, which volume covers (NULL: none does), -1 with errno. */
static int walk_open(const Walk *walk, const MountpointVolume *volume)
{
    const char *path = walk->done + (volume != NULL ? volume->length : 0);
    path += strspn(path, "/");
    return open_inside(volume != NULL ? volume->fd : walk->root->rootfs_fd, path[0] != '\0' ? path : ".",
                       O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
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
    const MountpointVolume *volume = walk_volume(walk);
    int made = 0;
    if (volume != NULL && volume->is_read_only)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "the mount point %s leads to /%s/%s, which is missing in a read-only volume", walk->path,
                     walk->done, name);
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

/* Goes on by one name that is to be looked up. */
static bool walk_look(Walk *walk, const char *name, bool is_file, bool *ret_over, Fault *ret_fault)
{
    size_t length = strlen(walk->done);
    const MountpointVolume *volume = walk_volume(walk);
    if (!walk_enter(walk, name, ret_fault))
        return false;
    const MountpointVolume *next = walk_volume(walk);
    if (next != NULL && next != volume)
        return true; /* the volume covers what is there */
    if (volume != NULL && volume->fd < 0) {
        *ret_over = true;
        return true;
    }
    walk->done[length] = '\0';
    int parent = walk_open(walk, volume);
    if (parent < 0)
        return fault_errno(ret_fault, "following the mount point %s", walk->path);
    bool ok = walk_step(walk, parent, name, is_file, ret_over, ret_fault);
    close(parent);
    return ok;
}

/* Walks `rest`; `done` is where crun will mount, afterwards. */
static bool walk_run(Walk *walk, bool is_file, Fault *ret_fault)
{
    char name[NAME_MAX + 1];
    bool is_over = false; /* nothing is looked up any more */

    while (walk_next_name(walk, name, sizeof name)) {
        if (strcmp(name, ".") == 0)
            continue;
        if (is_over || strcmp(name, "..") == 0 ? !walk_enter(walk, name, ret_fault)
                                               : !walk_look(walk, name, is_file, &is_over, ret_fault))
            return false;
    }
    return true;
}

bool mountpoint_make(const MountpointRoot *root, const char *path, bool is_file, Fault *ret_fault)
{
    Walk walk = {.root = root, .path = path};

    if (strlen(path) >= sizeof walk.rest)
        return true;         /* crun refuses it */
    strcpy(walk.rest, path); /* NOLINT: the length has been checked */
    return walk_run(&walk, is_file, ret_fault);
}

/* Opens the source of a bind mount. *ret_is_file: crun binds a file then. Return: the directory, -1: none. */
static int source_open(JsonSpan mount, bool *ret_is_file)
{
    char path[PATH_MAX];
    JsonSpan source;
    struct stat status;
    *ret_is_file = false;
    if (!json_find(mount, "source", &source) || !json_decode_string(source, path, sizeof path) ||
        path[0] != '/' || stat(path, &status) != 0)
        return -1;
    *ret_is_file = !S_ISDIR(status.st_mode);
    return *ret_is_file ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool mount_is_read_only(JsonSpan mount)
{
    JsonMembers options = {.at = 0};
    JsonSpan option;
    char word[16];
    if (!json_find(mount, "options", &options.object))
        return false;
    while (json_next_element(&options, &option))
        if (json_decode_string(option, word, sizeof word) &&
            (strcmp(word, "ro") == 0 || strcmp(word, "rro") == 0))
            return true;
    return false;
}

/* Takes fd, also on failure. */
static bool volume_push(MountpointRoot *root, const char *place, int fd, bool is_read_only, Fault *ret_fault)
{
    size_t length = strlen(place);
    MountpointVolume *volume = calloc(1, sizeof *volume + length + 1);
    if (volume == NULL) {
        if (fd >= 0)
            close(fd);
        return fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "out of memory in the guest");
    }
    volume->next = root->volumes;
    volume->fd = fd;
    volume->is_read_only = is_read_only;
    volume->length = length;
    memcpy(volume->place, place, length + 1);
    root->volumes = volume;
    return true;
}

static void volumes_free(const MountpointVolume *volume)
{
    while (volume != NULL) {
        const MountpointVolume *next = volume->next;
        if (volume->fd >= 0)
            close(volume->fd);
        free((void *)volume);
        volume = next;
    }
}

static bool mount_make(MountpointRoot *root, JsonSpan mount, Fault *ret_fault)
{
    Walk walk = {.root = root};
    JsonSpan destination;
    char path[PATH_MAX];
    bool is_file;

    if (!json_find(mount, "destination", &destination) || !json_decode_string(destination, path, sizeof path))
        return true;
    walk.path = path;
    memcpy(walk.rest, path, strlen(path) + 1);
    int fd = source_open(mount, &is_file);
    if (!walk_run(&walk, is_file, ret_fault)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    return volume_push(root, walk.done, fd, mount_is_read_only(mount), ret_fault);
}

bool mountpoints_make(const MountpointRoot *root, JsonSpan config, Fault *ret_fault)
{
    MountpointRoot with_volumes = {.rootfs_fd = root->rootfs_fd, .uid = root->uid, .gid = root->gid};
    JsonMembers mounts = {.at = 0};
    JsonSpan mount;
    bool ok = true;

    if (!json_find(config, "mounts", &mounts.object))
        return true;
    while (ok && json_next_element(&mounts, &mount))
        ok = mount_make(&with_volumes, mount, ret_fault);
    volumes_free(with_volumes.volumes);
    return ok;
}
