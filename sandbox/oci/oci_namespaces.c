/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__NamespaceOption NamespaceOption;

static const NamespaceOption *options_of(const OciSpecInput *input)
{
    /* The defaults of the message: as in other runtimes, a container without options shares the pod's PID
     * namespace. (A program that is not PID 1 ends at SIGTERM without a handler, which clients rely on.) */
    static const NamespaceOption none = RUNTIME__V1__NAMESPACE_OPTION__INIT;
    const NamespaceOption *options = oci_security(input)->namespace_options;

    return options != NULL ? options : &none;
}

gboolean oci_spec_shares_pid(const OciSpecInput *input)
{
    return options_of(input)->pid == RUNTIME__V1__NAMESPACE_MODE__POD;
}

const char *oci_spec_target(const Runtime__V1__ContainerConfig *config)
{
    const Runtime__V1__LinuxContainerSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;

    if (security == NULL || security->namespace_options == NULL ||
        security->namespace_options->pid != RUNTIME__V1__NAMESPACE_MODE__TARGET)
        return NULL;
    return security->namespace_options->target_id;
}

static void put_namespace(JsonWriter *json, const char *type, const char *path)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "type", type);
    if (path != NULL)
        json_writer_string(json, "path", path);
    json_writer_close_object(json);
}

static gboolean put_pid(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    g_autofree char *target = NULL;

    switch (options_of(input)->pid) {
    case RUNTIME__V1__NAMESPACE_MODE__CONTAINER:
        put_namespace(json, "pid", NULL);
        return TRUE;
    case RUNTIME__V1__NAMESPACE_MODE__POD:
        put_namespace(json, "pid", GUEST_SANDBOX_DIR "/ns/pid");
        return TRUE;
    case RUNTIME__V1__NAMESPACE_MODE__TARGET:
        if (input->target_container_id == NULL)
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.security_context.namespace_options.target_id is missing");
        target = g_strdup_printf(GUEST_CONTAINERS_DIR "/%s/pidns", input->target_container_id);
        put_namespace(json, "pid", target);
        return TRUE;
    case RUNTIME__V1__NAMESPACE_MODE__NODE:
        if (input->node != NULL) /* the namespace of the agent */
            return TRUE;
        G_GNUC_FALLTHROUGH;
    default:
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "linux.security_context.namespace_options.pid: a container of a VM pod cannot have the node's "
            "namespace");
    }
}

static Runtime__V1__NamespaceMode pod_ipc(const OciSpecInput *input)
{
    const Runtime__V1__LinuxPodSandboxConfig *config = input->pod->linux;

    return config != NULL && config->security_context != NULL &&
                   config->security_context->namespace_options != NULL
               ? config->security_context->namespace_options->ipc
               : RUNTIME__V1__NAMESPACE_MODE__POD;
}

/* The pod's IPC namespace is that of the guest, or that of the host pod's agent. */
static gboolean put_ipc(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    Runtime__V1__NamespaceMode ipc = options_of(input)->ipc;

    if (ipc == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
        put_namespace(json, "ipc", NULL);
    else if (ipc == RUNTIME__V1__NAMESPACE_MODE__NODE && input->node != NULL)
        return pod_ipc(input) == ipc ||
               fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.ipc: the container asks for the node's "
                    "namespace, which its pod does not have");
    else if (ipc != RUNTIME__V1__NAMESPACE_MODE__POD)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.ipc: a container of a VM pod cannot have the "
                    "namespace of the node or of one other container");
    return TRUE;
}

/* ---- user namespaces ---- */

const Runtime__V1__UserNamespace *oci_userns(const Runtime__V1__PodSandboxConfig *pod)
{
    const Runtime__V1__UserNamespace *options = NULL;

    if (pod->linux != NULL && pod->linux->security_context != NULL &&
        pod->linux->security_context->namespace_options != NULL)
        options = pod->linux->security_context->namespace_options->userns_options;
    return options != NULL && options->mode == RUNTIME__V1__NAMESPACE_MODE__POD ? options : NULL;
}

static gboolean mappings_check(Runtime__V1__IDMapping *const *mappings, size_t count, const char *what,
                               GError **error)
{
    if (count != 1)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "linux.security_context.namespace_options.userns_options.%s: one mapping is supported, not "
            "%zu",
            what, count);
    if (mappings[0]->container_id != 0)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.userns_options.%s: id 0 is not mapped", what);
    if (mappings[0]->length == 0 || (guint64)mappings[0]->host_id + mappings[0]->length > G_MAXUINT32)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "linux.security_context.namespace_options.userns_options.%s: %u ids from %u on are out of "
            "range",
            what, mappings[0]->length, mappings[0]->host_id);
    return TRUE;
}

gboolean oci_userns_check(const Runtime__V1__UserNamespace *options, GError **error)
{
    if (options == NULL ||
        (options->mode == RUNTIME__V1__NAMESPACE_MODE__NODE && options->n_uids == 0 && options->n_gids == 0))
        return TRUE;
    if (options->mode != RUNTIME__V1__NAMESPACE_MODE__POD)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "linux.security_context.namespace_options.userns_options: the mode is neither POD nor NODE "
            "without mappings");
    return mappings_check(options->uids, options->n_uids, "uids", error) &&
           mappings_check(options->gids, options->n_gids, "gids", error);
}

static void put_mappings(JsonWriter *json, const char *key, Runtime__V1__IDMapping *const *mappings,
                         size_t count)
{
    json_writer_open_array(json, key);
    for (size_t i = 0; i < count; i++) {
        json_writer_open_object(json, NULL);
        json_writer_int(json, "containerID", mappings[i]->container_id);
        json_writer_int(json, "hostID", mappings[i]->host_id);
        json_writer_int(json, "size", mappings[i]->length);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
}

gboolean oci_put_namespaces(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const Runtime__V1__UserNamespace *user = oci_userns(input->pod);

    json_writer_open_array(json, "namespaces");
    put_namespace(json, "mount", NULL);
    put_namespace(json, "cgroup", NULL);
    if (user != NULL)
        put_namespace(json, "user", NULL);
    if (!put_pid(json, input, error) || !put_ipc(json, input, error))
        return FALSE;
    json_writer_close_array(json);
    if (user != NULL) {
        put_mappings(json, "uidMappings", user->uids, user->n_uids);
        put_mappings(json, "gidMappings", user->gids, user->n_gids);
    }
    return TRUE;
}
