/* SPDX-License-Identifier: Apache-2.0 */
#include <libvirt/virterror.h>
#include <string.h>

#include "common/error.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/vmm_private.h"

enum { LOG_TAIL_BYTES = 4096, LOG_TAIL_LINES = 4 };

static StatusCode status_of_libvirt(int code)
{
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
        return STATUS_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
        return STATUS_ALREADY_EXISTS;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INTERNAL_ERROR:
        return STATUS_UNAVAILABLE;
    default:
        return STATUS_INTERNAL;
    }
}

gboolean vmm_fail(GError **error, const char *doing)
{
    virErrorPtr last = virGetLastError();
    g_autofree char *message = g_strdup(last != NULL ? last->message : "unknown libvirt error");

    return fail(error, status_of_libvirt(last != NULL ? last->code : 0), "%s: %s", doing,
                g_strchomp(message));
}

char *vmm_qemu_log_path(Vmm *vmm, const char *name)
{
    return g_strdup_printf("%s/log/qemu/%s.log", vmm->root, name);
}

char *vmm_qemu_log_tail(Vmm *vmm, const char *name)
{
    g_autofree char *path = vmm_qemu_log_path(vmm, name);

    return console_tail(path, LOG_TAIL_BYTES, LOG_TAIL_LINES);
}

void vmm_error_add_qemu_log(Vmm *vmm, const char *name, GError **error)
{
    g_autofree char *tail = vmm_qemu_log_tail(vmm, name);
    g_autofree char *message = NULL;

    if (error == NULL || *error == NULL || *tail == '\0' || strstr((*error)->message, "qemu-system") != NULL)
        return;
    message = g_strdup_printf("%s; QEMU's log ends: %s", (*error)->message, tail);
    g_free((*error)->message);
    (*error)->message = g_steal_pointer(&message);
}
