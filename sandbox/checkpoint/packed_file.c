/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/checkpoint/packed_file.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

static gsize entry_bytes(const PackedForm *form)
{
    return PACKED_ENTRY_HEAD_BYTES + packed_check_bytes(form);
}

/* ---- threads ---- */

/* Runs work(data) in so many threads, of which this is one, and waits for all. A thread that cannot be
 * started is done without. */
static void run_threads(guint wanted, guint64 pieces, GThreadFunc work, gpointer data)
{
    GThread *threads[PACKED_MAX_THREADS];
    const guint most = MIN(g_get_num_processors(), PACKED_MAX_THREADS);
    const guint count = (guint)MIN(wanted == 0 ? most : MIN(wanted, most), MAX(pieces, 1));
    guint started = 0;

    while (started + 1 < count &&
           (threads[started] = g_thread_try_new("checkpoint", work, data, NULL)) != NULL)
        started++;
    work(data);
    while (started > 0)
        g_thread_join(threads[--started]);
}

/* The first failure of any thread, which ends the others. */
typedef struct {
    GMutex lock;
    GCond changed;
    GError *error; /* NULL: none yet */
    gint failed;   /* atomic */
} Outcome;

static void outcome_init(Outcome *outcome)
{
    *outcome = (Outcome){.error = NULL};
    g_mutex_init(&outcome->lock);
    g_cond_init(&outcome->changed);
}

/* Takes the error. */
static void outcome_fail(Outcome *outcome, GError *error)
{
    g_mutex_lock(&outcome->lock);
    if (outcome->error == NULL)
        outcome->error = error;
    else
        g_error_free(error);
    g_atomic_int_set(&outcome->failed, 1);
    g_cond_broadcast(&outcome->changed);
    g_mutex_unlock(&outcome->lock);
}

static gboolean outcome_is_good(Outcome *outcome)
{
    return !g_atomic_int_get(&outcome->failed);
}

/* Return: whether all went well; FALSE with the error of the first failure. */
static gboolean outcome_end(Outcome *outcome, GError **error)
{
    g_mutex_clear(&outcome->lock);
    g_cond_clear(&outcome->changed);
    if (outcome->error == NULL)
        return TRUE;
    g_propagate_error(error, outcome->error);
    return FALSE;
}

/* ---- writing ---- */

/* Windows are given out in order, and written in that order: each waits for its turn to know its place. */
typedef struct {
    Outcome outcome; /* its lock guards what follows */
    guint64 next_window;
    guint64 given;  /* windows that were given out */
    guint64 placed; /* of those, how many have their place */
    guint64 end;    /* of the packed file */
    GArray *chunks; /* PackedChunk */
    guint64 data_bytes;
    int from;
    int to;
    guint64 bytes; /* of `from` */
    const PackedForm *form;
    const Deadline *deadline;
} Packing;

/* Return: whether there is another window with data; *ret_turn is the number of its turn. */
static gboolean window_take(Packing *packing, guint64 *ret_window, guint64 *ret_turn)
{
    gboolean found = FALSE;

    g_mutex_lock(&packing->outcome.lock);
    if (packing->outcome.error == NULL && packing->next_window * PACKED_WINDOW_BYTES < packing->bytes) {
        const off_t data =
            lseek(packing->from, (off_t)(packing->next_window * PACKED_WINDOW_BYTES), SEEK_DATA);

        if (data < 0 && errno != ENXIO)
            fail_errno(&packing->outcome.error, errno, "cannot read %s", packing->form->name);
        if (data >= 0) {
            *ret_window = MAX((guint64)data / PACKED_WINDOW_BYTES, packing->next_window);
            *ret_turn = packing->given++;
            packing->next_window = *ret_window + 1;
            found = *ret_window * PACKED_WINDOW_BYTES < packing->bytes;
        }
    }
    g_mutex_unlock(&packing->outcome.lock);
    return found;
}

typedef struct {
    PackedCoder *coder;
    guint64 begin;
} Window;

static gboolean window_add(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    const Window *window = user_data;

    packed_coder_add(window->coder, offset - window->begin, data, length);
    return TRUE;
}

