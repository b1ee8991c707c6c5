#include "sandbox/share.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixmounts.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

static gboolean is_mounted(const char *path)
{
    g_autoptr(GUnixMountEntry) entry = g_unix_mount_at(path, NULL);

    return entry != NULL;
}

gboolean share_create(const char *path, GError **error)
{
    if (!dir_make(path, 0700, error))
        return FALSE;
    if (is_mounted(path))
        return TRUE;
    if (mount(path, path, NULL, MS_BIND, NULL) != 0 || mount(NULL, path, NULL, MS_SHARED, NULL) != 0)
        return fail_errno(error, errno, "cannot make %s a shared mount", path);
    return TRUE;
}

/* What a bind mount needs to sit on: a directory for a directory, a file for anything else. */
static gboolean mountpoint_make(const char *path, gboolean directory, GError **error)
{
    int fd;

    if (directory)
        return dir_make(path, 0700, error);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    close(fd);
    return TRUE;
}

gboolean share_bind(const char *path, const char *container_id, guint index, const char *host_path,
                    char **ret_name, GError **error)
{
    g_autofree char *name = g_strdup_printf("%s/%u", container_id, index);
    g_autofree char *parent = g_build_filename(path, container_id, NULL);
    g_autofree char *target = g_build_filename(path, name, NULL);
    struct stat status;

    if (stat(host_path, &status) != 0) {
        if (errno != ENOENT)
            return fail_errno(error, errno, "cannot use the volume %s", host_path);
        if (!dir_make(host_path, 0755, error) || stat(host_path, &status) != 0)
            return FALSE;
    }
    if (!dir_make(parent, 0700, error) || !mountpoint_make(target, S_ISDIR(status.st_mode), error))
        return FALSE;
    if (mount(host_path, target, NULL, MS_BIND | MS_REC, NULL) != 0)
        return fail_errno(error, errno, "cannot bind the volume %s", host_path);
    *ret_name = g_steal_pointer(&name);
    return TRUE;
}

static gint deepest_first(gconstpointer a, gconstpointer b)
{
    return (gint)strlen(*(const char *const *)b) - (gint)strlen(*(const char *const *)a);
}

/* Detaches every mount at or below path; virtiofsd may still hold files of them, which it lets go in its
 * time. */
static gboolean unmount_below(const char *path, gboolean itself, GError **error)
{
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *prefix = g_strconcat(path, "/", NULL);
    GList *mounts = g_unix_mounts_get(NULL);
    gboolean good = TRUE;

    for (GList *item = mounts; item != NULL; item = item->next) {
        const char *target = g_unix_mount_get_mount_path(item->data);

        if (g_str_has_prefix(target, prefix) || (itself && g_str_equal(target, path)))
            g_ptr_array_add(targets, g_strdup(target));
    }
    g_list_free_full(mounts, (GDestroyNotify)g_unix_mount_free);
    g_ptr_array_sort(targets, deepest_first);
    for (guint i = 0; good && i < targets->len; i++)
        if (umount2(g_ptr_array_index(targets, i), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
            errno != ENOENT)
            good = fail_errno(error, errno, "cannot unmount %s", (char *)g_ptr_array_index(targets, i));
    return good;
}

gboolean share_unbind(const char *path, const char *container_id, GError **error)
{
    g_autofree char *directory = g_build_filename(path, container_id, NULL);

    if (!g_file_test(directory, G_FILE_TEST_IS_DIR))
        return TRUE;
    return unmount_below(directory, FALSE, error) && dir_remove_tree(directory, error);
}

gboolean share_delete(const char *path, GError **error)
{
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return TRUE;
    return unmount_below(path, TRUE, error) && dir_remove_tree(path, error);
}
