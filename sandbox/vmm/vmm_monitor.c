/* SPDX-License-Identifier: Apache-2.0 */
#include <libvirt/libvirt-qemu.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "sandbox/vmm/vmm_private.h"

static gboolean send_text(Vmm *vmm, const char *name, const char *command, int fd, char **ret_reply,
                          GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    char *reply = NULL;
    int failed;

    if (domain == NULL)
        return FALSE;
    failed = fd >= 0 ? virDomainQemuMonitorCommandWithFiles(domain, command, 1, &fd, NULL, NULL, &reply, 0)
                     : virDomainQemuMonitorCommand(domain, command, &reply, 0);
    if (failed != 0) {
        g_autoptr(GError) problem = NULL;

        vmm_fail(&problem, "cannot send a command to QEMU's monitor");
        if (virDomainIsActive(domain) == 1 ||
            !vmm_fail_if_ended(vmm, name, "QEMU's monitor does not answer", error)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            vmm_error_add_qemu_log(vmm, name, error);
        }
        return FALSE;
    }
    *ret_reply = reply;
    return TRUE;
}

gboolean vmm_command(Vmm *vmm, const char *name, const char *command, int fd, JsonDocument **ret_reply,
                     GError **error)
{
    g_autoptr(JsonDocument) reply = NULL;
    g_autoptr(GError) problem = NULL;
    char *text = NULL;
    static const char *const refusal_path[] = {"error", "desc", NULL};
    const char *refusal;

    if (!send_text(vmm, name, command, fd, &text, error))
        return FALSE;
    reply = json_document_parse(text, strlen(text), "reply", NULL, &problem);
    free(text);
    if (reply == NULL)
        return fail(error, STATUS_INTERNAL, "cannot read the reply of QEMU's monitor: %s", problem->message);
    refusal = json_find_string(json_document_root(reply), refusal_path);
    if (refusal != NULL)
        return fail(error, STATUS_INTERNAL, "QEMU's monitor refused %s: %s", command, refusal);
    if (ret_reply != NULL)
        *ret_reply = g_steal_pointer(&reply);
    return TRUE;
}
