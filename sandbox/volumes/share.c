/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/share.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixmounts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/mountinfo.h"
#include "common/open_inside.h"
#include "sandbox/volumes/mount_namespace.h"

static gboolean is_mounted(const char *path)
{
    g_autoptr(GUnixMountEntry) entry = g_unix_mount_at(path, NULL);

    return entry != NULL;
}

/* A guest has the root to itself when it mounts the tag again. It must not write there: the root is on the
 * node's tmpfs, and the daemon makes mount points in it. Mounts on it keep their own attributes. */
static gboolean protect_root(const char *path, GError **error)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID};

    return mount_setattr(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &attributes, sizeof(attributes)) == 0 ||
           fail_errno(error, errno, "cannot make the root of the share %s read-only", path);
}

gboolean share_create(const char *path, GError **error)
{
    /* The root of a container in a user namespace is another user, who has to pass this directory. Other
     * users of the node do not pass the directory above it. */
    if (!dir_make(path, 0700, error))
        return FALSE;
    if (is_mounted(path))
        return protect_root(path, error);
    if (chmod(path, 0711) != 0)
        return fail_errno(error, errno, "cannot set the permissions of %s", path);
    if (mount(path, path, NULL, MS_BIND, NULL) != 0 || mount(NULL, path, NULL, MS_SHARED, NULL) != 0)
        return fail_errno(error, errno, "cannot make %s a shared mount", path);
    return protect_root(path, error);
}

/* ---- the daemon's view: the root without the volumes, and writable ---- */

typedef int AutoFd;

static void auto_fd_clear(AutoFd *fd)
{
    if (*fd >= 0)
        close(*fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AutoFd, auto_fd_clear)

/* A detached copy of the root's mount, which no other process sees. The volumes are not in it, so nothing
 * that is removed through it can be a volume's.
 * Return: a descriptor that the caller closes, or -1. */
static int open_view(const char *path, GError **error)
{
    struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
    int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);

    if (fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &writable, sizeof(writable)) == 0)
        return fd;
    fail_errno(error, errno, "cannot open the share %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_directory_at(int parent, const char *name)
{
    return open_inside(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* Makes a directory, or an empty file, unless there is one. What is there but is of another kind is removed
 * without being opened: an open of a FIFO could wait, and a link could lead anywhere. */
static gboolean entry_make(int parent, const char *name, mode_t kind, mode_t mode, GError **error)
{
    struct stat status;

    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        if ((status.st_mode & S_IFMT) == kind)
            return TRUE;
        if (!dir_remove_tree_at(parent, name, error))
            return FALSE;
    }
    if ((kind == S_IFDIR ? mkdirat(parent, name, mode) : mknodat(parent, name, S_IFREG | mode, 0)) != 0)
        return fail_errno(error, errno, "cannot create %s", name);
    return TRUE;
}

/* Makes the target of a bind mount, parent/base below the share: a directory for a directory, a file for
 * anything else. */
static gboolean mountpoint_make(const char *path, const char *name, gboolean directory, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(name);
    g_autofree char *base = g_path_get_basename(name);
    g_auto(AutoFd) view = open_view(path, error);
    g_auto(AutoFd) at = -1;

    if (view < 0 || !entry_make(view, parent, S_IFDIR, 0711, error))
        return FALSE;
    at = open_directory_at(view, parent);
    if (at < 0)
        return fail_errno(error, errno, "cannot open %s in the share %s", parent, path);
    return entry_make(at, base, directory ? S_IFDIR : S_IFREG, directory ? 0700 : 0600, error);
}

static gboolean view_remove(const char *path, const char *parent, const char *name, GError **error)
{
    g_auto(AutoFd) view = open_view(path, error);
    g_auto(AutoFd) at = -1;

    if (view < 0)
        return FALSE;
    at = open_directory_at(view, parent);
    if (at < 0 && errno == ENOENT)
        return TRUE;
    if (at < 0)
        return fail_errno(error, errno, "cannot open %s in the share %s", parent, path);
    return dir_remove_tree_at(at, name, error);
}

/* Reads the status of the source; a missing one is made as a directory. */
static gboolean source_stat(const char *host_path, struct stat *ret_status, GError **error)
{
    if (stat(host_path, ret_status) == 0)
        return TRUE;
    if (errno != ENOENT)
        return fail_errno(error, errno, "cannot use the volume %s", host_path);
    if (!dir_make(host_path, 0755, error))
        return FALSE;
    return stat(host_path, ret_status) == 0 ||
           fail_errno(error, errno, "cannot use the volume %s", host_path);
}

/* Return: whether the mount that path is on is in a peer group. */
static gboolean is_shared(const char *path)
{
    g_autoptr(MountTable) table = mount_table_read(NULL, NULL);
    const Mount *mount = table != NULL ? mount_table_find_path(table, path, TRUE) : NULL;

    return mount != NULL && mount->shared;
}

static gboolean set_tree_properties(int tree, const char *host_path, const ShareVolume *volume,
                                    GError **error)
{
    struct mount_attr flow = {.propagation = volume->share ? 0 : volume->follow ? MS_SLAVE : MS_PRIVATE};
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    struct mount_attr confined = {.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID};
    struct mount_attr mapped = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (guint64)volume->userns_fd};
    unsigned deep = volume->recursive ? AT_RECURSIVE : 0;

    if (volume->share && !is_shared(host_path))
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "the volume %s has bidirectional mount propagation, but is not on a shared mount of the node",
            host_path);
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &flow, sizeof(flow)) != 0)
        return fail_errno(error, errno, "cannot set the propagation of the volume %s", host_path);
    if (volume->readonly && mount_setattr(tree, "", AT_EMPTY_PATH | deep, &readonly, sizeof(readonly)) != 0)
        return fail_errno(error, errno, "cannot make the volume %s read-only", host_path);
    if (volume->confined &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &confined, sizeof(confined)) != 0)
        return fail_errno(error, errno, "cannot confine the volume %s", host_path);
    if (volume->userns_fd >= 0 &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &mapped, sizeof(mapped)) != 0)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "cannot map the owners of volume %s for a user namespace: %s (its file system may not "
                    "support id-mapped "
                    "mounts)",
                    host_path, g_strerror(errno));
    return TRUE;
}

