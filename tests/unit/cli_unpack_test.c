/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/unpack.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_layers.h"

/* A destination, and beside it what nothing may reach. */
typedef struct {
    char *directory;
    char *into;
    char *outside;
} Fixture;

static Fixture fixture_make(void)
{
    Fixture fixture = {.directory = test_directory()};

    fixture.into = g_build_filename(fixture.directory, "into", NULL);
    fixture.outside = g_build_filename(fixture.directory, "outside", NULL);
    CU_ASSERT_EQUAL_FATAL(mkdir(fixture.into, 0755), 0);
    CU_ASSERT_EQUAL_FATAL(mkdir(fixture.outside, 0755), 0);
    return fixture;
}

static void fixture_clear(Fixture *fixture)
{
    g_free(fixture->directory);
    g_free(fixture->into);
    g_free(fixture->outside);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

/* Finishes the tar and unpacks it. */
static gboolean unpack(const Fixture *fixture, TestTar *tar, UnpackSpec spec, GError **error)
{
    int fd = test_tar_finish(tar);
    gboolean good;

    spec.into = fixture->into;
    good = unpack_tar(fd, &spec, error);
    close(fd);
    CU_ASSERT_EQUAL(chdir("/"), 0);
    return good;
}

/* Return: what lstat() says of a path below the directory; st_mode 0: it is not there. */
static struct stat look(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    struct stat status = {0};

    if (lstat(path, &status) != 0)
        status.st_mode = 0;
    return status;
}

static gboolean is_empty(const char *directory)
{
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);

    return g_dir_read_name(entries) == NULL;
}

static void files_belong_to_the_caller_without_special_bits(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    test_tar_add_entry(tar, &(TestTarEntry){.path = "./", .mode = S_IFDIR | 07755, .uid = 4000, .gid = 4001});
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "./su", .mode = S_IFREG | 07755, .text = "x", .uid = 4000, .gid = 4001});
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "./shared", .mode = S_IFDIR | 03777, .uid = 4000, .gid = 4001});
    TEST_OK(unpack(&fixture, tar, (UnpackSpec){.name = "."}, &error), error);
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_mode & 07777, 0755);
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_uid, getuid());
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_gid, getgid());
    CU_ASSERT_EQUAL(look(fixture.into, "shared").st_mode & 07000, 0);
    CU_ASSERT_EQUAL(look(fixture.into, ".").st_mode & 07000, 0);
}

static void owners_and_special_bits_are_kept_on_request(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    if (getuid() != 0) {
        close(test_tar_finish(tar));
        return;
    }
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "su", .mode = S_IFREG | 04755, .text = "x", .uid = 4000, .gid = 4001});
    TEST_OK(unpack(&fixture, tar, (UnpackSpec){.name = "su", .keeps = TRUE}, &error), error);
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_mode & 07777, 04755);
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_uid, 4000);
    CU_ASSERT_EQUAL(look(fixture.into, "su").st_gid, 4001);
}

static void device_nodes_are_refused_also_on_request_and_the_rest_is_copied(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "d/disk", .mode = S_IFBLK | 0666, .rdev_major = 8, .rdev_minor = 0});
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "d/mem", .mode = S_IFCHR | 0666, .rdev_major = 1, .rdev_minor = 1});
    test_tar_add(tar, "d/file", S_IFREG | 0644, "content");
    TEST_FAILS(unpack(&fixture, tar, (UnpackSpec){.name = "d", .keeps = TRUE}, &error), error,
               STATUS_INTERNAL, "2 of the files");
    CU_ASSERT_EQUAL(look(fixture.into, "d/disk").st_mode, 0);
    CU_ASSERT_EQUAL(look(fixture.into, "d/mem").st_mode, 0);
    CU_ASSERT_TRUE(S_ISREG(look(fixture.into, "d/file").st_mode));
}

