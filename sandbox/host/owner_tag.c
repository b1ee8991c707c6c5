/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/owner_tag.h"

#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"

#define PREFIX "crivirt-"

enum { DIGITS = 16, FILE_BYTES = 64 };

static gboolean tag_is_valid(const char *tag)
{
    return g_str_has_prefix(tag, PREFIX) && strlen(tag) == strlen(PREFIX) + DIGITS &&
           strspn(tag + strlen(PREFIX), "0123456789abcdef") == DIGITS;
}

static char *make_tag(const char *path, GError **error)
{
    g_autofree char *tag = NULL;
    guint64 number;

    random_fill(&number, sizeof number);
    tag = g_strdup_printf(PREFIX "%016" G_GINT64_MODIFIER "x", number);
    return file_write_atomic(path, tag, strlen(tag), 0600, error) ? g_steal_pointer(&tag) : NULL;
}

char *owner_tag_get(const char *state_dir, GError **error)
{
    g_autofree char *path = g_build_filename(state_dir, "owner", NULL);
    g_autoptr(GError) problem = NULL;
    g_autofree char *tag = NULL;

    if (!file_read(path, FILE_BYTES, &tag, NULL, &problem)) {
        if (problem->code == STATUS_NOT_FOUND)
            return make_tag(path, error);
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    if (tag_is_valid(tag))
        return g_steal_pointer(&tag);
    fail(error, STATUS_INTERNAL, "%s does not contain an owner tag", path);
    return NULL;
}
