/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/memory_volume.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "common/error.h"
#include "common/mountinfo.h"

enum { ID_DIGITS = 24 };

/* Below the kubelet's directory, which can be anywhere (/var/lib/kubelet/pods/UID/volumes/…/NAME). */
#define EMPTY_DIR "/volumes/kubernetes.io~empty-dir/"

gboolean volume_is_empty_dir_of(const char *host_path, const char *pod_uid)
{
    g_autofree char *directory = g_strconcat("/pods/", pod_uid, EMPTY_DIR, NULL);
    g_autofree char *plain = g_canonicalize_filename(host_path, "/");
    const char *name = strrchr(host_path, '/');
    g_autofree char *parent = name != NULL ? g_strndup(host_path, (gsize)(name + 1 - host_path)) : NULL;

    return *pod_uid != '\0' && strchr(pod_uid, '/') == NULL && g_str_equal(plain, host_path) &&
           parent != NULL && g_str_has_suffix(parent, directory) && name[1] != '\0';
}

void memory_volume_clear(MemoryVolume *volume)
{
    g_clear_pointer(&volume->id, g_free);
    g_clear_pointer(&volume->sub_path, g_free);
}

static gboolean is_volume(const Mount *mount)
{
    const char *found = strstr(mount->target, EMPTY_DIR);

    return found != NULL && strchr(found + strlen(EMPTY_DIR), '/') == NULL && g_str_equal(mount->root, "/");
}

/* Return: the number of an option such as "size=4096k" or "nr_inodes=10"; 0 when there is none. */
static guint64 option_number(const char *options, const char *key)
{
    g_auto(GStrv) list = g_strsplit(options, ",", -1);

    for (char **option = list; *option != NULL; option++) {
        char *end = NULL;
        guint64 number;

        if (!g_str_has_prefix(*option, key))
            continue;
        number = g_ascii_strtoull(*option + strlen(key), &end, 10);
        return *end == 'k' ? number << 10 : *end == 'm' ? number << 20 : *end == 'g' ? number << 30 : number;
    }
    return 0;
}

/* Return: the part of the file system that real_path is, when it is below this mount; else NULL. */
static char *path_inside(const Mount *mount, const char *real_path)
{
    g_autofree char *whole = NULL;
    const char *rest;

    if (!g_str_has_prefix(real_path, mount->target))
        return NULL;
    rest = real_path + strlen(mount->target);
    if (*rest != '\0' && *rest != '/')
        return NULL;
    whole = g_strconcat(mount->root, rest, NULL);
    return g_strdup(whole + strspn(whole, "/"));
}

static gboolean volume_from_table(const MountTable *table, dev_t device, const char *real_path,
                                  MemoryVolume *ret_volume, char **ret_mountpoint)
{
    const Mount *volume = NULL;
    g_autofree char *sub_path = NULL;
    gsize covering = 0;

    for (guint i = 0; i < mount_table_length(table); i++) {
        const Mount *mount = mount_table_at(table, i);
        g_autofree char *inside = NULL;

        if (mount->device != device)
            continue;
        if (volume == NULL && is_volume(mount))
            volume = mount;
        inside = path_inside(mount, real_path);
        if (inside != NULL && strlen(mount->target) >= covering) {
            covering = strlen(mount->target);
            g_free(sub_path);
            sub_path = g_steal_pointer(&inside);
        }
    }
    if (volume == NULL || sub_path == NULL)
        return FALSE;
    ret_volume->id = g_compute_checksum_for_string(G_CHECKSUM_SHA256, volume->target, -1);
    ret_volume->id[ID_DIGITS] = '\0';
    ret_volume->sub_path = g_steal_pointer(&sub_path);
    ret_volume->size_bytes = option_number(volume->options, "size=");
    ret_volume->size_inodes = option_number(volume->options, "nr_inodes=");
    *ret_mountpoint = g_strdup(volume->target);
    return TRUE;
}

gboolean memory_volume_parse(const char *mountinfo, dev_t device, const char *real_path,
                             MemoryVolume *ret_volume, char **ret_mountpoint)
{
    g_autoptr(MountTable) table = mount_table_parse(mountinfo, strlen(mountinfo), NULL);

    return table != NULL && volume_from_table(table, device, real_path, ret_volume, ret_mountpoint);
}

gboolean memory_volume_find(const char *host_path, MemoryVolume *ret_volume, GError **error)
{
    g_autofree char *real_path = NULL;
    g_autoptr(MountTable) table = NULL;
    g_autofree char *mountpoint = NULL;
    struct statfs file_system;
    struct stat status;

    if (statfs(host_path, &file_system) != 0 || stat(host_path, &status) != 0 || !S_ISDIR(status.st_mode))
        return FALSE;
    if (file_system.f_type == HUGETLBFS_MAGIC)
        return fail(
            error, STATUS_UNIMPLEMENTED,
            "config.mounts: %s is a volume of the node's huge pages, which a VM pod does not have: use the "
            "pod's sysctl vm.nr_hugepages, which reserves some of the guest's memory",
            host_path);
    if (file_system.f_type != TMPFS_MAGIC)
        return FALSE;
    real_path = realpath(host_path, NULL);
    table = real_path != NULL ? mount_table_read(NULL, error) : NULL;
    if (table == NULL || !volume_from_table(table, status.st_dev, real_path, ret_volume, &mountpoint))
        return FALSE;
    if (stat(mountpoint, &status) != 0)
        return fail(error, STATUS_INTERNAL, "cannot read the status of the volume %s", mountpoint);
    ret_volume->mode = status.st_mode & 07777;
    ret_volume->uid = status.st_uid;
    ret_volume->gid = status.st_gid;
    return TRUE;
}
