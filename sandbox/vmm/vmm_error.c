/* SPDX-License-Identifier: Apache-2.0 */
#include <libvirt/virterror.h>
#include <string.h>

#include "common/error.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/qemu_log.h"
#include "sandbox/vmm/vmm_private.h"

enum { LOG_TAIL_BYTES = 4096, LOG_TAIL_LINES = 64, END_TIMEOUT_MS = 2000 };

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

char *vmm_qemu_log_directory(Vmm *vmm)
{
    return vmm->embedded ? g_build_filename(vmm->root, "log/qemu", NULL) : g_strdup("/var/log/libvirt/qemu");
}

char *vmm_qemu_log_path(Vmm *vmm, const char *name)
{
    g_autofree char *directory = vmm_qemu_log_directory(vmm);

    return g_strdup_printf("%s/%s.log", directory, name);
}

char *vmm_qemu_log_tail(Vmm *vmm, const char *name)
{
    g_autofree char *path = vmm_qemu_log_path(vmm, name);

    return console_tail(path, LOG_TAIL_BYTES, LOG_TAIL_LINES);
}

void vmm_error_add_qemu_log(Vmm *vmm, const char *name, GError **error)
{
    g_autofree char *tail = vmm_qemu_log_tail(vmm, name);
    g_autofree char *last = qemu_log_find_message(tail);
    g_autofree char *message = NULL;

    if (error == NULL || *error == NULL || last == NULL || strstr((*error)->message, "qemu-system") != NULL)
        return;
    message = g_strdup_printf("%s; QEMU's last message: %s", (*error)->message, last);
    g_free((*error)->message);
    (*error)->message = g_steal_pointer(&message);
}

/* libvirt notices QEMU's end in a call before it reports the end by an event. */
gboolean vmm_fail_if_ended(Vmm *vmm, const char *name, const char *doing, GError **error)
{
    g_autofree char *text = NULL;

    vmm_table_wait_end(vmm->table, name, END_TIMEOUT_MS);
    text = vmm_stop_text(vmm, name);
    if (text == NULL)
        return FALSE;
    fail(error, STATUS_UNAVAILABLE, "%s: %s", doing, text);
    return TRUE;
}
