/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/handler.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)

static const char *const everything[] = {"vcpus", "memory", "kernel-parameters", NULL};
static const char *const nothing[] = {NULL};
static const char *const only_vcpus[] = {"vcpus", NULL};
static const char *const two_parameters[] = {"mitigations", "loglevel", NULL};

static const Handler handlers[] = {
    {.kind = "vm",
     .name = "vm",
     .vcpus = 1,
     .memory_bytes = 256 * MIB,
     .kernel = "/k",
     .initrd = "/i",
     .accelerator = "auto",
     .kernel_parameters = "",
     .annotations = nothing,
     .pod_kernel_parameters = nothing},
    {.kind = "vm",
     .name = "open",
     .vcpus = 1,
     .max_vcpus = 4,
     .memory_bytes = 256 * MIB,
     .max_memory_bytes = 1024 * MIB,
     .kernel = "/k2",
     .initrd = "/i",
     .accelerator = "tcg",
     .kernel_parameters = "a=1",
     .template = TRUE,
     .annotations = everything,
     .pod_kernel_parameters = nothing},
    {.kind = "vm",
     .name = "narrow",
     .vcpus = 2,
     .max_vcpus = 2,
     .memory_bytes = 64 * MIB,
     .max_memory_bytes = 64 * MIB,
     .kernel = "/k",
     .initrd = "/i",
     .accelerator = "auto",
     .kernel_parameters = "",
     .annotations = only_vcpus,
     .pod_kernel_parameters = nothing},
    {.kind = "vm",
     .name = "parameters",
     .vcpus = 1,
     .memory_bytes = 64 * MIB,
     .kernel = "/k",
     .initrd = "/i",
     .accelerator = "auto",
     .kernel_parameters = "",
     .annotations = everything,
     .pod_kernel_parameters = two_parameters},
};

static GPtrArray *table;

static void make_table(void)
{
    table = g_ptr_array_new();
    for (gsize i = 0; i < G_N_ELEMENTS(handlers); i++)
        g_ptr_array_add(table, (gpointer)&handlers[i]);
}

/* The settings that the handler gives a pod with that annotation (key NULL: without one). */
static gboolean settings_of(const char *handler, const char *key, const char *value,
                            HandlerSettings *ret_settings, GError **error)
{
    Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__PodSandboxConfig__AnnotationsEntry entry =
        RUNTIME__V1__POD_SANDBOX_CONFIG__ANNOTATIONS_ENTRY__INIT;
    Runtime__V1__PodSandboxConfig__AnnotationsEntry *entries[] = {&entry};

    entry.key = (char *)key;
    entry.value = (char *)value;
    config.annotations = entries;
    config.n_annotations = key != NULL;
    return handler_settings(handler_find(table, handler, NULL), &config, ret_settings, error);
}

static void check_refused(const char *handler, const char *key, const char *value, const char *complaint)
{
    g_auto(HandlerSettings) settings = {0};
    g_autofree char *prefix = g_strconcat("config.annotations: ", key, ": ", NULL);
    GError *error = NULL;

    CU_ASSERT_FALSE_FATAL(settings_of(handler, key, value, &settings, &error));
    CU_ASSERT_TRUE(g_str_has_prefix(error->message, prefix));
    TEST_FAILS(FALSE, error, STATUS_INVALID_ARGUMENT, complaint);
}

