/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that this node has what the configuration names, for `crivirtd --check-config`. */
#pragma once

#include "cri-server/config/config.h"

typedef struct {
    gboolean is_fatal; /* no pod can run; otherwise some feature or some pods are missing */
    char *text;
} ConfigProblem;

/* Checks that streams do not pass through a network unencrypted, unless the configuration allows it. Errors:
 * INVALID_ARGUMENT. */
gboolean config_check_streaming(const Settings *settings, GError **error);

/* Return: the problems as ConfigProblem, which the array frees; empty when there are none. */
GPtrArray *config_check(const Settings *settings);
