/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/cri_compare.h"

#include "tests/unit/harness.h"

static const char *const none[] = {NULL};

static char *difference(const Runtime__V1__ContainerConfig *a, const Runtime__V1__ContainerConfig *b,
                        const char *const *ignored)
{
    return cri_difference(&a->base, &b->base, "config", ignored);
}

static void check(const Runtime__V1__ContainerConfig *a, const Runtime__V1__ContainerConfig *b,
                  const char *expected)
{
    g_autofree char *there = difference(a, b, none);
    g_autofree char *back = difference(b, a, none);

    CU_ASSERT_EQUAL(g_strcmp0(there, expected), 0);
    CU_ASSERT_EQUAL(g_strcmp0(back, expected), 0);
}

static void finds_scalars(void)
{
    Runtime__V1__ContainerConfig a = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig b = RUNTIME__V1__CONTAINER_CONFIG__INIT;

    check(&a, &b, NULL);
    b.tty = TRUE;
    check(&a, &b, "config.tty");
    b.working_dir = (char *)"/srv";
    check(&a, &b, "config.working_dir");
    a.working_dir = (char *)"/srv";
    check(&a, &b, "config.tty");
}

static void finds_elements(void)
{
    char *first[] = {(char *)"a", (char *)"b"};
    char *second[] = {(char *)"a", (char *)"c"};
    Runtime__V1__ContainerConfig a = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig b = RUNTIME__V1__CONTAINER_CONFIG__INIT;

    a.args = first;
    a.n_args = 2;
    b.args = second;
    b.n_args = 2;
    check(&a, &b, "config.args[1]");
    b.n_args = 1;
    check(&a, &b, "config.args");
}

static void finds_bytes_in_messages(void)
{
    Runtime__V1__KeyValue one = RUNTIME__V1__KEY_VALUE__INIT;
    Runtime__V1__KeyValue two = RUNTIME__V1__KEY_VALUE__INIT;
    Runtime__V1__KeyValue *first[] = {&one};
    Runtime__V1__KeyValue *second[] = {&two};
    Runtime__V1__ContainerConfig a = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig b = RUNTIME__V1__CONTAINER_CONFIG__INIT;

    a.envs = first;
    b.envs = second;
    a.n_envs = b.n_envs = 1;
    one.value = (ProtobufCBinaryData){.len = 2, .data = (guint8 *)"x"};
    two.value = (ProtobufCBinaryData){.len = 2, .data = (guint8 *)"y"};
    check(&a, &b, "config.envs[0].value");
    two.value = one.value;
    check(&a, &b, NULL);
}

static void a_missing_message_is_an_empty_one(void)
{
    Runtime__V1__LinuxContainerConfig linux_config = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
    Runtime__V1__LinuxContainerResources resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    Runtime__V1__ContainerConfig a = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig b = RUNTIME__V1__CONTAINER_CONFIG__INIT;

    b.linux = &linux_config;
    linux_config.resources = &resources;
    check(&a, &b, NULL);
    resources.cpu_shares = 5;
    check(&a, &b, "config.linux.resources.cpu_shares");
}

static void leaves_out_what_is_ignored(void)
{
    static const char *const paths[] = {"config.mounts.host_path", "config.log_path", NULL};
    Runtime__V1__Mount one = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount two = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount *first[] = {&one};
    Runtime__V1__Mount *second[] = {&two};
    Runtime__V1__ContainerConfig a = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig b = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    g_autofree char *same = NULL;
    g_autofree char *other = NULL;

    a.mounts = first;
    b.mounts = second;
    a.n_mounts = b.n_mounts = 1;
    a.log_path = (char *)"0.log";
    one.host_path = (char *)"/a";
    two.host_path = (char *)"/b";
    same = difference(&a, &b, paths);
    CU_ASSERT_PTR_NULL(same);
    two.readonly = TRUE;
    other = difference(&a, &b, paths);
    CU_ASSERT_EQUAL(g_strcmp0(other, "config.mounts[0].readonly"), 0);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a number or text that differs is named", finds_scalars},
        {"an element of a list is named by its index, and the list by its length", finds_elements},
        {"bytes in a list of messages are compared", finds_bytes_in_messages},
        {"a message that is missing equals an empty one", a_missing_message_is_an_empty_one},
        {"ignored fields are left out, in every element of a list", leaves_out_what_is_ignored},
    };

    return test_main("cri_compare", cases, G_N_ELEMENTS(cases));
}
