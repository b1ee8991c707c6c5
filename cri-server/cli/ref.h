/* SPDX-License-Identifier: Apache-2.0 */
/* Finds an object by what a user types: its name, its id, or a unique prefix of its id. Pure.
 *
 * Matches are tried in this order: the whole id, the name, the prefix of the id. Of several containers with
 * one name in one pod (the kubelet's attempts) the last attempt matches.
 *
 * Errors: INVALID_ARGUMENT, whose message lists the candidates, for any other ambiguity; NOT_FOUND.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *id;
    const char *name;  /* the name that is shown */
    const char *other; /* another name by which it is found, or NULL */
    const char *group; /* the pod's id */
    guint32 attempt;
} RefCandidate;

/* kind is the word for messages: "container". */
gboolean ref_pick(const RefCandidate *candidates, gsize n_candidates, const char *kind, const char *text,
                  gsize *ret_index, GError **error);
