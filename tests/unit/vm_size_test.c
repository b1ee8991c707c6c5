/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a pod's machine. */
#include "sandbox/pods/vm_size.h"

#include "common/error.h"
#include "tests/unit/harness.h"

typedef Runtime__V1__LinuxContainerResources Resources;

#define MIB (G_GINT64_CONSTANT(1) << 20)
#define FIELD "config.linux.resources"

static const VmBounds bounds = {.vcpus = 1, .max_vcpus = 6, .memory_bytes = 256 * MIB};
static const NodeCapacity node = {.cpus = 8, .memory_bytes = 8192 * MIB, .plugs = TRUE};

static Resources limits(gint64 memory_bytes, gint64 quota, gint64 period)
{
    Resources resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

    resources.memory_limit_in_bytes = memory_bytes;
    resources.cpu_quota = quota;
    resources.cpu_period = period;
    return resources;
}

static VmSize shape_of(Resources resources)
{
    g_autoptr(GError) error = NULL;
    VmSize shape = {0};

    TEST_OK(vm_size_compute(&resources, FIELD, &bounds, &node, &shape, &error), error);
    return shape;
}

static void has_defaults(void)
{
    g_autoptr(GError) error = NULL;
    VmSize shape;

    TEST_OK(vm_size_compute(NULL, FIELD, &bounds, &node, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.vcpus, 1);
    CU_ASSERT_EQUAL(shape.max_vcpus, 6);
    CU_ASSERT_EQUAL(shape.memory_bytes, 256 * MIB);
    CU_ASSERT_EQUAL(shape.max_memory_bytes, 8192 * MIB);
}

static void adds_overhead(void)
{
    VmSize shape = shape_of(limits(1000 * MIB + 1, 0, 0));

    CU_ASSERT_TRUE(shape.memory_bytes >= 1000 * MIB + vm_guest_overhead(1000 * MIB));
    CU_ASSERT_EQUAL(shape.memory_bytes % MIB, 0);
    CU_ASSERT_EQUAL(shape_of(limits(10 * MIB, 0, 0)).memory_bytes, 256 * MIB);
    CU_ASSERT_EQUAL(shape_of(limits(8192 * MIB, 0, 0)).memory_bytes, 8192 * MIB);
    CU_ASSERT_EQUAL(shape_of(limits(-1, -1, 0)).memory_bytes, 256 * MIB);
}

static void rounds_up_cpus(void)
{
    CU_ASSERT_EQUAL(shape_of(limits(0, 100000, 100000)).vcpus, 1);
    CU_ASSERT_EQUAL(shape_of(limits(0, 100001, 100000)).vcpus, 2);
    CU_ASSERT_EQUAL(shape_of(limits(0, 250000, 0)).vcpus, 3);
    CU_ASSERT_EQUAL(shape_of(limits(0, 1000, 50000)).vcpus, 1);
}

static void fails(Resources resources, VmBounds most, StatusCode status, const char *words)
{
    g_autoptr(GError) error = NULL;
    VmSize shape;

    TEST_FAILS(vm_size_compute(&resources, FIELD, &most, &node, &shape, &error), error, status, words);
}

static void refuses_nonsense(void)
{
    fails(limits(-2, 0, 0), bounds, STATUS_INVALID_ARGUMENT, FIELD ".memory_limit_in_bytes");
    fails(limits(0, -2, 0), bounds, STATUS_INVALID_ARGUMENT, FIELD ".cpu_quota");
    fails(limits(0, 1000, 999), bounds, STATUS_INVALID_ARGUMENT, FIELD ".cpu_period");
    fails(limits(0, 1000, 1000001), bounds, STATUS_INVALID_ARGUMENT, FIELD ".cpu_period");
    fails(limits(0, 1000, -1), bounds, STATUS_INVALID_ARGUMENT, FIELD ".cpu_period");
}

/* The kubelet admits such pods: limits are not requests. */
static void limits_above_the_node_never_take_effect(void)
{
    const VmBounds narrow = {
        .vcpus = 1, .max_vcpus = 2, .memory_bytes = 256 * MIB, .max_memory_bytes = 512 * MIB};
    const Resources huge = limits(G_MAXINT64 / 2 - 1, 100000 * (gint64)1000, 100000);
    g_autoptr(GError) error = NULL;
    VmSize shape;

    CU_ASSERT_EQUAL(shape_of(limits(8193 * MIB, 0, 0)).memory_bytes, 8192 * MIB);
    CU_ASSERT_EQUAL(shape_of(huge).memory_bytes, 8192 * MIB);
    CU_ASSERT_EQUAL(shape_of(huge).vcpus, 6);
    TEST_OK(vm_size_compute(&huge, FIELD, &narrow, &node, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.memory_bytes, 512 * MIB);
    CU_ASSERT_EQUAL(shape.vcpus, 2);
}

static void refuses_too_much(void)
{
    const VmBounds small = {.vcpus = 1, .memory_bytes = 32 * MIB};
    const VmBounds big = {.vcpus = 1, .memory_bytes = 9000 * MIB};
    const VmBounds many = {.vcpus = 9, .memory_bytes = 256 * MIB};
    const VmBounds narrow = {
        .vcpus = 1, .max_vcpus = 2, .memory_bytes = 256 * MIB, .max_memory_bytes = 512 * MIB};

    fails(limits(513 * MIB, 0, 0), narrow, STATUS_RESOURCE_EXHAUSTED, FIELD ".memory_limit_in_bytes");
    fails(limits(8192 * MIB, 0, 0), narrow, STATUS_RESOURCE_EXHAUSTED, "512");
    fails(limits(0, 300000, 0), narrow, STATUS_RESOURCE_EXHAUSTED, FIELD ".cpu_quota");
    fails(limits(0, 0, 0), small, STATUS_INVALID_ARGUMENT, "does not boot");
    fails(limits(0, 0, 0), big, STATUS_RESOURCE_EXHAUSTED, "memory");
    fails(limits(0, 0, 0), many, STATUS_RESOURCE_EXHAUSTED, "vcpus");
}

static void boots_alike(void)
{
    VmSize small = shape_of(limits(10 * MIB, 0, 0));
    VmSize large = shape_of(limits(1001 * MIB, 300000, 100000));

    CU_ASSERT_EQUAL(small.boot_memory_bytes, 256 * MIB);
    CU_ASSERT_EQUAL(large.boot_memory_bytes, 256 * MIB);
    CU_ASSERT_EQUAL(large.boot_vcpus, 1);
    CU_ASSERT_EQUAL((large.memory_bytes - large.boot_memory_bytes) % (2 * MIB), 0);
}

static void does_not_grow(void)
{
    const NodeCapacity still = {.cpus = 8, .memory_bytes = 8192 * MIB};
    Resources resources = limits(1000 * MIB, 300000, 100000);
    g_autoptr(GError) error = NULL;
    VmSize shape;

    TEST_OK(vm_size_compute(&resources, FIELD, &bounds, &still, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.boot_vcpus, 3);
    CU_ASSERT_EQUAL(shape.max_vcpus, 3);
    CU_ASSERT_EQUAL(shape.boot_memory_bytes, shape.memory_bytes);
    CU_ASSERT_EQUAL(shape.boot_memory_bytes, shape.max_memory_bytes);
}

static void reach_is_bounded(void)
{
    const NodeCapacity large = {.cpus = 48, .memory_bytes = 1024 * 1024 * MIB, .plugs = TRUE};
    const VmBounds open = {.vcpus = 1, .memory_bytes = 256 * MIB};
    Resources resources = limits(10240 * MIB, 800000, 100000);
    g_autoptr(GError) error = NULL;
    VmSize shape;

    TEST_OK(vm_size_compute(NULL, FIELD, &open, &large, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.max_vcpus, 16);
    CU_ASSERT_EQUAL(shape.max_memory_bytes, 16384 * MIB);
    TEST_OK(vm_size_compute(&resources, FIELD, &open, &large, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.max_vcpus, 32);
    CU_ASSERT_TRUE(shape.max_memory_bytes >= 40960 * MIB);
}

static void is_reachable_by_the_guest(void)
{
    const NodeCapacity odd = {.cpus = 8, .memory_bytes = 24105 * MIB, .plugs = TRUE};
    const gint64 asked[] = {0, 10240 * MIB, 24000 * MIB, 24105 * MIB, 4194304 * MIB};

    for (gsize i = 0; i < G_N_ELEMENTS(asked); i++) {
        Resources resources = limits(asked[i], 0, 0);
        g_autoptr(GError) error = NULL;
        VmSize shape = {0};

        TEST_OK(vm_size_compute(&resources, FIELD, &bounds, &odd, &shape, &error), error);
        CU_ASSERT_EQUAL((shape.max_memory_bytes - shape.boot_memory_bytes) % (128 * MIB), 0);
        CU_ASSERT_TRUE(shape.memory_bytes <= shape.max_memory_bytes);
        CU_ASSERT_TRUE(asked[i] < 24000 * MIB || shape.memory_bytes > (24105 - 128) * MIB);
    }
}

static void caps_cpu_limits(void)
{
    const VmBounds open = {.vcpus = 1, .memory_bytes = 256 * MIB};
    Resources resources = limits(0, G_MAXINT64, 1000);
    g_autoptr(GError) error = NULL;
    VmSize shape;

    TEST_OK(vm_size_compute(&resources, FIELD, &open, &node, &shape, &error), error);
    CU_ASSERT_EQUAL(shape.vcpus, 8);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a pod without limits has its handler's size", has_defaults},
        {"the VM has the memory limit and what the guest's kernel and agent take", adds_overhead},
        {"a CPU limit is rounded up to whole CPUs", rounds_up_cpus},
        {"an invalid limit is refused with its name", refuses_nonsense},
        {"an impossible size is refused with the reason", refuses_too_much},
        {"the largest size is one that the guest's kernel can reach", is_reachable_by_the_guest},
        {"a limit above what the node has is allowed and never takes effect",
         limits_above_the_node_never_take_effect},
        {"all VMs of a handler boot with one size, whatever their limits", boots_alike},
        {"a VM into which nothing can be plugged boots with its full size", does_not_grow},
        {"a VM can grow within bounds", reach_is_bounded},
        {"a CPU limit above the node's CPUs allows all of them", caps_cpu_limits},
    };

    return test_main_args("vm_size", cases, G_N_ELEMENTS(cases), argc, argv);
}