static void finds_handlers(void)
{
    GError *error = NULL;

    CU_ASSERT_STRING_EQUAL(handler_find(table, "", NULL)->name, "vm");
    CU_ASSERT_STRING_EQUAL(handler_find(table, "open", NULL)->kernel, "/k2");
    CU_ASSERT_PTR_EQUAL(handler_find(table, "", NULL), handler_find(table, "vm", NULL));
    CU_ASSERT_PTR_EQUAL(handler_find_kind(table, HANDLER_VM), handler_find(table, "vm", NULL));
    CU_ASSERT_PTR_NULL(handler_find_kind(table, HANDLER_HOST));
    TEST_FAILS(handler_find(table, "runc", &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "there is no handler \"runc\"; there are: vm, open, narrow, parameters");
}

/* Whether these options let a pod of the namespace run on the node; the complaint if not. */
static void check_host_pod(const char *pods, const char *const *namespaces, const char *namespace,
                           const char *complaint)
{
    const Handler host = {.kind = "host", .name = "host"};
    const Handler vm = {.kind = "vm", .name = "vm"};
    const Settings settings = {.host = {.pods = pods, .namespaces = namespaces}};
    GError *error = NULL;

    CU_ASSERT_TRUE(handler_allows(&vm, &settings, namespace, &error));
    if (complaint == NULL) {
        CU_ASSERT_TRUE(handler_allows(&host, &settings, namespace, &error));
        return;
    }
    TEST_FAILS(handler_allows(&host, &settings, namespace, &error), error, STATUS_PERMISSION_DENIED,
               complaint);
}

static void limits_host_pods_to_namespaces(void)
{
    static const char *const two[] = {"kube-system", "monitoring", NULL};

    check_host_pod("always", two, "default", NULL);
    check_host_pod("namespaces", two, "kube-system", NULL);
    check_host_pod("namespaces", two, "monitoring", NULL);
    check_host_pod("namespaces", two, "default", "\"default\" may not run on the node itself");
    check_host_pod("namespaces", two, "kube-system-2", "allows the namespaces: kube-system, monitoring");
    check_host_pod("namespaces", two, "", "host.namespaces");
    check_host_pod("namespaces", nothing, "kube-system", "allows the namespaces: none");
    check_host_pod("never", two, "kube-system", "kube-system");
}

static void knows_the_nodes_limits(void)
{
    static const char *const annotations[] = {"vcpus", "memory", NULL};
    const Handler handler = {.kind = "vm",
                             .name = "open",
                             .kernel_parameters = "",
                             .annotations = annotations,
                             .pod_kernel_parameters = nothing};
    const NodeCapacity node = node_capacity();
    GPtrArray *saved = table;
    g_autofree char *vcpus = g_strdup_printf("allowed: 1 to %u", node.cpus);
    g_autofree char *memory = g_strdup_printf("64MiB to %" G_GUINT64_FORMAT "MiB", node.memory_bytes / MIB);

    table = g_ptr_array_new();
    g_ptr_array_add(table, (gpointer)&handler);
    check_refused("", "io.crivirt.vcpus", "4294967297", vcpus);
    check_refused("", "io.crivirt.memory", "1000000Gi", memory);
    g_ptr_array_unref(table);
    table = saved;
}

static void takes_the_handlers_settings(void)
{
    g_auto(HandlerSettings) settings = {0};

    CU_ASSERT_TRUE_FATAL(settings_of("open", NULL, NULL, &settings, NULL));
    CU_ASSERT_EQUAL(settings.bounds.vcpus, 1);
    CU_ASSERT_EQUAL(settings.bounds.max_vcpus, 4);
    CU_ASSERT_EQUAL(settings.bounds.memory_bytes, 256 * MIB);
    CU_ASSERT_EQUAL(settings.bounds.max_memory_bytes, 1024 * MIB);
    CU_ASSERT_STRING_EQUAL(settings.kernel, "/k2");
    CU_ASSERT_STRING_EQUAL(settings.accelerator, "tcg");
    CU_ASSERT_STRING_EQUAL(settings.kernel_parameters, "a=1");
    CU_ASSERT_TRUE(settings.template);
}

static guint vcpus_of(const char *value)
{
    g_auto(HandlerSettings) settings = {0};

    CU_ASSERT_TRUE_FATAL(settings_of("open", "io.crivirt.vcpus", value, &settings, NULL));
    return settings.bounds.vcpus;
}

static guint64 memory_of(const char *value)
{
    g_auto(HandlerSettings) settings = {0};

    CU_ASSERT_TRUE_FATAL(settings_of("open", "io.crivirt.memory", value, &settings, NULL));
    return settings.bounds.memory_bytes;
}

static void obeys_annotations(void)
{
    g_auto(HandlerSettings) settings = {0};

    CU_ASSERT_EQUAL(vcpus_of("1"), 1);
    CU_ASSERT_EQUAL(vcpus_of("4"), 4);
    CU_ASSERT_EQUAL(memory_of("512MiB"), 512 * MIB);
    CU_ASSERT_EQUAL(memory_of("512Mi"), 512 * MIB);
    CU_ASSERT_EQUAL(memory_of("1Gi"), 1024 * MIB);
    CU_ASSERT_EQUAL(memory_of("134217728"), 128 * MIB);
    CU_ASSERT_TRUE_FATAL(
        settings_of("open", "io.crivirt.kernel-parameters", "mitigations=off  quiet", &settings, NULL));
    CU_ASSERT_STRING_EQUAL(settings.kernel_parameters, "a=1 mitigations=off  quiet");
}

static void limits_annotations(void)
{
    g_autofree char *longest = g_strnfill(1025, 'x');

    check_refused("open", "io.crivirt.vcpus", "5", "\"5\" is not allowed; allowed: 1 to 4");
    check_refused("open", "io.crivirt.vcpus", "0", "1 to 4");
    check_refused("open", "io.crivirt.vcpus", "-1", "1 to 4");
    check_refused("open", "io.crivirt.vcpus", "2 ", "1 to 4");
    check_refused("open", "io.crivirt.vcpus", "", "1 to 4");
    check_refused("open", "io.crivirt.memory", "2Gi", "\"2Gi\" is not allowed; allowed: 64MiB to 1024MiB");
    check_refused("open", "io.crivirt.memory", "1Mi", "64MiB to 1024MiB");
    check_refused("open", "io.crivirt.memory", "512MB", "64MiB to 1024MiB");
    check_refused("open", "io.crivirt.memory", "18446744073709551615Ti", "64MiB to 1024MiB");
    check_refused("open", "io.crivirt.memory", "much", "64MiB to 1024MiB");
    check_refused("open", "io.crivirt.kernel-parameters", longest, "1024 printable");
    check_refused("open", "io.crivirt.kernel-parameters", "a\nb", "printable");
    check_refused("open", "io.crivirt.kernel-parameters", "a=\"b c\"", "no quotes");
    check_refused("open", "io.crivirt.kernel-parameters", "a -- b", "\"--\" is not allowed");
}

static void limits_kernel_parameters(void)
{
    g_auto(HandlerSettings) settings = {0};

    CU_ASSERT_TRUE_FATAL(settings_of("parameters", "io.crivirt.kernel-parameters",
                                     "mitigations=off loglevel=7", &settings, NULL));
    CU_ASSERT_STRING_EQUAL(settings.kernel_parameters, "mitigations=off loglevel=7");
    check_refused("parameters", "io.crivirt.kernel-parameters", "loglevel=7 rdinit=/bin/sh",
                  "\"rdinit=/bin/sh\" is not allowed; allowed: mitigations, loglevel");
    check_refused("parameters", "io.crivirt.kernel-parameters", "loglevels",
                  "allowed: mitigations, loglevel");
}

static void refuses_other_annotations(void)
{
    g_auto(HandlerSettings) settings = {0};

    check_refused("vm", "io.crivirt.vcpus", "1", "handler \"vm\" lets no pod set it; it allows: none");
    check_refused("narrow", "io.crivirt.memory", "64Mi",
                  "handler \"narrow\" lets no pod set it; it allows: io.crivirt.vcpus");
    check_refused("open", "io.crivirt.kernel", "/k",
                  "it allows: io.crivirt.vcpus, io.crivirt.memory, io.crivirt.kernel-parameters");
    check_refused("open", "io.crivirt.", "1", "lets no pod set it");
    CU_ASSERT_TRUE(settings_of("vm", "example.org/io.crivirt.vcpus", "x", &settings, NULL));
    handler_settings_clear(&settings);
    CU_ASSERT_TRUE(settings_of("vm", "io.crivirt.cli/log-directory", "/x", &settings, NULL));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a handler is found by name, the empty name is the default, and an unknown name is refused",
         finds_handlers},
        {"host pods are those that the policy and its namespaces allow", limits_host_pods_to_namespaces},
        {"without a maximum a pod may have what the node has", knows_the_nodes_limits},
        {"a pod gets its handler's settings", takes_the_handlers_settings},
        {"the annotations of a pod change its settings", obeys_annotations},
        {"annotations beyond the handler's limits are refused with what is allowed", limits_annotations},
        {"only named kernel parameters can be set where some are named", limits_kernel_parameters},
        {"annotations that the handler does not allow are refused, and annotations with another prefix are "
         "ignored",
         refuses_other_annotations},
    };

    make_table();
    return test_main("handler", cases, G_N_ELEMENTS(cases));
}
