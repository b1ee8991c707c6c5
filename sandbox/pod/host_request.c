/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/host_request.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/error.h"
#include "sandbox/pods/pod.h"

guint64 node_capabilities(void)
{
    guint64 mask = 0;

    for (guint i = 0; i < 64; i++)
        if (prctl(PR_CAPBSET_READ, (unsigned long)i, 0, 0, 0) == 1)
            mask |= G_GUINT64_CONSTANT(1) << i;
    return mask;
}

/* Return: the process's oom_score_adj; 1000 when it has ended. */
static int score_read(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/oom_score_adj", (int)pid);
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? (int)g_ascii_strtoll(text, NULL, 10) : 1000;
}

/* The kernel's bound without the capability cannot be read. It is inherited, so that no process of the daemon
 * can be below it. */
int node_least_oom_score_adj(guint64 capabilities, pid_t agent)
{
    return (capabilities >> CAP_SYS_RESOURCE & 1) != 0 ? -1000 : MIN(score_read(getpid()), score_read(agent));
}

/* A sysctl belongs to a namespace. Where the pod has no namespace of its own, it would change the node's. */
static gboolean sysctl_check(const char *name, const Runtime__V1__NamespaceOption *options, GError **error)
{
    static const char *const of_ipc[] = {"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."};
    gboolean own = g_str_has_prefix(name, "net.") && options->network != RUNTIME__V1__NAMESPACE_MODE__NODE;

    for (gsize i = 0; i < G_N_ELEMENTS(of_ipc); i++)
        own = own || (g_str_has_prefix(name, of_ipc[i]) && options->ipc != RUNTIME__V1__NAMESPACE_MODE__NODE);
    if (!own)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.linux.sysctls: %s belongs to the node, not to a namespace that the host pod has "
                    "of its own",
                    name);
    return TRUE;
}

gboolean host_request_check(const Runtime__V1__PodSandboxConfig *config, GError **error)
{
    const Runtime__V1__NamespaceOption *options = pod_namespaces(config);

    if (options->userns_options != NULL && options->userns_options->mode == RUNTIME__V1__NAMESPACE_MODE__POD)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.userns_options: a host pod has no user "
                    "namespace of its own; use a VM pod, which has one");
    for (size_t i = 0; config->linux != NULL && i < config->linux->n_sysctls; i++)
        if (!sysctl_check(config->linux->sysctls[i]->key, options, error))
            return FALSE;
    return TRUE;
}
