/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's log of a pod's guest, or what is left of a guest that has ended: its console. */
#include <string.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/file_tail.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/templates/guest_environment.h"

enum {
    LOG_TIMEOUT_MS = 5 * 1000,
    LOG_BYTES = 256 << 10,
};

static gboolean log_of_kernel(Pod *pod, const Deadline *deadline, Arena *arena, ProtobufCBinaryData *ret_text,
                              GError **error)
{
    Crivirt__Agent__V1__KernelLogRequest call = CRIVIRT__AGENT__V1__KERNEL_LOG_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, LOG_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    g_autoptr(AgentKernelLogResponse) response = NULL;

    if (agent == NULL ||
        !agent_connection_check_protocol(agent, WIRE_PROTOCOL_GUEST, "reading a guest's kernel log", error))
        return FALSE;
    call.max_bytes = LOG_BYTES;
    if (!agent_kernel_log(agent, &call, &bounded, &response, error))
        return FALSE;
    ret_text->len = response->text.len;
    ret_text->data = arena_alloc(arena, MAX(response->text.len, 1));
    memcpy(ret_text->data, response->text.data, response->text.len);
    return TRUE;
}

static void log_of_console(Pod *pod, Arena *arena, ProtobufCBinaryData *ret_text)
{
    g_autofree char *path = guest_console_path(&pod->manager->guests, pod->id);
    gsize length = 0;
    char *text = file_tail_read_end(path, LOG_BYTES, &length);

    arena_hold(arena, text, g_free);
    *ret_text = (ProtobufCBinaryData){.len = length, .data = (guint8 *)text};
}

gboolean sandbox_guest_log(SandboxManager *manager, const char *id, const Deadline *deadline, Arena *arena,
                           ProtobufCBinaryData *ret_text, gboolean *ret_is_console, GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, id, error);
    g_autoptr(GError) failure = NULL;

    if (pod == NULL)
        return FALSE;
    if (pod->platform->on_node)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "sandbox %s is a host pod, which has no kernel of its own: see the node's log", pod->id);
    *ret_is_console = !log_of_kernel(pod, deadline, arena, ret_text, &failure);
    if (!*ret_is_console)
        return TRUE;
    log_of_console(pod, arena, ret_text);
    if (ret_text->len > 0)
        return TRUE;
    g_propagate_prefixed_error(
        error, g_steal_pointer(&failure),
        "the guest has written nothing to its console, and its kernel cannot be asked: ");
    return FALSE;
}
