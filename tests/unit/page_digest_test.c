/* SPDX-License-Identifier: Apache-2.0 */
#include "common/page_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/harness.h"

enum { PAGE = 4096, MIB = 1 << 20 };

/* Return: a file of that size, all of it a hole. */
static int file_make(off_t bytes)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "file", NULL);
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(ftruncate(fd, bytes), 0);
    return fd;
}

static void put(int fd, off_t at, const char *text)
{
    CU_ASSERT_EQUAL(pwrite(fd, text, strlen(text), at), (ssize_t)strlen(text));
}

static FileFacts facts_of(int fd)
{
    FileFacts facts = {0};

    CU_ASSERT_TRUE(file_facts(fd, &facts));
    return facts;
}

static void holes_make_no_difference(void)
{
    static const guint8 zeros[MIB];
    int sparse = file_make(4 * MIB);
    int full = file_make(4 * MIB);
    FileFacts of_sparse;
    FileFacts of_full;

    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(pwrite(full, zeros, sizeof zeros, (off_t)i * MIB), MIB);
    put(sparse, MIB + PAGE + 5, "data");
    put(full, MIB + PAGE + 5, "data");
    of_sparse = facts_of(sparse);
    of_full = facts_of(full);
    CU_ASSERT_STRING_EQUAL(of_sparse.digest, of_full.digest);
    CU_ASSERT_EQUAL(of_sparse.data_bytes, PAGE);
    CU_ASSERT_EQUAL(of_full.data_bytes, PAGE);
    CU_ASSERT_EQUAL(of_full.bytes, 4 * MIB);
    close(sparse);
    close(full);
}

static void the_place_counts(void)
{
    int first = file_make(MIB);
    int second = file_make(MIB);
    FileFacts of_first;
    FileFacts of_second;

    put(first, 0, "data");
    put(second, PAGE, "data");
    of_first = facts_of(first);
    of_second = facts_of(second);
    CU_ASSERT_STRING_NOT_EQUAL(of_first.digest, of_second.digest);
    close(first);
    close(second);
}

/* Checkpoints of earlier versions have it. */
static void it_is_the_sha_256_of_places_and_pages(void)
{
    static const guint8 data[] = {'d', 'a', 't', 'a'};
    guint8 counted[sizeof(guint64) + PAGE] = {0};
    const guint64 place = PAGE;
    int fd = file_make(MIB);
    g_autofree char *expected = NULL;

    put(fd, PAGE, "data");
    memcpy(counted, &place, sizeof place);
    memcpy(counted + sizeof place, data, sizeof data);
    expected = g_compute_checksum_for_data(G_CHECKSUM_SHA256, counted, sizeof counted);
    CU_ASSERT_STRING_EQUAL(facts_of(fd).digest, expected);
    close(fd);
}

static void an_odd_end_counts(void)
{
    int fd = file_make(3 * PAGE + 10);
    FileFacts facts;

    put(fd, 3 * PAGE + 4, "xyz");
    facts = facts_of(fd);
    CU_ASSERT_EQUAL(facts.data_bytes, 10);
    close(fd);
}

static gboolean sum_up(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    guint64 *sum = user_data;

    (void)data;
    CU_ASSERT_EQUAL(offset % PAGE, 0);
    *sum += length;
    return TRUE;
}

static gboolean refuse(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    (void)offset, (void)data, (void)length, (void)user_data;
    errno = ECANCELED;
    return FALSE;
}

static void only_the_range_is_read(void)
{
    int fd = file_make(8 * MIB);
    guint64 sum = 0;

    for (int i = 0; i < 8; i++)
        put(fd, (off_t)i * MIB, "data");
    CU_ASSERT_TRUE(file_data_each(fd, 2 * MIB, 4 * MIB, sum_up, &sum));
    CU_ASSERT_EQUAL(sum, 2 * PAGE);
    CU_ASSERT_FALSE(file_data_each(fd, 0, MIB, refuse, NULL));
    CU_ASSERT_EQUAL(errno, ECANCELED);
    close(fd);
}

static void an_empty_file_is_refused(void)
{
    int fd = file_make(0);
    FileFacts facts;

    CU_ASSERT_FALSE(file_facts(fd, &facts));
    CU_ASSERT_EQUAL(errno, ENODATA);
    close(fd);
}

/* Another process may cut the file between its fstat() and the reads. */
static void a_file_that_becomes_shorter_is_an_error(void)
{
    int fd = file_make(MIB);
    guint64 sum = 0;

    put(fd, MIB - 8, "data");
    CU_ASSERT_EQUAL(ftruncate(fd, MIB - PAGE / 2), 0);
    CU_ASSERT_FALSE(file_data_each(fd, 0, MIB, sum_up, &sum));
    CU_ASSERT_EQUAL(errno, EIO);
    close(fd);
}

int main(void)
{
    static const TestCase cases[] = {
        {"two files with the same data have one digest, wherever they have holes", holes_make_no_difference},
        {"the same page at another place makes another digest", the_place_counts},
        {"the digest is the SHA-256 of the pages, each after its place",
         it_is_the_sha_256_of_places_and_pages},
        {"the end of a file that is no whole page counts", an_odd_end_counts},
        {"only the data of the range is read, until the function refuses", only_the_range_is_read},
        {"an empty file has no digest", an_empty_file_is_refused},
        {"a file that has become shorter is an error, and no signal",
         a_file_that_becomes_shorter_is_an_error},
    };

    return test_main("page_digest", cases, G_N_ELEMENTS(cases));
}
