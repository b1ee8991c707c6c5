/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_cache.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

enum { SETTLE_US = 1300 * 1000 };

static const char *const plugin_dirs[] = {"/nonexistent", NULL};

typedef struct {
    char *directory;
    CniCache *cache;
} Fixture;

static void fixture_clear(Fixture *fixture)
{
    cni_cache_free(fixture->cache);
    g_free(fixture->directory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

static void put_list(const Fixture *fixture, const char *file, const char *network)
{
    g_autofree char *path = g_build_filename(fixture->directory, file, NULL);
    g_autofree char *text = g_strdup_printf(
        "{\"cniVersion\":\"1.0.0\",\"name\":\"%s\",\"plugins\":[{\"type\":\"bridge\"}]}", network);

    /* In place: the inode stays. */
    CU_ASSERT_TRUE(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static Fixture fixture_new(void)
{
    Fixture fixture = {.directory = test_directory()};

    put_list(&fixture, "20-a.conflist", "one");
    fixture.cache = cni_cache_new(fixture.directory, plugin_dirs);
    return fixture;
}

static void expect(const Fixture *fixture, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniNetwork) network = cni_cache_get(fixture->cache, &error);

    TEST_OK(network != NULL, error);
    if (network != NULL)
        CU_ASSERT_STRING_EQUAL(cni_network_name(network), name);
}

static void is_loaded_once(void)
{
    g_auto(Fixture) fixture = fixture_new();
    g_autoptr(CniNetwork) first = NULL;
    g_autoptr(CniNetwork) second = NULL;

    g_usleep(SETTLE_US);
    first = cni_cache_get(fixture.cache, NULL);
    second = cni_cache_get(fixture.cache, NULL);
    CU_ASSERT_PTR_NOT_NULL(first);
    CU_ASSERT_PTR_EQUAL(first, second);
}

static void changes_are_seen_at_once(void)
{
    g_auto(Fixture) fixture = fixture_new();
    g_autofree char *early = g_build_filename(fixture.directory, "10-b.conflist", NULL);

    g_usleep(SETTLE_US);
    expect(&fixture, "one");
    put_list(&fixture, "20-a.conflist", "two");
    expect(&fixture, "two");
    put_list(&fixture, "20-a.conflist", "six"); /* as long as before, and within the same tick */
    expect(&fixture, "six");
    put_list(&fixture, "10-b.conflist", "early");
    expect(&fixture, "early");
    CU_ASSERT_EQUAL(unlink(early), 0);
    expect(&fixture, "six");
}

static void what_is_broken_is_read_again(void)
{
    g_auto(Fixture) fixture = fixture_new();
    g_autofree char *path = g_build_filename(fixture.directory, "20-a.conflist", NULL);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE(g_file_set_contents(path, "{", -1, NULL));
    g_usleep(SETTLE_US);
    TEST_FAILS(cni_cache_get(fixture.cache, &error) != NULL, error, STATUS_UNAVAILABLE, "20-a.conflist");
    TEST_FAILS(cni_cache_get(fixture.cache, &error) != NULL, error, STATUS_UNAVAILABLE, "20-a.conflist");
    put_list(&fixture, "20-a.conflist", "whole");
    expect(&fixture, "whole");
}

static void files_of_plugins_count(void)
{
    g_auto(Fixture) fixture = fixture_new();
    g_autofree char *directory = g_build_filename(fixture.directory, "one", NULL);
    g_autofree char *path = g_build_filename(directory, "30-more.conf", NULL);
    g_autoptr(CniNetwork) before = NULL;
    g_autoptr(CniNetwork) after = NULL;
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE(dir_make(directory, 0755, NULL));
    g_usleep(SETTLE_US);
    before = cni_cache_get(fixture.cache, NULL);
    CU_ASSERT_TRUE(g_file_set_contents(path, "{\"type\":\"tuning\"}", -1, NULL));
    after = cni_cache_get(fixture.cache, NULL);
    CU_ASSERT_PTR_NOT_EQUAL(before, after);
    text = cni_network_text(after);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "tuning"));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a network that did not change is not loaded again", is_loaded_once},
        {"files that change, come or go are seen by the next call", changes_are_seen_at_once},
        {"a failure is not kept", what_is_broken_is_read_again},
        {"a change in the file of a single plugin is seen, too", files_of_plugins_count},
    };

    return test_main("cni_cache", cases, G_N_ELEMENTS(cases));
}