static gboolean window_read(const Packing *packing, PackedCoder *coder, guint64 number, GError **error)
{
    Window window = {coder, number * PACKED_WINDOW_BYTES};
    const guint64 end = MIN(window.begin + PACKED_WINDOW_BYTES, packing->bytes);

    packed_coder_begin(coder);
    return deadline_check(packing->deadline, "packing the checkpoint", error) &&
           (file_data_each(packing->from, window.begin, end, window_add, &window) ||
            fail_errno(error, errno, "cannot read %s", packing->form->name));
}

/* Waits until all windows before it have their places. A window of zeros takes its turn as well. Return:
 * FALSE when another thread has failed. */
static gboolean chunk_place(Packing *packing, guint64 turn, gboolean is_empty, PackedChunk *chunk,
                            guint pages)
{
    gboolean good;

    g_mutex_lock(&packing->outcome.lock);
    while (packing->placed != turn && packing->outcome.error == NULL)
        g_cond_wait(&packing->outcome.changed, &packing->outcome.lock);
    good = packing->outcome.error == NULL;
    if (good && !is_empty) {
        chunk->position = packing->end;
        packing->end += chunk->stored;
        packing->data_bytes += (guint64)pages * PAGE_BYTES;
        g_array_append_vals(packing->chunks, chunk, 1);
    }
    packing->placed++;
    g_cond_broadcast(&packing->outcome.changed);
    g_mutex_unlock(&packing->outcome.lock);
    return good;
}

static gboolean window_pack(Packing *packing, PackedCoder *coder, guint64 window, guint64 turn,
                            GError **error)
{
    PackedChunk chunk = {.window = window};
    const guint8 *stored = NULL;
    guint pages;

    if (!window_read(packing, coder, window, error))
        return FALSE;
    pages = packed_coder_pages(coder);
    if (pages > 0)
        stored = packed_coder_encode(coder, &chunk);
    return !chunk_place(packing, turn, pages == 0, &chunk, pages) || pages == 0 ||
           file_write_at(packing->to, stored, chunk.stored, (goffset)chunk.position) ||
           fail_errno(error, errno, "cannot write the checkpoint's file %s", packing->form->name);
}

static gpointer pack_windows(gpointer data)
{
    Packing *packing = data;
    g_autoptr(PackedCoder) coder = packed_coder_new(packing->form);
    guint64 window;
    guint64 turn;

    while (window_take(packing, &window, &turn)) {
        GError *error = NULL;

        if (!window_pack(packing, coder, window, turn, &error))
            outcome_fail(&packing->outcome, error);
    }
    return NULL;
}

static void table_digest(const guint8 *table, gsize length, char ret_digest[65])
{
    g_autofree char *digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, table, length);

    g_strlcpy(ret_digest, digest, 65);
}

static gboolean table_write(const Packing *packing, PackedFacts *ret_facts, GError **error)
{
    const gsize entry = entry_bytes(packing->form);
    const gsize length = entry * packing->chunks->len;
    g_autofree guint8 *table = g_malloc0(length);

    for (guint i = 0; i < packing->chunks->len; i++)
        packed_entry_put(packing->form, &g_array_index(packing->chunks, PackedChunk, i), table + entry * i);
    if (!file_write_at(packing->to, table, length, (goffset)packing->end))
        return fail_errno(error, errno, "cannot write the checkpoint's file %s", packing->form->name);
    *ret_facts = (PackedFacts){.file = {.bytes = packing->bytes, .data_bytes = packing->data_bytes},
                               .stored_bytes = packing->end + length,
                               .chunks = packing->chunks->len};
    table_digest(table, length, ret_facts->file.digest);
    return TRUE;
}

static guint64 windows_of(guint64 bytes)
{
    return bytes / PACKED_WINDOW_BYTES + (bytes % PACKED_WINDOW_BYTES != 0);
}

