/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json_writer.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/checkpoint/checkpoint_parts.h"
#include "sandbox/host/volume_options.h"

/* ---- packing ---- */

struct CheckpointPacking {
    const CheckpointStorage *storage;
    CheckpointSecret *secret; /* NULL: it is not encrypted */
};

CheckpointPacking *checkpoint_packing_new(const CheckpointStorage *storage, GError **error)
{
    g_autoptr(CheckpointPacking) packing = g_new0(CheckpointPacking, 1);
    const gboolean encrypts = storage->key_files != NULL && *storage->key_files != NULL;

    packing->storage = storage;
    if (!encrypts && storage->require_encryption) {
        fail(error, STATUS_FAILED_PRECONDITION,
             "checkpoint.require_encryption is on, and checkpoint.key_files has no key");
        return NULL;
    }
    if (encrypts)
        packing->secret = checkpoint_secret_new(*storage->key_files, error);
    if (encrypts && packing->secret == NULL) {
        g_prefix_error(error, "checkpoint.key_files: ");
        return NULL;
    }
    return g_steal_pointer(&packing);
}

void checkpoint_packing_free(CheckpointPacking *packing)
{
    if (packing == NULL)
        return;
    checkpoint_secret_free(packing->secret);
    g_free(packing);
}

gboolean checkpoint_packing_packs(const CheckpointPacking *packing)
{
    return packing->secret != NULL || packing->storage->compress;
}

PackedForm checkpoint_form(const char *name, gboolean compress, const CheckpointSecret *secret,
                           const CheckpointStorage *storage)
{
    PackedForm form = {.name = name,
                       .compress = compress,
                       .level = storage->level,
                       .threads = storage->threads,
                       .encrypt = secret != NULL};

    if (secret != NULL)
        checkpoint_secret_file_key(secret, name, form.key);
    return form;
}

/* ---- the directory ---- */

/* Takes the directory's descriptor. Return: whether nothing is in it; FALSE with the error otherwise. */
static gboolean directory_is_empty(int directory, const char *path, GError **error)
{
    DIR *entries = fdopendir(directory);
    const struct dirent *entry = NULL;
    gboolean empty = TRUE;

    if (entries == NULL) {
        close(directory);
        return fail_errno(error, errno, "output_path: cannot read %s", path);
    }
    while (empty &&
           (entry = readdir(entries)) != NULL) /* NOLINT(concurrency-mt-unsafe): a stream of its own */
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (!empty)
        fail(error, STATUS_FAILED_PRECONDITION, "output_path: %s is not empty: it has %s", path,
             entry->d_name);
    closedir(entries);
    return empty;
}

int checkpoint_directory(const char *path, GError **error)
{
    int directory;
    int copy;

    if (*path != '/') {
        fail(error, STATUS_INVALID_ARGUMENT, "output_path: \"%s\" is not absolute", path);
        return -1;
    }
    directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) {
        fail_errno(error, errno, "output_path: cannot open the directory %s", path);
        return -1;
    }
    /* Another call would take the files of this one for its own. */
    if (flock(directory, LOCK_EX | LOCK_NB) != 0) {
        fail(error, STATUS_FAILED_PRECONDITION, "output_path: %s is in use by another checkpoint", path);
        close(directory);
        return -1;
    }
    copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0)
        fail_errno(error, errno, "output_path: cannot open the directory %s", path);
    if (copy >= 0 && directory_is_empty(copy, path, error))
        return directory;
    close(directory);
    return -1;
}

static int file_make(int directory, const char *name, GError **error)
{
    int fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        fail_errno(error, errno, "cannot create the checkpoint's file %s", name);
    return fd;
}

gboolean checkpoint_make_files(int directory, int *ret_ram_fd, int *ret_device_fd, GError **error)
{
    int ram = file_make(directory, CHECKPOINT_RAM, error);
    int devices = ram >= 0 ? file_make(directory, CHECKPOINT_DEVICES, error) : -1;

    if (devices < 0) {
        if (ram >= 0)
            close(ram);
        return FALSE;
    }
    *ret_ram_fd = ram;
    *ret_device_fd = devices;
    return TRUE;
}

