/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery: after a restart, what the last daemon left is brought in line with the store. */
#pragma once

#include "sandbox/pods/manager.h"

/* Loads pods and containers, adopts those that run, and ends the others. */
gboolean manager_recover(SandboxManager *manager, GError **error);

/* A GThreadPool's function: completes the start or the end of a Pod, whose reference it takes. */
void recovery_work(gpointer pod, gpointer unused);
