/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/cri_log.h"

#include <string.h>

enum { MAX_LINE_BYTES = 1024 * 1024, MAX_TIMESTAMP_BYTES = 64 };

struct CriLogReader {
    CriLogOptions options;
    GByteArray *pending; /* the file's last line while its end has not been read */
    gboolean overlong;   /* the rest of the line is dropped */
    guint64 lines;
    guint64 malformed;
    struct {
        gboolean inside; /* between the first part of a line and its end */
        gboolean shown;
    } streams[2]; /* by is_stderr */
};

/* Cuts the next word that ends in a space; FALSE when there is none. */
static gboolean cut_word(const char **cursor, const char *end, const char **ret_word, gsize *ret_length)
{
    const char *space = memchr(*cursor, ' ', (gsize)(end - *cursor));

    if (space == NULL)
        return FALSE;
    *ret_word = *cursor;
    *ret_length = (gsize)(space - *cursor);
    *cursor = space + 1;
    return TRUE;
}

static gboolean word_is(const char *word, gsize length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(word, wanted, length) == 0;
}

/* Only the shape is checked: the digits of a date, then printable characters. */
static gboolean looks_like_time(const char *word, gsize length)
{
    static const char shape[] = "0000-00-00T00:00:00";

    if (length < sizeof shape || length > MAX_TIMESTAMP_BYTES)
        return FALSE;
    for (gsize i = 0; i < length; i++) {
        if (i < sizeof shape - 1 ? (shape[i] == '0' ? !g_ascii_isdigit(word[i]) : word[i] != shape[i])
                                 : strchr("0123456789.:+-Z", word[i]) == NULL || word[i] == '\0')
            return FALSE;
    }
    return TRUE;
}

gboolean cri_log_parse(const char *line, gsize length, CriLogLine *ret_line)
{
    CriLogLine parsed = {0};
    const char *end = line + length;
    const char *stream = NULL;
    const char *tag = NULL;
    gsize stream_length = 0;
    gsize tag_length = 0;

    if (!cut_word(&line, end, &parsed.timestamp, &parsed.timestamp_length) ||
        !looks_like_time(parsed.timestamp, parsed.timestamp_length) ||
        !cut_word(&line, end, &stream, &stream_length) || !cut_word(&line, end, &tag, &tag_length))
        return FALSE;
    parsed.is_stderr = word_is(stream, stream_length, "stderr");
    if (!parsed.is_stderr && !word_is(stream, stream_length, "stdout"))
        return FALSE;
    /* Tags are separated by ":" and only the first one has a defined meaning. */
    parsed.is_partial = tag_length >= 1 && tag[0] == 'P';
    if (!parsed.is_partial && (tag_length < 1 || tag[0] != 'F'))
        return FALSE;
    if (tag_length > 1 && tag[1] != ':')
        return FALSE;
    parsed.text = line;
    parsed.text_length = (gsize)(end - line);
    *ret_line = parsed;
    return TRUE;
}

CriLogReader *cri_log_reader_new(const CriLogOptions *options)
{
    CriLogReader *reader = g_new0(CriLogReader, 1);

    reader->options = *options;
    reader->pending = g_byte_array_new();
    return reader;
}

void cri_log_reader_free(CriLogReader *reader)
{
    if (reader == NULL)
        return;
    g_byte_array_unref(reader->pending);
    g_free(reader);
}

/* Seconds are compared first, because the file may contain any year, whose nanoseconds overflow. */
static gboolean is_before(const CriLogLine *line, gint64 since_ns)
{
    const gint64 second_ns = G_GINT64_CONSTANT(1000000000);
    g_autofree char *text = NULL;
    g_autoptr(GDateTime) moment = NULL;
    gint64 moment_s;

    if (since_ns == 0)
        return FALSE;
    text = g_strndup(line->timestamp, line->timestamp_length);
    moment = g_date_time_new_from_iso8601(text, NULL);
    if (moment == NULL)
        return FALSE;
    moment_s = g_date_time_to_unix(moment);
    if (moment_s != since_ns / second_ns)
        return moment_s < since_ns / second_ns;
    return (gint64)g_date_time_get_microsecond(moment) * 1000 < since_ns % second_ns;
}

static gboolean write_bytes(CriLogReader *reader, const CriLogLine *line, const char *bytes, gsize length,
                            GError **error)
{
    if (reader->options.write == NULL || length == 0)
        return TRUE;
    return reader->options.write(line->is_stderr, bytes, length, reader->options.data, error);
}

static gboolean take_line(CriLogReader *reader, const char *bytes, gsize length, GError **error)
{
    gboolean starts;
    CriLogLine line;

    if (!cri_log_parse(bytes, length, &line)) {
        reader->malformed++;
        return TRUE;
    }
    starts = !reader->streams[line.is_stderr].inside;
    reader->streams[line.is_stderr].inside = line.is_partial;
    if (starts) {
        gboolean recent = !is_before(&line, reader->options.since_ns);

        reader->lines += recent;
        reader->streams[line.is_stderr].shown = recent && reader->lines > reader->options.skip_lines;
    }
    if (!reader->streams[line.is_stderr].shown)
        return TRUE;
    if (starts && reader->options.timestamps &&
        /* with the space after the timestamp */
        !write_bytes(reader, &line, line.timestamp, line.timestamp_length + 1, error))
        return FALSE;
    return write_bytes(reader, &line, line.text, line.text_length, error) &&
           (line.is_partial || write_bytes(reader, &line, "\n", 1, error));
}

/* The start of a line whose end has not come yet. */
static void keep_pending(CriLogReader *reader, const char *bytes, gsize length)
{
    if (reader->overlong)
        return;
    if (reader->pending->len + length > MAX_LINE_BYTES) {
        reader->overlong = TRUE;
        g_byte_array_set_size(reader->pending, 0);
        return;
    }
    g_byte_array_append(reader->pending, (const guint8 *)bytes, (guint)length);
}

static gboolean end_line(CriLogReader *reader, const char *bytes, gsize length, GError **error)
{
    gboolean good = TRUE;

    if (reader->pending->len == 0 && !reader->overlong)
        return take_line(reader, bytes, length, error);
    keep_pending(reader, bytes, length);
    if (reader->overlong)
        reader->malformed++;
    else
        good = take_line(reader, (const char *)reader->pending->data, reader->pending->len, error);
    cri_log_reader_restart(reader);
    return good;
}

gboolean cri_log_reader_feed(CriLogReader *reader, const char *bytes, gsize length, GError **error)
{
    while (length > 0) {
        const char *newline = memchr(bytes, '\n', length);
        gsize size = newline != NULL ? (gsize)(newline - bytes) : length;

        if (newline == NULL) {
            keep_pending(reader, bytes, length);
            return TRUE;
        }
        if (!end_line(reader, bytes, size, error))
            return FALSE;
        bytes += size + 1;
        length -= size + 1;
    }
    return TRUE;
}

void cri_log_reader_restart(CriLogReader *reader)
{
    reader->overlong = FALSE;
    g_byte_array_set_size(reader->pending, 0);
}

guint64 cri_log_reader_lines(const CriLogReader *reader)
{
    return reader->lines;
}

guint64 cri_log_reader_malformed(const CriLogReader *reader)
{
    return reader->malformed;
}
