/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/checkpoint/checkpoint_parts.h"
#include "sandbox/host/volume_options.h"

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

static gboolean read_facts(const JsonValue *root, const char *name, gboolean packed, PackedFacts *ret_facts,
                           GError **error)
{
    const JsonValue *object = json_require(root, name, error);
    FileFacts *facts = &ret_facts->file;
    const char *digest = "";

    if (object == NULL || !json_get_uint(object, "bytes", G_MAXINT64, &facts->bytes, error) ||
        !json_get_uint(object, "data_bytes", G_MAXINT64, &facts->data_bytes, error) ||
        !json_get_line(object, "digest", &digest, error))
        return FALSE;
    if (strlen(digest) != sizeof facts->digest - 1 || facts->bytes == 0)
        return json_fail(object, error, "it has no size, or no digest of %zu digits",
                         sizeof facts->digest - 1);
    g_strlcpy(facts->digest, digest, sizeof facts->digest);
    return !packed || (json_get_uint(object, "chunks", PACKED_MAX_CHUNKS, &ret_facts->chunks, error) &&
                       json_get_uint(object, "stored_bytes", G_MAXINT64, &ret_facts->stored_bytes, error));
}

/* Reads one of two words. */
static gboolean read_choice(const JsonValue *object, const char *key, const char *word, gboolean *ret_is_word,
                            GError **error)
{
    const char *text = "";

    if (!json_get_line(object, key, &text, error))
        return FALSE;
    *ret_is_word = g_str_equal(text, word);
    return *ret_is_word || g_str_equal(text, "none") ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "the checkpoint has the %s \"%s\", and this crivirt knows %s", key, text, word);
}

static gboolean read_key(const JsonValue *packing, CheckpointPrivate *facts, GError **error)
{
    guint8 id[CHECKPOINT_KEY_ID_BYTES];
    const char *key = "";
    const char *salt = "";

    if (!json_get_line(packing, "key", &key, error) || !json_get_line(packing, "salt", &salt, error))
        return FALSE;
    if (!checkpoint_hex_read(key, sizeof id, id) ||
        !checkpoint_hex_read(salt, sizeof facts->salt, facts->salt))
        return json_fail(packing, error, "the key or the salt has not its number of hexadecimal digits");
    checkpoint_hex_write(id, sizeof id, facts->key);
    return TRUE;
}

static gboolean read_packing(const JsonValue *root, CheckpointPrivate *facts, GError **error)
{
    const JsonValue *packing = json_require(root, "packing", error);

    facts->packed = TRUE;
    return packing != NULL &&
           read_choice(packing, "compression", CHECKPOINT_ZSTD, &facts->compressed, error) &&
           read_choice(packing, "encryption", CHECKPOINT_AES, &facts->encrypted, error) &&
           (!facts->encrypted || read_key(packing, facts, error));
}

