/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_exec.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json_writer.h"
#include "common/log.h"

enum { MAX_MESSAGE = 1024, MAX_IFNAME = 15, MAX_ENVIRONMENT = 4 << 20 };

/* A plugin that is killed between two of its changes may leave what no later DEL removes: bridge finds the
 * addresses whose masquerading it ends by the link that it has removed before. So it may come to its end. */
enum { GRACE_MS = 5000, ORPHAN_LOOK_MS = 50 };

/* Error codes of the specification that mean "later". */
enum { CNI_CODE_TRY_AGAIN_LATER = 11, CNI_CODE_NOT_AVAILABLE = 50, CNI_CODE_LIMITED_CONNECTIVITY = 51 };

static gboolean ifname_is_valid(const char *ifname)
{
    gsize length = strlen(ifname);

    return length > 0 && length <= MAX_IFNAME && strcmp(ifname, ".") != 0 && strcmp(ifname, "..") != 0 &&
           strpbrk(ifname, "/: \t\r\n\v\f") == NULL;
}

gboolean cni_exec_check_attachment(const CniAttachment *attachment, GError **error)
{
    const char *const *args = attachment->args;

    if (!cni_name_is_valid(attachment->container_id))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not an id that CNI allows",
                    attachment->container_id);
    if (!ifname_is_valid(attachment->ifname))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not an interface name", attachment->ifname);
    for (gsize i = 0; args != NULL && args[i] != NULL; i++)
        if (strpbrk(args[i], i % 2 == 0 ? ";=" : ";") != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" cannot be passed in CNI_ARGS", args[i]);
    return TRUE;
}

static void put_strings(JsonWriter *writer, const char *key, const char *const *strings)
{
    if (strings != NULL)
        json_writer_strings(writer, key, strings, -1);
}

static void put_port_mappings(JsonWriter *writer, const CniAttachment *attachment)
{
    json_writer_open_array(writer, "portMappings");
    for (gsize i = 0; i < attachment->n_port_mappings; i++) {
        const CniPortMapping *mapping = &attachment->port_mappings[i];

        json_writer_open_object(writer, NULL);
        json_writer_int(writer, "hostPort", mapping->host_port);
        json_writer_int(writer, "containerPort", mapping->container_port);
        json_writer_string(writer, "protocol", mapping->protocol);
        if (mapping->host_ip != NULL && *mapping->host_ip != '\0')
            json_writer_string(writer, "hostIP", mapping->host_ip);
        json_writer_close_object(writer);
    }
    json_writer_close_array(writer);
}

/* The burst is what the rate carries in an eighth of a second, and at least a few of the largest frames:
 * small enough to limit what a pod can send at once, large enough for the rate to be reached. In bits, within
 * the limits of the bandwidth plugin. */
static gint64 burst_bits(guint64 bits_per_s)
{
    const guint64 least_bits = G_GUINT64_CONSTANT(8) * 128 * 1024;

    return (gint64)CLAMP(bits_per_s / 8, least_bits, G_MAXINT32);
}

static void put_bandwidth(JsonWriter *writer, const CniAttachment *attachment)
{
    json_writer_open_object(writer, "bandwidth");
    if (attachment->ingress_bits_per_s != 0) {
        json_writer_int(writer, "ingressRate", (gint64)attachment->ingress_bits_per_s);
        json_writer_int(writer, "ingressBurst", burst_bits(attachment->ingress_bits_per_s));
    }
    if (attachment->egress_bits_per_s != 0) {
        json_writer_int(writer, "egressRate", (gint64)attachment->egress_bits_per_s);
        json_writer_int(writer, "egressBurst", burst_bits(attachment->egress_bits_per_s));
    }
    json_writer_close_object(writer);
}

static void put_dns(JsonWriter *writer, const CniAttachment *attachment)
{
    json_writer_open_object(writer, "dns");
    put_strings(writer, "servers", attachment->dns_servers);
    put_strings(writer, "searches", attachment->dns_searches);
    put_strings(writer, "options", attachment->dns_options);
    json_writer_close_object(writer);
}

