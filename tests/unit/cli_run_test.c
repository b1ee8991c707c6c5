/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/ref.h"
#include "cri-server/cli/run_spec.h"
#include "tests/unit/harness.h"

static const RunIdentity identity = {"web", "u1", "/logs", "/home/u"};

static gboolean build(Arena *arena, const char *const *argv, RunSpec *spec, GError **error)
{
    const OptionSpec *tables[] = {run_options, NULL};
    g_autoptr(Options) options = options_parse(tables, TRUE, argv, error);

    return options != NULL && run_spec_build(options, &identity, arena, spec, error);
}
#define BUILD(arena, spec, error, ...)                                                                       \
    build((arena), (const char *const[]){__VA_ARGS__, NULL}, (spec), (error))

static void plain_run(void)
{
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    RunSpec spec = {0};

    TEST_OK(BUILD(arena, &spec, &error, "busybox", "echo", "-n", "x"), error);
    CU_ASSERT_STRING_EQUAL(spec.pod->metadata->name, "web");
    CU_ASSERT_STRING_EQUAL(spec.pod->metadata->namespace_, "crivirt");
    CU_ASSERT_STRING_EQUAL(spec.pod->metadata->uid, "u1");
    CU_ASSERT_STRING_EQUAL(spec.pod->hostname, "web");
    CU_ASSERT_STRING_EQUAL(spec.pod->log_directory, "/logs/crivirt_web_u1");
    CU_ASSERT_STRING_EQUAL(spec.container->log_path, "web/0.log");
    CU_ASSERT_STRING_EQUAL(spec.container->image->image, "busybox");
    CU_ASSERT_EQUAL(spec.container->n_command, 0);
    CU_ASSERT_EQUAL_FATAL(spec.container->n_args, 3);
    CU_ASSERT_STRING_EQUAL(spec.container->args[1], "-n");
    CU_ASSERT_STRING_EQUAL(spec.pod->labels[0]->key, RUN_LABEL);
    CU_ASSERT_EQUAL(spec.container->linux->security_context->namespace_options->pid,
                    RUNTIME__V1__NAMESPACE_MODE__CONTAINER);
    CU_ASSERT_TRUE(spec.container->linux->security_context->n_masked_paths > 0);
    CU_ASSERT_TRUE(protobuf_c_message_check(&spec.pod->base));
    CU_ASSERT_TRUE(protobuf_c_message_check(&spec.container->base));
}

static void limits_are_the_pods_too(void)
{
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    RunSpec spec = {0};

    TEST_OK(BUILD(arena, &spec, &error, "-m", "256m", "--cpus", "1.5", "busybox"), error);
    CU_ASSERT_EQUAL(spec.pod->linux->resources->memory_limit_in_bytes, 256 * 1024 * 1024);
    CU_ASSERT_EQUAL(spec.pod->linux->resources->cpu_quota, 150000);
    CU_ASSERT_EQUAL(spec.pod->linux->resources->cpu_period, 100000);
    CU_ASSERT_EQUAL(spec.container->linux->resources->memory_limit_in_bytes, 256 * 1024 * 1024);
    CU_ASSERT_EQUAL(spec.container->linux->resources->cpu_quota, 150000);
}

