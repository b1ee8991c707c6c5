/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"
#include "sandbox/oci/seccomp_profile.h"

typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;

/* The lists are copied as they are. An empty list, which stands for procMount: Unmasked, hides nothing; for
 * all other containers the kubelet sends its usual lists. */
static void put_paths(JsonWriter *json, const char *key, char **paths, size_t n_paths)
{
    if (n_paths > 0)
        json_writer_strings(json, key, (const char *const *)paths, n_paths);
}

/* Without a profile there is no filter; RuntimeDefault is the zero of the enum. A privileged container has no
 * filter. */
static gboolean put_seccomp(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = oci_security(input);
    const Runtime__V1__SecurityProfile *profile = security->seccomp;
    g_autoptr(GPtrArray) capabilities = g_ptr_array_new();
    g_autoptr(GPtrArray) ambient = g_ptr_array_new();

    if (profile == NULL || security->privileged ||
        profile->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined)
        return TRUE;
    if (profile->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost) {
        if (input->seccomp_profile == NULL)
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.security_context.seccomp.localhost_ref is missing");
        return seccomp_profile_put_text(json, profile->localhost_ref, input->seccomp_profile,
                                        strlen(input->seccomp_profile), error);
    }
    if (profile->profile_type != RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.seccomp.profile_type: unknown value %d",
                    (int)profile->profile_type);
    if (!oci_capabilities_collect(input, capabilities, ambient, error))
        return FALSE;
    seccomp_profile_put_default(json, input->architecture, capabilities);
    return TRUE;
}

gboolean oci_put_linux(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = oci_security(input);
    g_autofree char *cgroup = g_strdup_printf("/crivirt/%s", input->container_id);
    const char *propagation = oci_root_propagation(input);

    json_writer_open_object(json, "linux");
    json_writer_string(json, "cgroupsPath", input->node != NULL ? input->node->cgroup : cgroup);
    if (propagation != NULL)
        json_writer_string(json, "rootfsPropagation", propagation);
    if (!oci_put_namespaces(json, input, error))
        return FALSE;
    /* A privileged container may see and write all of /proc and /sys (CRI, LinuxContainerSecurityContext),
     * but the kubelet sends the usual paths with it, too. */
    if (!security->privileged) {
        put_paths(json, "maskedPaths", security->masked_paths, security->n_masked_paths);
        put_paths(json, "readonlyPaths", security->readonly_paths, security->n_readonly_paths);
    }
    if (!oci_put_devices(json, input, error) || !oci_put_resources(json, input, error) ||
        !put_seccomp(json, input, error))
        return FALSE;
    json_writer_close_object(json);
    return TRUE;
}