gboolean packed_file_write(int from, int to, const PackedForm *form, const Deadline *deadline,
                           PackedFacts *ret_facts, GError **error)
{
    g_autoptr(GArray) chunks = g_array_new(FALSE, FALSE, sizeof(PackedChunk));
    Packing packing = {.chunks = chunks, .from = from, .to = to, .form = form, .deadline = deadline};
    struct stat status;

    if (fstat(from, &status) != 0)
        return fail_errno(error, errno, "cannot read %s", form->name);
    packing.bytes = (guint64)status.st_size;
    if (windows_of(packing.bytes) > PACKED_MAX_CHUNKS)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "%s has %" G_GUINT64_FORMAT " bytes, and at most %d MiB are compressed or encrypted",
                    form->name, packing.bytes, PACKED_MAX_CHUNKS);
    outcome_init(&packing.outcome);
    run_threads(form->threads, windows_of((guint64)status.st_blocks * 512), pack_windows, &packing);
    return outcome_end(&packing.outcome, error) && table_write(&packing, ret_facts, error);
}

/* ---- reading ---- */

struct PackedFile {
    int fd; /* borrowed */
    char *name;
    PackedForm form;
    PackedFacts facts;
    GArray *chunks; /* PackedChunk */
};

void packed_file_free(PackedFile *file)
{
    if (file == NULL)
        return;
    OPENSSL_cleanse(&file->form, sizeof file->form);
    g_free(file->name);
    g_array_unref(file->chunks);
    g_free(file);
}

static gboolean fail_damaged(const PackedFile *file, const char *why, GError **error)
{
    return fail(error, STATUS_DATA_LOSS, "the checkpoint's %s is damaged: %s", file->name, why);
}

/* Return: FALSE with errno. */
static gboolean read_at(int fd, guint8 *buffer, gsize length, guint64 offset)
{
    while (length > 0) {
        const ssize_t n = TEMP_FAILURE_RETRY(pread(fd, buffer, length, (off_t)offset));

        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return FALSE;
        }
        buffer += n;
        length -= (gsize)n;
        offset += (guint64)n;
    }
    return TRUE;
}

/* How long the table is, where its file has it. */
static gboolean table_find(const PackedFile *file, gsize *ret_length, GError **error)
{
    const PackedFacts *facts = &file->facts;
    struct stat status;

    if (fstat(file->fd, &status) != 0)
        return fail_errno(error, errno, "cannot read the checkpoint's %s", file->name);
    if ((guint64)status.st_size != facts->stored_bytes)
        return fail_damaged(file, "it has not the size in the manifest", error);
    if (facts->chunks > PACKED_MAX_CHUNKS || facts->chunks > windows_of(facts->file.bytes))
        return fail_damaged(file, "it has more chunks than a file of its size", error);
    *ret_length = entry_bytes(&file->form) * (gsize)facts->chunks;
    return *ret_length <= facts->stored_bytes ||
           fail_damaged(file, "it is shorter than the table of its chunks", error);
}

/* Adds a chunk of the table that is possible at that place. */
static gboolean chunk_add(PackedFile *file, PackedChunk *chunk, guint64 *position, guint64 end, guint64 *next)
{
    if (chunk->window < *next || chunk->window >= windows_of(file->facts.file.bytes) ||
        chunk->length <= PACKED_MAP_BYTES || chunk->length > PACKED_CONTENT_BYTES || chunk->stored == 0 ||
        chunk->stored > chunk->length || chunk->stored > end - *position)
        return FALSE;
    chunk->position = *position;
    *position += chunk->stored;
    *next = chunk->window + 1;
    g_array_append_vals(file->chunks, chunk, 1);
    return TRUE;
}

static gboolean table_parse(PackedFile *file, const guint8 *table, gsize length, GError **error)
{
    const guint64 end = file->facts.stored_bytes - length;
    const gsize entry = entry_bytes(&file->form);
    guint64 position = 0;
    guint64 next = 0;

    for (gsize at = 0; at < length; at += entry) {
        PackedChunk chunk;

        packed_entry_get(&file->form, table + at, &chunk);
        if (!chunk_add(file, &chunk, &position, end, &next))
            return fail_damaged(file, "its table has a chunk that is not possible there", error);
    }
    return position == end || fail_damaged(file, "it has bytes that belong to no chunk", error);
}

