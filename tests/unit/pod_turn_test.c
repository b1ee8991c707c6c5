/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/pod_turn.h"

#include "common/error.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_manager.h"

/* The tests' manager has 8 workers for changes and 5 for commands. */
static void a_pod_gets_half_of_the_workers(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *greedy = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    Pod *modest = test_manager_add_pod(manager, 2, POD_READY, CONTAINER_RUNNING_STATE);
    PodTurn *changes[4];
    PodTurn *commands[3];
    PodTurn *other;
    g_autoptr(GError) error = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++)
        TEST_OK(changes[i] = pod_turn_take(greedy, POD_TURN_CHANGE, NULL, &error), error);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        TEST_OK(commands[i] = pod_turn_take(greedy, POD_TURN_EXEC, NULL, &error), error);
    TEST_FAILS(pod_turn_take(greedy, POD_TURN_CHANGE, NULL, &error), error, STATUS_RESOURCE_EXHAUSTED,
               "has 4 changes of its containers under way");
    TEST_FAILS(pod_turn_take(greedy, POD_TURN_EXEC, NULL, &error), error, STATUS_RESOURCE_EXHAUSTED,
               "has 3 commands in its containers under way");
    TEST_OK(other = pod_turn_take(modest, POD_TURN_EXEC, NULL, &error), error);
    pod_turn_free(other);
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++)
        pod_turn_free(changes[i]);
    TEST_OK(changes[0] = pod_turn_take(greedy, POD_TURN_CHANGE, NULL, &error), error);
    pod_turn_free(changes[0]);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        pod_turn_free(commands[i]);
    test_manager_free(manager);
}

int main(void)
{
    static const TestCase cases[] = {
        {"one pod gets at most half of the workers, and others get theirs", a_pod_gets_half_of_the_workers},
    };

    return test_main("pod_turn", cases, G_N_ELEMENTS(cases));
}
