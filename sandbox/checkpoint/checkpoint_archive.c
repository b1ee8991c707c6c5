/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/checkpoint/checkpoint_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/checkpoint/checkpoint_parts.h"

enum { BLOCK_BYTES = 1 << 20, READ_BYTES = 256 << 10 };

/* The files in their order in an archive, each with the most that is read of it. */
static const struct {
    const char *name;
    guint64 max_bytes;
    gboolean optional;
    gboolean describes; /* it is needed to read the request */
} parts[] = {
    {CHECKPOINT_REQUEST, CHECKPOINT_MAX_REQUEST_BYTES + CHECKPOINT_MAX_PACKED_BYTES, FALSE, TRUE},
    {CHECKPOINT_MANIFEST, CHECKPOINT_MAX_MANIFEST_BYTES, FALSE, TRUE},
    {CHECKPOINT_MAC, CHECKPOINT_MAC_DIGITS, TRUE, TRUE},
    {CHECKPOINT_DEVICES, CHECKPOINT_MAX_DEVICE_BYTES + CHECKPOINT_MAX_PACKED_BYTES, FALSE, FALSE},
    {CHECKPOINT_VOLUMES, CHECKPOINT_MAX_VOLUME_BYTES + CHECKPOINT_MAX_PACKED_BYTES, TRUE, FALSE},
    {CHECKPOINT_RAM, G_MAXINT64, FALSE, FALSE},
    {CHECKPOINT_DISK, G_MAXINT64, FALSE, FALSE},
};

static gboolean fail_archive(struct archive *archive, int status, const char *what, GError **error)
{
    const char *why = archive_error_string(archive);

    return fail(error, status, "%s: %s", what, why != NULL ? why : "no reason is known");
}

/* ---- writing ---- */

typedef struct {
    struct archive *archive;
    const Deadline *deadline;
    const guint8 *zeros; /* BLOCK_BYTES */
    guint64 written;     /* of the file, with its holes */
    GError *error;
} Packing;

static gboolean fail_write(Packing *packing)
{
    const int errnum = archive_errno(packing->archive);

    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EIO)
        return fail_errno(&packing->error, errnum, "cannot write the archive");
    return fail_archive(packing->archive, STATUS_INTERNAL, "cannot write the archive", &packing->error);
}

static gboolean pack(Packing *packing, const guint8 *data, gsize length)
{
    if (!deadline_check(packing->deadline, "writing the archive", &packing->error))
        return FALSE;
    packing->written += length;
    return archive_write_data(packing->archive, data, length) == (la_ssize_t)length || fail_write(packing);
}

/* Nothing of a hole gets into the archive, but the library counts its bytes. */
static gboolean pack_hole(Packing *packing, guint64 end)
{
    while (packing->written < end)
        if (!pack(packing, packing->zeros, MIN(BLOCK_BYTES, end - packing->written)))
            return FALSE;
    return TRUE;
}

static gboolean pack_data(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    Packing *packing = user_data;

    return pack_hole(packing, offset) && pack(packing, data, length);
}

/* Return: FALSE with errno. */
static gboolean describe_holes(struct archive_entry *entry, int fd, off_t size)
{
    off_t end = 0;

    while (end < size) {
        const off_t begin = lseek(fd, end, SEEK_DATA);

        if (begin < 0)
            return errno == ENXIO; /* only a hole is left */
        end = lseek(fd, begin, SEEK_HOLE);
        if (end < 0)
            return FALSE;
        archive_entry_sparse_add_entry(entry, begin, end - begin);
    }
    return TRUE;
}

static gboolean pack_open_file(Packing *packing, const char *name, int fd)
{
    struct archive_entry *entry = archive_entry_new();
    struct stat status;
    gboolean good;

    packing->written = 0;
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0600);
    good = fstat(fd, &status) == 0;
    if (good) {
        archive_entry_set_size(entry, status.st_size); /* before its holes, which lie within */
        archive_entry_set_mtime(entry, status.st_mtime, 0);
        good = describe_holes(entry, fd, status.st_size) &&
               (archive_write_header(packing->archive, entry) == ARCHIVE_OK || fail_write(packing));
    }
    archive_entry_free(entry);
    good = good && file_data_each(fd, 0, (guint64)status.st_size, pack_data, packing) &&
           pack_hole(packing, (guint64)status.st_size) &&
           (archive_write_finish_entry(packing->archive) == ARCHIVE_OK || fail_write(packing));
    if (!good && packing->error == NULL)
        fail_errno(&packing->error, errno, "cannot read the checkpoint's file %s", name);
    return good;
}

static gboolean pack_file(Packing *packing, int directory, const char *name, gboolean optional)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    gboolean good;

    if (fd < 0 && errno == ENOENT && optional)
        return TRUE;
    if (fd < 0)
        return fail_errno(&packing->error, errno, "cannot open the checkpoint's file %s", name);
    good = pack_open_file(packing, name, fd);
    close(fd);
    return good;
}

