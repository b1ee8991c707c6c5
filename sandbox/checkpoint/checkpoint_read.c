/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/checkpoint/checkpoint_parts.h"

/* ---- files ---- */

/* Opens a regular file. O_NONBLOCK: a FIFO of that name would block. */
static int part_open(int directory, const char *name, struct stat *ret_status, GError **error)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0) {
        fail_errno(error, errno, "cannot open the checkpoint's file %s", name);
        return -1;
    }
    if (fstat(fd, ret_status) == 0 && S_ISREG(ret_status->st_mode))
        return fd;
    close(fd);
    fail(error, STATUS_INVALID_ARGUMENT, "the checkpoint's %s is not a regular file", name);
    return -1;
}

static gboolean append(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    memcpy((guint8 *)user_data + offset, data, length);
    return TRUE;
}

/* Reads a whole file. Return: its content with a NUL behind it, the caller's; NULL with the error. */
static guint8 *part_read(int directory, const char *name, gsize max_bytes, gsize *ret_length, GError **error)
{
    struct stat status;
    int fd = part_open(directory, name, &status, error);
    g_autofree guint8 *content = NULL;
    gboolean good;

    if (fd < 0)
        return NULL;
    good = status.st_size >= 0 && (guint64)status.st_size <= max_bytes;
    if (!good) {
        fail(error, STATUS_RESOURCE_EXHAUSTED,
             "the checkpoint's %s has %" G_GINT64_FORMAT " bytes, and at most %zu are read", name,
             (gint64)status.st_size, max_bytes);
    } else {
        content = g_malloc0((gsize)status.st_size + 1);
        good = file_data_each(fd, 0, (guint64)status.st_size, append, content);
        if (!good)
            fail_errno(error, errno, "cannot read the checkpoint's %s", name);
    }
    close(fd);
    if (!good)
        return NULL;
    *ret_length = (gsize)status.st_size;
    return g_steal_pointer(&content);
}

static gboolean content_check(const char *name, const guint8 *content, gsize length, const FileFacts *facts,
                              GError **error)
{
    g_autoptr(PageDigest) digest = page_digest_new();
    FileFacts found;

    page_digest_add(digest, 0, content, length);
    page_digest_finish(digest, length, &found);
    return (found.bytes == facts->bytes && g_str_equal(found.digest, facts->digest)) ||
           fail(error, STATUS_DATA_LOSS,
                "the checkpoint's %s is damaged: its size or digest is not the one in "
                "the manifest",
                name);
}

/* ---- the manifest ---- */

static gboolean read_facts(const JsonValue *root, const char *name, FileFacts *ret_facts, GError **error)
{
    const JsonValue *facts = json_require(root, name, error);
    const char *digest = "";

    if (facts == NULL || !json_get_uint(facts, "bytes", G_MAXINT64, &ret_facts->bytes, error) ||
        !json_get_uint(facts, "data_bytes", G_MAXINT64, &ret_facts->data_bytes, error) ||
        !json_get_line(facts, "digest", &digest, error))
        return FALSE;
    if (strlen(digest) != sizeof ret_facts->digest - 1 || ret_facts->bytes == 0)
        return json_fail(facts, error, "it has no size, or no digest of %zu digits",
                         sizeof ret_facts->digest - 1);
    g_strlcpy(ret_facts->digest, digest, sizeof ret_facts->digest);
    return TRUE;
}

/* An id of the agent's, as the agent checks it. */
static gboolean id_is_valid(const char *id)
{
    const gsize length = strlen(id);

    return length > 0 && length <= 128 && *id != '.' &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == length;
}

static gboolean read_id(const JsonValue *value, char **ret_id, GError **error)
{
    const char *id = "";

    if (!json_as_line(value, &id, error))
        return FALSE;
    if (!id_is_valid(id))
        return json_fail(value, error, "\"%s\" is not the id of a container", id);
    *ret_id = g_strdup(id);
    return TRUE;
}

static gboolean read_groups(const JsonValue *object, GArray *groups, GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(object, "groups", CHECKPOINT_MAX_GROUPS, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++) {
        gint64 group;

        if (!json_as_int(json_at(list, i), 0, G_MAXUINT32, &group, error))
            return FALSE;
        g_array_append_val(groups, group);
    }
    return TRUE;
}

