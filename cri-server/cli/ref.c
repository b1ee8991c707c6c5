/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/ref.h"

#include <string.h>

#include "common/error.h"
#include "cri-server/cli/human.h"

typedef gboolean (*MatchFunc)(const RefCandidate *candidate, const char *text);

static gboolean is_id(const RefCandidate *candidate, const char *text)
{
    return strcmp(candidate->id, text) == 0;
}

static gboolean is_name(const RefCandidate *candidate, const char *text)
{
    return strcmp(candidate->name, text) == 0 ||
           (candidate->other != NULL && strcmp(candidate->other, text) == 0);
}

static gboolean starts_id(const RefCandidate *candidate, const char *text)
{
    return *text != '\0' && g_str_has_prefix(candidate->id, text);
}

static gboolean ambiguous(const RefCandidate *candidates, gsize n_candidates, MatchFunc match,
                          const char *kind, const char *text, GError **error)
{
    g_autoptr(GString) list = g_string_new(NULL);

    for (gsize i = 0; i < n_candidates; i++) {
        g_autofree char *id = human_short_id(candidates[i].id);

        if (match(&candidates[i], text))
            g_string_append_printf(list, "%s%s (%s)", list->len > 0 ? ", " : "", id, candidates[i].name);
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" matches more than one %s: %s", text, kind, list->str);
}

/* *ret_index is n_candidates when none matches. */
static gboolean pick_by(const RefCandidate *candidates, gsize n_candidates, MatchFunc match, const char *kind,
                        const char *text, gsize *ret_index, GError **error)
{
    gsize found = n_candidates;

    for (gsize i = 0; i < n_candidates; i++) {
        if (!match(&candidates[i], text))
            continue;
        if (found == n_candidates) {
            found = i;
            continue;
        }
        if (match == starts_id || strcmp(candidates[found].group, candidates[i].group) != 0 ||
            candidates[found].attempt == candidates[i].attempt)
            return ambiguous(candidates, n_candidates, match, kind, text, error);
        if (candidates[i].attempt > candidates[found].attempt)
            found = i;
    }
    *ret_index = found;
    return TRUE;
}

gboolean ref_pick(const RefCandidate *candidates, gsize n_candidates, const char *kind, const char *text,
                  gsize *ret_index, GError **error)
{
    static const MatchFunc order[] = {is_id, is_name, starts_id};
    gsize found = n_candidates;

    for (gsize i = 0; i < G_N_ELEMENTS(order); i++) {
        if (!pick_by(candidates, n_candidates, order[i], kind, text, &found, error))
            return FALSE;
        if (found < n_candidates) {
            *ret_index = found;
            return TRUE;
        }
    }
    return fail(error, STATUS_NOT_FOUND, "there is no %s \"%s\"", kind, text);
}
