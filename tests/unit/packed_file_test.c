/* SPDX-License-Identifier: Apache-2.0 */
/* Packed files: what was packed is unpacked unchanged, and nothing that was changed, cut, moved or exchanged
 * is. */
#include "sandbox/checkpoint/packed_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

enum {
    MIB = 1 << 20,
    FILE_BYTES = 9 * MIB + 5000, /* its last page is not whole */
};

typedef struct {
    PackedForm form;
    int fd; /* the packed file */
    PackedFacts facts;
} Packed;

static PackedForm form_of(gboolean compress, gboolean encrypt)
{
    PackedForm form = {.name = "ram", .compress = compress, .level = 1, .threads = 2, .encrypt = encrypt};

    memset(form.key, encrypt ? 7 : 0, sizeof form.key);
    return form;
}

static int file_new(void)
{
    int fd = memfd_create("packed", MFD_CLOEXEC);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    return fd;
}

/* Data that can be compressed, data that cannot, pages of zeros, a hole, and an end within a page. */
static int file_make(void)
{
    int fd = file_new();
    g_autofree guint8 *noise = g_malloc(2 * MIB);
    g_autoptr(GRand) numbers = g_rand_new_with_seed(1);

    for (gsize i = 0; i < 2 * MIB; i += sizeof(guint32)) {
        const guint32 number = g_rand_int(numbers);

        memcpy(noise + i, &number, sizeof number);
    }
    memset(noise + 8192, 0, 12288);
    CU_ASSERT_TRUE(file_write_at(fd, noise, 2 * MIB, MIB / 2));
    for (guint i = 0; i < 200; i++)
        CU_ASSERT_TRUE(file_write_at(fd, "the same text", 13, 5 * MIB + (goffset)i * 8192));
    CU_ASSERT_TRUE(file_write_at(fd, "end", 3, FILE_BYTES - 3));
    CU_ASSERT_EQUAL(ftruncate(fd, FILE_BYTES), 0);
    return fd;
}

static Packed pack(const PackedForm *form)
{
    Packed packed = {.form = *form, .fd = file_new()};
    int from = file_make();
    g_autoptr(GError) error = NULL;

    TEST_OK(packed_file_write(from, packed.fd, form, NULL, &packed.facts, &error), error);
    close(from);
    return packed;
}

static gboolean write_at(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    return file_write_at(GPOINTER_TO_INT(user_data), data, length, (goffset)offset);
}

/* Unpacks to a new file. Return: its descriptor, which the caller closes; -1 with the error. */
static int unpack(const Packed *packed, GError **error)
{
    g_autoptr(PackedFile) file = packed_file_open(packed->fd, &packed->form, &packed->facts, error);
    int to;

    if (file == NULL)
        return -1;
    to = file_new();
    CU_ASSERT_EQUAL(ftruncate(to, (off_t)packed->facts.file.bytes), 0);
    if (packed_file_each(file, write_at, GINT_TO_POINTER(to), NULL, error))
        return to;
    close(to);
    return -1;
}

static void check_unpacks(const Packed *packed)
{
    g_autoptr(GError) error = NULL;
    int expected = file_make();
    int found = unpack(packed, &error);
    FileFacts facts[2];
    struct stat status;

    TEST_OK(found >= 0, error);
    CU_ASSERT_TRUE_FATAL(file_facts(expected, &facts[0]) && file_facts(found, &facts[1]));
    CU_ASSERT_EQUAL(facts[0].bytes, facts[1].bytes);
    CU_ASSERT_STRING_EQUAL(facts[0].digest, facts[1].digest);
    CU_ASSERT_EQUAL(fstat(found, &status), 0);
    CU_ASSERT_TRUE(status.st_blocks * 512 < 4 * MIB);
    close(expected);
    close(found);
}

static void check_refused(const Packed *packed, const char *message)
{
    g_autoptr(GError) error = NULL;

    TEST_FAILS(unpack(packed, &error) >= 0, error, STATUS_DATA_LOSS, message);
}

static void what_is_packed_is_unpacked(void)
{
    for (guint i = 0; i < 4; i++) {
        const PackedForm form = form_of(i & 1, i >> 1);
        Packed packed = pack(&form);

        check_unpacks(&packed);
        CU_ASSERT_EQUAL(packed.facts.file.bytes, FILE_BYTES);
        CU_ASSERT_TRUE(packed.facts.chunks < FILE_BYTES / MIB);
        close(packed.fd);
    }
}

