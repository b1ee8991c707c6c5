/* SPDX-License-Identifier: Apache-2.0 */
/* What processor a running guest has, and whether the node's runs its code. */

#include <string.h>

#include "common/error.h"
#include "sandbox/host/cpu_node.h"
#include "sandbox/vmm/vmm_private.h"

#define QUERY_PROCESSORS "{\"execute\":\"query-cpus-fast\"}"
#define QUERY_KVM "{\"execute\":\"query-kvm\"}"

/* Return: the path of the first processor in QEMU's tree of objects, which *ret_reply owns; NULL with the
 * error. */
static const char *find_path(Vmm *vmm, const char *name, JsonDocument **ret_reply, GError **error)
{
    const JsonValue *processors;
    const char *path = NULL;
    static const char *const key[] = {"qom-path", NULL};

    if (!vmm_command(vmm, name, QUERY_PROCESSORS, -1, ret_reply, error))
        return NULL;
    processors = json_member(json_document_root(*ret_reply), "return");
    if (processors != NULL && json_at(processors, 0) != NULL)
        path = json_find_string(json_at(processors, 0), key);
    if (path == NULL || strpbrk(path, "\"\\") != NULL) {
        fail(error, STATUS_INTERNAL, "QEMU does not report the guest's processors");
        return NULL;
    }
    return path;
}

static gboolean get(Vmm *vmm, const char *name, const char *path, const char *property,
                    JsonDocument **ret_reply, GError **error)
{
    g_autofree char *command = g_strdup_printf(
        "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"%s\",\"property\":\"%s\"}}", path, property);

    return vmm_command(vmm, name, command, -1, ret_reply, error);
}

gboolean vmm_accelerator(Vmm *vmm, const char *name, const char **ret_accelerator, GError **error)
{
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *answer;
    gboolean uses_kvm;

    if (!vmm_command(vmm, name, QUERY_KVM, -1, &reply, error))
        return FALSE;
    answer = json_member(json_document_root(reply), "return");
    if (answer == NULL || !json_get_bool(answer, "enabled", &uses_kvm, NULL))
        return fail(error, STATUS_INTERNAL, "QEMU does not report its accelerator");
    *ret_accelerator = uses_kvm ? "kvm" : "tcg";
    return TRUE;
}

gboolean vmm_processor(Vmm *vmm, const char *name, const char **ret_cpu, guint *ret_time_stamp_khz,
                       GError **error)
{
    static const char *const result[] = {"return", NULL};
    g_autoptr(JsonDocument) processors = NULL;
    g_autoptr(JsonDocument) model = NULL;
    g_autoptr(JsonDocument) rate = NULL;
    const char *path = find_path(vmm, name, &processors, error);
    const char *text;
    gint64 hz = 0;

    if (path == NULL || !get(vmm, name, path, "model-id", &model, error) ||
        !get(vmm, name, path, "tsc-frequency", &rate, error))
        return FALSE;
    text = json_find_string(json_document_root(model), result);
    json_find_int(json_document_root(rate), result, &hz);
    *ret_cpu = text != NULL && cpu_baseline_is_known(text) ? g_intern_string(text) : CPU_HOST;
    *ret_time_stamp_khz = (guint)(CLAMP(hz, 0, G_MAXUINT) / 1000);
    return TRUE;
}