int checkpoint_make_volumes(int directory, GError **error)
{
    return file_make(directory, CHECKPOINT_VOLUMES, error);
}

char *checkpoint_disk_path(int directory)
{
    return g_strdup_printf("/proc/self/fd/%d/" CHECKPOINT_DISK, directory);
}

void checkpoint_discard(int directory)
{
    static const char *const names[] = {CHECKPOINT_MANIFEST, CHECKPOINT_MAC,     CHECKPOINT_REQUEST,
                                        CHECKPOINT_RAM,      CHECKPOINT_DEVICES, CHECKPOINT_DISK,
                                        CHECKPOINT_VOLUMES};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        unlinkat(directory, names[i], 0);
}

/* ---- the files ---- */

static gboolean file_fill(int directory, const char *name, const void *data, gsize length, GError **error)
{
    int fd = file_make(directory, name, error);
    gboolean good;

    if (fd < 0)
        return FALSE;
    good = file_write_all(fd, data, length) && fsync(fd) == 0;
    if (!good)
        fail_errno(error, errno, "cannot write the checkpoint's file %s", name);
    close(fd);
    return good;
}

typedef struct {
    int directory;
    int made; /* the directory in which the files were made */
    const CheckpointPacking *packing;
    const Deadline *deadline;
} Sealing;

static gboolean fail_finish(const char *name, GError **error)
{
    return fail_errno(error, errno, "cannot finish the checkpoint's file %s", name);
}

static gboolean part_pack(const Sealing *sealing, const char *name, int from, PackedFacts *ret_facts,
                          GError **error)
{
    const CheckpointPacking *packing = sealing->packing;
    PackedForm form;
    gboolean good;
    int to = file_make(sealing->directory, name, error);

    if (to < 0)
        return FALSE;
    form = checkpoint_form(name, packing->storage->compress, packing->secret, packing->storage);
    good = packed_file_write(from, to, &form, sealing->deadline, ret_facts, error) &&
           (fsync(to) == 0 || fail_finish(name, error));
    OPENSSL_cleanse(&form, sizeof form);
    close(to);
    return good;
}

static gboolean part_sync(int directory, const char *name, GError **error)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    gboolean good = fd >= 0 && fsync(fd) == 0;

    if (!good)
        fail_errno(error, errno, "cannot write the file %s to the disk", name);
    if (fd >= 0)
        close(fd);
    return good;
}

gboolean checkpoint_sync_state(int directory, GError **error)
{
    return part_sync(directory, CHECKPOINT_RAM, error) && part_sync(directory, CHECKPOINT_DEVICES, error) &&
           (faccessat(directory, CHECKPOINT_VOLUMES, F_OK, AT_SYMLINK_NOFOLLOW) != 0 ||
            part_sync(directory, CHECKPOINT_VOLUMES, error)) &&
           (fsync(directory) == 0 || fail_errno(error, errno, "cannot write a directory to the disk"));
}

static gboolean part_finish(const char *name, int fd, PackedFacts *ret_facts, GError **error)
{
    *ret_facts = (PackedFacts){.chunks = 0};
    return (fsync(fd) == 0 && file_facts(fd, &ret_facts->file)) || fail_finish(name, error);
}