static void all_options(void)
{
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_autofree char *file = g_build_filename(directory, "env", NULL);
    RunSpec spec = {0};
    Runtime__V1__LinuxContainerSecurityContext *security;

    TEST_OK(file_write_atomic(file, "# comment\n\nA=file\r\n B=2\n", 24, 0600, &error), error);
    TEST_OK(BUILD(arena, &spec, &error, "-e", "A=1", "--env-file", file, "-v", "./d:/d:ro", "-p", "8080:80",
                  "-p", "53:53/udp", "-w", "/w", "-u", "5:6", "--entrypoint", "/bin/x", "-l", "a=b",
                  "--read-only", "--privileged", "--dns", "1.1.1.1", "--hostname", "h", "busybox", "y"),
            error);
    CU_ASSERT_EQUAL_FATAL(spec.container->n_envs, 2);
    CU_ASSERT_STRING_EQUAL(spec.container->envs[0]->key, "A");
    CU_ASSERT_EQUAL(spec.container->envs[0]->value.len, 1); /* -e overrides the file */
    CU_ASSERT_STRING_EQUAL(spec.container->envs[1]->key, "B");
    CU_ASSERT_STRING_EQUAL(spec.container->mounts[0]->host_path, "/home/u/d");
    CU_ASSERT_TRUE(spec.container->mounts[0]->readonly);
    CU_ASSERT_EQUAL(spec.pod->n_port_mappings, 2);
    CU_ASSERT_EQUAL(spec.pod->port_mappings[1]->protocol, RUNTIME__V1__PROTOCOL__UDP);
    CU_ASSERT_STRING_EQUAL(spec.container->working_dir, "/w");
    CU_ASSERT_STRING_EQUAL(spec.container->command[0], "/bin/x");
    CU_ASSERT_STRING_EQUAL(spec.container->args[0], "y");
    CU_ASSERT_EQUAL(spec.container->n_labels, 2);
    CU_ASSERT_STRING_EQUAL(spec.pod->dns_config->servers[0], "1.1.1.1");
    CU_ASSERT_STRING_EQUAL(spec.pod->hostname, "h");
    security = spec.container->linux->security_context;
    CU_ASSERT_EQUAL(security->run_as_user->value, 5);
    CU_ASSERT_EQUAL(security->run_as_group->value, 6);
    CU_ASSERT_TRUE(security->readonly_rootfs && security->privileged);
    CU_ASSERT_TRUE(spec.pod->linux->security_context->privileged);
    CU_ASSERT_EQUAL(security->n_masked_paths, 0);
}

static void wrong_options_are_named(void)
{
    static const char *const bad[][3] = {
        {"-m", "1x", "--memory"},
        {"--cpus", "0", "--cpus"},
        {"-p", "80", "--publish"},
        {"-v", "x", "--volume"},
        {"-e", "=", "--env"},
        {"--env-file", "/none", "--env-file"},
        {"-u", ":", "--user"},
        {"--network", "host", "--network"},
        {"--dns", "me", "--dns"},
        {"-l", "=x", "--label"},
        {"-l", RUN_LABEL "=x", "--label"},
        {"-t", "x", "--tty"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Arena) arena = arena_new();
        g_autoptr(GError) error = NULL;
        RunSpec spec = {0};

        CU_ASSERT_FALSE(BUILD(arena, &spec, &error, bad[i][0], bad[i][1], "busybox"));
        CU_ASSERT_PTR_NOT_NULL_FATAL(error);
        CU_ASSERT_EQUAL(error->domain, USAGE_ERROR);
        CU_ASSERT_PTR_NOT_NULL(strstr(error->message, bad[i][2]));
        CU_ASSERT_PTR_NULL(spec.pod);
    }
}

/* --- what a container may be called -------------------------------------------------------------------- */

static const RefCandidate candidates[] = {
    {"aa11", "web", "web", "p1", 0},         {"aa22", "db", "db", "p2", 0},
    {"ab33", "pod/app", "app", "p3", 0},     {"ac44", "pod/app", "app", "p3", 1},
    {"ad55", "other/app2", "app2", "p4", 0}, {"ae66", "more/app2", "app2", "p5", 0},
    {"db", "odd", "odd", "p6", 0},
};

static void expect_ref(const char *text, const char *id)
{
    g_autoptr(GError) error = NULL;
    gsize index = 0;

    TEST_OK(ref_pick(candidates, G_N_ELEMENTS(candidates), "container", text, &index, &error), error);
    CU_ASSERT_STRING_EQUAL(candidates[index].id, id);
}

