#include "sandbox/volumes/memory_volume.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "common/error.h"
#include "common/fileio.h"

enum { MOUNTINFO_MAX_BYTES = 16 << 20, ID_DIGITS = 24 };

/* Below the kubelet's directory, wherever that is (/var/lib/kubelet/pods/UID/volumes/…/NAME). */
#define EMPTY_DIR "/volumes/kubernetes.io~empty-dir/"

void memory_volume_clear(MemoryVolume *volume)
{
    g_clear_pointer(&volume->id, g_free);
    g_clear_pointer(&volume->sub_path, g_free);
}

/* Fields of a line: 36 35 0:44 ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE SUPER-OPTIONS */
enum { FIELD_DEVICE = 2, FIELD_ROOT = 3, FIELD_MOUNTPOINT = 4, FIELDS_MIN = 10 };

/* "\040" stands for a blank. */
static char *field_unescape(const char *field)
{
    return g_strcompress(field);
}

static gboolean is_of(char **fields, dev_t device)
{
    g_autofree char *number = g_strdup_printf("%u:%u", major(device), minor(device));

    return g_strv_length(fields) >= FIELDS_MIN && g_str_equal(fields[FIELD_DEVICE], number);
}

static gboolean is_volume(char **fields)
{
    const char *found = strstr(fields[FIELD_MOUNTPOINT], EMPTY_DIR);

    return found != NULL && strchr(found + strlen(EMPTY_DIR), '/') == NULL &&
           g_str_equal(fields[FIELD_ROOT], "/");
}

/* "size=4096k", "nr_inodes=10"; 0 when it is not there. */
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

/* The part of the file system that real_path is, when it is below this mount; else NULL. */
static char *path_inside(char **fields, const char *real_path)
{
    g_autofree char *mountpoint = field_unescape(fields[FIELD_MOUNTPOINT]);
    g_autofree char *root = field_unescape(fields[FIELD_ROOT]);
    g_autofree char *whole = NULL;
    const char *rest;

    if (!g_str_has_prefix(real_path, mountpoint))
        return NULL;
    rest = real_path + strlen(mountpoint);
    if (*rest != '\0' && *rest != '/')
        return NULL;
    whole = g_strconcat(root, rest, NULL);
    return g_strdup(whole + strspn(whole, "/"));
}

gboolean memory_volume_parse(const char *mountinfo, dev_t device, const char *real_path,
                             MemoryVolume *ret_volume, char **ret_mountpoint)
{
    g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);
    g_autofree char *mountpoint = NULL;
    g_autofree char *sub_path = NULL;
    gsize covering = 0;
    guint64 bytes = 0;
    guint64 inodes = 0;

    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, " ", -1);
        g_autofree char *inside = NULL;

        if (!is_of(fields, device))
            continue;
        if (mountpoint == NULL && is_volume(fields)) {
            const char *options = fields[g_strv_length(fields) - 1];

            mountpoint = field_unescape(fields[FIELD_MOUNTPOINT]);
            bytes = option_number(options, "size=");
            inodes = option_number(options, "nr_inodes=");
        }
        inside = path_inside(fields, real_path);
        if (inside != NULL && strlen(fields[FIELD_MOUNTPOINT]) >= covering) {
            covering = strlen(fields[FIELD_MOUNTPOINT]);
            g_free(sub_path);
            sub_path = g_steal_pointer(&inside);
        }
    }
    if (mountpoint == NULL || sub_path == NULL)
        return FALSE;
    ret_volume->id = g_compute_checksum_for_string(G_CHECKSUM_SHA256, mountpoint, -1);
    ret_volume->id[ID_DIGITS] = '\0';
    ret_volume->sub_path = g_steal_pointer(&sub_path);
    ret_volume->size_bytes = bytes;
    ret_volume->size_inodes = inodes;
    *ret_mountpoint = g_steal_pointer(&mountpoint);
    return TRUE;
}

gboolean memory_volume_find(const char *host_path, MemoryVolume *ret_volume, GError **error)
{
    g_autofree char *real_path = NULL;
    g_autofree char *mountinfo = NULL;
    g_autofree char *mountpoint = NULL;
    struct statfs file_system;
    struct stat status;

    if (statfs(host_path, &file_system) != 0 || stat(host_path, &status) != 0 || !S_ISDIR(status.st_mode))
        return FALSE;
    if (file_system.f_type == HUGETLBFS_MAGIC)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "config.mounts: %s is a volume of the node's huge pages, which a virtual machine does "
                    "not have; the "
                    "pod's sysctl vm.nr_hugepages gives it some of its own memory",
                    host_path);
    if (file_system.f_type != TMPFS_MAGIC)
        return FALSE;
    real_path = realpath(host_path, NULL);
    if (real_path == NULL ||
        !file_read("/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &mountinfo, NULL, error) ||
        !memory_volume_parse(mountinfo, status.st_dev, real_path, ret_volume, &mountpoint))
        return FALSE;
    if (stat(mountpoint, &status) != 0)
        return fail(error, STATUS_INTERNAL, "cannot look at the volume %s", mountpoint);
    ret_volume->mode = status.st_mode & 07777;
    ret_volume->uid = status.st_uid;
    ret_volume->gid = status.st_gid;
    return TRUE;
}
