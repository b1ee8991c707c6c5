/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_config.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

static CniConfig *parse(const char *text, gboolean is_list, GError **error)
{
    const CniConfigText parts = {
        .text = text, .length = strlen(text), .source = "a file", .is_list = is_list};

    return cni_config_parse(&parts, error);
}

static void refused(const char *text, gboolean is_list, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config = parse(text, is_list, &error);

    TEST_FAILS(config, error, STATUS_INVALID_ARGUMENT, words);
}

static void put_file(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_autoptr(GError) error = NULL;

    TEST_OK(dir_make(parent, 0755, &error), error);
    TEST_OK(file_write_atomic(path, text, strlen(text), 0644, &error), error);
}

static void list_is_read(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config = parse(
        "{\"cniVersion\":\"1.0.0\",\"name\":\"pods\",\"disableCheck\":true,\"plugins\":["
        "{\"type\":\"bridge\",\"x\":{\"y\":[1e3]}},"
        "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":false,\"new\":true}}]}",
        TRUE, &error);
    const CniPlugin *second;

    TEST_OK(config, error);
    CU_ASSERT_STRING_EQUAL(config->name, "pods");
    CU_ASSERT_EQUAL(config->version, CNI_VERSION_1_0_0);
    CU_ASSERT_TRUE(config->disable_check);
    CU_ASSERT_FALSE(config->disable_gc);
    CU_ASSERT_EQUAL_FATAL(config->plugins->len, 2);
    second = g_ptr_array_index(config->plugins, 1);
    CU_ASSERT_STRING_EQUAL(second->type, "portmap");
    CU_ASSERT_EQUAL(second->capabilities, CNI_CAPABILITY_PORT_MAPPINGS);
}

static void single_plugin_is_a_list_of_one(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config = parse("{\"name\":\"n\",\"type\":\"ptp\"}", FALSE, &error);

    TEST_OK(config, error);
    CU_ASSERT_EQUAL(config->version, CNI_VERSION_0_1_0);
    CU_ASSERT_EQUAL(config->plugins->len, 1);
}

static void highest_common_version_is_chosen(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config =
        parse("{\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"1.0.0\",\"1.1.0\",\"2.0.0\"],\"name\":\"n\","
              "\"plugins\":[{\"type\":\"a\"}]}",
              TRUE, &error);

    TEST_OK(config, error);
    CU_ASSERT_EQUAL(config->version, CNI_VERSION_1_1_0);
}

static void bad_texts_are_refused(void)
{
    g_autoptr(GString) deep = g_string_new(NULL);

    refused("", TRUE, "a file: not valid JSON");
    refused("[]", TRUE, "a file: expected an object");
    refused("{\"name\":", TRUE, "a file: not valid JSON");
    refused("{\"cniVersion\":\"9.0.0\",\"name\":\"n\",\"plugins\":[]}", TRUE, "\"9.0.0\" is not supported");
    refused("{\"cniVersion\":\"0.2.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}", TRUE,
            "0.3.0 or later");
    refused("{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"a\"}]}", TRUE, "no \"name\"");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"../x\",\"plugins\":[{\"type\":\"a\"}]}", TRUE,
            "invalid \"name\"");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\"}", TRUE, "no plugins");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":{}}", TRUE,
            "a file: plugins: expected an array");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[7]}", TRUE,
            "a file: plugins[0]: expected an object");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{}]}", TRUE,
            "a file: plugins[0]: the plugin has no \"type\"");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"../sh\"}]}", TRUE,
            "invalid \"type\"");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\",\"capabilities\":{\"ips\":"
            "1}}]}",
            TRUE, "plugins[0].capabilities.ips: expected true or false");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[]}", FALSE, ".conflist");
    for (guint i = 0; i < 100000; i++)
        g_string_append_c(deep, '[');
    refused(deep->str, TRUE, "nested more than 64 deep");
}

static void first_valid_file_wins(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config = NULL;

    put_file(directory, "05-not-read.yaml", "{");
    put_file(directory, "10-broken.conflist", "{");
    put_file(directory, "20-good.conf", "{\"name\":\"good\",\"type\":\"a\"}");
    put_file(directory, "30-later.json", "{\"name\":\"later\",\"type\":\"a\"}");
    config = cni_config_load(directory, &error);
    TEST_OK(config, error);
    CU_ASSERT_STRING_EQUAL(config->name, "good");
}

static void problems_are_named(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *missing = g_build_filename(directory, "missing", NULL);
    g_autoptr(GError) error = NULL;

    TEST_FAILS(cni_config_load(missing, &error), error, STATUS_UNAVAILABLE, "there is no directory");
    TEST_FAILS(cni_config_load(directory, &error), error, STATUS_UNAVAILABLE, "no CNI configuration (");
    put_file(directory, "10-a.conflist", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\"}");
    put_file(directory, "20-b.conflist", "{");
    TEST_FAILS(cni_config_load(directory, &error), error, STATUS_UNAVAILABLE,
               "10-a.conflist: it has no plugins");
}

