/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/config.h"

#include "common/error.h"
#include "cri-server/config/config_check.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <string.h>

/* Loads the configuration with a file of that text (NULL: without one) and with flags. */
static Settings *load(const char *text, const char *const *flags, GError **error)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "c.toml", NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    ConfigAction action = CONFIG_RUN;

    g_file_set_contents(path, text, -1, NULL);
    g_ptr_array_add(argv, (gpointer) "crivirtd");
    g_ptr_array_add(argv, (gpointer) "--config");
    g_ptr_array_add(argv, path);
    for (; flags != NULL && *flags != NULL; flags++)
        g_ptr_array_add(argv, (gpointer)*flags);
    return config_load((int)argv->len, (char **)argv->pdata, &action, error);
}

static void check_refused(const char *text, const char *complaint)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load(text, NULL, &error);

    TEST_FAILS(config != NULL, error, STATUS_INVALID_ARGUMENT, complaint);
}

static void has_defaults(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load("", NULL, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->server.socket, "/run/crivirt/crivirtd.sock");
    CU_ASSERT_EQUAL(config->guest.memory_bytes, 256 << 20);
    CU_ASSERT_EQUAL(config->hypervisor.boot_timeout_ms, 60000);
    CU_ASSERT_STRING_EQUAL(config->network.cni_plugin_dirs[1], "/usr/lib/cni");
}

static void reads_every_type(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config =
        load("[server]\nsocket = '/a b'\nstop_grace = '1500ms'\npod_workers = 7\n"
             "[guest]\nmemory = '1GiB'\n[log]\nlevel = 'debug'\n"
             "[network]\ncni_plugin_dirs = ['/x']\n[metrics]\naddress = '[::1]:9099'\n",
             NULL, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->server.socket, "/a b");
    CU_ASSERT_EQUAL(config->server.stop_grace_ms, 1500);
    CU_ASSERT_EQUAL(config->server.pod_workers, 7);
    CU_ASSERT_EQUAL(config->guest.memory_bytes, 1 << 30);
    CU_ASSERT_STRING_EQUAL(config->log.level, "debug");
    CU_ASSERT_STRING_EQUAL(config->network.cni_plugin_dirs[0], "/x");
    CU_ASSERT_PTR_NULL(config->network.cni_plugin_dirs[1]);
    CU_ASSERT_STRING_EQUAL(config->metrics.address, "[::1]:9099");
}

static void prefers_flags(void)
{
    const char *flags[] = {"--guest-memory", "512MiB", "--cni-plugin-dirs=/p,/q", NULL};
    GError *error = NULL;
    g_autoptr(Settings) config = load("[guest]\nmemory = '1GiB'\nvcpus = 3\n", flags, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL(config->guest.memory_bytes, 512 << 20);
    CU_ASSERT_EQUAL(config->guest.vcpus, 3);
    CU_ASSERT_STRING_EQUAL(config->network.cni_plugin_dirs[1], "/q");
}

static void names_what_is_wrong(void)
{
    check_refused("[server]\n\nsockt = '/a'\n", "c.toml:3");
    check_refused("[server]\nsockt = '/a'\n", "sockt");
    check_refused("[sever]\n", "sever");
    check_refused("socket = '/a'\n", "socket");
    check_refused("[server]\nsocket = 'relative'\n", "c.toml:2: server.socket: \"relative\" is not allowed; "
                                                     "allowed: an absolute path");
    check_refused("[guest]\nmemory = '1GB'\n", "64MiB to 16TiB");
    check_refused("[guest]\nmemory = '1MiB'\n", "guest.memory");
    check_refused("[guest]\nmemory = '99999999999999999999TiB'\n", "guest.memory");
    check_refused("[guest]\nmemory = 256\n", "memory");
    check_refused("[guest]\nvcpus = 0\n", "1 to 512");
    check_refused("[guest]\nvcpus = -1\n", "1 to 512");
    check_refused("[log]\nlevel = 'loud'\n", "debug, info, warning, error");
    check_refused("[guest]\nvolume_cache = 'none'\n",
                  "c.toml:2: guest.volume_cache: \"none\" is not allowed; allowed: auto, always, never");
    check_refused("[handlers.x]\nvolume_cache = 'none'\n", "handlers.x.volume_cache");
    check_refused("[network]\ncni_plugin_dirs = ['x']\n", "absolute paths");
    check_refused("guest = 3\n", "guest");
    check_refused("[metrics]\naddress = 'localhost:9099'\n", "c.toml:2: metrics.address: \"localhost:9099\"");
    check_refused("[metrics]\naddress = '127.0.0.1'\n", "an IP address and a port");
    check_refused("[metrics]\naddress = '127.0.0.1:66000'\n", "metrics.address");
}

static void refuses_bad_flags(void)
{
    const char *unknown[] = {"--nonsense", NULL};
    const char *bad[] = {"--log-level", "loud", NULL};
    const char *argument[] = {"start", NULL};
    GError *error = NULL;

    TEST_FAILS(load("", unknown, &error) != NULL, error, STATUS_INVALID_ARGUMENT, "--nonsense");
    TEST_FAILS(load("", bad, &error) != NULL, error, STATUS_INVALID_ARGUMENT, "--log-level: \"loud\"");
    TEST_FAILS(load("", argument, &error) != NULL, error, STATUS_INVALID_ARGUMENT, "start");
}

static void write_file(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, text, -1, NULL));
}