static gboolean part_seal(const Sealing *sealing, const char *name, PackedFacts *ret_facts, GError **error)
{
    int fd = openat(sealing->made, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    gboolean good;

    if (fd < 0)
        return fail_finish(name, error);
    good = checkpoint_packing_packs(sealing->packing) ? part_pack(sealing, name, fd, ret_facts, error)
                                                      : part_finish(name, fd, ret_facts, error);
    close(fd);
    return good;
}

static gboolean request_write(int directory, const Checkpoint *checkpoint, GError **error)
{
    const gsize length = runtime__v1__restore_pod_request__get_packed_size(checkpoint->request);
    g_autofree guint8 *packed = g_malloc(length);

    runtime__v1__restore_pod_request__pack(checkpoint->request, packed);
    return file_fill(directory, CHECKPOINT_REQUEST, packed, length, error);
}

static gboolean parts_seal(const Sealing *sealing, const Checkpoint *checkpoint, CheckpointPrivate *ret_facts,
                           GError **error)
{
    return request_write(sealing->made, checkpoint, error) &&
           part_seal(sealing, CHECKPOINT_REQUEST, &ret_facts->request, error) &&
           part_seal(sealing, CHECKPOINT_RAM, &ret_facts->ram, error) &&
           part_seal(sealing, CHECKPOINT_DEVICES, &ret_facts->devices, error) &&
           part_seal(sealing, CHECKPOINT_DISK, &ret_facts->disk, error) &&
           (checkpoint->share == 0 || part_seal(sealing, CHECKPOINT_VOLUMES, &ret_facts->volumes, error));
}

/* ---- the manifest ---- */

/* key: of the list; name_key: of a mount's name in it. */
static void put_mounts(JsonWriter *json, const char *key, const char *name_key, const GPtrArray *mounts)
{
    json_writer_open_array(json, key);
    for (guint i = 0; i < mounts->len; i++) {
        const CheckpointMount *mount = mounts->pdata[i];

        json_writer_open_object(json, NULL);
        json_writer_uint(json, "mount", mount->index);
        json_writer_string(json, name_key, mount->name);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
}

static void put_blocks(JsonWriter *json, const CheckpointContainer *container)
{
    json_writer_open_array(json, "blocks");
    for (guint i = 0; i < container->blocks->len; i++) {
        const CheckpointBlock *block = container->blocks->pdata[i];

        json_writer_open_object(json, NULL);
        json_writer_uint(json, block->is_mount ? "mount" : "device", block->index);
        json_writer_uint(json, "lun", block->lun);
        json_writer_uint(json, "bytes", block->bytes);
        json_writer_string(json, "container_path", block->container_path);
        json_writer_string(json, "host_path", block->host_path);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
}

static void put_container(JsonWriter *json, const CheckpointContainer *container)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "name", container->name);
    json_writer_string(json, "id", container->id);
    json_writer_string(json, "image", container->image_id);
    json_writer_strings(json, "layers", (const char *const *)container->layers, -1);
    json_writer_int(json, "uid", container->uid);
    json_writer_int(json, "gid", container->gid);
    json_writer_open_array(json, "groups");
    for (guint i = 0; i < container->groups->len; i++)
        json_writer_int(json, NULL, g_array_index(container->groups, gint64, i));
    json_writer_close_array(json);
    json_writer_int(json, "stop_signal", container->stop_signal);
    put_mounts(json, "binds", "name", container->binds);
    put_mounts(json, "images", "image", container->images);
    put_blocks(json, container);
    json_writer_close_object(json);
}

static void put_vm(JsonWriter *json, const Checkpoint *checkpoint)
{
    json_writer_open_object(json, "vm");
#define SIZE(field) json_writer_uint(json, #field, checkpoint->size.field);
    CHECKPOINT_SIZES(SIZE)
#undef SIZE
    json_writer_open_array(json, "disks");
    for (guint i = 0; i < checkpoint->disks->len; i++) {
        const CheckpointDisk *disk = checkpoint->disks->pdata[i];

        json_writer_open_object(json, NULL);
        json_writer_uint(json, "lun", disk->lun);
        json_writer_string(json, "layer", disk->key);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    json_writer_uint(json, "share", checkpoint->share);
    json_writer_string(json, "volume_cache", checkpoint->volume_cache);
    if (checkpoint->volume_locks != VOLUME_LOCKS_UNKNOWN)
        json_writer_bool(json, "volume_locks", checkpoint->volume_locks);
    json_writer_open_object(json, "inputs");
    for (guint i = 0; checkpoint->inputs[i] != NULL; i++) {
        g_auto(GStrv) input = g_strsplit(checkpoint->inputs[i], "=", 2);

        json_writer_string(json, input[0], input[1]);
    }
    json_writer_close_object(json);
    json_writer_close_object(json);
}

static void put_pod(JsonWriter *json, const Checkpoint *checkpoint)
{
    const Runtime__V1__PodSandboxMetadata *metadata = checkpoint->request->config->metadata;

    json_writer_string(json, "handler", checkpoint->handler);
    json_writer_open_object(json, "pod");
    json_writer_string(json, "namespace", metadata->namespace_);
    json_writer_string(json, "name", metadata->name);
    json_writer_string(json, "uid", metadata->uid);
    json_writer_close_object(json);
    json_writer_open_array(json, "containers");
    for (guint i = 0; i < checkpoint->containers->len; i++)
        put_container(json, checkpoint->containers->pdata[i]);
    json_writer_close_array(json);
    json_writer_strings(json, "others", (const char *const *)checkpoint->others->pdata,
                        (gssize)checkpoint->others->len);
}

static void put_packing(JsonWriter *json, const CheckpointPacking *packing)
{
    char salt[2 * CHECKPOINT_SALT_BYTES + 1];

    json_writer_open_object(json, "packing");
    json_writer_string(json, "compression", packing->storage->compress ? CHECKPOINT_ZSTD : "none");
    json_writer_string(json, "encryption", packing->secret != NULL ? CHECKPOINT_AES : "none");
    if (packing->secret != NULL) {
        checkpoint_hex_write(packing->secret->salt, sizeof packing->secret->salt, salt);
        json_writer_string(json, "key", packing->secret->id);
        json_writer_string(json, "salt", salt);
    }
    json_writer_close_object(json);
}

static void put_facts(JsonWriter *json, const char *name, const PackedFacts *facts, gboolean packed)
{
    if (!packed) {
        file_facts_put(json, name, &facts->file);
        return;
    }
    json_writer_open_object(json, name);
    json_writer_uint(json, "bytes", facts->file.bytes);
    json_writer_uint(json, "data_bytes", facts->file.data_bytes);
    json_writer_uint(json, "chunks", facts->chunks);
    json_writer_uint(json, "stored_bytes", facts->stored_bytes);
    json_writer_string(json, "digest", facts->file.digest);
    json_writer_close_object(json);
}

static void put_manifest(JsonWriter *json, const Checkpoint *checkpoint, const CheckpointPrivate *facts,
                         const CheckpointPacking *packing)
{
    const gboolean packs = checkpoint_packing_packs(packing);

    json_writer_open_object(json, NULL);
    json_writer_string(json, "format", packs ? CHECKPOINT_PACKED_FORMAT : CHECKPOINT_FORMAT);
    json_writer_int(json, "made_at", checkpoint->made_at_s);
    if (packs)
        put_packing(json, packing);
    put_pod(json, checkpoint);
    put_vm(json, checkpoint);
    put_facts(json, CHECKPOINT_REQUEST, &facts->request, packs);
    put_facts(json, CHECKPOINT_RAM, &facts->ram, packs);
    put_facts(json, CHECKPOINT_DEVICES, &facts->devices, packs);
    put_facts(json, CHECKPOINT_DISK, &facts->disk, packs);
    if (checkpoint->share != 0)
        put_facts(json, CHECKPOINT_VOLUMES, &facts->volumes, packs);
    json_writer_close_object(json);
}

static gboolean mac_write(int directory, const CheckpointSecret *secret, const char *manifest, gsize length,
                          GError **error)
{
    guint8 mac[CHECKPOINT_MAC_BYTES];
    char text[CHECKPOINT_MAC_DIGITS + 1];

    checkpoint_secret_mac(secret, manifest, length, mac);
    checkpoint_hex_write(mac, sizeof mac, text);
    return file_fill(directory, CHECKPOINT_MAC, text, strlen(text), error);
}

gboolean checkpoint_seal(int directory, int made, Checkpoint *checkpoint, const CheckpointPacking *packing,
                         const Deadline *deadline, GError **error)
{
    const Sealing sealing = {directory, made, packing, deadline};
    g_autoptr(JsonWriter) json = json_writer_new_indented();
    CheckpointPrivate facts = {.packed = FALSE};
    const char *text;
    gsize length = 0;

    if (!parts_seal(&sealing, checkpoint, &facts, error))
        return FALSE;
    checkpoint->ram = facts.ram.file;
    checkpoint->disk = facts.disk.file;
    put_manifest(json, checkpoint, &facts, packing);
    text = json_writer_text(json, &length);
    if ((packing->secret != NULL && !mac_write(directory, packing->secret, text, length, error)) ||
        !file_fill(directory, CHECKPOINT_MANIFEST, text, length, error))
        return FALSE;
    return fsync(directory) == 0 || fail_errno(error, errno, "cannot finish the checkpoint's directory");
}