/* ---- the file server ---- */

static char *server_file(const char *path)
{
    return g_strconcat(path, ".server", NULL);
}

gboolean share_set_server(const char *path, pid_t server, const char *root, GError **error)
{
    g_autofree char *file = server_file(path);
    g_autofree char *text = g_strdup_printf("%d %s\n", (int)server, root);

    return file_write_atomic(file, text, strlen(text), 0600, error);
}

/* The command line of the server names the share; that of a process which has got the same id meanwhile does
 * not. */
static gboolean is_server(pid_t pid, const char *path)
{
    g_autofree char *file = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    g_autofree char *text = NULL;
    gsize length = 0;

    if (!g_file_get_contents(file, &text, &length, NULL))
        return FALSE;
    for (gsize at = 0; at < length; at += strlen(text + at) + 1)
        if (g_str_has_suffix(text + at, path))
            return TRUE;
    return FALSE;
}

typedef struct {
    gboolean is_known; /* there is a record of a server */
    pid_t pid;         /* 0: it has ended */
    char *root;        /* the path of the share in its namespace */
} Server;

static void server_clear(Server *server)
{
    g_free(server->root);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Server, server_clear)

static Server find_server(const char *path)
{
    g_autofree char *file = server_file(path);
    g_autofree char *text = NULL;
    Server server = {.is_known = g_file_get_contents(file, &text, NULL, NULL)};
    const char *space;

    if (!server.is_known)
        return server;
    space = strchr(g_strchomp(text), ' ');
    server.root = g_strdup(space != NULL ? space + 1 : "");
    server.pid = (pid_t)g_ascii_strtoll(text, NULL, 10);
    if (server.pid <= 0 || !is_server(server.pid, path))
        server.pid = 0;
    return server;
}

pid_t share_server(const char *path)
{
    g_auto(Server) server = find_server(path);

    return server.pid;
}

/* ---- binds ---- */

