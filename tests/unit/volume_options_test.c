/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/volume_options.h"

#include <glib.h>

#include "tests/unit/harness.h"

static const struct {
    const char *key;
    const char *limits;
    const char *value;
} options[] = {
#define OPTION(type, section, key, flag, value, limits, when, help) {#section "." #key, limits, value},
#include "common/settings/options.def"
};

static const struct {
    const char *key;
    const char *limits;
} handler_options[] = {
#define HANDLER_OPTION(type, key, value, limits, when, help) {#key, limits},
#include "common/settings/handler_options.def"
};

static void check_modes(const char *limits)
{
    g_auto(GStrv) modes = g_strsplit(limits, "|", -1);

    CU_ASSERT_EQUAL(g_strv_length(modes), 3);
    for (guint i = 0; modes[i] != NULL; i++)
        CU_ASSERT_PTR_NOT_NULL(volume_cache_word(modes[i]));
}

static void every_mode_has_a_word(void)
{
    guint n_found = 0;

    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        if (g_str_equal(options[i].key, "guest.volume_cache")) {
            check_modes(options[i].limits);
            CU_ASSERT_STRING_EQUAL(options[i].value, VOLUME_CACHE_DEFAULT);
            n_found++;
        }
    for (guint i = 0; i < G_N_ELEMENTS(handler_options); i++)
        if (g_str_equal(handler_options[i].key, "volume_cache")) {
            check_modes(handler_options[i].limits);
            n_found++;
        }
    CU_ASSERT_EQUAL(n_found, 2);
    CU_ASSERT_STRING_EQUAL(volume_cache_word("never"), "none");
}

static void others_have_none(void)
{
    CU_ASSERT_PTR_NULL(volume_cache_word("none"));
    CU_ASSERT_PTR_NULL(volume_cache_word(""));
}

int main(void)
{
    static const TestCase cases[] = {
        {"virtiofsd has a word for every mode that guest.volume_cache and a handler allow",
         every_mode_has_a_word},
        {"other modes have none", others_have_none},
    };
    return test_main("volume_options", cases, G_N_ELEMENTS(cases));
}
