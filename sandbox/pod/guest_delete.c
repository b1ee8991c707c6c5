/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/guest_delete.h"

#include "common/log.h"

enum { DELETE_TIMEOUT_MS = 60 * 1000 }; /* enough for a busy guest */

void container_delete_in_guest(Container *container)
{
    Crivirt__Agent__V1__DeleteContainerRequest delete = CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, NULL);
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(DELETE_TIMEOUT_MS);

    if (agent == NULL)
        return;
    delete.id = container->guest_id;
    if (!agent_delete_container(agent, &delete, &deadline, NULL, &error))
        log_warning(LOG_FIELDS("container", container->id), "cannot delete the container in the guest: %s",
                    error->message);
}

void container_delete_in_guest_soon(Container *container)
{
    Crivirt__Agent__V1__DeleteContainerRequest delete = CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, NULL);

    delete.id = container->guest_id;
    if (agent != NULL)
        agent_delete_container_post(agent, &delete);
}
