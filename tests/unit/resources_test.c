/* SPDX-License-Identifier: Apache-2.0 */
/* Limits that are changed, and limits of several containers together. */
#include "sandbox/pods/resources.h"

#include "tests/unit/harness.h"

typedef Runtime__V1__LinuxContainerResources Resources;

static Resources limits(gint64 memory_bytes, gint64 quota, gint64 period)
{
    Resources resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

    resources.memory_limit_in_bytes = memory_bytes;
    resources.cpu_quota = quota;
    resources.cpu_period = period;
    return resources;
}

static void merges(void)
{
    Resources present = limits(100, 50000, 100000);
    Resources update = limits(200, 0, 0);
    Resources *merged = resources_merge(&present, &update);

    CU_ASSERT_EQUAL(merged->memory_limit_in_bytes, 200);
    CU_ASSERT_EQUAL(merged->cpu_quota, 50000);
    runtime__v1__linux_container_resources__free_unpacked(merged, NULL);
    update = limits(-1, -1, 0);
    merged = resources_merge(&present, &update);
    CU_ASSERT_EQUAL(limits_of(merged).memory_bytes, 0);
    CU_ASSERT_EQUAL(limits_of(merged).cpu_quota_us, 0);
    runtime__v1__linux_container_resources__free_unpacked(merged, NULL);
    merged = resources_merge(NULL, &present);
    CU_ASSERT_EQUAL(merged->memory_limit_in_bytes, 100);
    runtime__v1__linux_container_resources__free_unpacked(merged, NULL);
}

static void adds_up(void)
{
    Resources one = limits(100, 10000, 50000);
    Resources two = limits(0, 30000, 0);
    Limits sum = {0};

    limits_add(&sum, &one);
    limits_add(&sum, &two);
    CU_ASSERT_EQUAL(sum.memory_bytes, 100);
    CU_ASSERT_EQUAL(sum.cpu_quota_us, 50000);
    CU_ASSERT_EQUAL(sum.n_without_cpu, 0);
    limits_add(&sum, NULL);
    CU_ASSERT_EQUAL(sum.n_without_cpu, 1);
}

static void stays_in_range(void)
{
    const Resources huge = limits(G_MAXINT64 / 2 - 1, G_MAXINT64, 1000);
    Limits sum = {0};

    for (guint i = 0; i < 3; i++)
        limits_add(&sum, &huge);
    CU_ASSERT_EQUAL(sum.memory_bytes, G_MAXINT64);
    CU_ASSERT_EQUAL(sum.cpu_quota_us, G_MAXINT64);
}

static void knows_no_limit(void)
{
    static const gint64 none[] = {0, -1, 9223372036854771712, G_MAXINT64};
    Limits sum = {0};

    for (gsize i = 0; i < G_N_ELEMENTS(none); i++) {
        const Resources resources = limits(none[i], 0, 0);

        CU_ASSERT_EQUAL(resources_memory_limit(&resources), 0);
        limits_add(&sum, &resources);
    }
    CU_ASSERT_EQUAL(sum.memory_bytes, 0);
    CU_ASSERT_EQUAL(sum.n_without_memory, G_N_ELEMENTS(none));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an update replaces the fields that it sets and keeps the others; -1 removes a limit", merges},
        {"the limits of containers add up, whatever their periods", adds_up},
        {"an absent limit, -1, and the value of a cgroup without a limit all mean no limit", knows_no_limit},
        {"sums of very large limits saturate", stays_in_range},
    };

    return test_main_args("resources", cases, G_N_ELEMENTS(cases), argc, argv);
}
