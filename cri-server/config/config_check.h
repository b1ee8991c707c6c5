/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that this node has what the configuration names, for `crivirtd --check-config`. */
#pragma once

#include "cri-server/config/config.h"

typedef struct {
    gboolean is_fatal; /* no pod can run; otherwise some feature or some pods are missing */
    char *text;
} ConfigProblem;

/* Looks in the text of /etc/subuid or /etc/subgid (subuid(5)) for ids among the count from first on. Return:
 * the first such line, the caller's; NULL: there is none. */
char *config_find_subordinate_ids(const char *text, guint first, guint count);

/* Checks that streams do not pass through a network unencrypted, unless the configuration allows it. Errors:
 * INVALID_ARGUMENT. */
gboolean config_check_streaming(const Settings *settings, GError **error);

/* Return: the problems as ConfigProblem, which the array frees; empty when there are none. */
GPtrArray *config_check(const Settings *settings);