/* A main file with two drop-ins, which other files surround. */
static char *files_with_drop_ins(void)
{
    char *directory = test_directory();
    g_autofree char *drop_ins = g_build_filename(directory, "c.toml.d", NULL);

    CU_ASSERT_EQUAL_FATAL(g_mkdir(drop_ins, 0700), 0);
    write_file(directory, "c.toml",
               "[guest]\nmemory = '128MiB'\nvcpus = 2\n[handlers.big]\nvcpus = 4\nmax_vcpus = 8\n");
    write_file(drop_ins, "10-a.toml",
               "[guest]\nmemory = '512MiB'\n[handlers.big]\nmax_vcpus = 6\n[handlers.new]\n");
    write_file(drop_ins, "20-b.toml", "[guest]\nmemory = '1GiB'\n");
    write_file(drop_ins, ".30-editor.toml", "nonsense");
    write_file(drop_ins, "40-old.toml.bak", "nonsense");
    return directory;
}

static Settings *load_directory(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "c.toml", NULL);
    char *argv[] = {(char *)"crivirtd", (char *)"--config", path, (char *)"--log-level=error", NULL};
    ConfigAction action = CONFIG_RUN;

    return config_load(4, argv, &action, error);
}

static const Handler *handler(const Settings *config, guint i)
{
    return config->handlers->pdata[i];
}

