/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on an unassigned guest: restoring it from a template, letting it run briefly, and warming it
 * up. Threads: any, one at a time for a guest. */
#pragma once

#include "sandbox/agent/agent_connection.h"
#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template.h"

/* Restores the template's state into a VM that was created for it (spec->incoming). The guest stays paused.
 * With env->shares_memory it has the template's constant memory in common with others. */
gboolean guest_restore(const GuestEnvironment *env, const char *id, const Template *template,
                       const Deadline *deadline, GError **error);

/* Lets a paused guest run until its agent answers and work() has returned, and pauses it again. The
 * connection to the agent is closed, so that the next one finds the agent as after a boot. */
typedef gboolean GuestWork(AgentConnection *agent, gpointer data, const Deadline *deadline, GError **error);
gboolean guest_run_briefly(const GuestEnvironment *env, const char *id, GuestWork *work, gpointer data,
                           const Deadline *deadline, GError **error);

/* For guest_run_briefly(): lets the guest carry out a Setup and undo it, and rehearse a container
 * (rehearsal.h). A guest is slow in what it does for the first time, above all an emulated one, and without
 * this each restored guest would do its Setup and start its container for the first time. An agent without
 * these operations is left as it is. */
gboolean guest_warm_up(AgentConnection *agent, gpointer unused, const Deadline *deadline, GError **error);
