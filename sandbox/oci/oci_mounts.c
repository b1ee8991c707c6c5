/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__ContainerConfig ContainerConfig;
typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;

static void put_mount(JsonWriter *json, const char *destination, const char *type, const char *source,
                      const char *const *options)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "destination", destination);
    json_writer_string(json, "type", type);
    json_writer_string(json, "source", source);
    json_writer_strings(json, "options", options, g_strv_length((char **)(void *)options));
    json_writer_close_object(json);
}
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static gboolean has_mount_at(const ContainerConfig *config, const char *path)
{
    for (size_t i = 0; i < config->n_mounts; i++)
        if (g_str_equal(config->mounts[i]->container_path, path))
            return TRUE;
    return FALSE;
}

/* Only the owner of an IPC or network namespace can make the mounts that show it: a container in a user
 * namespace gets the guest's own mounts. */
static void put_namespaced(JsonWriter *json, gboolean mapped, const char *access)
{
    if (mapped) {
        put_mount(json, "/dev/mqueue", "bind", GUEST_SANDBOX_DIR "/mqueue",
                  OPTIONS("rbind", "nosuid", "noexec", "nodev"));
        put_mount(json, "/sys", "bind", "/sys", OPTIONS("rbind", "nosuid", "noexec", "nodev", "rro"));
    } else {
        put_mount(json, "/dev/mqueue", "mqueue", "mqueue", OPTIONS("nosuid", "noexec", "nodev"));
        put_mount(json, "/sys", "sysfs", "sysfs", OPTIONS("nosuid", "noexec", "nodev", access));
    }
}

static void put_default_mounts(JsonWriter *json, const OciSpecInput *input)
{
    static const char *const pod_files[] = {"hosts", "hostname", "resolv.conf"};
    const SecurityContext *security = oci_security(input);
    const char *access = security->privileged ? "rw" : "ro";

    put_mount(json, "/proc", "proc", "proc", OPTIONS("nosuid", "noexec", "nodev"));
    put_mount(json, "/dev", "tmpfs", "tmpfs", OPTIONS("nosuid", "strictatime", "mode=755", "size=65536k"));
    put_mount(json, "/dev/pts", "devpts", "devpts",
              OPTIONS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"));
    put_namespaced(json, oci_userns(input->pod) != NULL, access);
    put_mount(json, "/sys/fs/cgroup", "cgroup", "cgroup",
              OPTIONS("nosuid", "noexec", "nodev", "relatime", access));
    if (!has_mount_at(input->config, "/dev/shm"))
        put_mount(json, "/dev/shm", "bind", GUEST_SANDBOX_DIR "/shm", OPTIONS("rbind", "rw"));
    for (gsize i = 0; i < G_N_ELEMENTS(pod_files); i++) {
        g_autofree char *destination = g_strconcat("/etc/", pod_files[i], NULL);
        g_autofree char *source = g_strconcat(GUEST_SANDBOX_DIR "/", pod_files[i], NULL);

        if (!has_mount_at(input->config, destination))
            put_mount(json, destination, "bind", source,
                      OPTIONS("rbind", "rprivate", security->readonly_rootfs ? "ro" : "rw"));
    }
    if (input->has_localtime && !has_mount_at(input->config, "/etc/localtime"))
        put_mount(json, "/etc/localtime", "bind", GUEST_SANDBOX_DIR "/localtime",
                  OPTIONS("rbind", "rprivate", "ro"));
}

static gboolean image_mount_check(const Runtime__V1__Mount *mount, GError **error)
{
    if (*mount->host_path != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: %s has both an image and host_path \"%s\"", mount->container_path,
                    mount->host_path);
    if (!mount->readonly)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: the image volume at %s can only be mounted readonly",
                    mount->container_path);
    if (mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: the image volume at %s cannot have mount propagation",
                    mount->container_path);
    return TRUE;
}

static gboolean host_mount_check(const Runtime__V1__Mount *mount, gboolean on_node, GError **error)
{
    if (*mount->host_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: host_path \"%s\" of %s is not absolute",
                    mount->host_path, mount->container_path);
    if (*mount->image_sub_path != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: image_sub_path of %s without an image",
                    mount->container_path);
    if (!on_node && mount->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "config.mounts: %s has bidirectional propagation, which is not possible in a VM pod: a mount "
            "in a guest cannot appear on the node",
            mount->container_path);
    return TRUE;
}

gboolean oci_mount_is_image(const Runtime__V1__Mount *mount)
{
    return mount->image != NULL && *mount->image->image != '\0';
}

/* What restricts a mount, or says when it records accesses. An option that would allow more than the mount
 * has by itself is not among them: the kubelet has checked those of the API, and other clients may not have.
 */
static gboolean options_check(const Runtime__V1__Mount *mount, GError **error)
{
    static const char *const known[] = {"noexec",     "nodev",    "nosuid",      "noatime",
                                        "nodiratime", "relatime", "strictatime", NULL};

    for (size_t i = 0; i < mount->n_mount_options; i++)
        if (!g_strv_contains(known, mount->mount_options[i]))
            return fail(
                error, STATUS_INVALID_ARGUMENT,
                "config.mounts: \"%s\" in mount_options of %s is none of noexec, nodev, nosuid, noatime, "
                "nodiratime, relatime and strictatime",
                mount->mount_options[i], mount->container_path);
    return TRUE;
}