/* The capabilities of the plugin that the attachment has arguments for. */
static guint capabilities_used(const CniCall *call)
{
    const CniAttachment *attachment = call->attachment;
    guint used = 0;

    if (attachment == NULL)
        return 0;
    if (attachment->n_port_mappings > 0)
        used |= CNI_CAPABILITY_PORT_MAPPINGS;
    if (attachment->ingress_bits_per_s != 0 || attachment->egress_bits_per_s != 0)
        used |= CNI_CAPABILITY_BANDWIDTH;
    if (attachment->dns_servers != NULL || attachment->dns_searches != NULL ||
        attachment->dns_options != NULL)
        used |= CNI_CAPABILITY_DNS;
    if (attachment->requested_ips != NULL)
        used |= CNI_CAPABILITY_IPS;
    if (attachment->requested_mac != NULL)
        used |= CNI_CAPABILITY_MAC;
    return used & call->plugin->capabilities;
}

static void put_runtime_config(JsonWriter *writer, const CniAttachment *attachment, guint capabilities)
{
    json_writer_open_object(writer, "runtimeConfig");
    if (capabilities & CNI_CAPABILITY_PORT_MAPPINGS)
        put_port_mappings(writer, attachment);
    if (capabilities & CNI_CAPABILITY_BANDWIDTH)
        put_bandwidth(writer, attachment);
    if (capabilities & CNI_CAPABILITY_DNS)
        put_dns(writer, attachment);
    if (capabilities & CNI_CAPABILITY_IPS)
        put_strings(writer, "ips", attachment->requested_ips);
    if (capabilities & CNI_CAPABILITY_MAC)
        json_writer_string(writer, "mac", attachment->requested_mac);
    json_writer_close_object(writer);
}

static void put_valid_attachments(JsonWriter *writer, const CniCall *call)
{
    json_writer_open_array(writer, "cni.dev/valid-attachments");
    for (gsize i = 0; call->valid_attachments[i] != NULL; i++) {
        json_writer_open_object(writer, NULL);
        json_writer_string(writer, "containerID", call->valid_attachments[i]);
        json_writer_string(writer, "ifname", call->valid_ifname);
        json_writer_close_object(writer);
    }
    json_writer_close_array(writer);
}

char *cni_exec_input(const CniCall *call, GError **error)
{
    static const char *const ours[] = {
        "cniVersion",    "cniVersions", "name", "prevResult", "cni.dev/valid-attachments",
        "runtimeConfig", NULL};
    /* An administrator's own runtimeConfig stands as long as there is nothing to put into it. */
    static const char *const ours_but_runtime_config[] = {
        "cniVersion", "cniVersions", "name", "prevResult", "cni.dev/valid-attachments", NULL};
    guint capabilities = capabilities_used(call);
    g_autoptr(JsonWriter) writer = json_writer_new();

    json_writer_open_object(writer, NULL);
    json_writer_string(writer, "cniVersion", cni_version_name(call->config->version));
    json_writer_string(writer, "name", call->config->name);
    json_writer_members(writer, call->plugin->json, capabilities != 0 ? ours : ours_but_runtime_config);
    if (capabilities != 0)
        put_runtime_config(writer, call->attachment, capabilities);
    if (call->valid_attachments != NULL)
        put_valid_attachments(writer, call);
    if (call->previous != NULL) {
        g_autoptr(JsonDocument) previous =
            json_document_parse(call->previous, strlen(call->previous), "prevResult", NULL, error);

        if (previous == NULL)
            return NULL;
        json_writer_value(writer, "prevResult", json_document_root(previous));
    }
    json_writer_close_object(writer);
    return json_writer_copy(writer);
}

static char *args_text(const char *const *args)
{
    GString *text = g_string_new(NULL);

    for (gsize i = 0; args != NULL && args[i] != NULL && args[i + 1] != NULL; i += 2)
        g_string_append_printf(text, "%s%s=%s", i > 0 ? ";" : "", args[i], args[i + 1]);
    return g_string_free(text, FALSE);
}