static void compression_makes_files_smaller(void)
{
    const PackedForm as_it_is = form_of(FALSE, FALSE);
    const PackedForm compressed = form_of(TRUE, FALSE);
    Packed first = pack(&as_it_is);
    Packed second = pack(&compressed);

    /* 200 pages of almost nothing go, and the noise stays. */
    CU_ASSERT_TRUE(first.facts.stored_bytes > 2 * MIB + 190 * 4096);
    CU_ASSERT_TRUE(second.facts.stored_bytes < first.facts.stored_bytes - 190 * 4096);
    CU_ASSERT_TRUE(second.facts.stored_bytes > 2 * MIB - 12288);
    close(first.fd);
    close(second.fd);
}

static void one_thread_writes_what_many_do(void)
{
    PackedForm form = form_of(TRUE, TRUE);
    Packed many = pack(&form);
    Packed one;
    FileFacts facts[2];

    form.threads = 1;
    one = pack(&form);
    CU_ASSERT_TRUE(file_facts(many.fd, &facts[0]) && file_facts(one.fd, &facts[1]));
    CU_ASSERT_STRING_EQUAL(facts[0].digest, facts[1].digest);
    close(many.fd);
    close(one.fd);
}

static void a_file_of_zeros_is_packed(void)
{
    const PackedForm form = form_of(TRUE, TRUE);
    Packed packed = {.form = form, .fd = file_new()};
    int from = file_new();
    int found;
    g_autoptr(GError) error = NULL;
    struct stat status;

    CU_ASSERT_EQUAL(ftruncate(from, 3 * MIB), 0);
    TEST_OK(packed_file_write(from, packed.fd, &form, NULL, &packed.facts, &error), error);
    CU_ASSERT_EQUAL(packed.facts.chunks, 0);
    found = unpack(&packed, &error);
    TEST_OK(found >= 0, error);
    CU_ASSERT_EQUAL(fstat(found, &status), 0);
    CU_ASSERT_EQUAL(status.st_size, 3 * MIB);
    close(packed.fd);
    close(from);
    close(found);
}

/* ---- what is refused ---- */

static gsize entry_bytes(const Packed *packed)
{
    return PACKED_ENTRY_HEAD_BYTES + packed_check_bytes(&packed->form);
}

static off_t table_begin(const Packed *packed)
{
    return (off_t)(packed->facts.stored_bytes - packed->facts.chunks * entry_bytes(packed));
}

/* Makes the manifest's digest that of the table as it is now, as whoever can write the manifest would. */
static void believe_table(Packed *packed)
{
    const gsize length = packed->facts.chunks * entry_bytes(packed);
    g_autofree guint8 *table = g_malloc(length);
    g_autofree char *digest = NULL;

    CU_ASSERT_EQUAL(pread(packed->fd, table, length, table_begin(packed)), (ssize_t)length);
    digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, table, length);
    g_strlcpy(packed->facts.file.digest, digest, sizeof packed->facts.file.digest);
}

static PackedChunk chunk_get(const Packed *packed, guint i)
{
    guint8 entry[PACKED_ENTRY_HEAD_BYTES + PACKED_DIGEST_BYTES];
    const gsize length = entry_bytes(packed);
    PackedChunk chunk;

    CU_ASSERT_EQUAL(pread(packed->fd, entry, length, table_begin(packed) + (off_t)(i * length)),
                    (ssize_t)length);
    packed_entry_get(&packed->form, entry, &chunk);
    return chunk;
}

static void chunk_put(Packed *packed, guint i, const PackedChunk *chunk)
{
    guint8 entry[PACKED_ENTRY_HEAD_BYTES + PACKED_DIGEST_BYTES];
    const gsize length = entry_bytes(packed);

    packed_entry_put(&packed->form, chunk, entry);
    CU_ASSERT_TRUE(file_write_at(packed->fd, entry, length, table_begin(packed) + (goffset)(i * length)));
    believe_table(packed);
}

static void change_byte(const Packed *packed, off_t at)
{
    char byte = 0;

    CU_ASSERT_EQUAL(pread(packed->fd, &byte, 1, at), 1);
    byte ^= 1;
    CU_ASSERT_EQUAL(pwrite(packed->fd, &byte, 1, at), 1);
}