static void names_that_lead_out_are_refused(void)
{
    static const char *const names[] = {"../outside/x", "a/../../outside/x", "/tmp/crivirt-unpack-test-x"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_auto(Fixture) fixture = fixture_make();
        TestTar *tar = test_tar_new("pax", "none");
        GError *error = NULL;

        test_tar_add(tar, names[i], S_IFREG | 0644, "bad");
        TEST_FAILS(unpack(&fixture, tar, (UnpackSpec){.name = "."}, &error), error, STATUS_INTERNAL,
                   "not copied");
        CU_ASSERT_TRUE(is_empty(fixture.outside));
        CU_ASSERT_TRUE(is_empty(fixture.into));
        CU_ASSERT_EQUAL(access("/tmp/crivirt-unpack-test-x", F_OK), -1);
    }
}

static void nothing_is_written_through_a_link_of_the_archive(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    test_tar_add(tar, "d/link", S_IFLNK | 0777, fixture.outside);
    test_tar_add(tar, "d/link/x", S_IFREG | 0644, "bad");
    TEST_FAILS(unpack(&fixture, tar, (UnpackSpec){.name = "d"}, &error), error, STATUS_INTERNAL,
               "not copied");
    CU_ASSERT_TRUE(is_empty(fixture.outside));
    CU_ASSERT_TRUE(S_ISLNK(look(fixture.into, "d/link").st_mode));
}

/* The first copy leaves a link, as any copy may; the second one writes below it. */
static void nothing_is_written_through_a_link_of_an_earlier_copy(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *first = test_tar_new("pax", "none");
    TestTar *second = test_tar_new("pax", "none");
    GError *error = NULL;

    test_tar_add(first, "d/link", S_IFLNK | 0777, fixture.outside);
    TEST_OK(unpack(&fixture, first, (UnpackSpec){.name = "d"}, &error), error);
    test_tar_add(second, "d/link/x", S_IFREG | 0644, "bad");
    TEST_FAILS(unpack(&fixture, second, (UnpackSpec){.name = "d"}, &error), error, STATUS_INTERNAL,
               "not copied");
    CU_ASSERT_TRUE(is_empty(fixture.outside));
}

static void a_link_at_the_place_of_a_file_is_replaced(void)
{
    g_auto(Fixture) fixture = fixture_make();
    g_autofree char *secret = g_build_filename(fixture.outside, "secret", NULL);
    g_autofree char *link = g_build_filename(fixture.into, "f", NULL);
    g_autofree char *content = NULL;
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    CU_ASSERT_TRUE(g_file_set_contents(secret, "secret", -1, NULL));
    CU_ASSERT_EQUAL(symlink(secret, link), 0);
    test_tar_add(tar, "f", S_IFREG | 0644, "from the container");
    TEST_OK(unpack(&fixture, tar, (UnpackSpec){.name = "f"}, &error), error);
    CU_ASSERT_TRUE(g_file_get_contents(secret, &content, NULL, NULL));
    CU_ASSERT_STRING_EQUAL(content, "secret");
    CU_ASSERT_TRUE(S_ISREG(look(fixture.into, "f").st_mode));
}

static void hard_links_stay_among_the_files_that_are_copied(void)
{
    static const char *const targets[] = {"../outside/secret", "/etc/passwd", "own"};

    for (gsize i = 0; i < G_N_ELEMENTS(targets); i++) {
        g_auto(Fixture) fixture = fixture_make();
        g_autofree char *own = g_build_filename(fixture.into, "own", NULL);
        TestTar *tar = test_tar_new("pax", "none");
        GError *error = NULL;

        CU_ASSERT_TRUE(g_file_set_contents(own, "own", -1, NULL));
        test_tar_add_hardlink(tar, "d/link", targets[i]);
        TEST_FAILS(unpack(&fixture, tar, (UnpackSpec){.name = "d"}, &error), error, STATUS_INTERNAL,
                   "not copied");
        CU_ASSERT_EQUAL(look(fixture.into, "d/link").st_mode, 0);
        CU_ASSERT_EQUAL(look(fixture.into, "own").st_nlink, 1);
    }
    {
        g_auto(Fixture) fixture = fixture_make();
        TestTar *tar = test_tar_new("pax", "none");
        GError *error = NULL;

        test_tar_add(tar, "d/file", S_IFREG | 0644, "content");
        test_tar_add_hardlink(tar, "d/link", "d/file");
        TEST_OK(unpack(&fixture, tar, (UnpackSpec){.name = "d"}, &error), error);
        CU_ASSERT_EQUAL(look(fixture.into, "d/link").st_nlink, 2);
    }
}

