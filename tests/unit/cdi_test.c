/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/cdi.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static const char good_file[] =
    "{\"cdiVersion\":\"0.8.0\",\"kind\":\"example.com/gpu\",\"containerEdits\":{\"env\":[\"A=1\",\"B=all\"]},"
    "\"devices\":[{\"name\":\"one\",\"containerEdits\":{\"env\":[\"A=2\"],"
    "\"mounts\":[{\"hostPath\":\"/opt/lib\",\"containerPath\":\"/lib/gpu\",\"options\":[\"ro\",\"bind\"]}],"
    "\"deviceNodes\":[{\"path\":\"/dev/fuse\"}]}},"
    "{\"name\":\"hooked\",\"containerEdits\":{\"hooks\":[{\"hookName\":\"createRuntime\",\"path\":\"/bin/"
    "x\"}]}}]}";

static Runtime__V1__ContainerConfig *config_new(const char *device)
{
    Runtime__V1__ContainerConfig *config = malloc(sizeof(*config));

    runtime__v1__container_config__init(config);
    config->n_cdi_devices = 1;
    config->cdi_devices =
        calloc(1, sizeof(void *)); /* NOLINT(bugprone-sizeof-expression): a list of pointers */
    config->cdi_devices[0] = malloc(sizeof(Runtime__V1__CDIDevice));
    runtime__v1__cdidevice__init(config->cdi_devices[0]);
    config->cdi_devices[0]->name = strdup(device);
    return config;
}

typedef struct {
    char *directory;
    char *file;
    const char *directories[3];
} Fixture;

static void fixture_init(Fixture *fixture, const char *text)
{
    g_autoptr(GError) error = NULL;

    fixture->directory = g_dir_make_tmp("crivirt-cdi-XXXXXX", &error);
    fixture->file = g_build_filename(fixture->directory, "vendor.json", NULL);
    fixture->directories[0] = "/nonexistent";
    fixture->directories[1] = fixture->directory;
    fixture->directories[2] = NULL;
    TEST_OK(g_file_set_contents(fixture->file, text, -1, &error), error);
}

static void fixture_clear(Fixture *fixture)
{
    remove(fixture->file);
    remove(fixture->directory);
    g_free(fixture->file);
    g_free(fixture->directory);
}

static void edits_are_applied_in_order(void)
{
    Runtime__V1__ContainerConfig *config = config_new("example.com/gpu=one");
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture, good_file);
    TEST_OK(cdi_apply(config, fixture.directories, &error), error);
    CU_ASSERT_EQUAL_FATAL(config->n_envs, 3);
    CU_ASSERT_STRING_EQUAL(config->envs[2]->key, "A");
    CU_ASSERT_EQUAL(config->envs[2]->value.data[0], '2');
    CU_ASSERT_EQUAL_FATAL(config->n_mounts, 1);
    CU_ASSERT_STRING_EQUAL(config->mounts[0]->container_path, "/lib/gpu");
    CU_ASSERT_TRUE(config->mounts[0]->readonly);
    CU_ASSERT_EQUAL_FATAL(config->n_devices, 1);
    CU_ASSERT_STRING_EQUAL(config->devices[0]->host_path, "/dev/fuse");
    CU_ASSERT_STRING_EQUAL(config->devices[0]->permissions, "rwm");
    runtime__v1__container_config__free_unpacked(config, NULL);
    fixture_clear(&fixture);
}

static void bad_ones_are_refused(void)
{
    static const struct {
        const char *device;
        StatusCode code;
        const char *words;
    } cases[] = {
        {"example.com/gpu=hooked", STATUS_UNIMPLEMENTED, "hooks"},
        {"example.com/gpu=two", STATUS_NOT_FOUND, "gpu=two"},
        {"example.com/nic=one", STATUS_NOT_FOUND, "nic=one"},
        {"gpu=one", STATUS_INVALID_ARGUMENT, "gpu=one"},
        {"example.com/gpu", STATUS_INVALID_ARGUMENT, "example.com/gpu"},
        {"/=x", STATUS_INVALID_ARGUMENT, "/=x"},
    };
    Fixture fixture;

    fixture_init(&fixture, good_file);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Runtime__V1__ContainerConfig *config = config_new(cases[i].device);
        g_autoptr(GError) error = NULL;

        TEST_FAILS(cdi_apply(config, fixture.directories, &error), error, (int)cases[i].code, cases[i].words);
        runtime__v1__container_config__free_unpacked(config, NULL);
    }
    fixture_clear(&fixture);
}

static void a_broken_file_is_named(void)
{
    Runtime__V1__ContainerConfig *config = config_new("example.com/gpu=one");
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture, "{\"kind\":7}");
    TEST_FAILS(cdi_apply(config, fixture.directories, &error), error, STATUS_INVALID_ARGUMENT, "kind");
    runtime__v1__container_config__free_unpacked(config, NULL);
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"the edits of a device come after those of its file", edits_are_applied_in_order},
        {"unknown devices, bad names and hooks are refused", bad_ones_are_refused},
        {"an error about an invalid file names the file", a_broken_file_is_named},
    };

    return test_main("cdi", cases, G_N_ELEMENTS(cases));
}
