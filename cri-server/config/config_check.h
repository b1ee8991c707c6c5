/* Whether this node has what the configuration names: what `crivirtd --check-config` says. */
#pragma once

#include "cri-server/config/config.h"

typedef struct {
    gboolean is_fatal; /* no pod could run; else something will be missing */
    char *text;
} ConfigProblem;

/* Elements are ConfigProblem; the array frees them. Empty: nothing to complain about. */
GPtrArray *config_check(const Config *config);