gboolean checkpoint_archive_write(int directory, int file, const Deadline *deadline, GError **error)
{
    g_autofree guint8 *zeros = g_malloc0(BLOCK_BYTES);
    Packing packing = {.archive = archive_write_new(), .deadline = deadline, .zeros = zeros};
    gboolean good = (archive_write_set_format_pax(packing.archive) == ARCHIVE_OK &&
                     archive_write_open_fd(packing.archive, file) == ARCHIVE_OK) ||
                    fail_write(&packing);

    for (guint i = 0; good && i < G_N_ELEMENTS(parts); i++)
        good = pack_file(&packing, directory, parts[i].name, parts[i].optional);
    good = good && (archive_write_close(packing.archive) == ARCHIVE_OK || fail_write(&packing));
    archive_write_free(packing.archive);
    if (!good)
        g_propagate_error(error, packing.error);
    return good;
}

/* ---- reading ---- */

typedef struct {
    struct archive *archive;
    int directory;
    const Deadline *deadline;
    gboolean describes_only; /* it ends at the first file that is not needed to read the request */
    guint seen;              /* a bit for each of the parts */
} Unpacking;

/* Return: the index of the part with that name, which comes for the first time; -1 with the error. */
static int part_find(Unpacking *unpacking, struct archive_entry *entry, GError **error)
{
    const char *name = archive_entry_pathname(entry);

    for (guint i = 0; name != NULL && i < G_N_ELEMENTS(parts); i++) {
        if (!g_str_equal(name, parts[i].name))
            continue;
        if (unpacking->seen & (1U << i)) {
            fail(error, STATUS_INVALID_ARGUMENT, "the archive has the file %s twice", name);
            return -1;
        }
        unpacking->seen |= 1U << i;
        return (int)i;
    }
    fail(error, STATUS_INVALID_ARGUMENT, "the archive is not a checkpoint: it has a file of another name");
    return -1;
}

static gboolean entry_check(guint part, struct archive_entry *entry, GError **error)
{
    const gint64 size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1;

    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "the archive's %s is not a regular file",
                    parts[part].name);
    return (size >= 0 && (guint64)size <= parts[part].max_bytes) ||
           fail(error, STATUS_RESOURCE_EXHAUSTED,
                "the archive's %s has %" G_GINT64_FORMAT " bytes, and at most %" G_GUINT64_FORMAT " are read",
                parts[part].name, size, parts[part].max_bytes);
}

static gboolean unpack_data(Unpacking *unpacking, const char *name, int fd, gint64 size, GError **error)
{
    for (;;) {
        const void *data = NULL;
        size_t length = 0;
        la_int64_t offset = 0;
        int result = archive_read_data_block(unpacking->archive, &data, &length, &offset);

        if (result == ARCHIVE_EOF)
            return TRUE;
        if (result != ARCHIVE_OK)
            return fail_archive(unpacking->archive, STATUS_DATA_LOSS, "the archive is damaged", error);
        if (offset < 0 || offset > size || length > (guint64)(size - offset))
            return fail(error, STATUS_DATA_LOSS, "the archive's %s has data behind its end", name);
        if (!deadline_check(unpacking->deadline, "reading the archive", error))
            return FALSE;
        if (!file_write_at(fd, data, length, offset))
            return fail_errno(error, errno, "cannot copy the checkpoint's file %s", name);
    }
}