static void only_the_requested_member_is_unpacked_under_its_new_name(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;

    test_tar_add(tar, "unwanted", S_IFREG | 0644, "x");
    test_tar_add(tar, "wanted", S_IFREG | 0644, "content");
    test_tar_add(tar, "wanted-not", S_IFREG | 0644, "x");
    TEST_OK(unpack(&fixture, tar, (UnpackSpec){.name = "wanted", .new_name = "new"}, &error), error);
    CU_ASSERT_TRUE(S_ISREG(look(fixture.into, "new").st_mode));
    CU_ASSERT_EQUAL(look(fixture.into, "wanted").st_mode, 0);
    CU_ASSERT_EQUAL(look(fixture.into, "wanted-not").st_mode, 0);
    CU_ASSERT_EQUAL(look(fixture.into, "unwanted").st_mode, 0);
}

static void an_archive_without_the_member_or_that_is_cut_off_is_an_error(void)
{
    g_auto(Fixture) fixture = fixture_make();
    TestTar *tar = test_tar_new("pax", "none");
    GError *error = NULL;
    char garbage[] = "/tmp/crivirt-unpack-XXXXXX";
    int fd;

    test_tar_add(tar, "other", S_IFREG | 0644, "x");
    TEST_FAILS(unpack(&fixture, tar, (UnpackSpec){.name = "wanted"}, &error), error, STATUS_NOT_FOUND,
               "wanted");
    fd = mkstemp(garbage);
    unlink(garbage);
    CU_ASSERT_EQUAL(write(fd, "no archive, but some text", 25), 25);
    CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_SET), 0);
    TEST_FAILS(unpack_tar(fd, &(UnpackSpec){.into = fixture.into, .name = "."}, &error), error,
               STATUS_INVALID_ARGUMENT, "archive");
    close(fd);
    CU_ASSERT_EQUAL(chdir("/"), 0);
}

static void headers_that_are_too_large_are_refused(void)
{
    g_auto(Fixture) fixture = fixture_make();
    g_autoptr(GString) bytes = test_tar_with_large_headers();
    g_autofree char *path = g_build_filename(fixture.directory, "tar", NULL);
    GError *error = NULL;
    int fd;

    CU_ASSERT_TRUE(g_file_set_contents(path, bytes->str, (gssize)bytes->len, NULL));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    TEST_FAILS(unpack_tar(fd, &(UnpackSpec){.into = fixture.into, .name = "."}, &error), error,
               STATUS_INVALID_ARGUMENT, "the headers of one entry take more than 1048576 bytes");
    close(fd);
    CU_ASSERT_EQUAL(chdir("/"), 0);
    CU_ASSERT_TRUE(is_empty(fixture.into));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"files belong to the caller and have no special bits",
         files_belong_to_the_caller_without_special_bits},
        {"owners and special bits are kept on request", owners_and_special_bits_are_kept_on_request},
        {"device nodes are refused, and the rest is copied",
         device_nodes_are_refused_also_on_request_and_the_rest_is_copied},
        {"names that lead out of the directory are refused", names_that_lead_out_are_refused},
        {"nothing is written through a link of the archive",
         nothing_is_written_through_a_link_of_the_archive},
        {"nothing is written through a link that an earlier copy has left",
         nothing_is_written_through_a_link_of_an_earlier_copy},
        {"a link at the place of a file is replaced, not followed",
         a_link_at_the_place_of_a_file_is_replaced},
        {"hard links stay among the files that are copied", hard_links_stay_among_the_files_that_are_copied},
        {"only the requested member is unpacked, under its new name",
         only_the_requested_member_is_unpacked_under_its_new_name},
        {"headers that are too large are refused", headers_that_are_too_large_are_refused},
        {"an archive without the member, or none at all, is an error",
         an_archive_without_the_member_or_that_is_cut_off_is_an_error},
    };

    return test_main_args("cli_unpack", cases, G_N_ELEMENTS(cases), argc, argv);
}