/* The copy gets its properties before any process sees it. It appears only in the file server's namespace: as
 * a mount of the node it would prevent the removal of the directories below it. */
static gboolean attach_tree(const char *path, const char *name, const ShareVolume *volume, GError **error)
{
    g_auto(Server) server = find_server(path);
    const char *root = !server.is_known ? path : *server.root != '\0' ? server.root : "/";
    gboolean good;
    int tree;

    if (server.is_known && server.pid == 0)
        return fail(error, STATUS_UNAVAILABLE, "the file server of the pod's volumes has ended");
    tree = open_tree(AT_FDCWD, volume->host_path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return fail_errno(error, errno, "cannot bind the volume %s", volume->host_path);
    good = set_tree_properties(tree, volume->host_path, volume, error);
    if (good && !mount_namespace_move(server.pid, tree, root, name, error)) {
        g_prefix_error(error, "cannot bind the volume %s: ", volume->host_path);
        good = FALSE;
    }
    close(tree);
    return good;
}

static gboolean has_mounts_below(const char *path)
{
    g_autofree char *real = realpath(path, NULL);
    g_autofree char *prefix = g_strconcat(real != NULL ? real : path, "/", NULL);
    GList *mounts = g_unix_mounts_get(NULL);
    gboolean found = FALSE;

    for (GList *item = mounts; item != NULL && !found; item = item->next)
        found = g_str_has_prefix(g_unix_mount_get_mount_path(item->data), prefix);
    g_list_free_full(mounts, (GDestroyNotify)g_unix_mount_free);
    return found;
}

/* ---- common binds: path/v/KEY. Files path.refs/CONTAINER/INDEX, which the guest does not see, record which
 * containers have them. A guest that was saved knows a volume by the key that it had then: a file
 * path.refs/.again/KEY has that key, so that later containers get the same bind. ---- */

#define COMMON "v"
#define AGAIN ".again" /* is the name of no container */
enum { KEY_DIGITS = 32 };

static char *common_key(const ShareVolume *volume, const struct stat *status)
{
    g_autofree char *real = realpath(volume->host_path, NULL);
    g_autofree char *text = g_strdup_printf("%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %d%d%d%d",
                                            real != NULL ? real : volume->host_path, (guint64)status->st_dev,
                                            (guint64)status->st_ino, volume->readonly, volume->recursive,
                                            volume->follow, volume->userns_fd >= 0);
    char *key = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);

    key[KEY_DIGITS] = '\0';
    return key;
}

static char *references_path(const char *path, const char *container_id, const char *name)
{
    g_autofree char *all = g_strconcat(path, ".refs", NULL);

    return g_build_filename(all, container_id, name, NULL);
}

/* The name is that of a container or AGAIN. */
static gboolean key_write(const char *path, const char *name, const char *entry, const char *key,
                          GError **error)
{
    g_autofree char *directory = references_path(path, name, NULL);
    g_autofree char *file = g_build_filename(directory, entry, NULL);

    return dir_make(directory, 0700, error) && file_write_atomic(file, key, strlen(key), 0600, error);
}

static gboolean reference_add(const char *path, const char *container_id, guint index, const char *key,
                              GError **error)
{
    g_autofree char *entry = g_strdup_printf("%u", index);

    return key_write(path, container_id, entry, key, error);
}

/* Return: the key of the volume, or that by which a guest that was saved knows it; the caller frees it. */
static char *known_key(const char *path, const ShareVolume *volume, const struct stat *status)
{
    g_autofree char *key = common_key(volume, status);
    g_autofree char *file = references_path(path, AGAIN, key);
    char *known = NULL;

    return g_file_get_contents(file, &known, NULL, NULL) ? known : g_steal_pointer(&key);
}

static gboolean known_key_set(const char *path, const ShareVolume *volume, const struct stat *status,
                              const char *known, GError **error)
{
    g_autofree char *key = common_key(volume, status);

    return g_str_equal(key, known) || key_write(path, AGAIN, key, known, error);
}

static gboolean directory_refers(const char *directory, const char *key)
{
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    gboolean found = FALSE;
    const char *name;

    while (!found && entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *file = g_build_filename(directory, name, NULL);
        g_autofree char *text = NULL;

        found = g_file_get_contents(file, &text, NULL, NULL) && g_str_equal(text, key);
    }
    return found;
}