static void plugin_files_follow_the_list(void)
{
    static const char list[] = "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]%s}";
    g_autofree char *directory = test_directory();
    g_autofree char *inlined = g_strdup_printf(list, ",\"loadOnlyInlinedPlugins\":true");
    g_autofree char *both = g_strdup_printf(list, "");
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) first = NULL;
    g_autoptr(CniConfig) second = NULL;

    put_file(directory, "10-n.conflist", inlined);
    put_file(directory, "n/20-c.conf", "{\"type\":\"c\"}");
    put_file(directory, "n/10-b.conf", "{\"type\":\"b\"}");
    first = cni_config_load(directory, &error);
    TEST_OK(first, error);
    CU_ASSERT_EQUAL(first->plugins->len, 1);
    put_file(directory, "10-n.conflist", both);
    second = cni_config_load(directory, &error);
    TEST_OK(second, error);
    CU_ASSERT_EQUAL_FATAL(second->plugins->len, 3);
    CU_ASSERT_STRING_EQUAL(((CniPlugin *)g_ptr_array_index(second->plugins, 1))->type, "b");
}

static void unknown_keys_survive_unchanged(void)
{
    static const char text[] =
        "{\"name\":\"n\",\"type\":\"t\",\"a\":1e3,\"b\":123456789012345678901234567890,"
        "\"c\":[null,true,{\"d\":\"\\u00e9\\\"\"}]}";
    g_autoptr(GError) error = NULL;
    g_autoptr(CniConfig) config = parse(text, FALSE, &error);
    g_autofree char *written = NULL;

    TEST_OK(config, error);
    written = cni_config_to_text(config);
    CU_ASSERT_STRING_EQUAL(written,
                           "{\"name\":\"n\",\"type\":\"t\",\"a\":1e3,\"b\":123456789012345678901234567890,"
                           "\"c\":[null,true,{\"d\":\"é\\\"\"}]}");
}

/* DEL is called with this text, whether or not the files are still there. */
static void text_reads_back(void)
{
    static const struct {
        const char *text;
        gboolean is_list;
    } all[] = {
        {"{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"disableCheck\":true,\"plugins\":[{\"type\":\"bridge\","
         "\"mine\":{\"x\":[1,2.5]}},{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}]}",
         TRUE},
        {"{\"cniVersion\":\"0.2.0\",\"name\":\"old\",\"type\":\"bridge\"}", FALSE},
        {"{\"name\":\"bare\",\"type\":\"ptp\"}", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(CniConfig) first = parse(all[i].text, all[i].is_list, &error);
        g_autoptr(CniConfig) second = NULL;
        g_autofree char *text = NULL;
        g_autofree char *again = NULL;

        TEST_OK(first != NULL, error);
        text = cni_config_to_text(first);
        second = cni_config_from_text(text, &error);
        TEST_OK(second != NULL, error);
        if (second == NULL)
            continue;
        again = cni_config_to_text(second);
        CU_ASSERT_STRING_EQUAL(again, text);
        CU_ASSERT_EQUAL(second->version, first->version);
        CU_ASSERT_EQUAL(second->disable_check, first->disable_check);
        CU_ASSERT_EQUAL(second->plugins->len, first->plugins->len);
    }
}

static void plugins_that_look_at_the_pod_are_told(void)
{
    static const char *const types[] = {"bridge", "host-local", "portmap", NULL};
    static const char *const none[] = {NULL};
    static const struct {
        const char *text;
        gboolean ignores;
    } all[] = {
        {"{\"type\":\"bridge\",\"ipam\":{\"type\":\"host-local\"}},"
         "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}",
         TRUE},
        {"{\"type\":\"bridge\",\"capabilities\":{\"bandwidth\":true,\"new\":true}}", TRUE},
        {"{\"type\":\"bridge\",\"ipam\":{}}", TRUE},
        {"{\"type\":\"bridge\"},{\"type\":\"calico\"}", FALSE},
        {"{\"type\":\"bridge\",\"ipam\":{\"type\":\"dhcp\"}}", FALSE},
        {"{\"type\":\"bridge\",\"ipam\":\"host-local\"}", FALSE},
        {"{\"type\":\"bridge\",\"ipam\":{\"type\":7}}", FALSE},
        {"{\"type\":\"bridge\",\"capabilities\":{\"dns\":true}}", FALSE},
        {"{\"type\":\"bridge\",\"capabilities\":{\"ips\":true}}", FALSE},
        {"{\"type\":\"bridge\",\"capabilities\":{\"mac\":true}}", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autofree char *text =
            g_strdup_printf("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[%s]}", all[i].text);
        g_autoptr(GError) error = NULL;
        g_autoptr(CniConfig) config = parse(text, TRUE, &error);

        TEST_OK(config, error);
        if (config == NULL)
            continue;
        CU_ASSERT_EQUAL(cni_config_ignores_pods(config, types), all[i].ignores);
        CU_ASSERT_FALSE(cni_config_ignores_pods(config, none));
    }
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a list is read with its plugins and their capabilities", list_is_read},
        {"a single plugin's configuration is a list of one", single_plugin_is_a_list_of_one},
        {"the highest version that the list and crivirt support is chosen", highest_common_version_is_chosen},
        {"invalid configurations are refused with a reason", bad_texts_are_refused},
        {"the first valid file by name is used, after an invalid one before it", first_valid_file_wins},
        {"without a valid file the first one's problem is reported", problems_are_named},
        {"plugins in files of their own follow those in the list", plugin_files_follow_the_list},
        {"keys and numbers that crivirt does not use survive unchanged", unknown_keys_survive_unchanged},
        {"a configuration written as text reads back the same, whatever its version", text_reads_back},
        {"plugins that look at the pod are told from those that do not",
         plugins_that_look_at_the_pod_are_told},
    };

    return test_main_args("cni_config", cases, G_N_ELEMENTS(cases), argc, argv);
}