gboolean oci_mount_check(const Runtime__V1__Mount *mount, gboolean on_node, GError **error)
{
    if (*mount->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: container_path \"%s\" is not absolute",
                    mount->container_path);
    if ((guint)mount->propagation > RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: unknown propagation %d of %s",
                    (int)mount->propagation, mount->container_path);
    if (mount->recursive_read_only && !mount->readonly)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: %s is recursive_read_only without readonly", mount->container_path);
    if (mount->recursive_read_only &&
        mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: %s is recursive_read_only and has mount propagation",
                    mount->container_path);
    if (!options_check(mount, error))
        return FALSE;
    return oci_mount_is_image(mount) ? image_mount_check(mount, error)
                                     : host_mount_check(mount, on_node, error);
}

/* A destination and its source. */
typedef struct {
    const char *destination;
    const char *source;
    const char *propagation;
    const char *access;
    const Runtime__V1__Mount *mount; /* whose mount_options it has; NULL: none */
} Volume;

static gint parents_first(gconstpointer a, gconstpointer b)
{
    return strcmp(((const Volume *)a)->destination, ((const Volume *)b)->destination);
}

/* The node makes a volume read-only, so that a guest cannot circumvent it. In the guest, mounts below the
 * volume are part of the same virtiofs mount, where "ro" would hold for them too, which only
 * recursive_read_only asks for. Propagation takes place on the node; there is none inside a guest. */
static const char *mount_propagation(const OciSpecInput *input, const Runtime__V1__Mount *mount)
{
    static const char *const names[] = {
        [RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE] = "rprivate",
        [RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER] = "rslave",
        [RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL] = "rshared",
    };

    return names[input->node != NULL && !oci_mount_is_image(mount) ? mount->propagation : 0];
}

const char *oci_root_propagation(const OciSpecInput *input)
{
    const char *most = NULL;

    for (size_t i = 0; i < input->config->n_mounts; i++) {
        const char *name = mount_propagation(input, input->config->mounts[i]);

        if (g_str_equal(name, "rshared") || (g_str_equal(name, "rslave") && most == NULL))
            most = name;
    }
    return most;
}

static void collect_mounts(const OciSpecInput *input, GArray *volumes)
{
    for (guint i = 0; i < input->config->n_mounts; i++) {
        const Runtime__V1__Mount *mount = input->config->mounts[i];
        gboolean readonly = mount->readonly && !input->mount_sources[i].node_readonly;
        Volume volume = {.destination = mount->container_path,
                         .source = input->mount_sources[i].path,
                         .propagation = mount_propagation(input, mount),
                         .access = readonly ? (mount->recursive_read_only ? "rro" : "ro") : "rw",
                         .mount = mount};

        if (volume.source != NULL)
            g_array_append_val(volumes, volume);
    }
}

/* Directories that the image declares as volumes, and that have no mount of the configuration. */
static void collect_anonymous(const OciSpecInput *input, GArray *volumes)
{
    for (guint i = 0; i < input->n_anonymous; i++) {
        Volume volume = {.destination = input->anonymous[i].destination,
                         .source = input->anonymous[i].source,
                         .propagation = "rprivate",
                         .access = "rw"};

        g_array_append_val(volumes, volume);
    }
}

static void put_volume(JsonWriter *json, const Volume *volume, gboolean on_node)
{
    g_autoptr(GPtrArray) options = g_ptr_array_new();

    g_ptr_array_add(options, (gpointer) "rbind");
    g_ptr_array_add(options, (gpointer)(on_node ? "dev" : "nodev"));
    g_ptr_array_add(options, (gpointer)volume->propagation);
    g_ptr_array_add(options, (gpointer)volume->access);
    for (size_t i = 0; volume->mount != NULL && i < volume->mount->n_mount_options; i++)
        g_ptr_array_add(options, volume->mount->mount_options[i]);
    g_ptr_array_add(options, NULL);
    put_mount(json, volume->destination, "bind", volume->source, (const char *const *)(void *)options->pdata);
}

/* Mounts are sorted, so that a parent precedes the mounts inside it. */
static gboolean put_volumes(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    g_autoptr(GArray) volumes = g_array_new(FALSE, FALSE, sizeof(Volume));

    for (guint i = 0; i < input->config->n_mounts; i++)
        if (!oci_mount_check(input->config->mounts[i], input->node != NULL, error))
            return FALSE;
    collect_mounts(input, volumes);
    collect_anonymous(input, volumes);
    g_array_sort(volumes, parents_first);
    for (guint i = 0; i < volumes->len; i++)
        put_volume(json, &g_array_index(volumes, Volume, i), input->node != NULL);
    return TRUE;
}

gboolean oci_put_mounts(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    json_writer_open_array(json, "mounts");
    put_default_mounts(json, input);
    if (!put_volumes(json, input, error))
        return FALSE;
    json_writer_close_array(json);
    return TRUE;
}
