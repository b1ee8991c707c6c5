/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths of the node "crivirt restore" gives to the containers of a checkpoint. */
#include "cri-server/cli/restore_paths.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/options.h"
#include "tests/unit/harness.h"

/* A request with a container "web" that has an image and these paths; by malloc(), as an unpacked one is. */
static Runtime__V1__RestorePodRequest *request_new(gboolean with_paths)
{
    Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__Mount mounts[] = {RUNTIME__V1__MOUNT__INIT, RUNTIME__V1__MOUNT__INIT,
                                   RUNTIME__V1__MOUNT__INIT};
    Runtime__V1__Mount *mount_list[] = {&mounts[0], &mounts[1], &mounts[2]};
    Runtime__V1__Device device = RUNTIME__V1__DEVICE__INIT;
    Runtime__V1__Device *devices[] = {&device};
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig *configs[] = {&config};
    Runtime__V1__RestorePodRequest request = RUNTIME__V1__RESTORE_POD_REQUEST__INIT;
    Runtime__V1__RestorePodRequest *unpacked;
    g_autofree guint8 *bytes = NULL;
    gsize length;

    metadata.name = (char *)"web";
    image.image = (char *)"registry/tools";
    mounts[0].image = &image;
    mounts[0].container_path = (char *)"/tools";
    mounts[1].host_path = (char *)"/srv/data";
    mounts[1].container_path = (char *)"/data";
    mounts[2].host_path = (char *)"/etc/\033[31mnode";
    mounts[2].container_path = (char *)"/etc/node";
    mounts[2].readonly = TRUE;
    device.host_path = (char *)"/dev/sdb";
    device.container_path = (char *)"/dev/disk";
    device.permissions = (char *)"rwm";
    config.metadata = &metadata;
    config.mounts = mount_list;
    config.n_mounts = with_paths ? 3 : 1;
    config.devices = devices;
    config.n_devices = with_paths ? 1 : 0;
    request.container_configs = configs;
    request.n_container_configs = 1;
    length = runtime__v1__restore_pod_request__get_packed_size(&request);
    bytes = g_malloc(length);
    runtime__v1__restore_pod_request__pack(&request, bytes);
    unpacked = runtime__v1__restore_pod_request__unpack(NULL, length, bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(unpacked);
    return unpacked;
}

static void request_free(Runtime__V1__RestorePodRequest *request)
{
    runtime__v1__restore_pod_request__free_unpacked(request, NULL);
}

static const char *const nothing[] = {NULL};

static void no_paths_need_no_consent(void)
{
    Runtime__V1__RestorePodRequest *request = request_new(FALSE);
    g_autoptr(GError) error = NULL;

    TEST_OK(restore_paths_apply(request, nothing, FALSE, &error), error);
    request_free(request);
}

static void paths_are_listed_and_refused(void)
{
    Runtime__V1__RestorePodRequest *request = request_new(TRUE);
    static const char *const lines[] = {"\n  /srv/data at /data of container web, writable\n",
                                        "\n  /etc/?[31mnode at /etc/node of container web, read-only\n",
                                        "\n  /dev/sdb at /dev/disk of container web, a writable device\n",
                                        "--allow-node-paths", "--volume OLD=NEW"};
    GError *error = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++)
        TEST_FAILS(restore_paths_apply(request, nothing, FALSE, &error), error, STATUS_FAILED_PRECONDITION,
                   lines[i]);
    request_free(request);
}

static void all_are_allowed_at_once(void)
{
    Runtime__V1__RestorePodRequest *request = request_new(TRUE);
    g_autoptr(GError) error = NULL;

    TEST_OK(restore_paths_apply(request, nothing, TRUE, &error), error);
    CU_ASSERT_STRING_EQUAL(request->container_configs[0]->mounts[1]->host_path, "/srv/data");
    request_free(request);
}

static void others_take_their_place(void)
{
    static const char *const some[] = {"/srv/data=/srv/copy=2", "/dev/sdb=/dev/./sdc", NULL};
    static const char *const all[] = {"/srv/copy=2=/never", NULL};
    Runtime__V1__RestorePodRequest *request = request_new(TRUE);
    g_autofree char *here = g_get_current_dir();
    g_autofree char *relative = g_build_filename(here, "node", NULL);
    const Runtime__V1__ContainerConfig *config = request->container_configs[0];
    const char *rest[] = {"/etc/\033[31mnode=node", NULL};
    GError *error = NULL;

    TEST_FAILS(restore_paths_apply(request, some, FALSE, &error), error, STATUS_FAILED_PRECONDITION,
               "node:\n  /etc/?[31mnode at");
    CU_ASSERT_STRING_EQUAL(config->mounts[1]->host_path, "/srv/copy=2");
    CU_ASSERT_STRING_EQUAL(config->devices[0]->host_path, "/dev/sdc");
    CU_ASSERT_FALSE(restore_paths_apply(request, all, TRUE, &error));
    g_clear_error(&error);
    TEST_OK(restore_paths_apply(request, rest, TRUE, &error), error);
    CU_ASSERT_STRING_EQUAL(config->mounts[2]->host_path, relative);
    request_free(request);
}

static void wrong_words_are_refused(void)
{
    static const char *const words[] = {"/srv/data", "=/srv", "/srv/data=", "/other=/srv", ""};

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        const char *const list[] = {words[i], NULL};
        Runtime__V1__RestorePodRequest *request = request_new(TRUE);
        g_autoptr(GError) error = NULL;

        CU_ASSERT_FALSE(restore_paths_apply(request, list, TRUE, &error));
        CU_ASSERT_TRUE(error != NULL && error->domain == USAGE_ERROR);
        request_free(request);
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"a checkpoint without paths of the node needs no consent", no_paths_need_no_consent},
        {"paths of the node are listed and refused", paths_are_listed_and_refused},
        {"--allow-node-paths allows all of them", all_are_allowed_at_once},
        {"--volume gives another path, absolute, and allows no further one", others_take_their_place},
        {"a word that is not OLD=NEW, and a path that the checkpoint does not have, are refused",
         wrong_words_are_refused},
    };
    return test_main("cli_restore_paths", cases, G_N_ELEMENTS(cases));
}
