/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "common/settings/pod_defaults.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__ContainerConfig ContainerConfig;
typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;

/* In Kubernetes, a command replaces the entrypoint and cmd of the image; args alone replace its cmd. */
static gboolean put_args(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const ContainerConfig *config = input->config;
    g_autoptr(GPtrArray) args = g_ptr_array_new();

    if (config->n_command > 0)
        for (size_t i = 0; i < config->n_command; i++)
            g_ptr_array_add(args, config->command[i]);
    else
        for (char **arg = input->image->entrypoint; *arg != NULL; arg++)
            g_ptr_array_add(args, *arg);
    for (size_t i = 0; i < config->n_args; i++)
        g_ptr_array_add(args, config->args[i]);
    if (config->n_command == 0 && config->n_args == 0)
        for (char **arg = input->image->cmd; *arg != NULL; arg++)
            g_ptr_array_add(args, *arg);
    if (args->len == 0)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "no command: config.command and config.args are empty, and image %s has neither entrypoint nor "
            "cmd",
            input->image->id);
    json_writer_strings(json, "args", (const char *const *)args->pdata, args->len);
    return TRUE;
}

static void environment_set(GPtrArray *environment, const char *entry)
{
    gsize name_length = strcspn(entry, "=") + 1;

    for (guint i = 0; i < environment->len; i++)
        if (strncmp(g_ptr_array_index(environment, i), entry, name_length) == 0) {
            g_free(environment->pdata[i]);
            environment->pdata[i] = g_strdup(entry);
            return;
        }
    g_ptr_array_add(environment, g_strdup(entry));
}

static gboolean put_environment(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const ContainerConfig *config = input->config;
    g_autoptr(GPtrArray) environment = g_ptr_array_new_with_free_func(g_free);

    environment_set(environment, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (input->pod->hostname != NULL && *input->pod->hostname != '\0') {
        g_autofree char *hostname = g_strdup_printf("HOSTNAME=%s", input->pod->hostname);

        environment_set(environment, hostname);
    }
    if (config->tty)
        environment_set(environment, "TERM=xterm");
    for (gsize i = 0; input->handler != NULL && input->handler->environment[i] != NULL; i++)
        environment_set(environment, input->handler->environment[i]);
    for (char **entry = input->image->environment; *entry != NULL; entry++)
        environment_set(environment, *entry);
    for (size_t i = 0; i < config->n_envs; i++) {
        const Runtime__V1__KeyValue *pair = config->envs[i];
        g_autofree char *value = g_strndup((const char *)pair->value.data, pair->value.len);
        g_autofree char *entry = g_strdup_printf("%s=%s", pair->key, value);

        if (*pair->key == '\0' || strchr(pair->key, '=') != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "config.envs: \"%s\" is not a variable name",
                        pair->key);
        if (strlen(value) != pair->value.len)
            return fail(error, STATUS_INVALID_ARGUMENT, "config.envs: the value of %s has a NUL byte",
                        pair->key);
        environment_set(environment, entry);
    }
    json_writer_strings(json, "env", (const char *const *)environment->pdata, environment->len);
    return TRUE;
}

static gboolean put_ulimits(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    if (input->handler == NULL || *input->handler->ulimits == NULL)
        return TRUE;
    json_writer_open_array(json, "rlimits");
    for (gsize i = 0; input->handler->ulimits[i] != NULL; i++) {
        Ulimit ulimit;

        if (!ulimit_parse(input->handler->ulimits[i], &ulimit, error))
            return FALSE;
        json_writer_open_object(json, NULL);
        json_writer_string(json, "type", ulimit.type);
        json_writer_uint(json, "soft", ulimit.soft);
        json_writer_uint(json, "hard", ulimit.hard);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    return TRUE;
}

/* Writes all members; that of the user comes last. */
gboolean oci_put_process(JsonWriter *json, const OciSpecInput *input, gsize *ret_user_offset, GError **error)
{
    const SecurityContext *security = oci_security(input);
    const char *directory =
        *input->config->working_dir != '\0' ? input->config->working_dir : input->image->working_dir;

    json_writer_open_object(json, "process");
    json_writer_bool(json, "terminal", input->config->tty);
    json_writer_string(json, "cwd", directory != NULL && *directory != '\0' ? directory : "/");
    json_writer_bool(json, "noNewPrivileges", security->no_new_privs);
    json_writer_int(json, "oomScoreAdj",
                    CLAMP(oci_resources(input)->oom_score_adj,
                          input->node != NULL ? input->node->least_oom_score_adj : -1000, 1000));
    if (!put_args(json, input, error) || !put_environment(json, input, error) ||
        !put_ulimits(json, input, error) || !oci_put_capabilities(json, input, error))
        return FALSE;
    json_writer_string(json, NULL, "user");
    json_writer_text(json, ret_user_offset);
    json_writer_int(json, NULL, 0); /* the agent replaces it by the user object */
    json_writer_close_object(json);
    return TRUE;
}