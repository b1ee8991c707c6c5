/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/tar_reader.h"

#include "common/error.h"

enum {
    /* Of one entry. libarchive's lists of ACLs take time in the square of their length. */
    MAX_HEADER_BYTES = 1 << 20,
};

struct TarReader {
    TarSource source;
    gpointer source_data;
    const char *what;
    struct archive *archive;
    GError *source_error; /* libarchive has no room for ours */
    gboolean has_entry;   /* an entry was read */
    gboolean in_header;   /* libarchive reads the headers of an entry */
    guint64 header_bytes; /* that it has read for them */
};

static la_ssize_t read_source(struct archive *archive, void *data, const void **ret_buffer)
{
    TarReader *reader = data;
    const guint8 *bytes;
    gsize length;

    if (reader->source_error != NULL)
        return -1;
    if (reader->in_header && reader->header_bytes > MAX_HEADER_BYTES) {
        fail(&reader->source_error, STATUS_INVALID_ARGUMENT,
             "%s: the headers of one entry take more than %d bytes", reader->what, (int)MAX_HEADER_BYTES);
        archive_set_error(archive, -1, "the headers are too large");
        return -1;
    }
    if (!reader->source(reader->source_data, &bytes, &length, &reader->source_error)) {
        archive_set_error(archive, -1, "the stream failed");
        return -1;
    }
    reader->header_bytes += length;
    *ret_buffer = bytes;
    return (la_ssize_t)length;
}

/* libarchive failed, or the source did. */
static gboolean reader_fail(TarReader *reader, GError **error)
{
    const char *message = archive_error_string(reader->archive);

    if (reader->source_error != NULL) {
        g_propagate_error(error, g_steal_pointer(&reader->source_error));
        return FALSE;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "%s: %s", reader->what,
                message != NULL ? message : "unreadable");
}

TarReader *tar_reader_open(TarSource source, gpointer data, const char *what, GError **error)
{
    g_autoptr(TarReader) reader = g_new0(TarReader, 1);

    reader->source = source;
    reader->source_data = data;
    reader->what = what;
    reader->archive = archive_read_new();
    if (reader->archive == NULL || archive_read_support_format_tar(reader->archive) != ARCHIVE_OK ||
        archive_read_support_format_empty(reader->archive) != ARCHIVE_OK) {
        fail(error, STATUS_INTERNAL, "cannot set up libarchive");
        return NULL;
    }
    if (archive_read_open(reader->archive, reader, NULL, read_source, NULL) != ARCHIVE_OK) {
        reader_fail(reader, error);
        return NULL;
    }
    return g_steal_pointer(&reader);
}

void tar_reader_free(TarReader *reader)
{
    if (reader == NULL)
        return;
    if (reader->archive != NULL)
        archive_read_free(reader->archive);
    g_clear_error(&reader->source_error);
    g_free(reader);
}

gboolean tar_reader_next(TarReader *reader, struct archive_entry **ret_entry, GError **error)
{
    struct archive_entry *entry;
    /* The content of the entry before is skipped first, so that only headers are read for headers. */
    int result = reader->has_entry ? archive_read_data_skip(reader->archive) : ARCHIVE_OK;

    if (result < ARCHIVE_WARN)
        return reader_fail(reader, error);
    reader->has_entry = TRUE;
    reader->header_bytes = 0;
    reader->in_header = TRUE;
    result = archive_read_next_header(reader->archive, &entry);
    reader->in_header = FALSE;
    /* libarchive takes some failures of the source for those of a header, and goes on. */
    if (reader->source_error != NULL || (result < ARCHIVE_WARN && result != ARCHIVE_EOF))
        return reader_fail(reader, error);
    *ret_entry = result != ARCHIVE_EOF ? entry : NULL;
    return TRUE;
}

gboolean tar_reader_data(TarReader *reader, TarBlock *ret_block, gboolean *ret_end, GError **error)
{
    TarBlock block = {0};
    int result = archive_read_data_block(reader->archive, &block.data, &block.length, &block.offset);

    if (result != ARCHIVE_OK && result != ARCHIVE_EOF)
        return reader_fail(reader, error);
    *ret_end = result == ARCHIVE_EOF;
    *ret_block = block;
    return TRUE;
}