static void references(void)
{
    GError *error = NULL;
    gsize index = 0;

    expect_ref("aa22", "aa22");
    expect_ref("aa1", "aa11");
    expect_ref("web", "aa11");
    expect_ref("app", "ac44"); /* the last attempt */
    expect_ref("db", "db");    /* a whole id before a name */
    expect_ref("more/app2", "ae66");
    TEST_FAILS(ref_pick(candidates, G_N_ELEMENTS(candidates), "container", "aa", &index, &error), error,
               STATUS_INVALID_ARGUMENT, "aa11 (web), aa22 (db)");
    TEST_FAILS(ref_pick(candidates, G_N_ELEMENTS(candidates), "container", "app2", &index, &error), error,
               STATUS_INVALID_ARGUMENT, "ad55 (other/app2), ae66 (more/app2)");
    TEST_FAILS(ref_pick(candidates, G_N_ELEMENTS(candidates), "container", "zz", &index, &error), error,
               STATUS_NOT_FOUND, "no container \"zz\"");
    TEST_FAILS(ref_pick(candidates, G_N_ELEMENTS(candidates), "container", "", &index, &error), error,
               STATUS_NOT_FOUND, "no container");
}

static void exit_codes_follow_the_message(void)
{
    CU_ASSERT_EQUAL(
        program_failure_exit_code("crun exec: executable file `x` not found in $PATH: No such file or "
                                  "directory"),
        127);
    CU_ASSERT_EQUAL(program_failure_exit_code("crun: open executable: Permission denied"), 126);
    CU_ASSERT_EQUAL(program_failure_exit_code("crun: exec: Exec format error"), 126);
    CU_ASSERT_EQUAL(program_failure_exit_code("pod web not found"), 125);
    CU_ASSERT_EQUAL(program_failure_exit_code("cannot open 0.log: No such file or directory"), 125);
}

static void only_our_log_directory_is_removed(void)
{
    static const struct {
        const char *path;
        gboolean ours;
    } cases[] = {
        {"/logs/crivirt_web_u1", TRUE},     {"/etc", FALSE},
        {"logs/crivirt_web_u1", FALSE},     {"/logs/../crivirt_web_u1", FALSE},
        {"/logs/crivirt_web_u1/..", FALSE},
    };
    Runtime__V1__PodSandbox pod = RUNTIME__V1__POD_SANDBOX__INIT;
    Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    Runtime__V1__PodSandbox__LabelsEntry label = RUNTIME__V1__POD_SANDBOX__LABELS_ENTRY__INIT;
    Runtime__V1__PodSandbox__LabelsEntry *labels[] = {&label};
    Runtime__V1__PodSandbox__AnnotationsEntry annotation = RUNTIME__V1__POD_SANDBOX__ANNOTATIONS_ENTRY__INIT;
    Runtime__V1__PodSandbox__AnnotationsEntry *annotations[] = {&annotation};

    metadata.name = (char *)"web";
    metadata.namespace_ = (char *)"crivirt";
    metadata.uid = (char *)"u1";
    label.key = (char *)RUN_LABEL;
    label.value = (char *)RUN_LABEL_VALUE;
    annotation.key = (char *)LOG_ANNOTATION;
    pod.metadata = &metadata;
    pod.labels = labels;
    pod.n_labels = 1;
    pod.annotations = annotations;
    pod.n_annotations = 1;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        annotation.value = (char *)cases[i].path;
        CU_ASSERT_EQUAL(pod_log_directory(&pod) != NULL, cases[i].ours);
    }
    pod.n_labels = 0;
    annotation.value = (char *)cases[0].path;
    CU_ASSERT_PTR_NULL(pod_log_directory(&pod));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a plain run becomes a pod and a container of one name", plain_run},
        {"limits are set on the pod and on the container", limits_are_the_pods_too},
        {"every option reaches its field", all_options},
        {"the message names a wrong option", wrong_options_are_named},
        {"names, ids and unique starts of ids are understood", references},
        {"the exit code of a program that cannot run follows from the message",
         exit_codes_follow_the_message},
        {"only the log directory that run made is removed", only_our_log_directory_is_removed},
    };
    return test_main("cli_run", cases, G_N_ELEMENTS(cases));
}