static void changed_bytes_are_found(void)
{
    for (guint i = 0; i < 4; i++) {
        const PackedForm form = form_of(i & 1, i >> 1);
        Packed chunk = pack(&form);
        Packed table = pack(&form);

        change_byte(&chunk, 3);
        check_refused(&chunk, "MiB 0 of it is not what was written");
        change_byte(&table, table_begin(&table));
        check_refused(&table, "the digest of its table is not the one in the manifest");
        close(chunk.fd);
        close(table.fd);
    }
}

static void cut_and_longer_files_are_refused(void)
{
    const PackedForm form = form_of(TRUE, FALSE);
    g_autofree char *nothing = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guint8 *)"", 0);
    Packed packed = pack(&form);
    const guint64 stored = packed.facts.stored_bytes;

    CU_ASSERT_EQUAL(ftruncate(packed.fd, (off_t)stored - 1), 0);
    check_refused(&packed, "it has not the size in the manifest");
    packed.facts.stored_bytes = stored - 1;
    check_refused(&packed, "the digest of its table");
    packed.facts.stored_bytes = stored;
    CU_ASSERT_EQUAL(ftruncate(packed.fd, (off_t)stored), 0);
    check_refused(&packed, "the digest of its table");
    packed.facts.chunks = 0;
    packed.facts.stored_bytes = stored;
    g_strlcpy(packed.facts.file.digest, nothing, sizeof packed.facts.file.digest);
    check_refused(&packed, "it has bytes that belong to no chunk");
    packed.facts.chunks = PACKED_MAX_CHUNKS + 1;
    check_refused(&packed, "it has more chunks than a file of its size");
    packed.facts.chunks = 10;
    packed.facts.stored_bytes = 100;
    CU_ASSERT_EQUAL(ftruncate(packed.fd, 100), 0);
    check_refused(&packed, "it is shorter than the table of its chunks");
    close(packed.fd);
}

/* Exchanges two chunks of the same length with their entries, all but their places. */
static void exchanged_chunks_are_refused(void)
{
    const PackedForm form = form_of(FALSE, TRUE);
    Packed packed = pack(&form);
    PackedChunk first = chunk_get(&packed, 0);
    PackedChunk second = chunk_get(&packed, 1);
    const guint64 window = first.window;

    first.window = second.window;
    second.window = window;
    chunk_put(&packed, 0, &second);
    chunk_put(&packed, 1, &first);
    check_refused(&packed, "is not what was written");
    close(packed.fd);
}

static void chunks_of_another_file_or_key_are_refused(void)
{
    const PackedForm form = form_of(TRUE, TRUE);
    Packed packed = pack(&form);

    packed.form.name = "disk";
    check_refused(&packed, "of it is not what was written");
    packed.form.name = "ram";
    check_unpacks(&packed);
    packed.form.key[31] ^= 1;
    check_refused(&packed, "of it is not what was written");
    close(packed.fd);
}

static void impossible_entries_are_refused(void)
{
    static const PackedChunk impossible[] = {
        {.window = 1 << 20, .length = 8192, .stored = 100},
        {.window = 0, .length = PACKED_CONTENT_BYTES + 1, .stored = 100},
        {.window = 0, .length = PACKED_MAP_BYTES, .stored = PACKED_MAP_BYTES},
        {.window = 0, .length = 100, .stored = 101},
        {.window = 0, .length = 8192, .stored = 0},
        {.window = G_MAXUINT64, .length = 8192, .stored = 100},
    };
    const PackedForm form = form_of(TRUE, FALSE);
    Packed packed = pack(&form);
    const PackedChunk good = chunk_get(&packed, 0);
    PackedChunk second = chunk_get(&packed, 1);

    for (guint i = 0; i < G_N_ELEMENTS(impossible); i++) {
        chunk_put(&packed, 0, &impossible[i]);
        check_refused(&packed, "its table has a chunk that is not possible there");
    }
    chunk_put(&packed, 0, &good);
    check_unpacks(&packed);
    second.window = 0; /* twice */
    chunk_put(&packed, 1, &second);
    check_refused(&packed, "its table has a chunk that is not possible there");
    close(packed.fd);
}