static void reads_drop_ins(void)
{
    g_autofree char *directory = files_with_drop_ins();
    GError *error = NULL;
    g_autoptr(Settings) config = load_directory(directory, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL(config->guest.memory_bytes, 1 << 30);
    CU_ASSERT_EQUAL(config->guest.vcpus, 2);
    CU_ASSERT_EQUAL_FATAL(config->handlers->len, 3);
    CU_ASSERT_EQUAL(handler(config, 1)->vcpus, 4);
    CU_ASSERT_EQUAL(handler(config, 1)->max_vcpus, 6);
    CU_ASSERT_STRING_EQUAL(handler(config, 2)->name, "new");
    CU_ASSERT_EQUAL(handler(config, 2)->memory_bytes, 1 << 30);
}

static void names_a_bad_drop_in(void)
{
    g_autofree char *directory = files_with_drop_ins();
    GError *error = NULL;

    write_file(directory, "c.toml.d/15-bad.toml", "[guest]\n\nmemory = '1MiB'\n");
    TEST_FAILS(load_directory(directory, &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "c.toml.d/15-bad.toml:3: guest.memory");
}

static const ConfigChange *find_change(const GPtrArray *changes, const char *name)
{
    for (guint i = 0; i < changes->len; i++)
        if (g_str_equal(((const ConfigChange *)changes->pdata[i])->name, name))
            return changes->pdata[i];
    return NULL;
}

static Settings *reload(const char *directory, const Settings *running, GPtrArray **ret_changes,
                        GError **error)
{
    g_autofree char *path = g_build_filename(directory, "c.toml", NULL);
    char *argv[] = {(char *)"crivirtd", (char *)"--config", path, (char *)"--log-level=error", NULL};

    return config_reload(4, argv, running, ret_changes, error);
}

static void reloads_what_can_change(void)
{
    g_autofree char *directory = files_with_drop_ins();
    GError *error = NULL;
    g_autoptr(Settings) running = load_directory(directory, &error);
    g_autoptr(GPtrArray) changes = NULL;
    g_autoptr(Settings) next = NULL;
    const ConfigChange *change;

    CU_ASSERT_PTR_NOT_NULL_FATAL(running);
    write_file(directory, "c.toml",
               "[server]\npod_workers = 9\n[log]\nlevel = 'debug'\n[guest]\nvcpus = 3\ntemplate = false\n");
    next = reload(directory, running, &changes, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    CU_ASSERT_EQUAL(next->guest.vcpus, 3);
    CU_ASSERT_EQUAL(handler(next, 0)->vcpus, 3);
    CU_ASSERT_EQUAL(next->server.pod_workers, 64); /* as it is until the next daemon */
    CU_ASSERT_TRUE(next->guest.template);
    CU_ASSERT_TRUE(handler(next, 0)->template);
    CU_ASSERT_STRING_EQUAL(next->log.level, "error"); /* the flag still overrides the file */
    change = find_change(changes, "guest.vcpus");
    CU_ASSERT_PTR_NOT_NULL_FATAL(change);
    CU_ASSERT_STRING_EQUAL(change->before, "2");
    CU_ASSERT_STRING_EQUAL(change->after, "3");
    CU_ASSERT_FALSE(change->needs_restart);
    change = find_change(changes, "server.pod_workers");
    CU_ASSERT_PTR_NOT_NULL_FATAL(change);
    CU_ASSERT_TRUE(change->needs_restart);
    change = find_change(changes, "handlers.vm.vcpus");
    CU_ASSERT_PTR_NOT_NULL_FATAL(change);
    CU_ASSERT_FALSE(change->needs_restart);
    CU_ASSERT_PTR_NULL(find_change(changes, "log.level"));
    CU_ASSERT_PTR_NULL(find_change(changes, "guest.memory"));
}

static void reloads_handlers(void)
{
    g_autofree char *directory = files_with_drop_ins();
    GError *error = NULL;
    g_autoptr(Settings) running = load_directory(directory, &error);
    g_autoptr(GPtrArray) changes = NULL;
    g_autoptr(Settings) next = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(running);
    write_file(directory, "c.toml.d/10-a.toml", "[handlers.other]\nmemory = '64MiB'\n");
    next = reload(directory, running, &changes, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    CU_ASSERT_EQUAL(next->handlers->len, 3);
    CU_ASSERT_STRING_EQUAL(find_change(changes, "handlers.big.max_vcpus")->after, "8");
    CU_ASSERT_PTR_NULL(find_change(changes, "handlers.new")->after);
    CU_ASSERT_PTR_NULL(find_change(changes, "handlers.other")->before);
    CU_ASSERT_EQUAL(changes->len, 3);
}

static void refuses_to_reload_a_bad_file(void)
{
    g_autofree char *directory = files_with_drop_ins();
    GError *error = NULL;
    g_autoptr(Settings) running = load_directory(directory, &error);
    GPtrArray *changes = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(running);
    write_file(directory, "c.toml.d/10-a.toml", "[handlers.big]\nmax_vcpus = 1\n");
    TEST_FAILS(reload(directory, running, &changes, &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "10-a.toml:1: handlers.big.max_vcpus: 1 is less than its vcpus, 4");
    CU_ASSERT_PTR_NULL(changes);
}

static void names_a_missing_file(void)
{
    const char *argv[] = {"crivirtd", "--config", "/nonexistent/c.toml", NULL};
    ConfigAction action = CONFIG_RUN;
    GError *error = NULL;

    CU_ASSERT_PTR_NULL(config_load(3, (char **)(void *)argv, &action, &error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "/nonexistent/c.toml"));
    g_clear_error(&error);
}

static void prints_what_it_reads(void)
{
    const char *flags[] = {"--guest-kernel-parameters", "a=\"b\" \\c\t", "--registry-hosts-dir", "", NULL};
    GError *error = NULL;
    g_autoptr(Settings) first = load("[server]\nstop_grace = '0s'\n", flags, &error);
    g_autofree char *text = NULL;
    g_autoptr(Settings) second = NULL;
    g_autofree char *again = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    text = config_to_toml(first);
    second = load(text, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    again = config_to_toml(second);
    CU_ASSERT_STRING_EQUAL(text, again);
    CU_ASSERT_STRING_EQUAL(second->guest.kernel_parameters, "a=\"b\" \\c\t");
}

/* The default file with every commented line in use gives the same configuration. */
static void explains_the_defaults(void)
{
    g_autofree char *text = config_to_toml(NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    GError *error = NULL;
    g_autoptr(Settings) plain = load(text, NULL, &error);
    g_autoptr(Settings) active = NULL;
    g_autofree char *joined = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    for (char **line = lines; *line != NULL; line++)
        if (**line == '#' && (*line)[1] != ' ')
            memmove(*line, *line + 1, strlen(*line));
    joined = g_strjoinv("\n", lines);
    active = load(joined, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plain);
    CU_ASSERT_PTR_NOT_NULL_FATAL(active);
    first = config_to_toml(plain);
    second = config_to_toml(active);
    CU_ASSERT_STRING_EQUAL(first, second);
}

static void ships_the_default_file(void)
{
    g_autofree char *text = config_to_toml(NULL);
    g_autofree char *shipped = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(DEPLOY_DIR "/crivirt.toml", &shipped, NULL, NULL));
    if (!g_str_equal(text, shipped))
        g_printerr("run: crivirtd --dump-default > deploy/crivirt.toml\n");
    CU_ASSERT_STRING_EQUAL(text, shipped);
}

static void tells_itself_as_json(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load("", NULL, &error);
    g_autofree char *json = config_to_json(config);

    CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"server\":{\"socket\":\"/run/crivirt/crivirtd.sock\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"cni_plugin_dirs\":[\"/opt/cni/bin\",\"/usr/lib/cni\"]"));
}

static void reads_handlers(void)
{
    const char *flags[] = {"--guest-kernel=/flag", NULL};
    GError *error = NULL;
    g_autoptr(Settings) config =
        load("[handlers.big]\nvcpus = 4\nmax_vcpus = 8\nmemory = '2GiB'\n"
             "template = false\nannotations = ['vcpus', 'kernel-parameters']\n"
             "pod_kernel_parameters = ['mitigations']\n"
             "[handlers.other]\nkernel = '/other'\naccelerator = 'tcg'\ncpu = 'host'\n"
             "[guest]\ncpu = 'x86-64-v3'\nmemory = '128MiB'\nvcpus = 2\nkernel = '/file'\n",
             flags, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL_FATAL(config->handlers->len, 3);
    CU_ASSERT_STRING_EQUAL(handler(config, 0)->name, "vm");
    CU_ASSERT_EQUAL(handler(config, 0)->memory_bytes, 128 << 20);
    CU_ASSERT_STRING_EQUAL(handler(config, 0)->kernel, "/flag");
    CU_ASSERT_PTR_NULL(handler(config, 0)->annotations[0]);
    CU_ASSERT_TRUE(handler(config, 0)->template);
    CU_ASSERT_STRING_EQUAL(handler(config, 1)->name, "big");
    CU_ASSERT_EQUAL(handler(config, 1)->vcpus, 4);
    CU_ASSERT_EQUAL(handler(config, 1)->max_vcpus, 8);
    CU_ASSERT_EQUAL(handler(config, 1)->memory_bytes, G_GUINT64_CONSTANT(2) << 30);
    CU_ASSERT_STRING_EQUAL(handler(config, 1)->kernel, "/flag");
    CU_ASSERT_STRING_EQUAL(handler(config, 1)->annotations[1], "kernel-parameters");
    CU_ASSERT_STRING_EQUAL(handler(config, 1)->pod_kernel_parameters[0], "mitigations");
    CU_ASSERT_FALSE(handler(config, 1)->template);
    CU_ASSERT_STRING_EQUAL(handler(config, 2)->kernel, "/other");
    CU_ASSERT_STRING_EQUAL(handler(config, 2)->accelerator, "tcg");
    CU_ASSERT_STRING_EQUAL(handler(config, 1)->cpu, "x86-64-v3");
    CU_ASSERT_STRING_EQUAL(handler(config, 2)->cpu, "host");
    CU_ASSERT_EQUAL(handler(config, 2)->vcpus, 2);
}

static void reads_the_default_handler(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load(
        "[guest]\nvcpus = 2\n[handlers.vm]\nannotations = ['memory']\nmax_memory = '1GiB'\n", NULL, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL_FATAL(config->handlers->len, 1);
    CU_ASSERT_STRING_EQUAL(handler(config, 0)->annotations[0], "memory");
    CU_ASSERT_EQUAL(handler(config, 0)->max_memory_bytes, 1 << 30);
    CU_ASSERT_EQUAL(handler(config, 0)->vcpus, 2);
}

static void refuses_bad_handlers(void)
{
    check_refused("[handlers.big]\ncpus = 4\n", "c.toml:2");
    check_refused("[handlers.big]\ncpus = 4\n", "cpus");
    check_refused("[handlers.big]\n\nvcpus = 0\n",
                  "c.toml:3: handlers.big.vcpus: \"0\" is not allowed; allowed: 1 to 512");
    check_refused("[handlers.big]\nkernel = 'k'\n", "handlers.big.kernel: \"k\" is not allowed");
    check_refused("[handlers.big]\nkind = 'container'\n", "handlers.big.kind");
    check_refused("[handlers.big]\nannotations = ['disk']\n", "vcpus, memory, kernel-parameters");
    check_refused("[handlers.big]\ntemplate = 'yes'\n", "template");
    check_refused("[handlers.Big]\n", "c.toml:1: handlers.Big: a handler's name");
    check_refused("[handlers.\"\"]\n", "a handler's name");
    check_refused("handlers = 3\n", "handlers");
    check_refused("[handlers]\nbig = 3\n", "big");
    check_refused("\n[handlers.big]\nvcpus = 4\nmax_vcpus = 2\n",
                  "c.toml:2: handlers.big.max_vcpus: 2 is less than its vcpus, 4");
    check_refused("[handlers.big]\nmax_memory = '128MiB'\n",
                  "handlers.big.max_memory: 128MiB is less than its memory, 256MiB");
}

static void switches_host_pods_on(void)
{
    const char *flags[] = {"--host-pods=always", NULL};
    GError *error = NULL;
    g_autoptr(Settings) off = load("", NULL, &error);
    g_autoptr(Settings) on = load("", flags, &error);
    g_autoptr(Settings) named =
        load("[host]\npods = 'always'\n[handlers.system]\nkind = 'host'\n", NULL, &error);
    g_autofree char *text = config_to_toml(on);
    g_autoptr(Settings) again = load(text, NULL, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(off);
    CU_ASSERT_EQUAL(off->handlers->len, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(on);
    CU_ASSERT_EQUAL_FATAL(on->handlers->len, 2);
    CU_ASSERT_STRING_EQUAL(handler(on, 1)->name, "host");
    CU_ASSERT_TRUE(handler_is_host(handler(on, 1)));
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    CU_ASSERT_EQUAL(again->handlers->len, 2);
    CU_ASSERT_PTR_NOT_NULL_FATAL(named);
    CU_ASSERT_EQUAL_FATAL(named->handlers->len, 2);
    CU_ASSERT_STRING_EQUAL(handler(named, 1)->name, "system");
}

static void refuses_bad_host_handlers(void)
{
    check_refused("[handlers.host]\nkind = 'host'\n",
                  "c.toml:1: handlers.host.kind: host is not allowed while host.pods is never");
    check_refused("[host]\npods = 'always'\n[handlers.vm]\nkind = 'host'\n",
                  "c.toml:3: handlers.vm.kind: the default handler");
    check_refused("[host]\npods = 'always'\n[handlers.host]\nkind = 'host'\nannotations = ['vcpus']\n",
                  "handlers.host.annotations");
    check_refused("[host]\npods = 1\n", "pods");
    check_refused("[host]\npods = 'sometimes'\n", "allowed: never, namespaces, always");
}

static void prints_handlers(void)
{
    GError *error = NULL;
    g_autoptr(Settings) first = load("[handlers.big]\nvcpus = 4\nannotations = ['vcpus']\n", NULL, &error);
    g_autofree char *text = NULL;
    g_autofree char *json = NULL;
    g_autoptr(Settings) second = NULL;
    g_autofree char *again = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    text = config_to_toml(first);
    second = load(text, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    again = config_to_toml(second);
    CU_ASSERT_STRING_EQUAL(text, again);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "[handlers.big]\nkind = \"vm\"\nvcpus = 4\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "# memory: as guest.memory\n"));
    json = config_to_json(first);
    CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"big\":{\"kind\":\"vm\",\"vcpus\":4,"));
    CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"template\":true,\"annotations\":[\"vcpus\"]"));
}

static gboolean complains(const GPtrArray *problems, gboolean is_fatal, const char *text)
{
    for (guint i = 0; i < problems->len; i++) {
        const ConfigProblem *problem = g_ptr_array_index(problems, i);

        if (problem->is_fatal == is_fatal && strstr(problem->text, text) != NULL)
            return TRUE;
    }
    return FALSE;
}

static void checks_the_node(void)
{
    const char *flags[] = {"--guest-kernel",
                           "/nonexistent/kernel",
                           "--guest-initrd",
                           "/tmp",
                           "--cni-config-dir",
                           "/nonexistent/cni",
                           "--qemu-user",
                           "nobody-of-that-name",
                           "--state-dir",
                           "/dev/null/state",
                           NULL};
    GError *error = NULL;
    g_autoptr(Settings) config = load("", flags, &error);
    g_autoptr(GPtrArray) problems = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    problems = config_check(config);
    CU_ASSERT_TRUE(complains(problems, TRUE, "guest.kernel: /nonexistent/kernel: No such file"));
    CU_ASSERT_TRUE(complains(problems, TRUE, "guest.initrd: /tmp is not a regular file"));
    CU_ASSERT_TRUE(complains(problems, FALSE, "network.cni_config_dir"));
    CU_ASSERT_TRUE(complains(problems, TRUE, "no user \"nobody-of-that-name\""));
    CU_ASSERT_TRUE(complains(problems, TRUE, "server.state_dir"));
}

static gboolean streaming_is_allowed(const char *toml)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load(toml, NULL, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    if (config_check_streaming(config, &error))
        return TRUE;
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "streaming.allow_plain"));
    g_clear_error(&error);
    return FALSE;
}

static void refuses_plain_streams_through_a_network(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config = load("[streaming]\naddress = '10.0.0.1'\n", NULL, &error);
    g_autoptr(GPtrArray) problems = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    problems = config_check(config);
    CU_ASSERT_TRUE(complains(problems, TRUE, "streaming.address: other hosts can reach 10.0.0.1"));
    CU_ASSERT_FALSE(streaming_is_allowed("[streaming]\naddress = '0.0.0.0'\n"));
    CU_ASSERT_FALSE(streaming_is_allowed("[streaming]\naddress = '::'\n"));
    CU_ASSERT_FALSE(streaming_is_allowed("[streaming]\naddress = 'fe80::1'\n"));
    CU_ASSERT_TRUE(streaming_is_allowed(""));
    CU_ASSERT_TRUE(streaming_is_allowed("[streaming]\naddress = '127.9.9.9'\n"));
    CU_ASSERT_TRUE(streaming_is_allowed("[streaming]\naddress = '::1'\n"));
    CU_ASSERT_TRUE(streaming_is_allowed("[streaming]\naddress = '0.0.0.0'\nallow_plain = true\n"));
    CU_ASSERT_TRUE(streaming_is_allowed("[streaming]\naddress = '::'\ntls_cert = '/c'\ntls_key = '/k'\n"));
}

static void checks_handlers(void)
{
    GError *error = NULL;
    g_autoptr(Settings) config =
        load("[handlers.big]\n[handlers.other]\nkernel = '/nonexistent/other'\n", NULL, &error);
    g_autoptr(GPtrArray) problems = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    problems = config_check(config);
    CU_ASSERT_TRUE(complains(problems, TRUE, "guest.kernel: "));
    CU_ASSERT_TRUE(
        complains(problems, FALSE, "c.toml:2: handlers.other.kernel: /nonexistent/other: No such"));
    CU_ASSERT_FALSE(complains(problems, FALSE, "handlers.big.kernel"));
}

static void finds_ids_in_use(void)
{
    static const struct {
        const char *text;
        gboolean found;
    } cases[] = {
        {"", FALSE},
        {"a:100000:65536\n", FALSE},
        {"a:1000:1000\nb:2000:1000\n", FALSE},
        {"a:1000:2001\n", TRUE},
        {"a:100:1\nb:3999:1\n", TRUE},
        {"b:4000:65536\n", FALSE},
        {"b:0:4294967295", TRUE},
        {"b:3500:x\nnonsense\nb:-1:9999\n", FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = config_find_subordinate_ids(cases[i].text, 3000, 1000);

        CU_ASSERT_EQUAL(line != NULL, cases[i].found);
    }
    CU_ASSERT_PTR_NULL(config_find_subordinate_ids("b:0:4294967295", 3000, 0));
}

int main(void)
{
    static const TestCase cases[] = {
        {"every option has its default", has_defaults},
        {"the file sets options of every type", reads_every_type},
        {"a flag overrides the file", prefers_flags},
        {"the error of a bad file names the file, the line, the key and what is allowed",
         names_what_is_wrong},
        {"the error of a bad flag names the flag", refuses_bad_flags},
        {"drop-ins override the file, key by key, in the order of their names", reads_drop_ins},
        {"the error of a bad drop-in names the file, the line and the key", names_a_bad_drop_in},
        {"a reload lists what has changed, and keeps what needs a restart", reloads_what_can_change},
        {"a reload adds, changes and removes handlers", reloads_handlers},
        {"a file with an error is not reloaded", refuses_to_reload_a_bad_file},
        {"a file named by a flag must exist, and the error names it", names_a_missing_file},
        {"the printed configuration reads back as itself", prints_what_it_reads},
        {"the options that the default file shows as comments have their default values",
         explains_the_defaults},
        {"ids of VMs that user namespaces have as well are found", finds_ids_in_use},
        {"deploy/crivirt.toml is the default file", ships_the_default_file},
        {"the configuration is printed as JSON", tells_itself_as_json},
        {"a handler has its own settings and the defaults for all others", reads_handlers},
        {"[handlers.vm] sets the keys of the default handler", reads_the_default_handler},
        {"the error of a bad handler names the file, the line, the key and what is allowed",
         refuses_bad_handlers},
        {"host pods are off by default, and have a handler when they are on", switches_host_pods_on},
        {"a bad handler of kind host is refused", refuses_bad_host_handlers},
        {"printed handlers read back as themselves", prints_handlers},
        {"--check-config reports what each handler lacks", checks_handlers},
        {"--check-config reports what the node lacks", checks_the_node},
        {"streams that pass through a network need TLS, or to be allowed by name",
         refuses_plain_streams_through_a_network},
    };

    return test_main("config", cases, G_N_ELEMENTS(cases));
}
