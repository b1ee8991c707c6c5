/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt events. */
#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/proto_json.h"
#include "cri-server/cli/text_table.h"

typedef Runtime__V1__ContainerEventResponse Event;

static const char *type_name(Runtime__V1__ContainerEventType type)
{
    static const char *const names[] = {"created", "started", "stopped", "deleted"};

    return (guint)type < G_N_ELEMENTS(names) ? names[type] : "unknown";
}

/* The name of the object, as far as the event has it: the event of a deleted container has no name. */
static char *subject_name(const Event *event)
{
    const Runtime__V1__PodSandboxStatus *pod = event->pod_sandbox_status;
    const char *pod_name = pod != NULL && pod->metadata != NULL ? pod->metadata->name : "";

    for (size_t i = 0; i < event->n_containers_statuses; i++) {
        const Runtime__V1__ContainerStatus *status = event->containers_statuses[i];

        if (g_str_equal(status->id, event->container_id) && status->metadata != NULL)
            return g_strdup_printf("%s/%s", pod_name, status->metadata->name);
    }
    return g_strdup(pod_name);
}

static const char *subject_kind(const Event *event)
{
    const Runtime__V1__PodSandboxStatus *pod = event->pod_sandbox_status;

    return pod != NULL && g_str_equal(pod->id, event->container_id) ? "pod" : "container";
}

static char *format_line(const Event *event)
{
    g_autofree char *when = human_rfc3339(event->created_at);
    g_autofree char *id = human_short_id(event->container_id);
    g_autofree char *raw = subject_name(event);
    g_autofree char *name = text_printable(raw);

    return g_strdup_printf("%s %s %s %s %s\n", when, subject_kind(event),
                           type_name(event->container_event_type), id, name);
}

static char *format_json(const Event *event)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    proto_json_message(json, NULL, &event->base);
    return json_writer_copy(json);
}

static gboolean print_event(const ProtobufCMessage *message, gpointer data, GError **error)
{
    const Cli *cli = data;
    const Event *event = (const Event *)(const void *)message;
    g_autofree char *text = cli->json ? format_json(event) : format_line(event);

    return cli_print(text, error);
}

static gboolean events_command(Cli *cli, GError **error)
{
    Runtime__V1__GetEventsRequest request = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;

    return cli_runtime_stream(cli, "GetContainerEvents", &request.base, print_event, cli, error);
}

const Command command_events = {
    .name = "events",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Follow the events of pods and containers",
    .details = "Shows events from now on, until it is interrupted. --json adds the statuses, and prints one "
               "event per line.",
    .lists = TRUE,
    .run = events_command,
};
