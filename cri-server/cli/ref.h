/* What a user may call a thing: its name, its id, or the start of its id if that is enough.
 *
 * Pure. Matches in this order: the whole id, the name, the start of the id. Of several containers with one
 * name in one pod (the kubelet's attempts) the last attempt is meant; other ambiguity is INVALID_ARGUMENT,
 * whose message lists the candidates; nothing found is NOT_FOUND.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *id;
    const char *name;  /* as it is shown */
    const char *other; /* another name that it answers to, or NULL */
    const char *group; /* the pod's id */
    guint32 attempt;
} RefCandidate;

/* kind: "container", for the messages. */
gboolean ref_pick(const RefCandidate *candidates, gsize n_candidates, const char *kind, const char *text,
                  gsize *ret_index, GError **error);