static gboolean table_read(PackedFile *file, GError **error)
{
    g_autofree guint8 *table = NULL;
    char digest[65];
    gsize length = 0;

    if (!table_find(file, &length, error))
        return FALSE;
    table = g_malloc(length);
    if (!read_at(file->fd, table, length, file->facts.stored_bytes - length))
        return fail_errno(error, errno, "cannot read the checkpoint's %s", file->name);
    table_digest(table, length, digest);
    if (!g_str_equal(digest, file->facts.file.digest))
        return fail_damaged(file, "the digest of its table is not the one in the manifest", error);
    return table_parse(file, table, length, error);
}

PackedFile *packed_file_open(int fd, const PackedForm *form, const PackedFacts *facts, GError **error)
{
    g_autoptr(PackedFile) file = g_new0(PackedFile, 1);

    file->fd = fd;
    file->name = g_strdup(form->name);
    file->form = *form;
    file->form.name = file->name;
    file->facts = *facts;
    file->chunks = g_array_new(FALSE, FALSE, sizeof(PackedChunk));
    return table_read(file, error) ? g_steal_pointer(&file) : NULL;
}

typedef struct {
    Outcome outcome;
    const PackedFile *file;
    guint next; /* atomic: the chunk that is taken next */
    FileDataFunc *take;
    gpointer user_data;
    const Deadline *deadline;
} Unpacking;

/* Gives out the pages of a chunk, as many at once as lie beside each other. */
static gboolean content_give(const Unpacking *unpacking, guint64 window, const guint8 *content,
                             GError **error)
{
    const guint64 begin = window * PACKED_WINDOW_BYTES;
    const guint64 bytes = unpacking->file->facts.file.bytes;
    const guint8 *pages = content + PACKED_MAP_BYTES;

    for (guint page = 0; page < PACKED_WINDOW_PAGES; page++) {
        const guint64 offset = begin + (guint64)page * PAGE_BYTES;
        guint count = 0;
        gsize length;

        while (page + count < PACKED_WINDOW_PAGES && packed_map_has(content, page + count))
            count++;
        if (count == 0)
            continue;
        if (offset + (guint64)(count - 1) * PAGE_BYTES >= bytes)
            return fail_damaged(unpacking->file, "it has data behind its end", error);
        length = (gsize)MIN((guint64)count * PAGE_BYTES, bytes - offset);
        if (!unpacking->take(offset, pages, length, unpacking->user_data))
            return fail_errno(error, errno, "cannot unpack the checkpoint's %s", unpacking->file->name);
        pages += (gsize)count * PAGE_BYTES;
        page += count;
    }
    return TRUE;
}

static gboolean chunk_unpack(const Unpacking *unpacking, PackedCoder *coder, const PackedChunk *chunk,
                             GError **error)
{
    const guint8 *content;

    if (!deadline_check(unpacking->deadline, "unpacking the checkpoint", error))
        return FALSE;
    if (!read_at(unpacking->file->fd, packed_coder_stored(coder), chunk->stored, chunk->position))
        return fail_errno(error, errno, "cannot read the checkpoint's %s", unpacking->file->name);
    content = packed_coder_decode(coder, chunk, error);
    return content != NULL && content_give(unpacking, chunk->window, content, error);
}

static gpointer unpack_chunks(gpointer data)
{
    Unpacking *unpacking = data;
    const GArray *chunks = unpacking->file->chunks;
    g_autoptr(PackedCoder) coder = packed_coder_new(&unpacking->file->form);
    guint i;

    while (outcome_is_good(&unpacking->outcome) &&
           (i = g_atomic_int_add(&unpacking->next, 1)) < chunks->len) {
        GError *error = NULL;

        if (!chunk_unpack(unpacking, coder, &g_array_index(chunks, PackedChunk, i), &error))
            outcome_fail(&unpacking->outcome, error);
    }
    return NULL;
}

gboolean packed_file_each(const PackedFile *file, FileDataFunc *take, gpointer user_data,
                          const Deadline *deadline, GError **error)
{
    Unpacking unpacking = {.file = file, .take = take, .user_data = user_data, .deadline = deadline};

    outcome_init(&unpacking.outcome);
    run_threads(file->form.threads, file->chunks->len, unpack_chunks, &unpacking);
    return outcome_end(&unpacking.outcome, error);
}
