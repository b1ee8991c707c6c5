/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile packed file of a checkpoint. The first byte chooses the form, the next two how many MiB the file
 * has and how many chunks; the rest is the packed file. Digests and tags are made to fit half of the time, as
 * whoever writes the manifest as well can make digests fit. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/checkpoint/packed_file.h"
#include "tests/fuzz/input.h"

enum { FITS = 1, COMPRESSED = 2, ENCRYPTED = 4 };

typedef struct {
    guint64 bytes;
    guint64 taken;
    guint sum;
} Taken;

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static gboolean take_part(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    Taken *taken = user_data;

    g_assert(length > 0 && length <= PACKED_WINDOW_BYTES && offset % PAGE_BYTES == 0);
    g_assert(offset < taken->bytes && length <= taken->bytes - offset);
    taken->sum += (guint)data[0] + data[length - 1]; /* both can be read */
    taken->taken += length;
    return TRUE;
}

/* Makes the digests of the chunks and of the table those of what is there. */
static void fit(guint8 *stored, gsize length, PackedFacts *facts, const PackedForm *form)
{
    const gsize entry = PACKED_ENTRY_HEAD_BYTES + packed_check_bytes(form);
    const gsize table = (gsize)facts->chunks * entry;
    gsize position = 0;
    g_autofree char *digest = NULL;

    if (table > length)
        return;
    for (gsize i = 0; !form->encrypt && i < facts->chunks; i++) {
        guint8 *place = stored + length - table + i * entry;
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        gsize bytes = PACKED_DIGEST_BYTES;
        PackedChunk chunk;

        packed_entry_get(form, place, &chunk);
        if (chunk.stored > length - table - position)
            break;
        g_checksum_update(sum, stored + position, chunk.stored);
        g_checksum_get_digest(sum, place + PACKED_ENTRY_HEAD_BYTES, &bytes);
        position += chunk.stored;
    }
    digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, stored + length - table, table);
    g_strlcpy(facts->file.digest, digest, sizeof facts->file.digest);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Input input = {data, size};
    const guint8 choice = take(&input);
    PackedForm form = {.name = "ram",
                       .compress = (choice & COMPRESSED) != 0,
                       .level = 1,
                       .threads = 1,
                       .encrypt = (choice & ENCRYPTED) != 0};
    PackedFacts facts = {
        .file = {.bytes = (guint64)take(&input) * PACKED_WINDOW_BYTES / 2 + 1, .digest = "00"}};
    Taken taken = {.bytes = facts.file.bytes};
    g_autofree guint8 *stored = NULL;
    g_autoptr(PackedFile) file = NULL;
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("packed", MFD_CLOEXEC);

    facts.chunks = take(&input);
    facts.stored_bytes = input.left;
    stored = g_malloc0(input.left + 1);
    memcpy(stored, input.data, input.left);
    if (choice & FITS)
        fit(stored, input.left, &facts, &form);
    g_assert(fd >= 0 && write(fd, stored, input.left) == (ssize_t)input.left);
    file = packed_file_open(fd, &form, &facts, &error);
    g_assert((file == NULL) == (error != NULL));
    if (file != NULL && !packed_file_each(file, take_part, &taken, NULL, &error))
        g_assert(error != NULL);
    g_assert(taken.taken <= taken.bytes);
    close(fd);
    return 0;
}