static gboolean is_referred_to(const char *path, const char *key)
{
    g_autofree char *all = g_strconcat(path, ".refs", NULL);
    g_autoptr(GDir) containers = g_dir_open(all, 0, NULL);
    gboolean found = FALSE;
    const char *id;

    while (!found && containers != NULL && (id = g_dir_read_name(containers)) != NULL) {
        g_autofree char *directory = g_build_filename(all, id, NULL);

        found = !g_str_equal(id, AGAIN) && directory_refers(directory, key);
    }
    return found;
}

/* Looks in the namespace where the binds are. */
static gboolean common_is_bound(const char *path, const char *name)
{
    g_auto(Server) server = find_server(path);
    g_autofree char *mounts = g_strdup_printf("/proc/%d/mountinfo", (int)server.pid);
    g_autofree char *target = g_strconcat(server.is_known ? server.root : path, "/", name, NULL);
    g_autoptr(MountTable) table = NULL;

    if (!server.is_known)
        return is_mounted(target);
    table = server.pid != 0 ? mount_table_read(mounts, NULL) : NULL;
    return table != NULL && mount_table_find_target(table, target) != NULL;
}

static gboolean common_unbind(const char *path, const char *key, GError **error)
{
    g_auto(Server) server = find_server(path);
    g_autofree char *name = g_build_filename(COMMON, key, NULL);
    g_autofree char *target = g_strconcat(server.is_known ? server.root : path, "/", name, NULL);

    if (is_referred_to(path, key))
        return TRUE;
    return ((server.is_known && server.pid == 0) || mount_namespace_detach(server.pid, target, error)) &&
           view_remove(path, COMMON, key, error);
}

/* The references are removed first, because a bind with a reference is kept. */
static gboolean common_unbind_all(const char *path, const char *container_id, GError **error)
{
    g_autofree char *directory = references_path(path, container_id, NULL);
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *file = g_build_filename(directory, name, NULL);
        char *key = NULL;

        if (g_file_get_contents(file, &key, NULL, NULL))
            g_ptr_array_add(keys, key);
    }
    if (entries != NULL && !dir_remove_tree(directory, error))
        return FALSE;
    for (guint i = 0; i < keys->len; i++)
        if (!common_unbind(path, keys->pdata[i], error))
            return FALSE;
    return TRUE;
}

/* ---- binding and unbinding ---- */

static gboolean bind_at(const char *path, const char *name, const struct stat *status,
                        const ShareVolume *volume, GError **error)
{
    return mountpoint_make(path, name, S_ISDIR(status->st_mode), error) &&
           attach_tree(path, name, volume, error);
}

gboolean share_bind(const char *path, const char *container_id, guint index, const ShareVolume *volume,
                    ShareBind *ret_bind, GError **error)
{
    g_autofree char *name = NULL;
    g_autofree char *key = NULL;
    struct stat status;

    if (!source_stat(volume->host_path, &status, error))
        return FALSE;
    if (volume->common) {
        key = known_key(path, volume, &status);
        name = g_build_filename(COMMON, key, NULL);
        if (!reference_add(path, container_id, index, key, error))
            return FALSE;
    } else {
        name = g_strdup_printf("%s/%u", container_id, index);
    }
    if (!(volume->common && common_is_bound(path, name)) && !bind_at(path, name, &status, volume, error))
        return FALSE;
    /* Only read-only volumes need it, and it reads all mounts of the node. */
    ret_bind->nested =
        volume->readonly && !volume->common && S_ISDIR(status.st_mode) && has_mounts_below(volume->host_path);
    ret_bind->name = g_steal_pointer(&name);
    return TRUE;
}

char *share_bind_name(const char *path, const char *container_id, guint index)
{
    g_autofree char *number = g_strdup_printf("%u", index);
    g_autofree char *file = references_path(path, container_id, number);
    g_autofree char *name = g_build_filename(container_id, number, NULL);
    g_autofree char *target = g_build_filename(path, name, NULL);
    g_autofree char *key = NULL;

    if (g_file_get_contents(file, &key, NULL, NULL))
        return g_build_filename(COMMON, key, NULL);
    return g_file_test(target, G_FILE_TEST_EXISTS) ? g_steal_pointer(&name) : NULL;
}

