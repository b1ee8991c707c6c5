/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/archive_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/open_inside.h"
#include "common/string_table.h"
#include "image-service/content/digest.h"
#include "image-service/layers/blob_stream.h"
#include "image-service/layers/layer_budget.h"
#include "image-service/layers/tar_reader.h"

enum {
    MAX_FILES = 20000,
    MAX_NAME_BYTES = 4096,
    MAX_LINKS = 8,
    BUFFER_BYTES = 256 * 1024,
    TABLE_ENTRY_BYTES = 3 * sizeof(gpointer), /* of a hash table */
};

typedef struct {
    guint number; /* of the temporary file; 0: a link */
    char *target; /* of a link, a name in the archive */
} File;

struct ArchiveFiles {
    int directory_fd;  /* a directory; -1: an archive */
    GHashTable *files; /* of an archive: name to File */
    char *temporary_dir;
    guint last_number;
    LayerBudget budget;
    guint64 bytes; /* sizes of the files so far, holes included */
    guint64 max_bytes;
};

static void file_free(gpointer data)
{
    File *file = data;

    g_free(file->target);
    g_free(file);
}

void archive_files_free(ArchiveFiles *files)
{
    if (files == NULL)
        return;
    if (files->directory_fd >= 0)
        close(files->directory_fd);
    g_hash_table_unref(files->files);
    if (files->temporary_dir != NULL)
        dir_remove_tree(files->temporary_dir, NULL);
    g_free(files->temporary_dir);
    g_free(files);
}

static char *temporary_path(const ArchiveFiles *files, guint number)
{
    return g_strdup_printf("%s/%u", files->temporary_dir, number);
}

/* "./a//b/../c" becomes "a/c"; what would lead out ends at the root. */
static char *plain_name(const char *name)
{
    g_autofree char *rooted = g_strconcat("/", name, NULL);
    g_autofree char *canonical = g_canonicalize_filename(rooted, "/");

    return g_strdup(canonical + strspn(canonical, "/"));
}

/* Takes the memory of a file's name and record. */
static gboolean put_file(ArchiveFiles *files, const char *name, guint number, const char *target,
                         GError **error)
{
    g_autofree char *plain = plain_name(name);
    File *file;

    if (!layer_budget_take(&files->budget, strlen(plain) + 1, error) ||
        !layer_budget_take(&files->budget, target != NULL ? strlen(target) + 1 : 0, error) ||
        !layer_budget_take(&files->budget, sizeof *file + TABLE_ENTRY_BYTES, error))
        return FALSE;
    file = g_new0(File, 1);
    file->number = number;
    file->target = target != NULL ? plain_name(target) : NULL;
    g_hash_table_replace(files->files, g_steal_pointer(&plain), file);
    return TRUE;
}

static gboolean write_at(int fd, const void *data, gsize length, gint64 offset, GError **error)
{
    const char *next = data;

    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(pwrite(fd, next, length, offset));

        if (written < 0)
            return fail_errno(error, errno, "cannot write a temporary file");
        next += written;
        offset += written;
        length -= (gsize)written;
    }
    return TRUE;
}

static gboolean copy_data(TarReader *tar, int fd, guint64 size, GError **error)
{
    TarBlock block;
    gboolean ended = FALSE;

    while (TRUE) {
        if (!tar_reader_data(tar, &block, &ended, error))
            return FALSE;
        if (ended)
            return TRUE;
        if (block.length > 0 &&
            (block.offset < 0 || (guint64)block.offset > size || block.length > size - (guint64)block.offset))
            return fail(error, STATUS_INVALID_ARGUMENT, "a file has data beyond its end");
        if (!write_at(fd, block.data, block.length, block.offset, error))
            return FALSE;
    }
}

/* The size counts, not the data: a file of holes takes nothing in the archive, and its time when it is
 * read. */
static gboolean add_regular(ArchiveFiles *files, TarReader *tar, struct archive_entry *entry, GError **error)
{
    g_autofree char *path = temporary_path(files, ++files->last_number);
    gint64 size = archive_entry_size(entry);
    gboolean done;
    int fd;

    if (size < 0 || (guint64)size > files->max_bytes - files->bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the files of the archive are larger than %" G_GUINT64_FORMAT
                    " bytes (images.max_image_size)",
                    files->max_bytes);
    files->bytes += (guint64)size;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    done = copy_data(tar, fd, (guint64)size, error);
    close(fd);
    return done && put_file(files, archive_entry_pathname(entry), files->last_number, NULL, error);
}