static char **cni_exec_environment(const CniCall *call)
{
    static const char *const ours[] = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_NETNS_OVERRIDE", "CNI_IFNAME",
                                       "CNI_ARGS"};
    g_autofree char *path = g_strjoinv(":", (char **)(void *)call->plugin_dirs);
    char **environment = child_environment(CHILD_CNI_PLUGIN);

    for (gsize i = 0; i < G_N_ELEMENTS(ours); i++)
        environment = g_environ_unsetenv(environment, ours[i]);
    environment = g_environ_setenv(environment, "CNI_COMMAND", call->command, TRUE);
    environment = g_environ_setenv(environment, "CNI_PATH", path, TRUE);
    if (call->attachment != NULL) {
        g_autofree char *args = args_text(call->attachment->args);

        environment = g_environ_setenv(environment, "CNI_CONTAINERID", call->attachment->container_id, TRUE);
        environment = g_environ_setenv(environment, "CNI_NETNS", call->attachment->netns_path, TRUE);
        environment = g_environ_setenv(environment, "CNI_IFNAME", call->attachment->ifname, TRUE);
        environment = g_environ_setenv(environment, "CNI_ARGS", args, TRUE);
    }
    return environment;
}

char *cni_exec_find(const CniCall *call, GError **error)
{
    g_autofree char *directories = NULL;

    for (gsize i = 0; call->plugin_dirs[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(call->plugin_dirs[i], call->plugin->type, NULL);

        if (!g_file_test(path, G_FILE_TEST_IS_DIR) && access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    directories = g_strjoinv(", ", (char **)(void *)call->plugin_dirs);
    fail(error, STATUS_UNAVAILABLE, "network %s: CNI plugin %s is not installed in %s", call->config->name,
         call->plugin->type, *directories != '\0' ? directories : "any directory");
    return NULL;
}

/* A plugin's words made fit for one line of a message. */
static char *words_clean(const char *words, gsize length)
{
    g_autofree char *valid = g_utf8_make_valid(words, (gssize)length);
    char *clean =
        g_utf8_strlen(valid, -1) > MAX_MESSAGE ? g_utf8_substring(valid, 0, MAX_MESSAGE) : g_strdup(valid);

    for (char *c = clean; *c != '\0'; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    return g_strstrip(clean);
}

/* The member's text, whatever its characters are; "" when it is not a string. */
static char *member_words(const JsonValue *json, const char *key)
{
    const char *const path[] = {key, NULL};
    const char *words = json_find_string(json, path);

    return words_clean(words != NULL ? words : "", words != NULL ? strlen(words) : 0);
}

static StatusCode code_status(guint32 code)
{
    gboolean later = code == CNI_CODE_TRY_AGAIN_LATER || code == CNI_CODE_NOT_AVAILABLE ||
                     code == CNI_CODE_LIMITED_CONNECTIVITY;

    return later ? STATUS_UNAVAILABLE : STATUS_INTERNAL;
}

/* {"code", "msg", "details"} on stdout; FALSE when it is something else. */
static gboolean failure_from_output(const CniCall *call, const ProcessResult *result, GError **error)
{
    g_autoptr(JsonDocument) document =
        json_document_parse(result->output, result->output_length, "stdout", NULL, NULL);
    const JsonValue *root = document != NULL ? json_document_root(document) : NULL;
    g_autofree char *message = member_words(root, "msg");
    g_autofree char *details = member_words(root, "details");
    guint32 code = 0;

    if (!json_get_uint32(root, "code", &code, NULL) || (*message == '\0' && *details == '\0'))
        return FALSE;
    fail(error, code_status(code), "network %s: plugin %s failed %s: %s%s%s", call->config->name,
         call->plugin->type, call->command, message, *message != '\0' && *details != '\0' ? "; " : "",
         details);
    return TRUE;
}

void cni_exec_set_failure(const CniCall *call, const ProcessResult *result, GError **error)
{
    g_autofree char *failure = process_describe_failure(result);
    g_autofree char *words = NULL;

    if (failure_from_output(call, result, error))
        return;
    if (*result->errors != '\0')
        words = words_clean(result->errors, strlen(result->errors));
    else
        words = words_clean(result->output, result->output_length);
    fail(error, STATUS_INTERNAL, "network %s: plugin %s, %s: it %s%s%s", call->config->name,
         call->plugin->type, call->command, failure, *words != '\0' ? ": " : "", words);
}

/* Runs the plugin with this input to its end, whatever its exit code. */
static gboolean plugin_run(const CniCall *call, const char *path, const char *input, const Deadline *deadline,
                           ProcessResult *ret_result, GError **error)
{
    const char *argv[] = {path, NULL};
    g_auto(GStrv) environment = cni_exec_environment(call);
    ProcessSpec spec = {.argv = argv,
                        .environment = (const char *const *)environment,
                        .input = input,
                        .input_length = strlen(input),
                        .grace_ms = GRACE_MS,
                        .kind = CHILD_CNI_PLUGIN};
    gint64 started_us = g_get_monotonic_time();

    if (!process_run(&spec, deadline, ret_result, error)) {
        g_prefix_error(error, "network %s: plugin %s, %s: ", call->config->name, call->plugin->type,
                       call->command);
        return FALSE;
    }
    log_debug(LOG_FIELDS("network", call->config->name, "plugin", call->plugin->type, "container",
                         call->attachment != NULL ? call->attachment->container_id : NULL),
              "CNI %s took %" G_GINT64_FORMAT " us", call->command, g_get_monotonic_time() - started_us);
    return TRUE;
}

gboolean cni_exec(const CniCall *call, const Deadline *deadline, char **ret_output, gsize *ret_length,
                  GError **error)
{
    g_autofree char *path = cni_exec_find(call, error);
    g_autofree char *input = path != NULL ? cni_exec_input(call, error) : NULL;
    g_auto(ProcessResult) result = {0};

    if (input == NULL || !plugin_run(call, path, input, deadline, &result, error))
        return FALSE;
    if (result.exit_code != 0) {
        cni_exec_set_failure(call, &result, error);
        return FALSE;
    }
    if (ret_output != NULL) {
        *ret_output = g_steal_pointer(&result.output);
        *ret_length = result.output_length;
    }
    return TRUE;
}

/* Container ids are random, so that no other program's process has this variable. */
static gboolean has_variable(const char *pid, const char *variable)
{
    g_autofree char *path = g_build_filename("/proc", pid, "environ", NULL);
    g_autofree char *environment = NULL;
    gsize length = 0;

    if (!g_ascii_isdigit(*pid) || !file_read(path, MAX_ENVIRONMENT, &environment, &length, NULL))
        return FALSE;
    for (gsize at = 0; at < length; at += strlen(environment + at) + 1)
        if (g_str_equal(environment + at, variable))
            return TRUE;
    return FALSE;
}

/* Return: how many of the container's plugins and of the programs that they started run. */
static guint find_orphans(const char *container_id, gboolean end_them)
{
    g_autofree char *variable = g_strdup_printf("CNI_CONTAINERID=%s", container_id);
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    guint found = 0;
    const char *name;

    while (processes != NULL && (name = g_dir_read_name(processes)) != NULL) {
        pid_t pid = (pid_t)g_ascii_strtoll(name, NULL, 10);

        /* "self" and other names that are not numbers give 0, which kill() takes for our whole process group.
         */
        if (pid <= 0 || !has_variable(name, variable))
            continue;
        found++;
        if (end_them && kill(pid, SIGKILL) == 0)
            log_warning(LOG_FIELDS("container", container_id),
                        "killed a CNI plugin that an earlier crivirtd had started (process %s)", name);
    }
    return found;
}

void cni_exec_end_orphans(const char *container_id)
{
    gint64 until = g_get_monotonic_time() + GRACE_MS * G_TIME_SPAN_MILLISECOND;

    while (find_orphans(container_id, FALSE) > 0 && g_get_monotonic_time() < until)
        g_usleep(ORPHAN_LOOK_MS * G_TIME_SPAN_MILLISECOND);
    find_orphans(container_id, TRUE);
}