static gint deepest_first(gconstpointer a, gconstpointer b)
{
    return (gint)strlen(*(const char *const *)b) - (gint)strlen(*(const char *const *)a);
}

/* Return: whether share_bind() gives such names. */
static gboolean is_bind(const char *name)
{
    const char *slash = strchr(name, '/');
    const char *last = slash != NULL ? slash + 1 : "";
    gsize n_first = strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz");

    if (g_str_has_prefix(name, COMMON "/"))
        return strlen(last) == KEY_DIGITS && strspn(last, "0123456789abcdef") == KEY_DIGITS;
    return n_first > 0 && name + n_first == slash && *last != '\0' &&
           last[strspn(last, "0123456789")] == '\0';
}

gboolean share_bind_again(const char *path, const char *container_id, guint index, const char *name,
                          const ShareVolume *volume, GError **error)
{
    g_autofree char *own = g_strdup_printf("%s/%u", container_id, index);
    const char *key = g_str_has_prefix(name, COMMON "/") ? name + strlen(COMMON "/") : NULL;
    struct stat status;

    if (!is_bind(name) || (key == NULL && !g_str_equal(name, own)))
        return fail(error, STATUS_DATA_LOSS, "\"%s\" is not the name of a volume of container %s", name,
                    container_id);
    if (!source_stat(volume->host_path, &status, error))
        return FALSE;
    if (key == NULL)
        return bind_at(path, name, &status, volume, error);
    return reference_add(path, container_id, index, key, error) &&
           (!volume->common || known_key_set(path, volume, &status, key, error)) &&
           (common_is_bound(path, name) || bind_at(path, name, &status, volume, error));
}

gboolean share_copy_binds(int namespace_fd, pid_t server, GError **error)
{
    return mount_namespace_copy(namespace_fd, server, is_bind, error);
}

/* Detaches every mount below path, and at path. virtiofsd may still have files of them open. */
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

/* Detaches in the file server's namespace. The mounts of a server that has ended are gone with it. */
static gboolean detach_in_server(const Server *server, const char *path, const char *container_id,
                                 GError **error)
{
    g_autofree char *directory = g_build_filename(path, container_id, NULL);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *entry;

    while (server->pid != 0 && entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *target = g_strconcat(server->root, "/", container_id, "/", entry, NULL);

        if (!mount_namespace_detach(server->pid, target, error))
            return FALSE;
    }
    return TRUE;
}

gboolean share_unbind(const char *path, const char *container_id, GError **error)
{
    g_autofree char *directory = g_build_filename(path, container_id, NULL);
    g_auto(Server) server = {0};

    if (!common_unbind_all(path, container_id, error))
        return FALSE;
    if (!g_file_test(directory, G_FILE_TEST_IS_DIR))
        return TRUE;
    server = find_server(path);
    return (server.is_known ? detach_in_server(&server, path, container_id, error)
                            : unmount_below(directory, FALSE, error)) &&
           view_remove(path, ".", container_id, error);
}

/* Removes temporary files of a daemon that died before it renamed them. */
static void remove_half_written(const char *file)
{
    g_autofree char *directory = g_path_get_dirname(file);
    g_autofree char *name = g_path_get_basename(file);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *entry;

    while (entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, entry, NULL);

        if (g_str_has_prefix(entry, name) && !g_str_equal(entry, name))
            unlink(path);
    }
}

gboolean share_delete(const char *path, GError **error)
{
    g_autofree char *server = server_file(path);
    g_autofree char *references = g_strconcat(path, ".refs", NULL);

    if (g_file_test(references, G_FILE_TEST_IS_DIR) && !dir_remove_tree(references, error))
        return FALSE;
    if (unlink(server) != 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot remove %s", server);
    remove_half_written(server);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return TRUE;
    return unmount_below(path, TRUE, error) && dir_remove_tree(path, error);
}