static gboolean add_link(ArchiveFiles *files, const char *name, const char *target, gboolean is_symbolic,
                         GError **error)
{
    g_autofree char *directory = g_path_get_dirname(name);
    g_autofree char *path = is_symbolic ? g_build_filename(directory, target, NULL) : g_strdup(target);

    return put_file(files, name, 0, path, error);
}

static gboolean is_too_long(const char *name)
{
    return name != NULL && strlen(name) >= MAX_NAME_BYTES;
}

static gboolean add_entry(ArchiveFiles *files, TarReader *tar, struct archive_entry *entry, GError **error)
{
    const char *name = archive_entry_pathname(entry);

    if (name == NULL || archive_entry_filetype(entry) == AE_IFDIR)
        return TRUE;
    if (files->last_number >= MAX_FILES || g_hash_table_size(files->files) >= MAX_FILES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the archive has more than %d files", MAX_FILES);
    if (is_too_long(name) || is_too_long(archive_entry_hardlink(entry)) ||
        is_too_long(archive_entry_symlink(entry)))
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the archive has a name of %d bytes or more",
                    (int)MAX_NAME_BYTES);
    if (archive_entry_hardlink(entry) != NULL)
        return add_link(files, name, archive_entry_hardlink(entry), FALSE, error);
    if (archive_entry_filetype(entry) == AE_IFLNK && archive_entry_symlink(entry) != NULL)
        return add_link(files, name, archive_entry_symlink(entry), TRUE, error);
    return archive_entry_filetype(entry) != AE_IFREG || add_regular(files, tar, entry, error);
}

static gboolean add_entries(ArchiveFiles *files, TarReader *tar, GError **error)
{
    struct archive_entry *entry = NULL;

    do
        if (!tar_reader_next(tar, &entry, error) || !layer_budget_check(&files->budget, error) ||
            (entry != NULL && !add_entry(files, tar, entry, error)))
            return FALSE;
    while (entry != NULL);
    return TRUE;
}

typedef struct {
    LayerBudget *budget;
    BlobStream *stream;
} Source;

static gboolean check_source(gpointer data, GError **error)
{
    const Source *source = data;

    return layer_budget_check(source->budget, error);
}

static gboolean read_source(gpointer data, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    const Source *source = data;

    if (!layer_budget_check(source->budget, error) ||
        !blob_stream_read(source->stream, ret_data, ret_length, error))
        return FALSE;
    layer_budget_add_content(source->budget, *ret_length);
    return TRUE;
}

static gboolean read_archive(ArchiveFiles *files, int fd, GError **error)
{
    const BlobStreamSpec spec = {.fd = fd,
                                 .max_bytes = files->max_bytes,
                                 .what = "archive",
                                 .option = "images.max_image_size",
                                 .is_archive = TRUE};
    g_autoptr(BlobStream) stream = blob_stream_open(&spec, error);
    Source source = {&files->budget, stream};
    g_autoptr(TarReader) tar = NULL;

    if (stream == NULL)
        return FALSE;
    blob_stream_set_check(stream, check_source, &source);
    tar = tar_reader_open(read_source, &source, "not a readable archive", error);
    return tar != NULL && add_entries(files, tar, error);
}

static char *make_temporary(const char *parent, GError **error)
{
    g_autofree char *path = g_build_filename(parent, "archive.XXXXXX", NULL);

    if (g_mkdtemp(path) == NULL) {
        fail_errno(error, errno, "cannot create a directory in %s", parent);
        return NULL;
    }
    return g_steal_pointer(&path);
}

/* Takes fd. */
static gboolean read_into_temporary(ArchiveFiles *files, int fd, const char *temporary_dir,
                                    const Deadline *deadline, GError **error)
{
    gboolean done;

    files->temporary_dir = make_temporary(temporary_dir, error);
    layer_budget_begin(&files->budget, deadline);
    done = files->temporary_dir != NULL && read_archive(files, fd, error);
    layer_budget_end(&files->budget);
    close(fd);
    return done;
}

ArchiveFiles *archive_files_open(const char *path, const char *temporary_dir, const ArchiveLimits *limits,
                                 const Deadline *deadline, GError **error)
{
    g_autoptr(ArchiveFiles) files = g_new0(ArchiveFiles, 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;

    files->directory_fd = -1;
    files->max_bytes = limits->max_bytes;
    files->budget.limits = (LayerLimits){
        .max_memory_bytes = limits->max_memory_bytes, .max_time_ms = limits->max_time_ms, .is_archive = TRUE};
    files->files = string_table_new(g_free, file_free);
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail_errno(error, errno, "cannot open %s", path);
        return NULL;
    }
    if (S_ISDIR(status.st_mode)) {
        files->directory_fd = fd;
        return g_steal_pointer(&files);
    }
    return read_into_temporary(files, fd, temporary_dir, deadline, error) ? g_steal_pointer(&files) : NULL;
}

