/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/idmap.h"
#include "agent/guest/paths.h"
#include "agent/guest/process.h"
#include "agent/guest/sysfile.h"
#include "common/open_inside.h"

bool volume_lower_names(const uint32_t *luns, size_t n_luns, char *options, size_t room)
{
    size_t length = strlen(options);
    for (size_t i = n_luns; i > 0 && length < room; i--)
        length += (size_t)snprintf(options + length, room - length, "%u%s", luns[i - 1], i > 1 ? ":" : "");
    return length < room;
}

/* Links in the path are resolved inside root. */
static int open_in_root(int root, const char *path, int flags)
{
    return open_inside(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* ---- images ---- */

static bool mount_stack(const VolumeBase *base, const uint32_t *luns, size_t n_luns, const char *target,
                        Fault *ret_fault)
{
    char options[4096] = "xino=on,lowerdir=", layer[300];

    if (n_luns == 0)
        return idmap_bind(NO_LAYER_DIR, target, -1, ret_fault);
    if (n_luns == 1) { /* overlayfs needs two or more */
        snprintf(layer, sizeof layer, "%s/%u", base->layers, luns[0]);
        return idmap_bind(layer, target, -1, ret_fault);
    }
    if (!volume_lower_names(luns, n_luns, options, sizeof options))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "a volume's image has too many layers (%zu)", n_luns);
    if (chdir(base->layers) < 0)
        return fault_errno(ret_fault, "entering the directory of layers %s", base->layers);
    bool ok = mount("overlay", target, "overlay", MS_RDONLY | MS_NODEV | MS_NOSUID, options) == 0 ||
              fault_errno(ret_fault, "mounting an image volume (%s)", options);
    if (chdir("/") < 0)
        complain("chdir /: %s", strerror(errno));
    return ok;
}

/* Makes the mount point: a directory for a directory, a file for anything else. */
static bool make_target(const char *target, int source, Fault *ret_fault)
{
    struct stat status;
    if (fstat(source, &status) < 0)
        return fault_errno(ret_fault, "reading the kind of a volume");
    if (S_ISDIR(status.st_mode))
        return dir_put(target, 0755, ret_fault);
    return file_put(target, 0644, NULL, 0, ret_fault);
}

static bool bind_sub_path(int whole, const char *sub_path, const char *target, Fault *ret_fault)
{
    int source = open_in_root(whole, sub_path[0] != '\0' ? sub_path : ".", O_PATH);
    if (source < 0 && (errno == ENOENT || errno == ENOTDIR))
        return fault(ret_fault, FAULT_NOT_FOUND, "the image has no %s for a volume", sub_path);
    if (source < 0)
        return fault_errno(ret_fault, "opening %s in a volume's image", sub_path);
    int tree = -1;
    bool ok = make_target(target, source, ret_fault);
    if (ok) {
        tree = open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        ok = (tree >= 0 && move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0) ||
             fault_errno(ret_fault, "mounting an image volume on %s", target);
    }
    if (tree >= 0)
        close(tree);
    close(source);
    return ok;
}

bool volume_mount_image(const VolumeBase *base, uint32_t index, const uint32_t *luns, size_t n_luns,
                        const char *sub_path, Fault *ret_fault)
{
    char whole[256], target[256];

    snprintf(whole, sizeof whole, CONTAINERS_DIR "/%s/image", base->id);
    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/v%u", base->id, index);
    if (!dir_put(whole, 0755, ret_fault) || !mount_stack(base, luns, n_luns, whole, ret_fault))
        return false;
    int fd = open(whole, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 ? bind_sub_path(fd, sub_path, target, ret_fault)
                      : fault_errno(ret_fault, "opening a volume's image");
    if (fd >= 0)
        close(fd);
    if (umount2(whole, MNT_DETACH) < 0)
        complain("unmounting %s: %s", whole, strerror(errno));
    return ok;
}

/* ---- memory ---- */

/* Mounts the tmpfs, once for the pod. */
static bool make_memory(const MemoryVolume *volume, char *ret_path, size_t room, Fault *ret_fault)
{
    char options[160], inodes[48] = "";
    struct stat status, parent;

    if (!id_is_valid(volume->id))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "the id of a memory volume, \"%s\", is not 1 to %d of [a-zA-Z0-9_.-]", volume->id,
                     ID_MAX);
    snprintf(ret_path, room, MEMORY_DIR "/%s", volume->id);
    if (!dir_put(MEMORY_DIR, 0711, ret_fault) || !dir_put(ret_path, 0755, ret_fault))
        return false;
    if (stat(MEMORY_DIR, &parent) == 0 && stat(ret_path, &status) == 0 && status.st_dev != parent.st_dev)
        return true;
    if (volume->size_inodes != 0)
        snprintf(inodes, sizeof inodes, ",nr_inodes=%llu", (unsigned long long)volume->size_inodes);
    snprintf(options, sizeof options, "size=%llu,mode=%o,uid=%u,gid=%u%s",
             (unsigned long long)volume->size_bytes, volume->mode & 07777, volume->uid, volume->gid, inodes);
    return mount("tmpfs", ret_path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0 ||
           fault_errno(ret_fault, "mounting a memory volume (%s)", options);
}

/* Opens a directory in the volume and makes it if it is missing. Containers write to the volume, so no link
 * is followed. */
static int open_directory(int parent, const char *name, const MemoryVolume *volume)
{
    bool made = mkdirat(parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return -1;
    int fd =
        open_inside(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd >= 0 && made &&
        (fchown(fd, volume->uid, volume->gid) < 0 || fchmod(fd, volume->mode & 07777) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int open_memory(const char *whole, const MemoryVolume *volume)
{
    char path[1024], *rest = NULL;
    int fd = open(whole, O_PATH | O_DIRECTORY | O_CLOEXEC);

    snprintf(path, sizeof path, "%s", volume->sub_path);
    for (char *name = strtok_r(path, "/", &rest); name != NULL && fd >= 0;
         name = strtok_r(NULL, "/", &rest)) {
        int next = open_directory(fd, name, volume);
        close(fd);
        fd = next;
    }
    return fd;
}

bool volume_mount_memory(const VolumeBase *base, const MemoryVolume *volume, Fault *ret_fault)
{
    char whole[256], target[256];

    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/v%u", base->id, volume->index);
    if (!make_memory(volume, whole, sizeof whole, ret_fault) || !dir_put(target, 0755, ret_fault))
        return false;
    int source = open_memory(whole, volume);
    if (source < 0)
        return fault_errno(ret_fault, "opening \"%s\" in a memory volume", volume->sub_path);
    int tree = open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    bool ok = (tree >= 0 && move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0) ||
              fault_errno(ret_fault, "mounting a memory volume for container %s", base->id);
    if (tree >= 0)
        close(tree);
    close(source);
    return ok;
}

/* ---- declared volumes ---- */

/* The directories that a volume is written to, below base->upper. An overlayfs that is mounted `volatile`
 * cannot be mounted again, so the volume of a directory that the image does not have has others. */
typedef struct {
    char upper[300], work[300];
} VolumeDirectories;

static bool make_volume_directories(const VolumeBase *base, size_t number, bool is_empty,
                                    VolumeDirectories *ret_directories, Fault *ret_fault)
{
    snprintf(ret_directories->upper, sizeof ret_directories->upper, "%s/%c%zu", base->upper,
             is_empty ? 'e' : 'a', number);
    snprintf(ret_directories->work, sizeof ret_directories->work, "%s/%c%zu", base->upper,
             is_empty ? 'f' : 'w', number);
    return dir_put(ret_directories->upper, 0755, ret_fault) &&
           dir_put(ret_directories->work, 0755, ret_fault) &&
           (chown(ret_directories->upper, base->root_uid, base->root_gid) == 0 ||
            fault_errno(ret_fault, "setting the owner of the volume %s", ret_directories->upper));
}

/* Mounts the layers of the container once more, with a writable directory of the volume's own. An overlayfs
 * over the container's rootfs would be an overlayfs over an overlayfs, which has no constant inode numbers.
 * n_luns 0: an empty directory. */
static bool mount_volume(const VolumeBase *base, const uint32_t *luns, size_t n_luns, size_t number,
                         const char *target, Fault *ret_fault)
{
    char options[4096];
    VolumeDirectories directories;

    if (!make_volume_directories(base, number, n_luns == 0, &directories, ret_fault))
        return false;
    snprintf(options, sizeof options, "volatile,xino=on,upperdir=%s,workdir=%s,lowerdir=%s",
             directories.upper, directories.work, n_luns == 0 ? NO_LAYER_DIR : "");
    if (!volume_lower_names(luns, n_luns, options, sizeof options))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "container %s has too many layers (%zu)", base->id,
                     n_luns);
    if (chdir(base->layers) < 0)
        return fault_errno(ret_fault, "entering the directory of layers %s", base->layers);
    bool ok = mount("overlay", target, "overlay", MS_NODEV, options) == 0 ||
              fault_errno(ret_fault, "mounting a volume (%s)", options);
    if (chdir("/") < 0)
        complain("chdir /: %s", strerror(errno));
    return ok;
}

/* Binds what the mounted image has at path to target. *ret_missing: it has nothing there. */
static bool bind_content(const char *whole, const char *path, const char *target, bool *ret_missing,
                         Fault *ret_fault)
{
    int root = open(whole, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int source = root >= 0 ? open_in_root(root, path, O_PATH | O_DIRECTORY) : -1;
    int problem = errno, tree = -1;

    *ret_missing = root >= 0 && source < 0 && problem == ENOENT;
    if (source >= 0)
        tree = open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    bool ok = *ret_missing ||
              (source >= 0 || fault(ret_fault, FAULT_INVALID_ARGUMENT,
                                    "the image declares %s as a volume, but that is not a directory: %s",
                                    path, strerror(problem)));
    if (ok && !*ret_missing)
        ok = (tree >= 0 && move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0) ||
             fault_errno(ret_fault, "mounting the volume %s", path);
    if (tree >= 0)
        close(tree);
    if (source >= 0)
        close(source);
    if (root >= 0)
        close(root);
    return ok;
}

bool volume_mount_anonymous(const VolumeBase *base, const uint32_t *luns, size_t n_luns, size_t number,
                            const char *path, Fault *ret_fault)
{
    char whole[256], target[256];
    bool is_missing = n_luns == 0, ok = true;

    snprintf(whole, sizeof whole, CONTAINERS_DIR "/%s/image", base->id);
    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/a%zu", base->id, number);
    if (!dir_put(whole, 0755, ret_fault) || !dir_put(target, 0755, ret_fault))
        return false;
    if (n_luns > 0) {
        if (!mount_volume(base, luns, n_luns, number, whole, ret_fault))
            return false;
        ok = bind_content(whole, path, target, &is_missing, ret_fault);
        if (umount2(whole, MNT_DETACH) < 0)
            complain("unmounting %s: %s", whole, strerror(errno));
    }
    return ok && (!is_missing || mount_volume(base, NULL, 0, number, target, ret_fault));
}
