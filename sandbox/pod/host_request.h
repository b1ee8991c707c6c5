/* What a pod on the node may ask for: nothing that would change the node for everybody. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* The capabilities that a process of this node can have at most, a bit for each. */
guint64 node_capabilities(void);

/* Below which they do not let us set it: -1000 where we may, else our own. */
int node_least_oom_score_adj(guint64 capabilities);

/* INVALID_ARGUMENT naming the field. */
gboolean host_request_check(const Runtime__V1__PodSandboxConfig *config, GError **error);
