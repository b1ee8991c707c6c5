/* SPDX-License-Identifier: Apache-2.0 */
/* What lists contain, by filter. That they do not scan is tested in id_table_test.c. */
#include <string.h>

#include "common/error.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_manager.h"

enum { PODS = 20 };

/* Pod n has as its id n in 64 digits, and one container, whose id begins with "c". */
static SandboxManager *manager_filled(void)
{
    SandboxManager *manager = test_manager_new();

    for (guint i = 0; i < PODS; i++)
        test_manager_add_pod(manager, i, i % 2 == 0 ? POD_READY : POD_STOPPED, CONTAINER_RUNNING_STATE);
    return manager;
}

static guint count_pods(SandboxManager *manager, const char *id, gboolean ready_only)
{
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse response = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;
    Runtime__V1__PodSandboxFilter filter = RUNTIME__V1__POD_SANDBOX_FILTER__INIT;
    Runtime__V1__PodSandboxStateValue state = RUNTIME__V1__POD_SANDBOX_STATE_VALUE__INIT;
    g_autoptr(Arena) arena = arena_new();

    state.state = RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
    filter.id = (char *)id;
    filter.state = ready_only ? &state : NULL;
    request.filter = &filter;
    CU_ASSERT_TRUE(sandbox_list(manager, &request, arena, &response, NULL));
    for (size_t i = 0; i < response.n_items; i++)
        CU_ASSERT_TRUE(g_str_has_prefix(response.items[i]->id, id));
    return (guint)response.n_items;
}

static guint count_containers(SandboxManager *manager, const char *id, const char *pod_id)
{
    Runtime__V1__ListContainersRequest request = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ListContainersResponse response = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;
    Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
    g_autoptr(Arena) arena = arena_new();

    filter.id = (char *)id;
    filter.pod_sandbox_id = (char *)pod_id;
    request.filter = &filter;
    CU_ASSERT_TRUE(container_list(manager, &request, arena, &response, NULL));
    for (size_t i = 0; i < response.n_containers; i++) {
        CU_ASSERT_TRUE(g_str_has_prefix(response.containers[i]->id, id));
        CU_ASSERT_TRUE(g_str_has_prefix(response.containers[i]->pod_sandbox_id, pod_id));
    }
    return (guint)response.n_containers;
}

static void ids_and_their_beginnings_select(void)
{
    SandboxManager *manager = manager_filled();
    g_autofree char *seven = g_strdup_printf("%064x", 7);
    g_autofree char *none = g_strdup_printf("%064x", PODS);
    g_autofree char *container = g_strdup_printf("c%063x", 7);
    g_autofree char *sixteen = g_strdup_printf("%063x", 1); /* 0x10 to 0x13 begin so */

    CU_ASSERT_EQUAL(count_pods(manager, "", FALSE), PODS);
    CU_ASSERT_EQUAL(count_pods(manager, "", TRUE), PODS / 2);
    CU_ASSERT_EQUAL(count_pods(manager, seven, FALSE), 1);
    CU_ASSERT_EQUAL(count_pods(manager, seven, TRUE), 0);
    CU_ASSERT_EQUAL(count_pods(manager, sixteen, FALSE), PODS - 16);
    CU_ASSERT_EQUAL(count_pods(manager, none, FALSE), 0);
    CU_ASSERT_EQUAL(count_containers(manager, "", ""), PODS);
    CU_ASSERT_EQUAL(count_containers(manager, container, ""), 1);
    CU_ASSERT_EQUAL(count_containers(manager, "", seven), 1);
    CU_ASSERT_EQUAL(count_containers(manager, "c", sixteen), PODS - 16);
    CU_ASSERT_EQUAL(count_containers(manager, "", sixteen), PODS - 16);
    CU_ASSERT_EQUAL(count_containers(manager, container, none), 0);
    test_manager_free(manager);
}

static void the_newest_comes_first(void)
{
    SandboxManager *manager = manager_filled();
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse response = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;
    Arena *arena = arena_new();

    CU_ASSERT_TRUE(sandbox_list(manager, &request, arena, &response, NULL));
    for (size_t i = 1; i < response.n_items; i++)
        CU_ASSERT_TRUE(response.items[i - 1]->created_at > response.items[i]->created_at);
    arena_free(arena);
    test_manager_free(manager);
}

/* Objects are removed while their list is on its way to the client. */
static void an_answer_keeps_what_it_shows(void)
{
    SandboxManager *manager = manager_filled();
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse response = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;
    Arena *arena = arena_new();
    g_autofree char *id = g_strdup_printf("%064x", PODS - 1);
    Pod *pod = manager_find_pod(manager, id, NULL);
    g_autoptr(Container) container = container_ref(test_pod_container(pod));

    CU_ASSERT_TRUE(sandbox_list(manager, &request, arena, &response, NULL));
    container_io_close(container->io);
    manager_remove_container(manager, container);
    manager_remove_pod(manager, pod);
    pod_unref(pod);
    g_clear_pointer(&container, container_unref);
    CU_ASSERT_STRING_EQUAL(response.items[0]->id, id);
    CU_ASSERT_STRING_EQUAL(response.items[0]->metadata->name, "pod-19");
    CU_ASSERT_STRING_EQUAL(response.items[0]->labels[0]->value, "pod-19");
    arena_free(arena);
    CU_ASSERT_EQUAL(count_pods(manager, "", FALSE), PODS - 1);
    test_manager_free(manager);
}

static Pod *find_namesake(SandboxManager *manager, const Runtime__V1__PodSandboxMetadata *metadata)
{
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = manager_namesake_locked(manager, metadata);
    g_mutex_unlock(&manager->lock);
    return pod;
}

static void names_are_found(void)
{
    SandboxManager *manager = manager_filled();
    Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    Pod *pod;

    metadata.name = (char *)"pod-3";
    metadata.uid = (char *)"pod-3";
    metadata.namespace_ = (char *)"default";
    pod = find_namesake(manager, &metadata);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pod);
    CU_ASSERT_STRING_EQUAL(pod_name(pod), "pod-3");
    metadata.attempt = 1;
    CU_ASSERT_PTR_NULL(find_namesake(manager, &metadata));
    metadata.attempt = 0;
    metadata.namespace_ = (char *)"other";
    CU_ASSERT_PTR_NULL(find_namesake(manager, &metadata));
    test_manager_free(manager);
}

int main(void)
{
    static const TestCase cases[] = {
        {"an id, or a prefix of one, selects pods and containers", ids_and_their_beginnings_select},
        {"lists begin with the newest", the_newest_comes_first},
        {"a response stays valid when its objects are removed", an_answer_keeps_what_it_shows},
        {"a pod is found by its name, namespace, uid and attempt", names_are_found},
    };

    return test_main("list", cases, G_N_ELEMENTS(cases));
}
