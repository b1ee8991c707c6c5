/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/oci_spec.h"

#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"
#include "sandbox/oci/signals.h"

typedef Runtime__V1__ContainerConfig ContainerConfig;
typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;
typedef Runtime__V1__LinuxContainerResources Resources;

static const SecurityContext no_security = {
    PROTOBUF_C_MESSAGE_INIT(&runtime__v1__linux_container_security_context__descriptor),
    .run_as_username = (char *)protobuf_c_empty_string, /* the INIT macro would use deprecated fields */
};
static const Resources no_resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

const SecurityContext *oci_security(const OciSpecInput *input)
{
    const Runtime__V1__LinuxContainerConfig *container = input->config->linux;

    return container != NULL && container->security_context != NULL ? container->security_context
                                                                    : &no_security;
}

const Resources *oci_resources(const OciSpecInput *input)
{
    const Runtime__V1__LinuxContainerConfig *container = input->config->linux;

    return container != NULL && container->resources != NULL ? container->resources : &no_resources;
}

/* ---- what there is not ---- */

static const char *who_has_none(const OciSpecInput *input)
{
    return input->node != NULL ? "host pods have" : "the guest's kernel has";
}

static gboolean selinux_check(const OciSpecInput *input, GError **error)
{
    const Runtime__V1__SELinuxOption *options = oci_security(input)->selinux_options;

    if (options != NULL && (*options->user != '\0' || *options->role != '\0' || *options->type != '\0' ||
                            *options->level != '\0'))
        return fail(error, STATUS_UNIMPLEMENTED, "linux.security_context.selinux_options: %s no SELinux",
                    who_has_none(input));
    return TRUE;
}

static gboolean apparmor_check(const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = oci_security(input);

    if (security->apparmor != NULL && !security->privileged &&
        security->apparmor->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "linux.security_context.apparmor: %s no AppArmor for profile %s", who_has_none(input),
                    security->apparmor->localhost_ref);
    return TRUE;
}

/* A request whose result would silently be weaker is refused. */
static gboolean security_check(const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = oci_security(input);

    if (security->run_as_group != NULL && security->run_as_user == NULL && *security->run_as_username == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context: run_as_group without run_as_user or run_as_username");
    if (security->privileged && oci_userns(input->pod) != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.privileged is not possible with a user namespace");
    return apparmor_check(input, error) && selinux_check(input, error);
}

/* ---- the whole configuration ---- */

static gboolean put_configuration(JsonWriter *json, const OciSpecInput *input, gsize *ret_user_offset,
                                  GError **error)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "ociVersion", "1.0.2");
    json_writer_open_object(json, "root");
    json_writer_string(json, "path", "rootfs");
    json_writer_bool(json, "readonly", oci_security(input)->readonly_rootfs);
    json_writer_close_object(json);
    if (!oci_put_process(json, input, ret_user_offset, error) || !oci_put_mounts(json, input, error) ||
        !oci_put_linux(json, input, error))
        return FALSE;
    json_writer_close_object(json);
    return TRUE;
}

gboolean oci_spec_build(const OciSpecInput *input, char **ret_before_user, char **ret_after_user,
                        GError **error)
{
    g_autoptr(JsonWriter) json = json_writer_new();
    const char *text;
    gsize user_offset = 0;

    if (!security_check(input, error) || !put_configuration(json, input, &user_offset, error))
        return FALSE;
    text = json_writer_text(json, NULL);
    /* The text has ":0" at user_offset: the colon stays, and the user takes the place of the number. */
    *ret_before_user = g_strndup(text, user_offset + 1);
    *ret_after_user = g_strdup(text + user_offset + 2);
    return TRUE;
}

/* An image's user is "user", "user:group", "uid", "uid:gid". */
static void image_user(const char *spec, Crivirt__Agent__V1__User *user)
{
    const char *colon = strchr(spec, ':');
    g_autofree char *name = colon != NULL ? g_strndup(spec, (gsize)(colon - spec)) : g_strdup(spec);

    user->name = (char *)g_intern_string(name);
    user->group = (char *)g_intern_string(colon != NULL ? colon + 1 : "");
}

/* An id has 32 bits. The largest one means "no id" to the kernel. */
static gboolean id_check(const char *field, gint64 id, GError **error)
{
    if (id >= 0 && id < G_MAXUINT32)
        return TRUE;
    return fail(error, STATUS_INVALID_ARGUMENT,
                "linux.security_context.%s: %" G_GINT64_FORMAT " is out of range: it must be from 0 to %u",
                field, id, G_MAXUINT32 - 1);
}

gboolean oci_spec_user(const OciSpecInput *input, Crivirt__Agent__V1__User *ret_user, GError **error)
{
    const SecurityContext *security = oci_security(input);
    Crivirt__Agent__V1__User user = CRIVIRT__AGENT__V1__USER__INIT;

    user.uid = -1;
    user.gid = -1;
    if (security->run_as_user != NULL)
        user.uid = security->run_as_user->value;
    else if (*security->run_as_username != '\0')
        user.name = security->run_as_username;
    else if (input->image->user != NULL)
        image_user(input->image->user, &user);
    if (security->run_as_group != NULL) {
        user.gid = security->run_as_group->value;
        user.group = "";
    }
    if ((security->run_as_user != NULL && !id_check("run_as_user", security->run_as_user->value, error)) ||
        (security->run_as_group != NULL && !id_check("run_as_group", security->run_as_group->value, error)))
        return FALSE;
    for (size_t i = 0; i < security->n_supplemental_groups; i++)
        if (!id_check("supplemental_groups", security->supplemental_groups[i], error))
            return FALSE;
    user.strict_groups =
        security->supplemental_groups_policy == RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict;
    *ret_user = user;
    return TRUE;
}

gboolean oci_spec_stop_signal(const OciSpecInput *input, int *ret_signal, GError **error)
{
    const char *name = input->image->stop_signal;
    int signal = signal_from_cri(input->config->stop_signal);

    if (signal == 0 && name != NULL && *name != '\0' && !signal_from_name(name, &signal))
        return fail(error, STATUS_INVALID_ARGUMENT, "image %s has the unknown stop signal \"%s\"",
                    input->image->id, name);
    if (signal == 0)
        signal_from_name("TERM", &signal);
    *ret_signal = signal;
    return TRUE;
}