static gboolean unpack_entry(Unpacking *unpacking, guint part, struct archive_entry *entry, GError **error)
{
    const char *name = parts[part].name;
    gint64 size;
    gboolean good;
    int fd;

    if (!entry_check(part, entry, error))
        return FALSE;
    size = archive_entry_size(entry);
    fd = openat(unpacking->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create the checkpoint's file %s", name);
    good = ftruncate(fd, size) == 0 || fail_errno(error, errno, "cannot grow the checkpoint's file %s", name);
    good = good && unpack_data(unpacking, name, fd, size, error);
    close(fd);
    return good;
}

static gboolean unpack_all(Unpacking *unpacking, GError **error)
{
    for (;;) {
        struct archive_entry *entry = NULL;
        int result = archive_read_next_header(unpacking->archive, &entry);
        int part;

        if (result == ARCHIVE_EOF)
            break;
        if (result != ARCHIVE_OK)
            return unpacking->seen != 0
                       ? fail_archive(unpacking->archive, STATUS_DATA_LOSS, "the archive is damaged", error)
                       : fail_archive(unpacking->archive, STATUS_INVALID_ARGUMENT,
                                      "the file is not an archive of a checkpoint", error);
        part = part_find(unpacking, entry, error);
        if (part >= 0 && unpacking->describes_only && !parts[part].describes)
            break;
        if (part < 0 || !unpack_entry(unpacking, (guint)part, entry, error))
            return FALSE;
    }
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        if (!(unpacking->seen & (1U << i)) && !parts[i].optional &&
            (parts[i].describes || !unpacking->describes_only))
            return fail(error, STATUS_INVALID_ARGUMENT, "the archive is not a checkpoint: it has no file %s",
                        parts[i].name);
    return TRUE;
}

static gboolean archive_unpack(int file, int directory, gboolean describes_only, const Deadline *deadline,
                               GError **error)
{
    Unpacking unpacking = {.archive = archive_read_new(),
                           .directory = directory,
                           .deadline = deadline,
                           .describes_only = describes_only};
    gboolean good;

    good = (archive_read_support_format_tar(unpacking.archive) == ARCHIVE_OK &&
            archive_read_open_fd(unpacking.archive, file, READ_BYTES) == ARCHIVE_OK) ||
           fail_archive(unpacking.archive, STATUS_INVALID_ARGUMENT,
                        "the file is not an archive of a checkpoint", error);
    good = good && unpack_all(&unpacking, error);
    archive_read_free(unpacking.archive);
    return good;
}

gboolean checkpoint_archive_read(int file, int directory, const Deadline *deadline, GError **error)
{
    return archive_unpack(file, directory, FALSE, deadline, error);
}

/* ---- opening ---- */

static Checkpoint *open_copy(int file, const char *copy, const CheckpointStorage *storage,
                             const Deadline *deadline, GError **error)
{
    int directory = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    Checkpoint *checkpoint = NULL;

    if (directory < 0) {
        fail_errno(error, errno, "cannot open %s", copy);
        return NULL;
    }
    if (checkpoint_archive_read(file, directory, deadline, error))
        checkpoint = checkpoint_files_open(directory, storage, error);
    close(directory);
    return checkpoint;
}

static Checkpoint *open_archive(int file, const CheckpointStorage *storage, const char *scratch,
                                const Deadline *deadline, GError **error)
{
    g_autofree char *copy = g_build_filename(scratch, "restore-XXXXXX", NULL);
    Checkpoint *checkpoint;

    if (!dir_make(scratch, 0700, error))
        return NULL;
    if (mkdtemp(copy) == NULL) {
        fail_errno(error, errno, "cannot make a directory in %s", scratch);
        return NULL;
    }
    checkpoint = open_copy(file, copy, storage, deadline, error);
    dir_remove_tree(copy, NULL); /* what is used of it is open */
    return checkpoint;
}

static gboolean path_is_file(const char *path)
{
    struct stat status;

    return *path == '/' && stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* Opens an archive, whose path another process may exchange. Return: the descriptor; -1. */
static int archive_open(const char *path, GError **error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;

    if (file < 0 || fstat(file, &status) != 0) {
        fail_errno(error, errno, "cannot open %s", path);
    } else if (!S_ISREG(status.st_mode)) {
        fail(error, STATUS_INVALID_ARGUMENT, "%s is not a regular file", path);
    } else {
        return file;
    }
    if (file >= 0)
        close(file);
    return -1;
}

Checkpoint *checkpoint_open_any(const char *path, const CheckpointStorage *storage, const char *scratch,
                                const Deadline *deadline, GError **error)
{
    Checkpoint *checkpoint;
    int file;

    if (!path_is_file(path))
        return checkpoint_open(path, storage, error);
    file = archive_open(path, error);
    if (file < 0) {
        g_prefix_error(error, "checkpoint_path: ");
        return NULL;
    }
    checkpoint = open_archive(file, storage, scratch, deadline, error);
    close(file);
    if (checkpoint == NULL)
        g_prefix_error(error, "checkpoint_path: %s: ", path);
    return checkpoint;
}

/* ---- the request alone ---- */

static Runtime__V1__RestorePodRequest *request_of_directory(int directory, const CheckpointStorage *storage,
                                                            GError **error)
{
    Runtime__V1__RestorePodRequest *request =
        directory >= 0 ? checkpoint_files_request(directory, storage, error) : NULL;

    if (directory >= 0)
        close(directory);
    return request;
}

/* What describes the checkpoint is copied, because the files of a directory are looked for by name. */
static Runtime__V1__RestorePodRequest *request_of_archive(int file, const CheckpointStorage *storage,
                                                          GError **error)
{
    g_autofree char *copy = g_dir_make_tmp("checkpoint-XXXXXX", error);
    Runtime__V1__RestorePodRequest *request = NULL;
    int directory;

    if (copy == NULL)
        return NULL;
    directory = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0)
        fail_errno(error, errno, "cannot open %s", copy);
    else if (archive_unpack(file, directory, TRUE, NULL, error))
        request = checkpoint_files_request(directory, storage, error);
    if (directory >= 0)
        close(directory);
    dir_remove_tree(copy, NULL);
    return request;
}

Runtime__V1__RestorePodRequest *checkpoint_request(const char *path, const CheckpointStorage *storage,
                                                   GError **error)
{
    Runtime__V1__RestorePodRequest *request = NULL;
    int file;

    if (!path_is_file(path))
        return request_of_directory(checkpoint_open_directory(path, error), storage, error);
    file = archive_open(path, error);
    if (file < 0)
        return NULL;
    request = request_of_archive(file, storage, error);
    close(file);
    return request;
}
