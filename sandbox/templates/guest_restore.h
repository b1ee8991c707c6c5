/* What is done with a guest before it is a pod's: filling it with a template's state, letting it run for a
 * while, and having it rehearse its Setup. Internal to this folder; any thread may call, one at a time for a
 * guest.
 */
#pragma once

#include "sandbox/agent/agent_connection.h"
#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template.h"

/* A machine that was made to wait (shape->incoming) gets the template's state; it stays paused. */
gboolean guest_restore(const GuestEnvironment *env, const char *id, const Template *template,
                       const Deadline *deadline, GError **error);

/* Lets a paused guest run until its agent speaks and work is done, and pauses it. Its agent's port is closed
 * again: who connects later finds it as after a boot. */
gboolean guest_run_briefly(const GuestEnvironment *env, const char *id,
                           gboolean (*work)(AgentConnection *agent, const Deadline *deadline, GError **error),
                           const Deadline *deadline, GError **error);

/* For guest_run_briefly(). Of guests that are filled with one state none has done before what Setup does, and
 * an emulated one is slow in what it does for the first time: this one does it once for nobody. An agent that
 * knows of no rehearsal needs none. */
gboolean guest_warm_up(AgentConnection *agent, const Deadline *deadline, GError **error);