/* A file of one chunk that holds these bytes, with a digest that is theirs. */
static Packed pack_by_hand(const guint8 *stored, gsize n_stored, gsize length)
{
    Packed packed = {.form = form_of(TRUE, FALSE), .fd = file_new()};
    PackedChunk chunk = {.length = (guint32)length, .stored = (guint32)n_stored};
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA256);
    gsize digest_bytes = sizeof chunk.check;

    g_checksum_update(digest, stored, (gssize)n_stored);
    g_checksum_get_digest(digest, chunk.check, &digest_bytes);
    CU_ASSERT_TRUE(file_write_at(packed.fd, stored, n_stored, 0));
    packed.facts.file.bytes = MIB;
    packed.facts.chunks = 1;
    packed.facts.stored_bytes = n_stored + entry_bytes(&packed);
    chunk_put(&packed, 0, &chunk);
    return packed;
}

static void bombs_are_refused(void)
{
    const gsize length = 64 * MIB; /* of zeros, in some kilobytes */
    g_autofree guint8 *zeros = g_malloc0(length);
    const gsize most = ZSTD_compressBound(length);
    g_autofree guint8 *bomb = g_malloc(most);
    const gsize stored = ZSTD_compress(bomb, most, zeros, length, 1);
    Packed packed = pack_by_hand(bomb, stored, PACKED_CONTENT_BYTES);

    check_refused(&packed, "cannot be decoded");
    close(packed.fd);
}

static void maps_that_lie_are_refused(void)
{
    guint8 content[PACKED_MAP_BYTES + PAGE_BYTES] = {3}; /* two pages, and one is there */
    Packed packed = pack_by_hand(content, sizeof content, sizeof content);

    check_refused(&packed, "cannot be decoded");
    close(packed.fd);
    content[0] = 0;
    content[31] = 128; /* the last page of the MiB */
    packed = pack_by_hand(content, sizeof content, sizeof content);
    packed.facts.file.bytes = MIB / 2;
    check_refused(&packed, "it has data behind its end");
    close(packed.fd);
}

static void it_ends_at_its_deadline(void)
{
    const PackedForm form = form_of(TRUE, FALSE);
    const Deadline deadline = deadline_in_ms(0);
    Packed packed = pack(&form);
    int from = file_make();
    int to = file_new();
    PackedFacts facts;
    g_autoptr(GError) error = NULL;
    g_autoptr(PackedFile) file = packed_file_open(packed.fd, &form, &packed.facts, &error);

    TEST_FAILS(packed_file_write(from, to, &form, &deadline, &facts, &error), error, STATUS_DEADLINE_EXCEEDED,
               "packing the checkpoint");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    TEST_FAILS(packed_file_each(file, write_at, GINT_TO_POINTER(to), &deadline, &error), error,
               STATUS_DEADLINE_EXCEEDED, "unpacking the checkpoint");
    close(packed.fd);
    close(from);
    close(to);
}

static void a_full_disk_ends_it(void)
{
    const PackedForm form = form_of(FALSE, FALSE);
    int from = file_make();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    PackedFacts facts;
    g_autoptr(GError) error = NULL;

    TEST_FAILS(packed_file_write(from, full, &form, NULL, &facts, &error), error, STATUS_RESOURCE_EXHAUSTED,
               "ram");
    close(from);
    close(full);
}

int main(void)
{
    static const TestCase cases[] = {
        {"what is packed is unpacked unchanged, and sparse", what_is_packed_is_unpacked},
        {"compression makes what can be compressed smaller", compression_makes_files_smaller},
        {"one thread writes the same bytes as several", one_thread_writes_what_many_do},
        {"a file of zeros is packed into nothing", a_file_of_zeros_is_packed},
        {"a changed byte is found, in a chunk and in the table", changed_bytes_are_found},
        {"files that were cut, or became longer, are refused", cut_and_longer_files_are_refused},
        {"chunks that were exchanged are refused", exchanged_chunks_are_refused},
        {"chunks of another file and of another key are refused", chunks_of_another_file_or_key_are_refused},
        {"entries that are not possible are refused", impossible_entries_are_refused},
        {"a chunk that unpacks to more than it says is refused", bombs_are_refused},
        {"a map that does not agree with its pages is refused", maps_that_lie_are_refused},
        {"packing and unpacking end at their deadline", it_ends_at_its_deadline},
        {"a full disk ends packing", a_full_disk_ends_it},
    };

    return test_main("packed_file", cases, G_N_ELEMENTS(cases));
}