static const File *find_by_name(const ArchiveFiles *files, const char *name)
{
    g_autofree char *plain = plain_name(name);
    const File *file = g_hash_table_lookup(files->files, plain);

    for (int i = 0; file != NULL && file->number == 0 && i < MAX_LINKS; i++)
        file = g_hash_table_lookup(files->files, file->target);
    return file != NULL && file->number != 0 ? file : NULL;
}

static int open_file(const ArchiveFiles *files, const char *name)
{
    g_autofree char *path = NULL;
    const File *file;

    if (files->directory_fd >= 0)
        return open_inside(files->directory_fd, name, O_RDONLY | O_NONBLOCK,
                           RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    file = find_by_name(files, name);
    if (file == NULL) {
        errno = ENOENT;
        return -1;
    }
    path = temporary_path(files, file->number);
    return open(path, O_RDONLY | O_CLOEXEC);
}

gboolean archive_files_has(ArchiveFiles *files, const char *name)
{
    int fd = open_file(files, name);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Leaves the position at the start. */
static gboolean verify_file(int fd, const char *name, const char *digest, const Deadline *deadline,
                            GError **error)
{
    g_autoptr(DigestHash) hash = digest_hash_new(digest);
    g_autofree guint8 *buffer = g_malloc(BUFFER_BYTES);
    ssize_t got;

    while ((got = TEMP_FAILURE_RETRY(read(fd, buffer, BUFFER_BYTES))) > 0) {
        if (!deadline_check(deadline, "verifying a blob", error))
            return FALSE;
        digest_hash_update(hash, buffer, (gsize)got);
    }
    if (got < 0 || lseek(fd, 0, SEEK_SET) != 0)
        return fail_errno(error, errno, "cannot read %s", name);
    return digest_hash_verify(hash, digest, name, error);
}

/* A descriptor of a regular file and its size; -1 with the error set. */
static int open_regular(const ArchiveFiles *files, const char *name, guint64 *ret_size, GError **error)
{
    int fd = open_file(files, name);
    struct stat status;

    if (fd < 0) {
        fail_errno(error, errno, "%s", name);
        return -1;
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        fail(error, STATUS_INVALID_ARGUMENT, "%s is no regular file", name);
        return -1;
    }
    *ret_size = (guint64)status.st_size;
    return fd;
}

gboolean archive_files_get(ArchiveFiles *files, const char *name, const char *digest,
                           const Deadline *deadline, int *ret_fd, GError **error)
{
    guint64 size;
    int fd = open_regular(files, name, &size, error);

    if (fd < 0)
        return FALSE;
    if (digest != NULL && !verify_file(fd, name, digest, deadline, error)) {
        close(fd);
        return FALSE;
    }
    *ret_fd = fd;
    return TRUE;
}

gboolean archive_files_size(ArchiveFiles *files, const char *name, guint64 *ret_bytes, GError **error)
{
    int fd = open_regular(files, name, ret_bytes, error);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

gboolean archive_files_read(ArchiveFiles *files, const char *name, const char *digest, gsize max_bytes,
                            GBytes **ret_bytes, GError **error)
{
    g_autofree char *data = NULL;
    gsize length = 0;
    guint64 size = 0;
    ssize_t got = 1;
    int fd = open_regular(files, name, &size, error);

    if (fd < 0)
        return FALSE;
    if (size <= max_bytes && layer_budget_take(&files->budget, size + 1, error) &&
        (digest == NULL || verify_file(fd, name, digest, NULL, error))) {
        data = g_malloc(size + 1);
        while (length < size && (got = TEMP_FAILURE_RETRY(read(fd, data + length, size - length))) > 0)
            length += (gsize)got;
        data[length] = '\0';
    }
    close(fd);
    if (size > max_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "%s is larger than %zu bytes", name, max_bytes);
    if (data == NULL)
        return FALSE;
    if (length != size)
        return fail_errno(error, got < 0 ? errno : EIO, "cannot read %s", name);
    *ret_bytes = g_bytes_new_take(g_steal_pointer(&data), length);
    return TRUE;
}