static gboolean read_format(const JsonValue *root, CheckpointPrivate *facts, GError **error)
{
    const char *format = "";

    if (!json_get_line(root, "format", &format, error))
        return FALSE;
    if (g_str_equal(format, CHECKPOINT_FORMAT))
        return TRUE;
    if (g_str_equal(format, CHECKPOINT_PACKED_FORMAT))
        return read_packing(root, facts, error);
    return fail(error, STATUS_FAILED_PRECONDITION,
                "the checkpoint has the format \"%s\", and this crivirt reads the formats " CHECKPOINT_FORMAT
                " and " CHECKPOINT_PACKED_FORMAT,
                format);
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

/* key: of the list; name_key: of a mount's name in it. */
static gboolean read_mounts(const JsonValue *object, const char *key, const char *name_key, GPtrArray *mounts,
                            GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(object, key, CHECKPOINT_MAX_BINDS, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++) {
        const JsonValue *mount = json_at(list, i);
        const char *name = "";
        guint64 index = 0;

        if (!json_get_uint(mount, "mount", CHECKPOINT_MAX_BINDS, &index, error) ||
            !json_get_line(mount, name_key, &name, error))
            return FALSE;
        checkpoint_add_mount(mounts, (guint)index, g_strdup(name));
    }
    return TRUE;
}

static gboolean read_block(const JsonValue *object, CheckpointContainer *container, GError **error)
{
    CheckpointBlock *block = checkpoint_add_block(container);
    const char *container_path = "";
    const char *host_path = "";
    guint64 mount = CHECKPOINT_MAX_BINDS;
    guint64 device = CHECKPOINT_MAX_BINDS;
    guint64 lun = 0;

    if (!json_get_uint(object, "mount", CHECKPOINT_MAX_BINDS - 1, &mount, error) ||
        !json_get_uint(object, "device", CHECKPOINT_MAX_BINDS - 1, &device, error) ||
        !json_get_uint(object, "lun", CHECKPOINT_MAX_DISKS, &lun, error) ||
        !json_get_uint(object, "bytes", G_MAXINT64, &block->bytes, error) ||
        !json_get_line(object, "container_path", &container_path, error) ||
        !json_get_line(object, "host_path", &host_path, error))
        return FALSE;
    block->is_mount = mount != CHECKPOINT_MAX_BINDS;
    block->index = (guint)(block->is_mount ? mount : device);
    block->lun = (guint)lun;
    block->container_path = g_strdup(container_path);
    block->host_path = g_strdup(host_path);
    return (lun > 0 && block->index != CHECKPOINT_MAX_BINDS) ||
           json_fail(object, error, "the block device has no number of a disk, or of a mount or device");
}

static gboolean read_blocks(const JsonValue *object, CheckpointContainer *container, GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(object, "blocks", CHECKPOINT_MAX_BINDS, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++)
        if (!read_block(json_at(list, i), container, error))
            return FALSE;
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
        !read_mounts(object, "binds", "name", container->binds, error) ||
        !read_mounts(object, "images", "image", container->images, error) ||
        !read_blocks(object, container, error))
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

/* Checkpoints of earlier versions do not have them. */
static gboolean read_volume_options(const JsonValue *vm, Checkpoint *checkpoint, GError **error)
{
    const char *cache = VOLUME_CACHE_DEFAULT;

    if (!json_get_line(vm, "volume_cache", &cache, error) ||
        !json_get_bool(vm, "volume_locks", &checkpoint->volume_locks, error))
        return FALSE;
    if (volume_cache_word(cache) == NULL)
        return json_fail(json_member(vm, "volume_cache"), error, "there is no such mode: \"%s\"", cache);
    g_free(checkpoint->volume_cache);
    checkpoint->volume_cache = g_strdup(cache);
    return TRUE;
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
    return size_check(vm, &checkpoint->size, error) && read_volume_options(vm, checkpoint, error) &&
           read_disks(vm, checkpoint, error) && read_inputs(vm, checkpoint, error);
}

static gboolean read_manifest(const JsonValue *root, Checkpoint *checkpoint, CheckpointPrivate *facts,
                              GError **error)
{
    const char *handler = "";

    *facts = (CheckpointPrivate){.packed = FALSE};
    if (!read_format(root, facts, error) || !json_get_line(root, "handler", &handler, error) ||
        !json_get_int(root, "made_at", 0, G_MAXINT64, &checkpoint->made_at_s, error) ||
        !read_containers(root, checkpoint, error) || !read_vm(root, checkpoint, error))
        return FALSE;
    checkpoint->handler = g_strdup(handler);
    if (!read_facts(root, CHECKPOINT_REQUEST, facts->packed, &facts->request, error) ||
        !read_facts(root, CHECKPOINT_RAM, facts->packed, &facts->ram, error) ||
        !read_facts(root, CHECKPOINT_DEVICES, facts->packed, &facts->devices, error) ||
        !read_facts(root, CHECKPOINT_DISK, facts->packed, &facts->disk, error) ||
        (checkpoint->share != 0 &&
         !read_facts(root, CHECKPOINT_VOLUMES, facts->packed, &facts->volumes, error)))
        return FALSE;
    checkpoint->ram = facts->ram.file;
    checkpoint->disk = facts->disk.file;
    return TRUE;
}

gboolean checkpoint_manifest_parse(const char *text, gsize length, Checkpoint *checkpoint,
                                   CheckpointPrivate *ret_facts, GError **error)
{
    const JsonLimits limits = {.max_bytes = CHECKPOINT_MAX_MANIFEST_BYTES};
    g_autoptr(JsonDocument) document = json_document_parse(text, length, CHECKPOINT_MANIFEST, &limits, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;

    return root != NULL && read_manifest(root, checkpoint, ret_facts, error);
}

/* A directory that is being read. */
typedef struct {
    int directory;
    const CheckpointStorage *storage;
    CheckpointPrivate facts;
    CheckpointSecret *secret; /* NULL: it is not encrypted */
} Opening;

static gboolean manifest_authenticate(const Opening *opening, const guint8 *manifest, gsize length,
                                      GError **error)
{
    guint8 expected[CHECKPOINT_MAC_BYTES];
    guint8 found[CHECKPOINT_MAC_BYTES];
    gsize text_length = 0;
    g_autofree guint8 *text =
        part_read(opening->directory, CHECKPOINT_MAC, CHECKPOINT_MAC_DIGITS, &text_length, error);

    if (text == NULL)
        return FALSE;
    checkpoint_secret_mac(opening->secret, manifest, length, expected);
    return (checkpoint_hex_read((const char *)text, sizeof found, found) &&
            CRYPTO_memcmp(found, expected, sizeof found) == 0) ||
           fail(error, STATUS_DATA_LOSS,
                "the checkpoint's " CHECKPOINT_MANIFEST " is not what was written with the key %s",
                opening->facts.key);
}

static gboolean manifest_trust(Opening *opening, const guint8 *manifest, gsize length, GError **error)
{
    const CheckpointStorage *storage = opening->storage;
    const CheckpointPrivate *facts = &opening->facts;

    if (!facts->encrypted)
        return !storage->require_encryption ||
               fail(error, STATUS_FAILED_PRECONDITION,
                    "the checkpoint is not encrypted, and checkpoint.require_encryption is on");
    opening->secret = checkpoint_secret_find(storage->key_files, facts->key, facts->salt, error);
    return opening->secret != NULL && manifest_authenticate(opening, manifest, length, error);
}

static gboolean manifest_open(Opening *opening, Checkpoint *checkpoint, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *text =
        part_read(opening->directory, CHECKPOINT_MANIFEST, CHECKPOINT_MAX_MANIFEST_BYTES, &length, error);

    return text != NULL &&
           checkpoint_manifest_parse((const char *)text, length, checkpoint, &opening->facts, error) &&
           manifest_trust(opening, text, length, error);
}

/* ---- the other files ---- */

/* Return: a packed file whose descriptor, which stays the caller's, is open; NULL with the error. */
static PackedFile *packed_open(const Opening *opening, const char *name, int fd, const PackedFacts *facts,
                               GError **error)
{
    PackedForm form = checkpoint_form(name, opening->facts.compressed, opening->secret, opening->storage);
    PackedFile *file = packed_file_open(fd, &form, facts, error);

    OPENSSL_cleanse(&form, sizeof form);
    return file;
}

/* Return: the content of a packed file, which has facts->file.bytes, the caller's; NULL with the error. */
static guint8 *packed_read(const Opening *opening, const char *name, const PackedFacts *facts, GError **error)
{
    struct stat status;
    int fd = part_open(opening->directory, name, &status, error);
    g_autoptr(PackedFile) file = fd >= 0 ? packed_open(opening, name, fd, facts, error) : NULL;
    g_autofree guint8 *content = file != NULL ? g_malloc0(facts->file.bytes + 1) : NULL;
    gboolean good = content != NULL && packed_file_each(file, append, content, NULL, error);

    if (fd >= 0)
        close(fd);
    return good ? g_steal_pointer(&content) : NULL;
}

/* Reads and checks a whole file. Return: its content with a NUL behind it, the caller's; NULL with the error.
 */
static guint8 *content_read(const Opening *opening, const char *name, gsize max_bytes,
                            const PackedFacts *facts, gsize *ret_length, GError **error)
{
    g_autofree guint8 *content = NULL;

    if (opening->facts.packed) {
        if (facts->file.bytes > max_bytes) {
            fail(error, STATUS_RESOURCE_EXHAUSTED,
                 "the checkpoint's %s has %" G_GUINT64_FORMAT " bytes, and at most %zu are read", name,
                 facts->file.bytes, max_bytes);
            return NULL;
        }
        *ret_length = (gsize)facts->file.bytes;
        return packed_read(opening, name, facts, error);
    }
    content = part_read(opening->directory, name, max_bytes, ret_length, error);
    return content != NULL && content_check(name, content, *ret_length, &facts->file, error)
               ? g_steal_pointer(&content)
               : NULL;
}

static gboolean request_open(const Opening *opening, Checkpoint *checkpoint, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *packed = content_read(opening, CHECKPOINT_REQUEST, CHECKPOINT_MAX_REQUEST_BYTES,
                                             &opening->facts.request, &length, error);
    const Runtime__V1__RestorePodRequest *request;

    if (packed == NULL)
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
static gboolean copy_open(const Opening *opening, const char *name, gsize max_bytes, const PackedFacts *facts,
                          int *ret_fd, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *state = content_read(opening, name, max_bytes, facts, &length, error);

    if (state == NULL)
        return FALSE;
    *ret_fd = memfd_create("checkpoint", MFD_CLOEXEC);
    return (*ret_fd >= 0 && file_write_all(*ret_fd, state, length) && lseek(*ret_fd, 0, SEEK_SET) == 0) ||
           fail_errno(error, errno, "cannot copy the checkpoint's %s", name);
}

/* Opens a large file, whose data is checked while it is used. */
static gboolean large_open(const Opening *opening, const char *name, const PackedFacts *facts, int *ret_fd,
                           PackedFile **ret_packed, GError **error)
{
    struct stat status;

    *ret_fd = part_open(opening->directory, name, &status, error);
    if (*ret_fd < 0)
        return FALSE;
    if (!opening->facts.packed)
        return (guint64)status.st_size == facts->file.bytes ||
               fail(error, STATUS_DATA_LOSS, "the checkpoint's %s has not the size in the manifest", name);
    *ret_packed = packed_open(opening, name, *ret_fd, facts, error);
    return *ret_packed != NULL;
}

static gboolean files_open(Opening *opening, Checkpoint *checkpoint, GError **error)
{
    const CheckpointPrivate *facts = &opening->facts;

    return manifest_open(opening, checkpoint, error) && request_open(opening, checkpoint, error) &&
           copy_open(opening, CHECKPOINT_DEVICES, CHECKPOINT_MAX_DEVICE_BYTES, &facts->devices,
                     &checkpoint->device_fd, error) &&
           (checkpoint->share == 0 || copy_open(opening, CHECKPOINT_VOLUMES, CHECKPOINT_MAX_VOLUME_BYTES,
                                                &facts->volumes, &checkpoint->volumes_fd, error)) &&
           large_open(opening, CHECKPOINT_RAM, &facts->ram, &checkpoint->ram_fd, &checkpoint->ram_packed,
                      error) &&
           large_open(opening, CHECKPOINT_DISK, &facts->disk, &checkpoint->disk_fd, &checkpoint->disk_packed,
                      error);
}

Checkpoint *checkpoint_files_open(int directory, const CheckpointStorage *storage, GError **error)
{
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();
    Opening opening = {.directory = directory, .storage = storage};
    gboolean opened = files_open(&opening, checkpoint, error);

    checkpoint_secret_free(opening.secret);
    return opened ? g_steal_pointer(&checkpoint) : NULL;
}

static gboolean state_open(int directory, const char *name, int *ret_fd, GError **error)
{
    *ret_fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_fd >= 0 || fail_errno(error, errno, "cannot open the saved %s", name);
}

int checkpoint_open_volumes(int directory)
{
    return openat(directory, CHECKPOINT_VOLUMES, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
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
    *ret_volumes_fd = checkpoint_open_volumes(directory);
    return TRUE;
}

Runtime__V1__RestorePodRequest *checkpoint_files_request(int directory, const CheckpointStorage *storage,
                                                         GError **error)
{
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();
    Opening opening = {.directory = directory, .storage = storage};
    gboolean opened = manifest_open(&opening, checkpoint, error) && request_open(&opening, checkpoint, error);

    checkpoint_secret_free(opening.secret);
    return opened ? g_steal_pointer(&checkpoint->request) : NULL;
}

int checkpoint_open_directory(const char *path, GError **error)
{
    int directory;

    if (*path != '/') {
        fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not absolute", path);
        return -1;
    }
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0)
        fail_errno(error, errno, "cannot open the directory %s", path);
    return directory;
}

Checkpoint *checkpoint_open(const char *path, const CheckpointStorage *storage, GError **error)
{
    Checkpoint *checkpoint;
    int directory = checkpoint_open_directory(path, error);

    if (directory < 0) {
        g_prefix_error(error, "checkpoint_path: ");
        return NULL;
    }
    checkpoint = checkpoint_files_open(directory, storage, error);
    close(directory);
    if (checkpoint == NULL)
        g_prefix_error(error, "checkpoint_path: %s: ", path);
    return checkpoint;
}

/* ---- memory and disk ---- */

typedef struct {
    PageDigest *digest;
    FileDataFunc *take;
    gpointer user_data;
    const Deadline *deadline;
    GError *error;
} CheckedRead;

static gboolean checked_take(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    CheckedRead *read = user_data;

    page_digest_add(read->digest, offset, data, length);
    return deadline_check(read->deadline, "reading the checkpoint", &read->error) &&
           read->take(offset, data, length, read->user_data);
}

gboolean checkpoint_ram_each(gpointer checkpoint, FileDataFunc *take, gpointer user_data,
                             const Deadline *deadline, GError **error)
{
    const Checkpoint *from = checkpoint;
    g_autoptr(PageDigest) digest = page_digest_new();
    CheckedRead read = {digest, take, user_data, deadline, NULL};
    FileFacts facts;

    if (from->ram_packed != NULL)
        return packed_file_each(from->ram_packed, take, user_data, deadline, error);
    if (!file_data_each(from->ram_fd, 0, from->ram.bytes, checked_take, &read)) {
        if (read.error != NULL)
            g_propagate_error(error, read.error);
        else
            fail_errno(error, errno, "cannot restore the checkpoint's " CHECKPOINT_RAM);
        return FALSE;
    }
    page_digest_finish(digest, from->ram.bytes, &facts);
    return g_str_equal(facts.digest, from->ram.digest) ||
           fail(error, STATUS_DATA_LOSS,
                "the checkpoint's " CHECKPOINT_RAM " is damaged: its digest is not the one in the manifest");
}

static gboolean disk_write(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    return file_write_at(GPOINTER_TO_INT(user_data), data, length, (goffset)offset);
}

gboolean checkpoint_disk_unpack(const Checkpoint *checkpoint, int fd, const Deadline *deadline,
                                GError **error)
{
    if (ftruncate(fd, (off_t)checkpoint->disk.bytes) != 0)
        return fail_errno(error, errno, "cannot grow the pod's disk");
    return packed_file_each(checkpoint->disk_packed, disk_write, GINT_TO_POINTER(fd), deadline, error);
}