static gboolean read_binds(const JsonValue *object, CheckpointContainer *container, GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(object, "binds", CHECKPOINT_MAX_BINDS, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++) {
        const JsonValue *bind = json_at(list, i);
        const char *name = "";
        guint64 index = 0;

        if (!json_get_uint(bind, "mount", CHECKPOINT_MAX_BINDS, &index, error) ||
            !json_get_line(bind, "name", &name, error))
            return FALSE;
        checkpoint_add_bind(container, (guint)index, g_strdup(name));
    }
    return TRUE;
}

static gboolean read_container(const JsonValue *object, Checkpoint *checkpoint, GError **error)
{
    CheckpointContainer *container = checkpoint_add_container(checkpoint);
    const JsonValue *id = json_require(object, "id", error);
    const char *name = "";
    const char *image = "";

    container->layers = g_new0(char *, 1);
    container->uid = container->gid = -1;
    if (id == NULL || !read_id(id, &container->id, error) || !json_get_line(object, "name", &name, error) ||
        !json_get_line(object, "image", &image, error) ||
        !json_get_lines(object, "layers", CHECKPOINT_MAX_LAYERS, &container->layers, error) ||
        !json_get_int(object, "uid", -1, G_MAXUINT32, &container->uid, error) ||
        !json_get_int(object, "gid", -1, G_MAXUINT32, &container->gid, error) ||
        !read_groups(object, container->groups, error) ||
        !json_get_int(object, "stop_signal", 0, 64, &container->stop_signal, error) ||
        !read_binds(object, container, error))
        return FALSE;
    container->name = g_strdup(name);
    container->image_id = g_strdup(image);
    return *name != '\0' || json_fail(object, error, "the container has no name");
}

