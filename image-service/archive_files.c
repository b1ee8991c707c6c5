/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/archive_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/string_table.h"
#include "image-service/content/digest.h"

enum {
    MAX_FILES = 20000,
    MAX_NAME_BYTES = 4096,
    MAX_LINKS = 8,
    BUFFER_BYTES = 256 * 1024,
    ARCHIVE_BLOCK_BYTES = 256 * 1024
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
    guint64 bytes;
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

static gboolean archive_fail(struct archive *archive, GError **error)
{
    const char *message = archive_error_string(archive);

    return fail(error, STATUS_INVALID_ARGUMENT, "not a readable archive: %s",
                message != NULL ? message : "unknown format");
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

static gboolean copy_data(ArchiveFiles *files, struct archive *archive, int fd, const Deadline *deadline,
                          GError **error)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    int result;

    while ((result = archive_read_data_block(archive, &data, &length, &offset)) == ARCHIVE_OK) {
        if (!deadline_check(deadline, "reading an archive", error))
            return FALSE;
        if (offset < 0 || (guint64)offset > files->max_bytes || length > files->max_bytes - files->bytes)
            return fail(error, STATUS_RESOURCE_EXHAUSTED,
                        "the archive is larger than %" G_GUINT64_FORMAT " bytes", files->max_bytes);
        files->bytes += length;
        if (!write_at(fd, data, length, offset, error))
            return FALSE;
    }
    return result == ARCHIVE_EOF || archive_fail(archive, error);
}

static gboolean add_regular(ArchiveFiles *files, struct archive *archive, const char *name,
                            const Deadline *deadline, GError **error)
{
    g_autofree char *path = temporary_path(files, ++files->last_number);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    gboolean done;
    File *file;

    if (fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    done = copy_data(files, archive, fd, deadline, error);
    close(fd);
    if (!done)
        return FALSE;
    file = g_new0(File, 1);
    file->number = files->last_number;
    g_hash_table_replace(files->files, plain_name(name), file);
    return TRUE;
}

static void add_link(ArchiveFiles *files, const char *name, const char *target, gboolean is_symbolic)
{
    g_autofree char *directory = g_path_get_dirname(name);
    g_autofree char *path = is_symbolic ? g_build_filename(directory, target, NULL) : g_strdup(target);
    File *file = g_new0(File, 1);

    file->target = plain_name(path);
    g_hash_table_replace(files->files, plain_name(name), file);
}

static gboolean is_too_long(const char *name)
{
    return name != NULL && strlen(name) >= MAX_NAME_BYTES;
}

static gboolean add_entry(ArchiveFiles *files, struct archive *archive, struct archive_entry *entry,
                          const Deadline *deadline, GError **error)
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
        add_link(files, name, archive_entry_hardlink(entry), FALSE);
    else if (archive_entry_filetype(entry) == AE_IFLNK && archive_entry_symlink(entry) != NULL)
        add_link(files, name, archive_entry_symlink(entry), TRUE);
    else if (archive_entry_filetype(entry) == AE_IFREG)
        return add_regular(files, archive, name, deadline, error);
    return TRUE;
}

static gboolean add_entries(ArchiveFiles *files, struct archive *archive, const Deadline *deadline,
                            GError **error)
{
    struct archive_entry *entry;
    int result;

    while ((result = archive_read_next_header(archive, &entry)) != ARCHIVE_EOF) {
        if (result < ARCHIVE_WARN)
            return archive_fail(archive, error);
        if (!add_entry(files, archive, entry, deadline, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_archive(ArchiveFiles *files, int fd, const Deadline *deadline, GError **error)
{
    struct archive *archive = archive_read_new();
    gboolean done;

    /* Named one by one: "all" has filters that run other programs. */
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_zstd(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_format_tar(archive);
    done = archive_read_open_fd(archive, fd, ARCHIVE_BLOCK_BYTES) == ARCHIVE_OK
               ? add_entries(files, archive, deadline, error)
               : archive_fail(archive, error);
    archive_read_free(archive);
    return done;
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

ArchiveFiles *archive_files_open(const char *path, const char *temporary_dir, guint64 max_bytes,
                                 const Deadline *deadline, GError **error)
{
    g_autoptr(ArchiveFiles) files = g_new0(ArchiveFiles, 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    gboolean done = TRUE;

    files->directory_fd = -1;
    files->max_bytes = max_bytes;
    files->files = string_table_new(g_free, file_free);
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail_errno(error, errno, "cannot open %s", path);
        return NULL;
    }
    if (S_ISDIR(status.st_mode)) {
        files->directory_fd = fd;
        return g_steal_pointer(&files);
    }
    files->temporary_dir = make_temporary(temporary_dir, error);
    done = files->temporary_dir != NULL && read_archive(files, fd, deadline, error);
    close(fd);
    return done ? g_steal_pointer(&files) : NULL;
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
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    g_autofree char *path = NULL;
    const File *file;

    if (files->directory_fd >= 0)
        return (int)syscall(SYS_openat2, files->directory_fd, name, &how, sizeof how);
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
    if (size <= max_bytes && (digest == NULL || verify_file(fd, name, digest, NULL, error))) {
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
