/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc_table.h"
#include "tests/unit/harness.h"

#include <string.h>

static const ProtobufCServiceDescriptor *const services[] = {
    &runtime__v1__runtime_service__descriptor,
    &runtime__v1__image_service__descriptor,
    &crivirt__v1__crivirt__descriptor,
    &grpc__health__v1__health__descriptor,
};

static const RpcMethod *find_method(const char *service, const char *name)
{
    gsize n_methods = 0;
    const RpcMethod *methods = rpc_table(&n_methods);

    for (gsize i = 0; i < n_methods; i++)
        if (g_str_equal(methods[i].service->short_name, service) && g_str_equal(methods[i].name, name))
            return &methods[i];
    return NULL;
}

static void has_every_method(void)
{
    gsize n_methods = 0;
    gsize n_described = 0;

    rpc_table(&n_methods);
    for (gsize i = 0; i < G_N_ELEMENTS(services); i++) {
        n_described += services[i]->n_methods;
        for (unsigned j = 0; j < services[i]->n_methods; j++)
            CU_ASSERT_PTR_NOT_NULL(find_method(services[i]->short_name, services[i]->methods[j].name));
    }
    CU_ASSERT_EQUAL(n_methods, n_described);
    CU_ASSERT_EQUAL(n_methods, 43 + 13 + 2);
}

static void has_the_right_types(void)
{
    gsize n_methods = 0;
    const RpcMethod *methods = rpc_table(&n_methods);

    for (gsize i = 0; i < n_methods; i++) {
        const ProtobufCMethodDescriptor *types = rpc_method_descriptor(&methods[i]);

        CU_ASSERT_PTR_NOT_NULL_FATAL(types);
        CU_ASSERT_STRING_EQUAL(methods[i].request_type, types->input->short_name);
        CU_ASSERT_STRING_EQUAL(methods[i].response_type, types->output->short_name);
    }
}

static void knows_which_stream(void)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    guint n_streams = 0;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(TEST_DATA "/cri-v1-wire.tsv", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line != NULL; line++)
        if (g_str_has_prefix(*line, "rpc\t")) {
            g_auto(GStrv) columns = g_strsplit(*line, "\t", 0);
            const RpcMethod *method = find_method(columns[1], columns[2]);

            CU_ASSERT_PTR_NOT_NULL_FATAL(method);
            CU_ASSERT_EQUAL(method->is_stream, g_str_has_prefix(columns[4], "stream "));
            n_streams += method->is_stream ? 1 : 0;
        }
    CU_ASSERT_TRUE(n_streams > 0);
}

/* PLEG's calls must never queue behind a pull or a pod's start. */
static void keeps_reads_in_the_fast_pool(void)
{
    static const char *const reads[] = {"Version", "ListPodSandbox", "PodSandboxStatus", "ListContainers",
                                        "ContainerStatus"};

    for (gsize i = 0; i < G_N_ELEMENTS(reads); i++)
        CU_ASSERT_EQUAL(find_method("RuntimeService", reads[i])->pool, RPC_POOL_FAST);
    CU_ASSERT_EQUAL(find_method("ImageService", "PullImage")->pool, RPC_POOL_IMAGE);
    CU_ASSERT_EQUAL(find_method("RuntimeService", "RunPodSandbox")->pool, RPC_POOL_POD);
}

/* Commands last as long as they like, so that only they are in their pool. A CNI plugin may hang in Status.
 */
static void keeps_commands_apart(void)
{
    gsize n_methods;
    const RpcMethod *methods = rpc_table(&n_methods);

    for (gsize i = 0; i < n_methods; i++)
        if (methods[i].invoke != NULL)
            CU_ASSERT_EQUAL(methods[i].pool == RPC_POOL_EXEC, g_str_equal(methods[i].name, "ExecSync"));
    CU_ASSERT_EQUAL(find_method("RuntimeService", "Status")->pool, RPC_POOL_STATS);
    CU_ASSERT_EQUAL(find_method("RuntimeService", "ListPodSandboxStats")->pool, RPC_POOL_STATS);
    CU_ASSERT_EQUAL(find_method("RuntimeService", "GetContainerEvents")->pool, RPC_POOL_WATCH);
}

static void implements_what_this_version_promises(void)
{
    static const char *const runtime[] = {
        "Version",
        "Status",
        "RuntimeConfig",
        "RunPodSandbox",
        "StopPodSandbox",
        "RemovePodSandbox",
        "PodSandboxStatus",
        "ListPodSandbox",
        "CreateContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
        "ListContainers",
        "ContainerStatus",
        "ReopenContainerLog",
        "ExecSync",
        "Exec",
        "Attach",
        "PortForward",
    };
    static const char *const image[] = {"ListImages", "ImageStatus", "PullImage", "RemoveImage",
                                        "ImageFsInfo"};

    for (gsize i = 0; i < G_N_ELEMENTS(runtime); i++)
        CU_ASSERT_PTR_NOT_NULL(find_method("RuntimeService", runtime[i])->invoke);
    for (gsize i = 0; i < G_N_ELEMENTS(image); i++)
        CU_ASSERT_PTR_NOT_NULL(find_method("ImageService", image[i])->invoke);
}

int main(void)
{
    static const TestCase cases[] = {
        {"the table has every method of the services and no other", has_every_method},
        {"each row names the method's own message types", has_the_right_types},
        {"a row has STREAM where the CRI's method streams", knows_which_stream},
        {"reads use the fast worker pool; pulls and pods do not", keeps_reads_in_the_fast_pool},
        {"commands have a worker pool of their own, and Status is not in the fast one", keeps_commands_apart},
        {"every method that this version supports is implemented", implements_what_this_version_promises},
    };

    return test_main("rpc-table", cases, G_N_ELEMENTS(cases));
}