static gboolean read_containers(const JsonValue *root, Checkpoint *checkpoint, GError **error)
{
    const JsonValue *list = NULL;
    const JsonValue *others = NULL;

    if (!json_get_array(root, "containers", CHECKPOINT_MAX_CONTAINERS, &list, error) ||
        !json_get_array(root, "others", CHECKPOINT_MAX_CONTAINERS, &others, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++)
        if (!read_container(json_at(list, i), checkpoint, error))
            return FALSE;
    for (gsize i = 0; i < json_length(others); i++) {
        char *id = NULL;

        if (!read_id(json_at(others, i), &id, error))
            return FALSE;
        g_ptr_array_add(checkpoint->others, id);
    }
    return checkpoint->containers->len > 0 ||
           fail(error, STATUS_INVALID_ARGUMENT, "the checkpoint has no containers");
}

static gboolean read_disks(const JsonValue *vm, Checkpoint *checkpoint, GError **error)
{
    const JsonValue *list = NULL;
    guint64 last = 0;

    if (!json_get_array(vm, "disks", CHECKPOINT_MAX_DISKS, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++) {
        CheckpointDisk *disk = checkpoint_add_disk(checkpoint);
        const JsonValue *object = json_at(list, i);
        const char *layer = "";
        guint64 lun = 0;

        if (!json_get_uint(object, "lun", CHECKPOINT_MAX_DISKS, &lun, error) ||
            !json_get_line(object, "layer", &layer, error))
            return FALSE;
        if (lun <= last)
            return json_fail(object, error, "the disks are not in order of their numbers, from 1 on");
        last = lun;
        disk->lun = (guint)lun;
        disk->key = g_strdup(layer);
    }
    return TRUE;
}

static gboolean read_inputs(const JsonValue *vm, Checkpoint *checkpoint, GError **error)
{
    const JsonValue *object = json_require(vm, "inputs", error);
    g_autoptr(GPtrArray) inputs = g_ptr_array_new_with_free_func(g_free);

    if (object == NULL)
        return FALSE;
    for (gsize i = 0; i < json_length(object); i++) {
        const JsonValue *member = json_at(object, i);
        const char *value = "";

        if (!json_as_string(member, &value, error))
            return FALSE;
        g_ptr_array_add(inputs, g_strdup_printf("%s=%s", json_key(member), value));
    }
    g_ptr_array_add(inputs, NULL);
    checkpoint->inputs = (char **)g_ptr_array_steal(inputs, NULL);
    return TRUE;
}

static gboolean size_check(const JsonValue *vm, const CheckpointSize *size, GError **error)
{
    return (size->boot_vcpus >= 1 && size->boot_vcpus <= size->vcpus && size->vcpus <= size->max_vcpus &&
            size->max_vcpus <= G_MAXUINT16 && size->boot_memory_bytes > 0 &&
            size->boot_memory_bytes <= size->memory_bytes && size->memory_bytes <= size->max_memory_bytes) ||
           json_fail(vm, error, "the sizes of the virtual machine contradict each other");
}

static gboolean read_vm(const JsonValue *root, Checkpoint *checkpoint, GError **error)
{
    const JsonValue *vm = json_require(root, "vm", error);
    guint64 share = 0;

    if (vm == NULL || !json_get_uint(vm, "share", CHECKPOINT_MAX_SHARES, &share, error))
        return FALSE;
    checkpoint->share = (guint)share;
#define SIZE(field)                                                                                          \
    if (!json_get_uint(vm, #field, G_MAXINT64, &checkpoint->size.field, error))                              \
        return FALSE;
    CHECKPOINT_SIZES(SIZE)
#undef SIZE
    return size_check(vm, &checkpoint->size, error) && read_disks(vm, checkpoint, error) &&
           read_inputs(vm, checkpoint, error);
}

static gboolean read_manifest(const JsonValue *root, Checkpoint *checkpoint, CheckpointPrivate *facts,
                              GError **error)
{
    const char *format = "";
    const char *handler = "";

    if (!json_get_line(root, "format", &format, error))
        return FALSE;
    if (!g_str_equal(format, CHECKPOINT_FORMAT))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "the checkpoint has the format \"%s\", and this crivirt reads format " CHECKPOINT_FORMAT,
                    format);
    if (!json_get_line(root, "handler", &handler, error) ||
        !json_get_int(root, "made_at", 0, G_MAXINT64, &checkpoint->made_at_s, error) ||
        !read_containers(root, checkpoint, error) || !read_vm(root, checkpoint, error))
        return FALSE;
    checkpoint->handler = g_strdup(handler);
    return read_facts(root, CHECKPOINT_REQUEST, &facts->request, error) &&
           read_facts(root, CHECKPOINT_RAM, &checkpoint->ram, error) &&
           read_facts(root, CHECKPOINT_DEVICES, &facts->devices, error) &&
           read_facts(root, CHECKPOINT_DISK, &checkpoint->disk, error) &&
           (checkpoint->share == 0 || read_facts(root, CHECKPOINT_VOLUMES, &facts->volumes, error));
}

gboolean checkpoint_manifest_parse(const char *text, gsize length, Checkpoint *checkpoint,
                                   CheckpointPrivate *ret_facts, GError **error)
{
    const JsonLimits limits = {.max_bytes = CHECKPOINT_MAX_MANIFEST_BYTES};
    g_autoptr(JsonDocument) document = json_document_parse(text, length, CHECKPOINT_MANIFEST, &limits, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;

    return root != NULL && read_manifest(root, checkpoint, ret_facts, error);
}

static gboolean manifest_open(int directory, Checkpoint *checkpoint, CheckpointPrivate *facts, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *text =
        part_read(directory, CHECKPOINT_MANIFEST, CHECKPOINT_MAX_MANIFEST_BYTES, &length, error);

    return text != NULL && checkpoint_manifest_parse((const char *)text, length, checkpoint, facts, error);
}

/* ---- the other files ---- */

static gboolean request_open(int directory, const FileFacts *facts, Checkpoint *checkpoint, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *packed =
        part_read(directory, CHECKPOINT_REQUEST, CHECKPOINT_MAX_REQUEST_BYTES, &length, error);
    const Runtime__V1__RestorePodRequest *request;

    if (packed == NULL || !content_check(CHECKPOINT_REQUEST, packed, length, facts, error))
        return FALSE;
    checkpoint->request = runtime__v1__restore_pod_request__unpack(NULL, length, packed);
    request = checkpoint->request;
    if (request == NULL || request->config == NULL || request->config->metadata == NULL)
        return fail(error, STATUS_DATA_LOSS, "the checkpoint's configuration of the pod cannot be decoded");
    for (size_t i = 0; i < request->n_container_configs; i++)
        if (request->container_configs[i]->metadata == NULL)
            return fail(error, STATUS_DATA_LOSS,
                        "the checkpoint's configuration of a container has no metadata");
    return TRUE;
}

/* QEMU and fsguard read their states from copies that nobody else can change. */
static gboolean copy_open(int directory, const char *name, gsize max_bytes, const FileFacts *facts,
                          int *ret_fd, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *state = part_read(directory, name, max_bytes, &length, error);

    if (state == NULL || !content_check(name, state, length, facts, error))
        return FALSE;
    *ret_fd = memfd_create("checkpoint", MFD_CLOEXEC);
    return (*ret_fd >= 0 && file_write_all(*ret_fd, state, length) && lseek(*ret_fd, 0, SEEK_SET) == 0) ||
           fail_errno(error, errno, "cannot copy the checkpoint's %s", name);
}

static int sized_open(int directory, const char *name, const FileFacts *facts, GError **error)
{
    struct stat status;
    int fd = part_open(directory, name, &status, error);

    if (fd < 0 || (guint64)status.st_size == facts->bytes)
        return fd;
    close(fd);
    fail(error, STATUS_DATA_LOSS, "the checkpoint's %s has not the size in the manifest", name);
    return -1;
}

static gboolean files_open(int directory, Checkpoint *checkpoint, GError **error)
{
    CheckpointPrivate facts;

    if (!manifest_open(directory, checkpoint, &facts, error) ||
        !request_open(directory, &facts.request, checkpoint, error) ||
        !copy_open(directory, CHECKPOINT_DEVICES, CHECKPOINT_MAX_DEVICE_BYTES, &facts.devices,
                   &checkpoint->device_fd, error) ||
        (checkpoint->share != 0 && !copy_open(directory, CHECKPOINT_VOLUMES, CHECKPOINT_MAX_VOLUME_BYTES,
                                              &facts.volumes, &checkpoint->volumes_fd, error)))
        return FALSE;
    checkpoint->ram_fd = sized_open(directory, CHECKPOINT_RAM, &checkpoint->ram, error);
    if (checkpoint->ram_fd < 0)
        return FALSE;
    checkpoint->disk_fd = sized_open(directory, CHECKPOINT_DISK, &checkpoint->disk, error);
    return checkpoint->disk_fd >= 0;
}

Checkpoint *checkpoint_files_open(int directory, GError **error)
{
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();

    return files_open(directory, checkpoint, error) ? g_steal_pointer(&checkpoint) : NULL;
}

static gboolean state_open(int directory, const char *name, int *ret_fd, GError **error)
{
    *ret_fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_fd >= 0 || fail_errno(error, errno, "cannot open the saved %s", name);
}

gboolean checkpoint_open_state(int directory, int *ret_ram_fd, int *ret_device_fd, int *ret_volumes_fd,
                               GError **error)
{
    int ram;
    int devices;

    if (!state_open(directory, CHECKPOINT_RAM, &ram, error))
        return FALSE;
    if (!state_open(directory, CHECKPOINT_DEVICES, &devices, error)) {
        close(ram);
        return FALSE;
    }
    *ret_ram_fd = ram;
    *ret_device_fd = devices;
    state_open(directory, CHECKPOINT_VOLUMES, ret_volumes_fd, NULL);
    return TRUE;
}

Checkpoint *checkpoint_open(const char *path, GError **error)
{
    Checkpoint *checkpoint;
    int directory;

    if (*path != '/') {
        fail(error, STATUS_INVALID_ARGUMENT, "checkpoint_path: \"%s\" is not absolute", path);
        return NULL;
    }
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0) {
        fail_errno(error, errno, "checkpoint_path: cannot open the directory %s", path);
        return NULL;
    }
    checkpoint = checkpoint_files_open(directory, error);
    close(directory);
    if (checkpoint == NULL)
        g_prefix_error(error, "checkpoint_path: %s: ", path);
    return checkpoint;
}
