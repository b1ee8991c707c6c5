/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/node_devices.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/error.h"

enum { DEPTH_MAX = 8 };

static void device_clear(gpointer data)
{
    NodeDevice *device = data;

    g_free(device->path);
    g_free(device->access);
}

static gboolean has_device(const GArray *devices, const char *path)
{
    for (guint i = 0; i < devices->len; i++)
        if (g_str_equal(g_array_index(devices, NodeDevice, i).path, path))
            return TRUE;
    return FALSE;
}

/* The first entry of a path counts, so that the configuration's devices precede all devices of the node. */
static void add_device(GArray *devices, const struct stat *status, const char *path, const char *access)
{
    NodeDevice device = {
        .type = S_ISBLK(status->st_mode) ? 'b' : 'c',
        .major = major(status->st_rdev),
        .minor = minor(status->st_rdev),
        .mode = status->st_mode & 0777,
        .uid = status->st_uid,
        .gid = status->st_gid,
    };

    if (has_device(devices, path))
        return;
    device.path = g_strdup(path);
    device.access = g_strdup(access);
    g_array_append_val(devices, device);
}

/* Entries of /dev that are separate file systems, or that the container has itself. */
static gboolean is_left_out(const char *name)
{
    static const char *const names[] = {"pts",  "shm",   "fd",     "mqueue", "console", "hugepages",
                                        "null", "zero",  "full",   "random", "urandom", "tty",
                                        "ptmx", "stdin", "stdout", "stderr", NULL};

    return g_strv_contains(names, name);
}

/* Symbolic links are left out: their targets are collected anyway. */
static void add_directory(GArray *devices, const char *from, const char *to, const char *access, guint depth)
{
    GDir *directory = depth < DEPTH_MAX ? g_dir_open(from, 0, NULL) : NULL;
    const char *name;

    while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
        g_autofree char *source = g_build_filename(from, name, NULL);
        g_autofree char *target = g_build_filename(to, name, NULL);
        struct stat status;

        if ((depth == 0 && is_left_out(name)) || lstat(source, &status) != 0)
            continue;
        if (S_ISDIR(status.st_mode))
            add_directory(devices, source, target, access, depth + 1);
        else if (S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode))
            add_device(devices, &status, target, access);
    }
    if (directory != NULL)
        g_dir_close(directory);
}

static gboolean add_wanted(GArray *devices, const Runtime__V1__Device *wanted, GError **error)
{
    const char *access = *wanted->permissions != '\0' ? wanted->permissions : "rwm";
    struct stat status;

    if (*wanted->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.devices: container_path \"%s\" is not absolute",
                    wanted->container_path);
    if (access[strspn(access, "rwm")] != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.devices: permissions \"%s\" of %s have letters other than r, w and m", access,
                    wanted->container_path);
    if (stat(wanted->host_path, &status) != 0)
        return fail_errno(error, errno, "config.devices: cannot use %s", wanted->host_path);
    if (S_ISDIR(status.st_mode))
        add_directory(devices, wanted->host_path, wanted->container_path, access, 1);
    else if (S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode))
        add_device(devices, &status, wanted->container_path, access);
    else
        return fail(error, STATUS_INVALID_ARGUMENT, "config.devices: %s is not a device", wanted->host_path);
    return TRUE;
}

gboolean node_devices_collect(const Runtime__V1__ContainerConfig *config, GArray **ret_devices,
                              GError **error)
{
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(NodeDevice));

    g_array_set_clear_func(devices, device_clear);
    for (size_t i = 0; i < config->n_devices; i++)
        if (!add_wanted(devices, config->devices[i], error))
            return FALSE;
    if (config->linux != NULL && config->linux->security_context != NULL &&
        config->linux->security_context->privileged)
        add_directory(devices, "/dev", "/dev", "rwm", 0);
    *ret_devices = g_steal_pointer(&devices);
    return TRUE;
}
