/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_layers.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image-service/content/digest.h"
#include "image-service/layers/blob_stream.h"

struct TestTar {
    struct archive *archive;
    int fd;
};

TestTar *test_tar_new(const char *format, const char *filter)
{
    TestTar *tar = g_new0(TestTar, 1);

    tar->fd = memfd_create("tar", MFD_CLOEXEC);
    tar->archive = archive_write_new();
    archive_write_set_format_by_name(tar->archive, format);
    if (!g_str_equal(filter, "none"))
        archive_write_add_filter_by_name(tar->archive, filter);
    archive_write_set_options(tar->archive, "hdrcharset=BINARY");
    /* A time in the blob would give equal layers different digests. */
    if (g_str_equal(filter, "gzip"))
        archive_write_set_filter_option(tar->archive, "gzip", "timestamp", NULL);
    if (archive_write_open_fd(tar->archive, tar->fd) != ARCHIVE_OK)
        g_error("%s", archive_error_string(tar->archive));
    return tar;
}

static void write_entry(TestTar *tar, struct archive_entry *entry, const void *data, gsize length)
{
    if (archive_write_header(tar->archive, entry) < ARCHIVE_WARN)
        g_error("%s", archive_error_string(tar->archive));
    if (length > 0 && archive_write_data(tar->archive, data, length) != (la_ssize_t)length)
        g_error("%s", archive_error_string(tar->archive));
    archive_entry_free(entry);
}

static void write_sparse(TestTar *tar, struct archive_entry *entry, const TestTarEntry *from)
{
    g_autofree char *zeros = g_malloc0(65536);
    gint64 left = from->sparse_size;

    archive_entry_set_size(entry, from->sparse_size + (gint64)strlen(from->text));
    archive_entry_sparse_add_entry(entry, from->sparse_size, (la_int64_t)strlen(from->text));
    archive_write_header(tar->archive, entry);
    for (; left > 0; left -= 65536)
        archive_write_data(tar->archive, zeros, (size_t)MIN(left, 65536));
    archive_write_data(tar->archive, from->text, strlen(from->text));
    archive_entry_free(entry);
}

void test_tar_add_entry(TestTar *tar, const TestTarEntry *from)
{
    struct archive_entry *entry = archive_entry_new();
    gboolean is_file = S_ISREG(from->mode);
    gsize length = is_file && from->text != NULL ? strlen(from->text) : 0;

    archive_entry_set_pathname(entry, from->path);
    archive_entry_set_mode(entry, from->mode);
    archive_entry_set_uid(entry, from->uid);
    archive_entry_set_gid(entry, from->gid);
    archive_entry_set_mtime(entry, from->mtime_s, from->mtime_ns);
    archive_entry_set_rdevmajor(entry, from->rdev_major);
    archive_entry_set_rdevminor(entry, from->rdev_minor);
    archive_entry_set_size(entry, (la_int64_t)length);
    if (S_ISLNK(from->mode))
        archive_entry_set_symlink(entry, from->text);
    if (from->xattr_name != NULL)
        archive_entry_xattr_add_entry(entry, from->xattr_name, from->xattr_value,
                                      from->xattr_length != 0 ? from->xattr_length
                                                              : strlen(from->xattr_value));
    if (from->sparse_size > 0)
        write_sparse(tar, entry, from);
    else
        write_entry(tar, entry, from->text, length);
}

void test_tar_add(TestTar *tar, const char *path, mode_t mode, const char *text)
{
    TestTarEntry entry = {.path = path, .mode = mode, .text = text};

    test_tar_add_entry(tar, &entry);
}

void test_tar_add_bytes(TestTar *tar, const char *path, const void *data, gsize length)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, path);
    archive_entry_set_mode(entry, S_IFREG | 0644);
    archive_entry_set_size(entry, (la_int64_t)length);
    write_entry(tar, entry, data, length);
}

void test_tar_add_hardlink(TestTar *tar, const char *path, const char *target)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, path);
    archive_entry_set_mode(entry, S_IFREG | 0644);
    archive_entry_set_hardlink(entry, target);
    write_entry(tar, entry, NULL, 0);
}

GString *test_tar_with_large_headers(void)
{
    enum { BLOCK = 512, SUM_AT = 148, MAP_AT = 386, MORE_AT = 482, ENTRY_BYTES = 24 };
    enum { EXTENSIONS = 4000, EXTENSION_ENTRIES = 21, EXTENSION_MORE_AT = 504 };
    static const char empty[ENTRY_BYTES] = "00000000000\0"
                                           "00000000000";
    static const struct {
        gsize at;
        const char *text;
    } fields[] = {{0, "sparse"},     {100, "0000644"},     {108, "0000000"},
                  {116, "0000000"},  {124, "00000000000"}, {136, "00000000000"},
                  {148, "        "}, {156, "S"},           {257, "ustar  "}};
    GString *tar = g_string_new(NULL);
    char header[BLOCK] = {0};
    char extension[BLOCK] = {0};
    guint sum = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(fields); i++)
        memcpy(header + fields[i].at, fields[i].text, strlen(fields[i].text));
    memcpy(header + MAP_AT, empty, sizeof empty);
    header[MORE_AT] = 1;
    for (gsize i = 0; i < sizeof header; i++)
        sum += (guint8)header[i];
    g_snprintf(header + SUM_AT, 7, "%06o", sum);
    g_string_append_len(tar, header, sizeof header);
    for (gsize i = 0; i < EXTENSION_ENTRIES; i++)
        memcpy(extension + i * ENTRY_BYTES, empty, sizeof empty);
    extension[EXTENSION_MORE_AT] = 1;
    for (int i = 0; i < EXTENSIONS; i++)
        g_string_append_len(tar, extension, sizeof extension);
    return tar;
}

int test_tar_finish(TestTar *tar)
{
    int fd = tar->fd;

    if (archive_write_close(tar->archive) != ARCHIVE_OK)
        g_error("%s", archive_error_string(tar->archive));
    archive_write_free(tar->archive);
    g_free(tar);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

GBytes *test_bytes_of_fd(int fd)
{
    struct stat status;
    char *data;

    fstat(fd, &status);
    data = g_malloc((gsize)status.st_size + 1);
    if (pread(fd, data, (size_t)status.st_size, 0) != status.st_size)
        g_error("cannot read back");
    return g_bytes_new_take(data, (gsize)status.st_size);
}

char *test_digest_of_fd(int fd)
{
    g_autoptr(GBytes) bytes = test_bytes_of_fd(fd);
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);

    return digest_of(data, length);
}

char *test_diff_id_of_fd(int fd)
{
    g_autoptr(BlobStream) stream = NULL;
    const guint8 *data;
    gsize length;

    lseek(fd, 0, SEEK_SET);
    stream = blob_stream_open(
        &(BlobStreamSpec){.fd = fd, .max_bytes = G_MAXUINT64, .what = "test", .digest_like = "sha256:"},
        NULL);
    do {
        if (!blob_stream_read(stream, &data, &length, NULL))
            g_error("cannot decompress");
    } while (length > 0);
    lseek(fd, 0, SEEK_SET);
    return blob_stream_digest(stream);
}
